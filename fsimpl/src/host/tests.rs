//! Tests of host trees, also of trees that try to lead out, and of trees that change.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, RenameFlags, Timespec, XattrFlags};
use bartizan_platform::Access;
use bartizan_platform::memory;
use bartizan_sentry::mm::{PageError, PageSource};
use bartizan_sentry::vfs::{
    AttributeChanges, CachePolicy, DirectorySink, FilesystemRoot, Inode, LinkTarget, NewNode, Rename,
    SliceSink, SliceSource, Written,
};
use tempfile::TempDir;

use super::directory::OpenDirectory;
use super::inode::HostInode;
use super::{Coherence, Options, filesystem, open_root};

fn tree(path: &Path, options: &Options) -> FilesystemRoot {
    filesystem::make_root(open_root(path, options).unwrap(), DeviceNumber::new(0, 9), options).unwrap()
}

/// Nothing is believed for any time.
fn fresh() -> Options {
    Options { coherence: Coherence::Within(Duration::ZERO), attributes: Duration::ZERO, ..Options::default() }
}

fn lookup(directory: &Arc<Inode>, name: &str) -> Result<Arc<Inode>, Errno> {
    directory.ops().lookup(directory, name.as_bytes())
}

fn host(inode: &Inode) -> &HostInode {
    inode.downcast().unwrap()
}

fn read(inode: &Inode) -> Result<Vec<u8>, Errno> {
    let mut data = vec![0; 1 << 20];
    let mut sink = SliceSink::new(&mut data);
    let count = host(inode).node().contents()?.read(&mut sink, 0)?;
    data.truncate(count);
    Ok(data)
}

#[derive(Default)]
struct Collected {
    room: usize,
    entries: Vec<(String, u64, FileType, u64)>,
}

impl DirectorySink for Collected {
    fn entry(&mut self, name: &[u8], inode: u64, kind: FileType, next_offset: u64) -> bool {
        if self.entries.len() == self.room {
            return false;
        }
        self.entries.push((String::from_utf8(name.to_vec()).unwrap(), inode, kind, next_offset));
        true
    }
}

fn list(inode: &Inode, chunk: usize) -> Vec<(String, u64, FileType, u64)> {
    let open = OpenDirectory::new(host(inode).node()).unwrap();
    let (mut position, mut all) = (0, Vec::new());
    loop {
        let mut part = Collected { room: chunk, ..Collected::default() };
        position = open.list(&mut part, position).unwrap();
        if part.entries.is_empty() {
            return all;
        }
        all.extend(part.entries);
    }
}

