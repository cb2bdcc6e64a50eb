//! Overlays of tmpfs trees, as the VFS walks them; at the end, random operations on an overlay and on a plain tree, which must look the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, OpenFlags, RenameFlags, XattrFlags};
use bartizan_platform::mock::MockPlatform;
use bartizan_sentry::kernel::{Credentials, Kernel, KernelOptions, realtime};
use bartizan_sentry::vfs::create::{self, NewEntry, Removal};
use bartizan_sentry::vfs::{
    AttributeChanges, Attributes, DeviceRegistry, DirectorySink, File, FilesystemRoot, FollowLast, FsContext,
    Inode, MountFlags, MountNamespace, OpenHow, SliceSink, SliceSource, link_text,
};
use proptest::prelude::*;

use super::{Layers, Upper};
use crate::tmpfs;

fn kernel() -> Arc<Kernel> {
    let options = KernelOptions {
        platform: MockPlatform::new(),
        memory_limit: 64 << 20,
        hostname: b"box".to_vec(),
        tracer: None,
        profiler: None,
    };
    Kernel::new(options).unwrap()
}

fn empty(kernel: &Arc<Kernel>) -> FilesystemRoot {
    let mode = FileMode::new(0o755);
    tmpfs::new(kernel, &tmpfs::Options { mode, inodes: Some(0), ..tmpfs::Options::default() }).unwrap()
}

/// A tree as a program sees it.
struct Tree {
    fs: Arc<FsContext>,
    root: Credentials,
}

impl Tree {
    fn new(root: FilesystemRoot) -> Self {
        let devices = Arc::new(DeviceRegistry::default());
        let namespace = MountNamespace::new(root, b"", MountFlags::empty(), devices);
        let fs = FsContext::new(namespace).unwrap();
        fs.set_umask(FileMode::empty());
        Self { fs, root: Credentials::root() }
    }

    fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<File>, Errno> {
        self.fs.open(&self.root, path.as_bytes(), OpenHow { flags, mode: FileMode::new(0o644) })
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let file = self.open(path, OpenFlags::O_RDONLY)?;
        Ok(contents(&file))
    }

    fn write(&self, path: &str, text: &[u8], flags: OpenFlags) -> Result<(), Errno> {
        let file = self.open(path, OpenFlags::O_WRONLY | flags)?;
        assert_eq!(file.ops().write(&file, &mut SliceSource::new(text), 0)?.count, text.len());
        Ok(())
    }

    fn create(&self, path: &str, text: &[u8]) -> Result<(), Errno> {
        self.write(path, text, OpenFlags::O_CREAT | OpenFlags::O_TRUNC)
    }

    fn make(&self, path: &str, entry: NewEntry<'_>, mode: u32) -> Result<(), Errno> {
        self.fs.with_walker(&self.root, None, None, |walker| {
            let parent = walker.resolve_parent(path.as_bytes())?;
            create::create(walker, &parent, entry, FileMode::new(mode)).map(drop)
        })
    }

    fn mkdir(&self, path: &str) -> Result<(), Errno> {
        self.make(path, NewEntry::Directory, 0o755)
    }

    fn remove(&self, path: &str, removal: Removal) -> Result<(), Errno> {
        self.fs.with_walker(&self.root, None, None, |walker| {
            create::remove(walker, &walker.resolve_parent(path.as_bytes())?, removal)
        })
    }

    fn rename(&self, old: &str, new: &str, flags: RenameFlags) -> Result<(), Errno> {
        self.fs.with_walker(&self.root, None, None, |walker| {
            let (old, new) = (walker.resolve_parent(old.as_bytes())?, walker.resolve_parent(new.as_bytes())?);
            create::rename(walker, &old, &new, flags)
        })
    }

    fn link(&self, old: &str, new: &str) -> Result<(), Errno> {
        self.fs.with_walker(&self.root, None, None, |walker| {
            let target = walker.resolve(old.as_bytes(), FollowLast::No)?;
            create::link(walker, &walker.resolve_parent(new.as_bytes())?, &target)
        })
    }

    fn inode(&self, path: &str) -> Result<Arc<Inode>, Errno> {
        let found = self.fs.resolve(&self.root, path.as_bytes(), FollowLast::No)?;
        Ok(Arc::clone(found.inode()))
    }

