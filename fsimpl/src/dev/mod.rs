//! `/dev`: the devices that every program expects, and a directory with them.
//!
//! [`register`] makes the devices known by their numbers, wherever a node with such a number is opened. The directory is a
//! file system of the caller's (a tmpfs), which [`populate`] fills; so guests can add nodes, directories and mounts.

mod full;
mod null;
mod random;
mod terminal;
mod zero;

use std::sync::Arc;

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType};
use bartizan_platform::memory::MemoryFile;
use bartizan_sentry::kernel::realtime;
use bartizan_sentry::vfs::{DeviceOps, DeviceRegistry, FileOps, FsStr, Inode, NewNode, OpenRequest};

use terminal::TerminalDriver;
use zero::ZeroDriver;

/// `/dev/null` (numbers: `admin-guide/devices.rst` of Linux).
const NULL: DeviceNumber = DeviceNumber::new(1, 3);
/// `/dev/zero`.
const ZERO: DeviceNumber = DeviceNumber::new(1, 5);
/// `/dev/full`.
const FULL: DeviceNumber = DeviceNumber::new(1, 7);
/// `/dev/random`.
const RANDOM: DeviceNumber = DeviceNumber::new(1, 8);
/// `/dev/urandom`.
const URANDOM: DeviceNumber = DeviceNumber::new(1, 9);
/// `/dev/tty`.
const TTY: DeviceNumber = DeviceNumber::new(5, 0);
/// `/dev/console`.
const CONSOLE: DeviceNumber = DeviceNumber::new(5, 1);

/// `/dev/ptmx`.
const PTMX: DeviceNumber = DeviceNumber::new(5, 2);

/// The nodes in `/dev`, with their permissions.
const NODES: [(&str, DeviceNumber, u32); 8] = [
    ("null", NULL, 0o666),
    ("zero", ZERO, 0o666),
    ("full", FULL, 0o666),
    ("random", RANDOM, 0o666),
    ("urandom", URANDOM, 0o666),
    ("tty", TTY, 0o666),
    ("ptmx", PTMX, 0o666),
    ("console", CONSOLE, 0o600),
];

/// Names in `/dev` that lead to the descriptors of whoever uses them.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Directories in `/dev`, with their permissions: places for mounts.
const DIRECTORIES: [(&str, u32); 3] = [("shm", 0o1777), ("pts", 0o755), ("mqueue", 0o1777)];

/// Makes the devices known to `registry`. Mappings of `/dev/zero` take pages of `memory`. There is no terminal before one is
/// [set](set_terminal).
pub fn register(registry: &DeviceRegistry, memory: &Arc<MemoryFile>) {
    let add = |number, driver| registry.register(FileType::CharacterDevice, number, driver);
    add(NULL, Arc::new(Simple(|| Box::new(null::Null))));
    add(ZERO, Arc::new(ZeroDriver { memory: Arc::clone(memory) }));
    add(FULL, Arc::new(Simple(|| Box::new(full::Full))));
    add(RANDOM, Arc::new(Simple(|| Box::new(random::Random))));
    add(URANDOM, Arc::new(Simple(|| Box::new(random::Random))));
    add(TTY, Arc::new(TerminalDriver { terminal: None }));
    add(CONSOLE, Arc::new(TerminalDriver { terminal: None }));
}

/// Makes `driver` the one of `/dev/ptmx`.
pub fn set_ptmx(registry: &DeviceRegistry, driver: Arc<dyn DeviceOps>) {
    registry.register(FileType::CharacterDevice, PTMX, driver);
}

/// Makes `terminal`, the inode of a terminal of the host, what `/dev/tty` and `/dev/console` open.
pub fn set_terminal(registry: &DeviceRegistry, terminal: &Arc<Inode>) {
    for number in [TTY, CONSOLE] {
        let driver = TerminalDriver { terminal: Some(Arc::clone(terminal)) };
        registry.register(FileType::CharacterDevice, number, Arc::new(driver));
    }
}

/// A driver whose device needs nothing to be opened.
#[derive(Debug)]
struct Simple(fn() -> Box<dyn FileOps>);

impl DeviceOps for Simple {
    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Ok((self.0)())
    }
}

/// Puts the nodes, links and directories into `root`, an empty directory.
///
/// # Errors
/// What the file system of `root` gives.
pub fn populate(root: &Arc<Inode>) -> Result<(), Errno> {
    let ops = root.ops();
    for (name, number, mode) in NODES {
        let node = NewNode { device: number, ..new_node(FileType::CharacterDevice, mode) };
        ops.create(root, name.as_bytes(), &node)?;
    }
    for (name, target) in LINKS {
        let target: &FsStr = target.as_bytes();
        ops.make_symlink(root, name.as_bytes(), target, &new_node(FileType::Symlink, 0o777))?;
    }
    for (name, mode) in DIRECTORIES {
        ops.make_directory(root, name.as_bytes(), &new_node(FileType::Directory, mode))?;
    }
    Ok(())
}

fn new_node(kind: FileType, mode: u32) -> NewNode {
    NewNode { kind, mode: FileMode::new(mode), uid: 0, gid: 0, device: DeviceNumber::NONE, now: realtime() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_driver_and_no_other_number_has() {
        let registry = DeviceRegistry::default();
        register(&registry, &MemoryFile::new(1 << 20).unwrap());
        for (name, number, _) in NODES.iter().filter(|(name, ..)| *name != "ptmx") {
            let number = *number;
            assert!(registry.find(FileType::CharacterDevice, number).is_some(), "{name}");
            assert!(registry.find(FileType::BlockDevice, number).is_none(), "{name}");
        }
        // `/dev/mem` and `/dev/kmsg`.
        for minor in [1, 11] {
            assert!(registry.find(FileType::CharacterDevice, DeviceNumber::new(1, minor)).is_none());
        }
    }
}
