//! `/sys` (`sysfs(5)`): the little that programs read there to find out about processors and memory. Nothing of the host
//! shows but how many processors there are.

use std::sync::Arc;

use bartizan_abi::{Errno, FileType, FsMagic};
use bartizan_sentry::kernel::Kernel;
use bartizan_sentry::vfs::FilesystemRoot;

use crate::pseudo::{DirectoryBuilder, Tree, processors};

/// The inode number of the root directory, as on Linux.
const ROOT: u64 = 1;
/// The highest processor number of a kernel as Debian builds it (`kernel_max`).
const KERNEL_MAX: &str = "8191\n";

/// The `/sys` of `kernel`.
///
/// # Errors
/// Never in practice.
pub fn new(kernel: &Arc<Kernel>) -> Result<FilesystemRoot, Errno> {
    let tree = Tree::new(kernel.allocate_device(), "sysfs", FsMagic::SYSFS, ROOT + 1);
    let mut builder = DirectoryBuilder::new(&tree, ROOT, ROOT);
    fill(&mut builder);
    let inode = tree.inode(ROOT, FileType::Directory, builder.finish());
    Ok(FilesystemRoot { filesystem: Arc::clone(tree.filesystem()), inode })
}

fn fill(root: &mut DirectoryBuilder) {
    for name in ["block", "bus", "class", "dev", "firmware", "module", "power"] {
        root.directory(name, |_empty| {});
    }
    root.directory("devices", |devices| {
        devices.directory("system", |system| {
            system.directory("cpu", cpus).directory("node", nodes);
        });
    });
    root.directory("fs", |fs| {
        fs.directory("cgroup", |_empty| {});
    });
    root.directory("kernel", |kernel| {
        kernel.directory("mm", |mm| {
            mm.directory("transparent_hugepage", |huge| {
                huge.file("enabled", 0o444, || Ok("always madvise [never]\n".into()));
                huge.file("hpage_pmd_size", 0o444, || Ok("2097152\n".into()));
            });
        });
    });
}

/// Processors from the first to the last, as Linux lists them.
fn list() -> String {
    match processors() {
        0 | 1 => "0\n".into(),
        count => format!("0-{}\n", count - 1),
    }
}

/// Them as a mask: words of 32 bits in hexadecimal, the last processors first.
fn mask(of: impl Fn(usize) -> bool) -> String {
    let count = processors().max(1);
    let word =
        |index: usize| (0..32).filter(|bit| of(index * 32 + bit)).fold(0u32, |word, bit| word | 1 << bit);
    let words: Vec<String> =
        (0..count.div_ceil(32)).rev().map(|index| format!("{:08x}", word(index))).collect();
    let text = words.join(",");
    // The first word has as many digits as it needs for all processors.
    let digits = (count - (count - 1) / 32 * 32).div_ceil(4);
    format!("{}\n", text.get(8 - digits.min(8)..).unwrap_or(&text))
}

fn cpus(directory: &mut DirectoryBuilder) {
    for name in ["online", "possible", "present"] {
        directory.file(name, 0o444, || Ok(list()));
    }
    directory.file("offline", 0o444, || Ok("\n".into()));
    directory.file("isolated", 0o444, || Ok("\n".into()));
    directory.file("kernel_max", 0o444, || Ok(KERNEL_MAX.into()));
    for number in 0..processors() {
        directory.directory(format!("cpu{number}"), |cpu| {
            cpu.directory("topology", |topology| topology_of(topology, number));
        });
    }
}

/// All processors are cores of one package.
fn topology_of(directory: &mut DirectoryBuilder, number: usize) {
    let all = || Ok(list());
    let own = move || Ok(format!("{number}\n"));
    let own_mask = move || Ok(mask(|cpu| cpu == number));
    let all_mask = || Ok(mask(|cpu| cpu < processors()));
    directory
        .file("core_cpus", 0o444, own_mask)
        .file("core_cpus_list", 0o444, own)
        .file("core_id", 0o444, own)
        .file("core_siblings", 0o444, all_mask)
        .file("core_siblings_list", 0o444, all)
        .file("die_id", 0o444, || Ok("0\n".into()))
        .file("package_cpus", 0o444, all_mask)
        .file("package_cpus_list", 0o444, all)
        .file("physical_package_id", 0o444, || Ok("0\n".into()))
        .file("thread_siblings", 0o444, own_mask)
        .file("thread_siblings_list", 0o444, own);
}

fn nodes(directory: &mut DirectoryBuilder) {
    for name in ["has_cpu", "has_memory", "has_normal_memory", "online", "possible"] {
        directory.file(name, 0o444, || Ok("0\n".into()));
    }
    directory.directory("node0", |node| {
        node.file("cpulist", 0o444, || Ok(list()));
        node.file("cpumap", 0o444, || Ok(mask(|cpu| cpu < processors())));
        node.file("distance", 0o444, || Ok("10\n".into()));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_listed_as_the_host_lists_its_own() {
        let host = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_else(|_| list());
        // A host may have some that this process must not use.
        let last =
            |text: &str| text.trim_end().rsplit('-').next().and_then(|last| last.parse::<usize>().ok());
        assert!(last(&list()) <= last(&host), "{} {host}", list());
        assert!(mask(|cpu| cpu == 0).trim_end().ends_with('1'));
    }
}