    fn attributes(&self, path: &str) -> Result<Attributes, Errno> {
        self.inode(path)?.attributes()
    }

    fn change(&self, path: &str, changes: AttributeChanges) -> Result<(), Errno> {
        let inode = self.inode(path)?;
        inode.ops().set_attributes(&inode, &AttributeChanges { changed: realtime(), ..changes })
    }

    fn list(&self, path: &str) -> Vec<(String, u64)> {
        let file = self.open(path, OpenFlags::O_DIRECTORY).unwrap();
        let mut names = Names::default();
        let mut position = 0;
        loop {
            let next = file.ops().read_directory(&file, &mut names, position).unwrap();
            if next == position {
                break;
            }
            position = next;
        }
        names.0.retain(|(name, _)| !matches!(name.as_str(), "." | ".."));
        names.0.sort();
        names.0
    }

    /// Everything that can be seen below `path`.
    fn dump(&self, path: &str, into: &mut BTreeMap<String, String>) {
        for (name, number) in self.list(path) {
            let path = if path == "/" { format!("/{name}") } else { format!("{path}/{name}") };
            let inode = self.inode(&path).unwrap();
            assert_eq!(inode.number(), number, "{path}: number in the listing and in stat");
            let attributes = inode.attributes().unwrap();
            let mut text = format!("{:?} {:o} {}", attributes.kind, attributes.mode.bits(), attributes.uid);
            let mut xattrs = inode.ops().list_xattr(&inode).unwrap();
            xattrs.sort();
            text.push_str(&format!(" {xattrs:?}"));
            match attributes.kind {
                FileType::Regular => {
                    let data = self.read(&path).unwrap();
                    assert_eq!(data.len() as u64, attributes.size, "{path}");
                    text.push_str(&format!(" {} {:?}", attributes.links, String::from_utf8_lossy(&data)));
                }
                FileType::Symlink => {
                    let found = self.fs.resolve(&self.root, path.as_bytes(), FollowLast::No).unwrap();
                    text.push_str(&format!(" {:?}", link_text(&found, None).unwrap()));
                }
                FileType::Directory => self.dump(&path, into),
                _ => {}
            }
            into.insert(path, text);
        }
    }

    fn all(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        self.dump("/", &mut all);
        all
    }
}

fn contents(file: &Arc<File>) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 20];
    let mut sink = SliceSink::new(&mut buffer);
    let count = file.ops().read(file, &mut sink, 0).unwrap();
    buffer.truncate(count);
    buffer
}

#[derive(Default)]
struct Names(Vec<(String, u64)>);

impl DirectorySink for Names {
    fn entry(&mut self, name: &[u8], inode: u64, _kind: FileType, _next: u64) -> bool {
        self.0.push((String::from_utf8_lossy(name).into_owned(), inode));
        true
    }
}

/// Layers that can be put together again and again.
struct Stack {
    kernel: Arc<Kernel>,
    lower: Vec<FilesystemRoot>,
    changes: FilesystemRoot,
}

impl Stack {
    fn new(lower: usize) -> Self {
        let kernel = kernel();
        let lower = (0..lower).map(|_| empty(&kernel)).collect();
        let changes = empty(&kernel);
        let tree = Tree::new(changes.clone());
        tree.mkdir("/upper").unwrap();
        tree.mkdir("/work").unwrap();
        Self { kernel, lower, changes }
    }

    fn lower(&self, index: usize) -> Tree {
        Tree::new(self.lower[index].clone())
    }

    fn upper(&self) -> Tree {
        Tree::new(self.changes.clone())
    }

    fn mount(&self) -> Tree {
        let upper = self.upper();
        let layers = Layers {
            lower: self.lower.iter().map(|root| Arc::clone(&root.inode)).collect(),
            upper: Some(Upper {
                directory: upper.inode("/upper").unwrap(),
                work: upper.inode("/work").unwrap(),
                user_marks: false,
            }),
            shown: String::new(),
        };
        Tree::new(super::new(&self.kernel, layers).unwrap())
    }
}