#[test]
fn contents_attributes_and_links_are_the_host_s() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("f"), "hello").unwrap();
    fs::set_permissions(dir.path().join("f"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(dir.path().join("f"), dir.path().join("g")).unwrap();
    symlink("some/where", dir.path().join("l")).unwrap();
    fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    let root = tree(dir.path(), &Options::default());
    assert!(root.filesystem.is_read_only());
    assert_eq!(root.filesystem.ops().cache_policy(), CachePolicy::Always);
    let f = lookup(&root.inode, "f").unwrap();
    let attributes = f.attributes().unwrap();
    assert_eq!((attributes.size, attributes.links, attributes.mode.bits()), (5, 2, 0o4751));
    assert_eq!(read(&f), Ok(b"hello".to_vec()));
    assert!(Arc::ptr_eq(&f, &lookup(&root.inode, "g").unwrap()), "hard links are one inode");
    let link = lookup(&root.inode, "l").unwrap();
    assert!(matches!(link.ops().read_link(&link, None), Ok(LinkTarget::Text(text)) if text == b"some/where"));
    let c = ["a", "b", "c"].iter().fold(root.inode.clone(), |inode, name| lookup(&inode, name).unwrap());
    assert_eq!(c.kind(), FileType::Directory);
    assert_eq!(lookup(&c, "x").unwrap_err(), Errno::ENOENT);
    assert_eq!(lookup(&f, "x").unwrap_err(), Errno::ENOTDIR);
}

#[test]
fn listing_is_the_host_s_except_for_what_is_above() {
    let dir = TempDir::new().unwrap();
    for index in 0..300 {
        fs::write(dir.path().join(format!("file{index}")), "").unwrap();
    }
    fs::create_dir(dir.path().join("sub")).unwrap();
    let root = tree(dir.path(), &Options::default());
    let all = list(&root.inode, 7);
    assert_eq!(all.len(), 303);
    for (name, number, kind, _) in &all {
        match name.as_str() {
            "." | ".." => assert_eq!((*number, *kind), (root.inode.number(), FileType::Directory)),
            name => {
                let inode = lookup(&root.inode, name).unwrap();
                assert_eq!((*number, *kind), (inode.number(), inode.kind()));
            }
        }
    }
    let sub = lookup(&root.inode, "sub").unwrap();
    let dots = list(&sub, 1);
    assert!(dots.iter().any(|(name, number, ..)| name == ".." && *number == root.inode.number()));
    // A listing that was put off goes on where it was.
    let open = OpenDirectory::new(host(&root.inode).node()).unwrap();
    let mut part = Collected { room: 3, ..Collected::default() };
    open.list(&mut part, all[99].3).unwrap();
    assert_eq!(part.entries, all[100..103]);
}

#[test]
fn no_name_leads_out_of_the_tree() {
    let outer = TempDir::new().unwrap();
    fs::write(outer.path().join("secret"), "secret").unwrap();
    let dir = outer.path().join("tree");
    fs::create_dir(&dir).unwrap();
    symlink("..", dir.join("up")).unwrap();
    symlink("../secret", dir.join("file")).unwrap();
    symlink(outer.path(), dir.join("absolute")).unwrap();
    symlink("/proc/self/root", dir.join("magic")).unwrap();
    let root = tree(&dir, &fresh());
    for name in ["up", "file", "absolute", "magic"] {
        let inode = lookup(&root.inode, name).unwrap();
        assert_eq!(inode.kind(), FileType::Symlink, "{name}");
        assert!(lookup(&inode, "secret").is_err(), "{name}");
        assert!(host(&inode).node().contents().is_err(), "{name}");
        assert!(OpenDirectory::new(host(&inode).node()).is_err(), "{name}");
    }
    // Names that the VFS never passes on are refused by the host all the same.
    let up = host(&root.inode).node().descriptor().unwrap();
    assert!(super::node::open_beneath(&up, b"..", rustix::fs::OFlags::PATH).is_err());
    assert!(super::node::open_beneath(&up, b"up/secret", rustix::fs::OFlags::PATH).is_err());
    assert!(super::node::open_beneath(&up, b"/etc", rustix::fs::OFlags::PATH).is_err());
}

#[test]
fn name_that_becomes_a_link_leads_nowhere() {
    let outer = TempDir::new().unwrap();
    fs::write(outer.path().join("secret"), "secret").unwrap();
    let dir = outer.path().join("tree");
    fs::create_dir_all(dir.join("d/e")).unwrap();
    fs::write(dir.join("f"), "mine").unwrap();
    let root = tree(&dir, &Options { descriptors: 1, ..Options::default() });
    let (d, f) = (lookup(&root.inode, "d").unwrap(), lookup(&root.inode, "f").unwrap());
    let e = lookup(&d, "e").unwrap();
    fs::rename(dir.join("d"), outer.path().join("moved")).unwrap();
    symlink(outer.path(), dir.join("d")).unwrap();
    fs::remove_file(dir.join("f")).unwrap();
    symlink("../secret", dir.join("f")).unwrap();
    // Make the cache forget the descriptors.
    fs::create_dir(dir.join("other")).unwrap();
    let other = lookup(&root.inode, "other").unwrap();
    assert!(lookup(&other, "x").is_err());
    assert_eq!(lookup(&d, "secret").unwrap_err(), Errno::ESTALE);
    assert!(lookup(&e, "x").is_err());
    assert_eq!(read(&f), Err(Errno::ESTALE));
}

#[test]
fn changes_show_up_when_they_are_asked_for() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "one").unwrap();
    let root = tree(dir.path(), &fresh());
    let f = lookup(&root.inode, "f").unwrap();
    let still = |child| root.inode.ops().revalidate(&root.inode, b"f", child);
    assert!(still(Some(&f)));
    assert!(!still(None));
    fs::write(&path, "three").unwrap();
    assert_eq!(f.attributes().unwrap().size, 5);
    fs::write(dir.path().join("new"), "new file").unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    assert!(!still(Some(&f)));
    assert_eq!(read(&lookup(&root.inode, "f").unwrap()), Ok(b"new file".to_vec()));
    assert_eq!(f.attributes(), Err(Errno::ESTALE));
    fs::remove_file(&path).unwrap();
    assert!(still(None));
}

