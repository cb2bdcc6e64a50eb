//! `/proc` (`proc(5)`), laid out like `/proc`: [`system`] has what tells of the sandbox as a whole, [`task`] what is in
//! `/proc/[pid]`, [`root`] the directory that holds both. Only [`process`] and [`paths`] know where the kernel keeps things.
//!
//! Files of a process do not keep it alive. Names of processes and descriptors are looked up again at each use. Nothing of the
//! host shows but its processor.

mod options;
mod paths;
mod process;
mod root;
mod system;
mod task;

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_sentry::kernel::Kernel;
use bartizan_sentry::vfs::FilesystemRoot;

use crate::pseudo::{DirectoryBuilder, Tree};
use options::{Options, ProcFilesystem, ProcMount, Subset};
use system::{System, cpuinfo, meminfo, stat, sys, sysvipc, texts};

/// The inode number of the root directory, as on Linux.
const ROOT: u64 = 1;
/// Numbers of files that always exist start here, those of processes at [`TASKS`].
const FIRST: u64 = 2;
/// Each task has [`TASK_SPAN`] numbers from here on.
const TASKS: u64 = 1 << 32;
/// How many inode numbers a task has: its own files, then its descriptors.
const TASK_SPAN: u64 = 1 << 24;

/// The `/proc` of `kernel`.
///
/// # Errors
/// `EIO` when the host has no random numbers.
pub fn new(kernel: &Arc<Kernel>) -> Result<FilesystemRoot, Errno> {
    with_options(kernel, Options::default())
}

/// A `/proc` with the options of `mount(2)`.
///
/// # Errors
/// `EINVAL` for options that are not of `proc(5)`; see [`new`].
pub fn mount(kernel: &Arc<Kernel>, options: &[u8]) -> Result<FilesystemRoot, Errno> {
    with_options(kernel, Options::default().changed(options)?)
}

fn with_options(kernel: &Arc<Kernel>, options: Options) -> Result<FilesystemRoot, Errno> {
    let mount = ProcMount::new(options);
    let ops = Box::new(ProcFilesystem(Arc::clone(&mount)));
    let tree = Tree::with_ops(kernel.allocate_device(), ops, FIRST);
    let system = System::new(kernel);
    let mut builder = DirectoryBuilder::new(&tree, ROOT, ROOT);
    if options.subset == Subset::All {
        fill(&mut builder, &system);
    }
    let root = root::Root::new(&tree, kernel, mount, builder.finish());
    let inode = tree.inode(ROOT, bartizan_abi::FileType::Directory, root);
    Ok(FilesystemRoot { filesystem: Arc::clone(tree.filesystem()), inode })
}

/// Adds what is not of a process.
fn fill(root: &mut DirectoryBuilder, system: &System) {
    let with = |generate: fn(&System) -> Result<String, Errno>| {
        let system = system.clone();
        move || generate(&system)
    };
    root.file("cgroups", 0o444, with(texts::cgroups))
        .file("cmdline", 0o444, texts::cmdline)
        .file("cpuinfo", 0o444, cpuinfo::generate)
        .file("devices", 0o444, texts::devices)
        .file("consoles", 0o444, texts::empty)
        .file("diskstats", 0o444, texts::empty)
        .file("execdomains", 0o444, || Ok("0-0\tLinux           \t[kernel]\n".into()))
        .file("filesystems", 0o444, with(texts::filesystems))
        .file("interrupts", 0o444, texts::interrupts)
        .file("kmsg", 0o400, texts::empty)
        .file("loadavg", 0o444, with(stat::loadavg))
        .file("meminfo", 0o444, with(meminfo::generate))
        .file("modules", 0o444, texts::empty)
        .link("mounts", "self/mounts")
        .link("net", "self/net")
        .file("partitions", 0o444, texts::partitions)
        .file("stat", 0o444, with(stat::stat))
        .file("swaps", 0o444, texts::swaps)
        .directory("sys", |directory| sys::fill(directory, system))
        .directory("sysvipc", |directory| sysvipc::fill(directory, system))
        .directory("tty", |tty| {
            tty.file("drivers", 0o444, texts::terminal_drivers).file(
                "ldiscs",
                0o444,
                texts::line_disciplines,
            );
        })
        .file("uptime", 0o444, with(stat::uptime))
        .file("version", 0o444, texts::version)
        .file("vmstat", 0o444, with(texts::vmstat));
}