#[test]
fn what_is_above_hides_what_is_below() {
    let stack = Stack::new(2);
    let (top, bottom) = (stack.lower(0), stack.lower(1));
    for (tree, text) in [(&top, &b"top"[..]), (&bottom, b"bottom")] {
        tree.mkdir("/d").unwrap();
        tree.create("/d/both", text).unwrap();
    }
    bottom.create("/d/below", b"below").unwrap();
    bottom.create("/d/gone", b"").unwrap();
    top.make("/d/gone", NewEntry::Node(FileType::CharacterDevice, DeviceNumber::NONE), 0).unwrap();
    let tree = stack.mount();
    assert_eq!(tree.read("/d/both").unwrap(), b"top");
    assert_eq!(tree.read("/d/below").unwrap(), b"below");
    assert_eq!(tree.read("/d/gone"), Err(Errno::ENOENT));
    let names: Vec<String> = tree.list("/d").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["below", "both"]);
    assert_eq!(tree.attributes("/d").unwrap().links, 1);
}

#[test]
fn files_are_copied_up_as_they_are() {
    let stack = Stack::new(1);
    let lower = stack.lower(0);
    lower.mkdir("/d").unwrap();
    lower.create("/d/f", b"0123456789").unwrap();
    let inode = lower.inode("/d/f").unwrap();
    inode.ops().set_xattr(&inode, b"user.color", b"red", XattrFlags::empty()).unwrap();
    let changes = AttributeChanges { uid: Some(7), mode: Some(FileMode::new(0o4711)), ..Default::default() };
    lower.change("/d/f", changes).unwrap();
    let tree = stack.mount();
    let before = tree.inode("/d/f").unwrap();
    let reader = tree.open("/d/f", OpenFlags::O_RDONLY).unwrap();
    tree.write("/d/f", b"ab", OpenFlags::empty()).unwrap();
    assert_eq!(tree.read("/d/f").unwrap(), b"ab23456789");
    assert_eq!(lower.read("/d/f").unwrap(), b"0123456789");
    // Who had it open sees the change.
    assert_eq!(contents(&reader), b"ab23456789");
    let after = tree.inode("/d/f").unwrap();
    assert_eq!(before.number(), after.number());
    assert_eq!(after.ops().get_xattr(&after, b"user.color").unwrap(), b"red");
    let attributes = after.attributes().unwrap();
    assert_eq!((attributes.uid, attributes.mode.bits()), (7, 0o4711));
    // Also when it is looked up anew.
    let number = after.number();
    drop((before, after, reader));
    tree.fs.namespace().cache().clear();
    assert_eq!(tree.inode("/d/f").unwrap().number(), number);
}

#[test]
fn truncating_copies_no_more_than_what_stays() {
    let stack = Stack::new(1);
    let lower = stack.lower(0);
    lower.create("/f", b"0123456789").unwrap();
    let tree = stack.mount();
    tree.change("/f", AttributeChanges { size: Some(4), ..Default::default() }).unwrap();
    assert_eq!(tree.read("/f").unwrap(), b"0123");
    tree.change("/f", AttributeChanges { size: Some(6), ..Default::default() }).unwrap();
    assert_eq!(tree.read("/f").unwrap(), b"0123\0\0");
    assert_eq!(stack.upper().list("/work/work"), []);
}

#[test]
fn names_of_one_file_below_stay_names_of_one_file() {
    let stack = Stack::new(1);
    let lower = stack.lower(0);
    lower.create("/one", b"old").unwrap();
    lower.link("/one", "/two").unwrap();
    lower.link("/one", "/three").unwrap();
    let tree = stack.mount();
    tree.write("/two", b"new", OpenFlags::empty()).unwrap();
    tree.fs.namespace().cache().clear();
    for name in ["/one", "/two", "/three"] {
        assert_eq!(tree.read(name).unwrap(), b"new", "{name}");
        assert_eq!(tree.attributes(name).unwrap().links, 3, "{name}");
    }
    tree.remove("/one", Removal::File).unwrap();
    assert_eq!(tree.attributes("/three").unwrap().links, 2);
    tree.rename("/three", "/four", RenameFlags::empty()).unwrap();
    assert_eq!(tree.read("/four").unwrap(), b"new");
    tree.remove("/two", Removal::File).unwrap();
    assert_eq!(tree.attributes("/four").unwrap().links, 1);
    tree.fs.namespace().cache().clear();
    assert_eq!(tree.list("/").len(), 1);
}