#[test]
fn stable_attributes_are_asked_for_at_open() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("f"), "one").unwrap();
    let root = tree(dir.path(), &Options { attributes: Duration::from_secs(3600), ..Options::default() });
    let f = lookup(&root.inode, "f").unwrap();
    fs::write(dir.path().join("f"), "longer").unwrap();
    assert_eq!(f.attributes().unwrap().size, 3);
    assert_eq!(read(&f), Ok(b"longer".to_vec()));
    assert_eq!(f.attributes().unwrap().size, 6);
}

#[test]
fn mapped_file_may_shrink_and_grow() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, vec![7; 10_000]).unwrap();
    let root = tree(dir.path(), &Options::default());
    let f = lookup(&root.inode, "f").unwrap();
    let contents = host(&f).node().contents().unwrap();
    assert!(Arc::ptr_eq(&contents, &host(&f).node().contents().unwrap()));
    let run = contents.pages(4096, 1 << 20, Access::READ).unwrap();
    assert_eq!((run.range.clone(), run.access), (4096..12_288, Access::READ | Access::EXECUTE));
    assert!(!contents.writable());
    fs::File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
    assert_eq!(contents.pages(4096, 4096, Access::READ).unwrap_err(), PageError::BeyondEnd);
    let mut byte = [0];
    assert_eq!(memory::read(&run.file.view(4096, 1).unwrap(), &mut byte), 0);
    assert_eq!(read(&f).unwrap().len(), 100);
}

#[test]
fn descriptors_and_inodes_are_bounded() {
    let dir = TempDir::new().unwrap();
    for index in 0..100 {
        fs::create_dir_all(dir.path().join(format!("d{index}/e"))).unwrap();
    }
    let root = tree(dir.path(), &Options { descriptors: 8, ..Options::default() });
    let mut held = Vec::new();
    for index in 0..100 {
        let d = lookup(&root.inode, &format!("d{index}")).unwrap();
        held.push(lookup(&d, "e").unwrap());
    }
    for e in &held {
        assert_eq!(lookup(e, "x").unwrap_err(), Errno::ENOENT);
    }
    let tree = host(&root.inode).node().host().clone();
    assert!(tree.descriptors().count() <= 8);
    held.clear();
    assert_eq!(tree.living_count(), 1);
    assert_eq!(tree.descriptors().count(), 0);
}

#[test]
fn single_file_is_a_tree_too() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("f"), "alone").unwrap();
    let root = tree(&dir.path().join("f"), &fresh());
    assert_eq!(root.inode.kind(), FileType::Regular);
    assert_eq!(read(&root.inode), Ok(b"alone".to_vec()));
    assert_eq!(root.inode.attributes().unwrap().size, 5);
}

#[test]
fn special_files_are_not_opened_and_pseudo_file_systems_look_empty() {
    let root = tree(Path::new("/"), &Options::default());
    let proc = lookup(&root.inode, "proc").unwrap();
    assert_eq!(lookup(&proc, "self").unwrap_err(), Errno::ENOENT);
    assert_eq!(list(&proc, 10).len(), 2);
    let dev = lookup(&root.inode, "dev").unwrap();
    let null = lookup(&dev, "null").unwrap();
    assert_eq!(null.kind(), FileType::CharacterDevice);
    assert_eq!(null.attributes().unwrap().device, DeviceNumber::new(1, 3));
    assert!(host(&null).node().contents().is_err());
}