#[test]
fn a_file_without_name_is_copied_nowhere() {
    let stack = Stack::new(1);
    stack.lower(0).create("/f", b"text").unwrap();
    let tree = stack.mount();
    let file = tree.open("/f", OpenFlags::O_RDONLY).unwrap();
    tree.remove("/f", Removal::File).unwrap();
    let changes =
        AttributeChanges { mode: Some(FileMode::new(0o600)), changed: realtime(), ..Default::default() };
    file.inode().ops().set_attributes(file.inode(), &changes).unwrap();
    assert_eq!(file.inode().attributes().unwrap().mode.bits(), 0o600);
    assert_eq!(contents(&file), b"text");
    assert_eq!(tree.read("/f"), Err(Errno::ENOENT));
    assert_eq!(stack.upper().list("/work/work"), []);
}

#[test]
fn removed_directories_do_not_shine_through() {
    let stack = Stack::new(1);
    let lower = stack.lower(0);
    lower.mkdir("/d").unwrap();
    lower.create("/d/f", b"").unwrap();
    let tree = stack.mount();
    assert_eq!(tree.remove("/d", Removal::Directory), Err(Errno::ENOTEMPTY));
    tree.remove("/d/f", Removal::File).unwrap();
    tree.remove("/d", Removal::Directory).unwrap();
    assert_eq!(tree.list("/"), []);
    tree.mkdir("/d").unwrap();
    assert_eq!(tree.list("/d"), []);
    drop(tree);
    let tree = stack.mount();
    assert_eq!(tree.list("/d"), []);
    let upper = stack.upper().inode("/upper/d").unwrap();
    assert_eq!(upper.ops().get_xattr(&upper, b"trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(tree.inode("/d").unwrap().ops().list_xattr(&tree.inode("/d").unwrap()).unwrap().len(), 0);
}

#[test]
fn directories_from_below_cannot_be_moved_but_new_ones_can() {
    let stack = Stack::new(1);
    let lower = stack.lower(0);
    lower.mkdir("/old").unwrap();
    lower.create("/old/f", b"").unwrap();
    lower.mkdir("/empty").unwrap();
    let tree = stack.mount();
    assert_eq!(tree.rename("/old", "/new", RenameFlags::empty()), Err(Errno::EXDEV));
    tree.mkdir("/made").unwrap();
    tree.create("/made/g", b"g").unwrap();
    assert_eq!(tree.rename("/made", "/old", RenameFlags::empty()), Err(Errno::ENOTEMPTY));
    tree.rename("/made", "/empty", RenameFlags::empty()).unwrap();
    assert_eq!(tree.read("/empty/g").unwrap(), b"g");
    tree.remove("/old/f", Removal::File).unwrap();
    tree.rename("/empty", "/old", RenameFlags::empty()).unwrap();
    assert_eq!(stack.mount().all().keys().collect::<Vec<_>>(), ["/old", "/old/g"]);
}

#[test]
fn a_full_upper_layer_leaves_everything_as_it_was() {
    let kernel = kernel();
    let lower = empty(&kernel);
    Tree::new(lower.clone()).mkdir("/d").unwrap();
    Tree::new(lower.clone()).create("/d/f", &[7; 40_000]).unwrap();
    let small = tmpfs::Options { size: Some(16 << 10), ..tmpfs::Options::default() };
    let changes = tmpfs::new(&kernel, &small).unwrap();
    let upper = Tree::new(changes);
    upper.mkdir("/upper").unwrap();
    upper.mkdir("/work").unwrap();
    let layers = Layers {
        lower: vec![lower.inode],
        upper: Some(Upper {
            directory: upper.inode("/upper").unwrap(),
            work: upper.inode("/work").unwrap(),
            user_marks: false,
        }),
        shown: String::new(),
    };
    let tree = Tree::new(super::new(&kernel, layers).unwrap());
    let before = tree.all();
    assert_eq!(tree.write("/d/f", b"x", OpenFlags::empty()), Err(Errno::ENOSPC));
    assert_eq!(tree.all(), before);
    assert_eq!(upper.list("/work/work"), []);
    tree.write("/d/f", b"x", OpenFlags::O_TRUNC).unwrap();
    assert_eq!(tree.read("/d/f").unwrap(), b"x");
}

#[test]
fn a_single_file_can_be_a_root() {
    let kernel = kernel();
    let lower = empty(&kernel);
    Tree::new(lower.clone()).create("/f", b"text").unwrap();
    let file = Tree::new(lower).inode("/f").unwrap();
    let upper = Tree::new(empty(&kernel));
    upper.mkdir("/upper").unwrap();
    upper.mkdir("/work").unwrap();
    let layers = Layers {
        lower: vec![file],
        upper: Some(Upper {
            directory: upper.inode("/upper").unwrap(),
            work: upper.inode("/work").unwrap(),
            user_marks: false,
        }),
        shown: String::new(),
    };
    let root = super::new(&kernel, layers).unwrap();
    let changes = AttributeChanges { size: Some(2), changed: realtime(), ..Default::default() };
    root.inode.ops().set_attributes(&root.inode, &changes).unwrap();
    assert_eq!(root.inode.attributes().unwrap().size, 2);
    assert_eq!(upper.read("/upper/file").unwrap(), b"te");
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let kernel = kernel();
    let (one, other) = (empty(&kernel), empty(&kernel));
    let layers = |lower: Vec<Arc<Inode>>, directory: &FilesystemRoot, work: &FilesystemRoot| Layers {
        lower,
        upper: Some(Upper {
            directory: Arc::clone(&directory.inode),
            work: Arc::clone(&work.inode),
            user_marks: false,
        }),
        shown: String::new(),
    };
    let lower = vec![Arc::clone(&one.inode)];
    assert_eq!(super::new(&kernel, layers(Vec::new(), &one, &one)).unwrap_err(), Errno::EINVAL);
    assert_eq!(super::new(&kernel, layers(lower.clone(), &one, &other)).unwrap_err(), Errno::EINVAL);
    assert_eq!(super::new(&kernel, layers(lower.clone(), &other, &other)).unwrap_err(), Errno::EINVAL);
    let read_only = Layers { lower, upper: None, shown: String::new() };
    let tree = Tree::new(super::new(&kernel, read_only).unwrap());
    assert_eq!(tree.mkdir("/d"), Err(Errno::EROFS));
}

#[test]
fn deep_trees_go_without_recursion() {
    let stack = Stack::new(1);
    let lower = stack.lower(0);
    let mut place = lower.inode("/").unwrap();
    let node = bartizan_sentry::vfs::NewNode {
        kind: FileType::Directory,
        mode: FileMode::new(0o755),
        uid: 0,
        gid: 0,
        device: DeviceNumber::NONE,
        now: realtime(),
    };
    for _ in 0..50_000 {
        place = place.ops().make_directory(&place, b"d", &node).unwrap();
    }
    let tree = stack.mount();
    let mut place = tree.inode("/").unwrap();
    while let Ok(inner) = place.ops().lookup(&place, b"d") {
        place = inner;
    }
    drop(tree);
    drop(place);
}

/// A random operation.
#[derive(Debug, Clone)]
enum Step {
    Create(String, u8),
    Append(String, u8),
    Truncate(String, u8),
    Mkdir(String),
    Unlink(String),
    Rmdir(String),
    Rename(String, String),
    Exchange(String, String),
    Link(String, String),
    Symlink(String),
    Chmod(String, u32),
    Mark(String),
    Forget,
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|names| format!("/{}", names.join("/")))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (path(), any::<u8>()).prop_map(|(path, byte)| Step::Create(path, byte)),
        2 => (path(), any::<u8>()).prop_map(|(path, byte)| Step::Append(path, byte)),
        1 => (path(), 0u8..8).prop_map(|(path, size)| Step::Truncate(path, size)),
        4 => path().prop_map(Step::Mkdir),
        3 => path().prop_map(Step::Unlink),
        3 => path().prop_map(Step::Rmdir),
        4 => (path(), path()).prop_map(|(old, new)| Step::Rename(old, new)),
        1 => (path(), path()).prop_map(|(old, new)| Step::Exchange(old, new)),
        2 => (path(), path()).prop_map(|(old, new)| Step::Link(old, new)),
        1 => path().prop_map(Step::Symlink),
        1 => (path(), 0u32..0o1000).prop_map(|(path, mode)| Step::Chmod(path, mode)),
        1 => path().prop_map(Step::Mark),
        1 => Just(Step::Forget),
    ]
}

impl Tree {
    fn take(&self, step: &Step) -> Result<(), Errno> {
        match step {
            Step::Create(path, byte) => self.create(path, &[b'a' + byte % 26; 5]),
            Step::Append(path, byte) => {
                let file = self.open(path, OpenFlags::O_WRONLY | OpenFlags::O_APPEND)?;
                file.ops().write(&file, &mut SliceSource::new(&[b'a' + byte % 26; 3]), 0).map(drop)
            }
            Step::Truncate(path, size) => {
                self.change(path, AttributeChanges { size: Some(u64::from(*size)), ..Default::default() })
            }
            Step::Mkdir(path) => self.mkdir(path),
            Step::Unlink(path) => self.remove(path, Removal::File),
            Step::Rmdir(path) => self.remove(path, Removal::Directory),
            Step::Rename(old, new) => self.rename(old, new, RenameFlags::empty()),
            Step::Exchange(old, new) => self.rename(old, new, RenameFlags::RENAME_EXCHANGE),
            Step::Link(old, new) => self.link(old, new),
            Step::Symlink(path) => self.make(path, NewEntry::Symlink(b"target"), 0o777),
            // Links are followed, and lead nowhere.
            Step::Chmod(path, _) if self.inode(path)?.kind() == FileType::Symlink => Err(Errno::ENOENT),
            Step::Chmod(path, mode) => {
                self.change(path, AttributeChanges { mode: Some(FileMode::new(*mode)), ..Default::default() })
            }
            Step::Mark(path) => {
                let inode = self.inode(path)?;
                inode.ops().set_xattr(&inode, b"user.mark", b"1", XattrFlags::empty())
            }
            Step::Forget => {
                self.fs.namespace().cache().clear();
                Ok(())
            }
        }
    }
}