#[test]
fn attributes_of_the_host_s_security_modules_are_not_there() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("f"), "").unwrap();
    let root = tree(dir.path(), &Options::default());
    let f = lookup(&root.inode, "f").unwrap();
    assert_eq!(f.ops().get_xattr(&f, b"security.selinux"), Err(Errno::ENODATA));
    assert_eq!(f.ops().get_xattr(&f, b"system.posix_acl_access"), Err(Errno::EOPNOTSUPP));
    let file = fs::File::open(dir.path().join("f")).unwrap();
    if rustix::fs::fsetxattr(&file, "user.a", b"value", rustix::fs::XattrFlags::empty()).is_ok() {
        assert_eq!(f.ops().get_xattr(&f, b"user.a"), Ok(b"value".to_vec()));
        assert_eq!(f.ops().list_xattr(&f), Ok(vec![b"user.a".to_vec()]));
    }
}

fn writable(path: &Path) -> FilesystemRoot {
    tree(path, &Options { writable: true, ..Options::default() })
}

fn node(kind: FileType, mode: u32) -> NewNode {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let now = Timespec::ZERO;
    NewNode { kind, mode: FileMode::new(mode), uid, gid, device: DeviceNumber::NONE, now }
}

fn write(inode: &Inode, offset: Option<u64>, data: &[u8]) -> Result<Written, Errno> {
    let contents = host(inode).node().contents()?;
    let result = contents.write(&mut SliceSource::new(data), offset);
    host(inode).node().expire();
    result
}

#[test]
fn read_only_tree_refuses_every_change() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("f"), "x").unwrap();
    let root = tree(dir.path(), &Options::default()).inode;
    let (ops, f) = (root.ops(), lookup(&root, "f").unwrap());
    let regular = node(FileType::Regular, 0o644);
    assert_eq!(ops.create(&root, b"n", &regular).unwrap_err(), Errno::EROFS);
    assert_eq!(ops.make_directory(&root, b"n", &regular).unwrap_err(), Errno::EROFS);
    assert_eq!(ops.make_symlink(&root, b"n", b"t", &regular).unwrap_err(), Errno::EROFS);
    assert_eq!(ops.unlink(&root, b"f", &f), Err(Errno::EROFS));
    assert_eq!(ops.link(&root, b"n", &f), Err(Errno::EROFS));
    assert_eq!(ops.set_attributes(&root, &AttributeChanges::default()), Err(Errno::EROFS));
    assert_eq!(ops.set_xattr(&root, b"user.a", b"", XattrFlags::empty()), Err(Errno::EROFS));
    assert_eq!(write(&f, Some(0), b"y"), Err(Errno::EACCES));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn writable_tree_is_changed_on_the_host() {
    let dir = TempDir::new().unwrap();
    let root = writable(dir.path()).inode;
    let ops = root.ops();
    // A file that nobody could open for writing again, except whoever made it.
    let f = ops.create(&root, b"f", &node(FileType::Regular, 0o4444)).unwrap();
    assert_eq!(f.attributes().unwrap().mode.bits(), 0o4444);
    assert_eq!(write(&f, Some(2), b"hello").unwrap(), Written { count: 5, end: 7 });
    assert_eq!(write(&f, None, b"!").unwrap(), Written { count: 1, end: 8 });
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"\0\0hello!");
    assert_eq!(f.attributes().unwrap().size, 8);
    assert_eq!(ops.create(&root, b"f", &node(FileType::Regular, 0o644)).unwrap_err(), Errno::EEXIST);
    let d = ops.make_directory(&root, b"d", &node(FileType::Directory, 0o1777)).unwrap();
    assert_eq!(d.attributes().unwrap().mode.bits(), 0o1777);
    ops.link(&root, b"g", &f).unwrap();
    assert_eq!(f.attributes().unwrap().links, 2);
    ops.make_symlink(&root, b"l", b"over/there", &node(FileType::Symlink, 0o777)).unwrap();
    assert_eq!(fs::read_link(dir.path().join("l")).unwrap(), Path::new("over/there"));
    let fifo = d.ops().create(&d, b"p", &node(FileType::Fifo, 0o600)).unwrap();
    assert_eq!(fifo.kind(), FileType::Fifo);
    let null = NewNode { device: DeviceNumber::new(1, 3), ..node(FileType::CharacterDevice, 0o600) };
    assert_eq!(ops.create(&root, b"c", &null).unwrap_err(), Errno::EPERM);
    assert_eq!(ops.remove_directory(&root, b"d", &d), Err(Errno::ENOTEMPTY));
    d.ops().unlink(&d, b"p", &fifo).unwrap();
    ops.remove_directory(&root, b"d", &d).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["f", "g", "l"]);
}