/// Makes `plain` look like `seen`.
fn copy(seen: &Tree, plain: &Tree, path: &str) {
    for (name, _) in seen.list(path) {
        let path = if path == "/" { format!("/{name}") } else { format!("{path}/{name}") };
        let inode = seen.inode(&path).unwrap();
        let attributes = inode.attributes().unwrap();
        match attributes.kind {
            FileType::Regular => plain.create(&path, &seen.read(&path).unwrap()).unwrap(),
            FileType::Directory => {
                plain.mkdir(&path).unwrap();
                copy(seen, plain, &path);
            }
            _ => plain.make(&path, NewEntry::Symlink(b"target"), 0o777).unwrap(),
        }
        if attributes.kind != FileType::Symlink {
            plain
                .change(&path, AttributeChanges { mode: Some(attributes.mode), ..Default::default() })
                .unwrap();
        }
        for name in inode.ops().list_xattr(&inode).unwrap() {
            let copied = plain.inode(&path).unwrap();
            copied.ops().set_xattr(&copied, &name, b"1", XattrFlags::empty()).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn an_overlay_looks_like_a_plain_tree(
        lower in prop::collection::vec(prop::collection::vec(step(), 0..25), 1..4),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let stack = Stack::new(lower.len());
        for (index, steps) in lower.iter().enumerate() {
            let tree = stack.lower(index);
            for step in steps {
                // Hard links of lower layers to several names are a matter of their own.
                if !matches!(step, Step::Link(..)) {
                    let _any = tree.take(step);
                }
            }
        }
        let tree = stack.mount();
        let plain = Tree::new(empty(&stack.kernel));
        copy(&tree, &plain, "/");
        prop_assert_eq!(tree.all(), plain.all());
        for step in &steps {
            let result = tree.take(step);
            // What an overlay cannot do.
            if result == Err(Errno::EXDEV) {
                continue;
            }
            prop_assert_eq!(result, plain.take(step), "{:?}", step);
            prop_assert_eq!(tree.all(), plain.all(), "{:?}", step);
        }
        prop_assert_eq!(stack.upper().list("/work/work"), Vec::new());
        // What is on the layers says all.
        drop(tree);
        prop_assert_eq!(stack.mount().all(), plain.all());
    }
}