#[test]
fn attributes_are_changed_on_the_host() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("f"), "0123456789").unwrap();
    let root = writable(dir.path()).inode;
    let f = lookup(&root, "f").unwrap();
    let changes = AttributeChanges {
        mode: Some(FileMode::new(0o640)),
        size: Some(4),
        modified: Some(Timespec::new(1000, 5)),
        ..AttributeChanges::default()
    };
    f.ops().set_attributes(&f, &changes).unwrap();
    let attributes = f.attributes().unwrap();
    assert_eq!(
        (attributes.size, attributes.mode.bits(), attributes.modified),
        (4, 0o640, Timespec::new(1000, 5))
    );
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"0123");
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("f"), "").unwrap();
    fs::set_permissions(outside.path().join("f"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink(outside.path().join("f"), dir.path().join("l")).unwrap();
    let l = lookup(&root, "l").unwrap();
    let mode = AttributeChanges { mode: Some(FileMode::new(0o777)), ..AttributeChanges::default() };
    assert!(l.ops().set_attributes(&l, &mode).is_err());
    let mode = fs::metadata(outside.path().join("f")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "no link is followed");
}

#[test]
fn renamed_files_are_found_where_they_went() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("a/sub")).unwrap();
    fs::write(dir.path().join("a/sub/f"), "deep").unwrap();
    fs::write(dir.path().join("g"), "g").unwrap();
    let root = tree(dir.path(), &Options { writable: true, descriptors: 1, ..Options::default() }).inode;
    let a = lookup(&root, "a").unwrap();
    let sub = lookup(&a, "sub").unwrap();
    let f = lookup(&sub, "f").unwrap();
    let g = lookup(&root, "g").unwrap();
    let rename = |source: &Arc<Inode>, from: &[u8], to: &[u8], target: Option<&Arc<Inode>>, flags| {
        root.ops().rename(&Rename {
            old_directory: &root,
            old_name: from,
            source,
            new_directory: &root,
            new_name: to,
            target,
            flags,
            owner: (0, 0),
        })
    };
    rename(&a, b"a", b"b", None, RenameFlags::empty()).unwrap();
    assert_eq!(read(&f), Ok(b"deep".to_vec()));
    rename(&a, b"b", b"g", Some(&g), RenameFlags::RENAME_EXCHANGE).unwrap();
    assert_eq!(read(&f), Ok(b"deep".to_vec()));
    assert_eq!(read(&g), Ok(b"g".to_vec()));
    assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"g");
    // What has no name any more is still there for those who have it open.
    let open = host(&g).node().contents().unwrap();
    root.ops().unlink(&root, b"b", &g).unwrap();
    assert_eq!(g.attributes().unwrap().links, 0);
    write(&g, None, b"one").unwrap();
    assert_eq!(read(&g), Ok(b"gone".to_vec()));
    drop(open);
    assert_eq!(g.attributes(), Err(Errno::ESTALE));
}
