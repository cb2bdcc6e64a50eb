//! Tests of a whole tmpfs, through the operations that the VFS calls.

use std::sync::Arc;

use bartizan_abi::{
    DeviceNumber, Errno, FallocateFlags, FileMode, FileType, RenameFlags, SealFlags, Timespec, XattrFlags,
};
use bartizan_platform::Access;
use bartizan_platform::memory::{self, BackingFile, MemoryFile, PAGE_SIZE};
use bartizan_sentry::mm::{PageError, PageSource};
use bartizan_sentry::vfs::{
    AttributeChanges, FilesystemRoot, Inode, LinkTarget, NewNode, Rename, SliceSink, SliceSource,
};
use proptest::prelude::*;

use super::Options;
use super::filesystem::Tmpfs;
use super::regular::Regular;

const MEMORY: u64 = 64 << 20;

fn tmpfs(options: &Options) -> (Arc<MemoryFile>, FilesystemRoot) {
    let memory = MemoryFile::new(MEMORY).unwrap();
    let shared = Tmpfs::new(Arc::clone(&memory), options);
    let root = super::make_root(&shared, DeviceNumber::new(0, 1), "tmpfs", options).unwrap();
    (memory, root)
}

fn node(kind: FileType) -> NewNode {
    NewNode {
        kind,
        mode: FileMode::new(0o644),
        uid: 0,
        gid: 0,
        device: DeviceNumber::NONE,
        now: Timespec::ZERO,
    }
}

fn file(directory: &Arc<Inode>, name: &[u8]) -> Arc<Inode> {
    directory.ops().create(directory, name, &node(FileType::Regular)).unwrap()
}

fn directory(parent: &Arc<Inode>, name: &[u8]) -> Arc<Inode> {
    parent.ops().make_directory(parent, name, &node(FileType::Directory)).unwrap()
}

fn rename(from: (&Arc<Inode>, &[u8]), to: (&Arc<Inode>, &[u8]), flags: RenameFlags) -> Result<(), Errno> {
    let source = from.0.ops().lookup(from.0, from.1)?;
    let target = to.0.ops().lookup(to.0, to.1).ok();
    from.0.ops().rename(&Rename {
        old_directory: from.0,
        old_name: from.1,
        source: &source,
        new_directory: to.0,
        new_name: to.1,
        target: target.as_ref(),
        flags,
        owner: (0, 0),
    })
}

fn write(inode: &Inode, offset: u64, data: &[u8]) -> Result<usize, Errno> {
    let regular = inode.downcast::<Regular>().unwrap();
    regular.write(&mut SliceSource::new(data), Some(offset)).map(|written| written.count)
}

fn read(inode: &Inode, offset: u64, length: usize) -> Vec<u8> {
    let mut data = vec![0xee; length];
    let mut sink = SliceSink::new(&mut data);
    let count = inode.downcast::<Regular>().unwrap().read(&mut sink, offset).unwrap();
    data.truncate(count);
    data
}

fn resize(inode: &Inode, size: u64) -> Result<(), Errno> {
    inode.ops().set_attributes(inode, &AttributeChanges { size: Some(size), ..AttributeChanges::default() })
}

fn size(inode: &Inode) -> u64 {
    inode.attributes().unwrap().size
}

#[derive(Debug, Clone)]
enum Step {
    Write { offset: u64, length: usize, byte: u8 },
    Truncate(u64),
    Punch { offset: u64, length: u64 },
    Allocate { offset: u64, length: u64, keep: bool },
    Map { page: u64, byte: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    const SPAN: u64 = 24 * PAGE_SIZE;
    let byte = 1..=255u8;
    prop_oneof![
        (0..SPAN, 1..20_000usize, byte.clone()).prop_map(|(offset, length, byte)| Step::Write {
            offset,
            length,
            byte
        }),
        (0..SPAN).prop_map(Step::Truncate),
        (0..SPAN, 1..SPAN).prop_map(|(offset, length)| Step::Punch { offset, length }),
        (0..SPAN, 1..SPAN, any::<bool>()).prop_map(|(offset, length, keep)| Step::Allocate {
            offset,
            length,
            keep
        }),
        (0..24u64, byte).prop_map(|(page, byte)| Step::Map { page, byte }),
    ]
}

/// What a file is: a vector of bytes.
fn apply_to_model(model: &mut Vec<u8>, step: &Step) {
    match *step {
        Step::Write { offset, length, byte } => {
            let end = offset as usize + length;
            if model.len() < end {
                model.resize(end, 0);
            }
            model[offset as usize..end].fill(byte);
        }
        Step::Truncate(size) => model.resize(size as usize, 0),
        Step::Punch { offset, length } => {
            let end = model.len().min((offset + length) as usize);
            if let Some(hole) = model.get_mut(offset as usize..end) {
                hole.fill(0);
            }
        }
        Step::Allocate { offset, length, keep } => {
            let end = (offset + length) as usize;
            if !keep && end > model.len() {
                model.resize(end, 0);
            }
        }
        Step::Map { page, byte } => {
            let start = (page * PAGE_SIZE) as usize;
            if start < model.len() {
                model[start] = byte;
            }
        }
    }
}

fn apply_to_file(memory: &MemoryFile, inode: &Inode, step: &Step) {
    let regular = inode.downcast::<Regular>().unwrap();
    match *step {
        Step::Write { offset, length, byte } => {
            assert_eq!(write(inode, offset, &vec![byte; length]), Ok(length));
        }
        Step::Truncate(size) => resize(inode, size).unwrap(),
        Step::Punch { offset, length } => {
            let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            regular.allocate(mode, offset..offset + length).unwrap();
        }
        Step::Allocate { offset, length, keep } => {
            let mode = if keep { FallocateFlags::FALLOC_FL_KEEP_SIZE } else { FallocateFlags::empty() };
            regular.allocate(mode, offset..offset + length).unwrap();
        }
        Step::Map { page, byte } => match regular.pages().pages(page * PAGE_SIZE, PAGE_SIZE, Access::WRITE) {
            Ok(run) => {
                assert_eq!(memory::write(&[byte], &memory.view(run.range.start, 1).unwrap()), 1);
                memory.release(run.range);
            }
            Err(error) => {
                assert_eq!(error, PageError::BeyondEnd);
                assert!(page * PAGE_SIZE >= size(inode));
            }
        },
    }
}

proptest! {
    #[test]
    fn file_behaves_as_a_vector_of_bytes(steps in prop::collection::vec(step(), 1..40)) {
        let (memory, root) = tmpfs(&Options::default());
        let inode = file(&root.inode, b"f");
        let mut model = Vec::new();
        for step in &steps {
            apply_to_file(&memory, &inode, step);
            apply_to_model(&mut model, step);
            prop_assert_eq!(size(&inode), model.len() as u64);
            prop_assert!(read(&inode, 0, model.len() + 1) == model, "after {:?}", step);
        }
        let blocks = inode.attributes().unwrap().blocks;
        root.inode.ops().unlink(&root.inode, b"f", &inode).unwrap();
        prop_assert!(memory.used() >= blocks * 512);
        drop(inode);
        prop_assert_eq!(memory.used(), 0);
        let statistics = root.filesystem.ops().statistics().unwrap();
        prop_assert_eq!(statistics.blocks, statistics.blocks_free);
        prop_assert_eq!(statistics.files - 1, statistics.files_free);
    }
}

#[test]
fn small_writes_in_order_are_one_run_and_leave_nothing_over() {
    let (memory, root) = tmpfs(&Options::default());
    let (one, two) = (file(&root.inode, b"1"), file(&root.inode, b"2"));
    for step in 0..256 {
        for inode in [&one, &two] {
            assert_eq!(write(inode, step * 1000, &[7; 1000]), Ok(1000));
        }
    }
    let pages = one.downcast::<Regular>().unwrap().pages();
    let run = pages.pages(32 * PAGE_SIZE, 16 * PAGE_SIZE, Access::READ).unwrap();
    assert!(run.range.end - run.range.start >= 8 * PAGE_SIZE, "{run:?}");
    memory.release(run.range);
    pages.trim();
    two.downcast::<Regular>().unwrap().pages().trim();
    assert_eq!(memory.used(), 2 * 63 * PAGE_SIZE);
}

#[test]
fn limits_give_enospc_and_what_fits_is_written() {
    let (_memory, root) =
        tmpfs(&Options { size: Some(4 * PAGE_SIZE), inodes: Some(3), ..Options::default() });
    let inode = file(&root.inode, b"a");
    file(&root.inode, b"b");
    let third = root.inode.ops().create(&root.inode, b"c", &node(FileType::Regular));
    assert_eq!(third.unwrap_err(), Errno::ENOSPC);
    assert_eq!(write(&inode, 0, &[1; 5 * 4096]), Ok(4 * 4096));
    assert_eq!(write(&inode, 4 * PAGE_SIZE, &[1]), Err(Errno::ENOSPC));
    let regular = inode.downcast::<Regular>().unwrap();
    assert_eq!(regular.allocate(FallocateFlags::empty(), 0..5 * PAGE_SIZE), Err(Errno::ENOSPC));
    assert_eq!(size(&inode), 4 * PAGE_SIZE);
    resize(&inode, PAGE_SIZE).unwrap();
    assert_eq!(root.filesystem.ops().statistics().unwrap().blocks_free, 3);
    assert_eq!(root.inode.ops().set_xattr(&root.inode, b"user.x", &[0; 9000], XattrFlags::empty()), Ok(()));
    assert_eq!(root.filesystem.ops().statistics().unwrap().blocks_free, 0);
    root.inode.ops().remove_xattr(&root.inode, b"user.x").unwrap();
    assert_eq!(root.filesystem.ops().statistics().unwrap().blocks_free, 3);
}

#[test]
fn rename_replaces_exchanges_and_counts_links() {
    let (_memory, root) = tmpfs(&Options::default());
    let root = root.inode;
    let (a, b) = (directory(&root, b"a"), directory(&root, b"b"));
    let (f, g) = (file(&a, b"f"), file(&b, b"g"));
    rename((&a, b"f"), (&b, b"g"), RenameFlags::empty()).unwrap();
    assert_eq!(g.attributes().unwrap().links, 0);
    assert_eq!(b.ops().lookup(&b, b"g").unwrap().number(), f.number());
    assert_eq!(a.ops().lookup(&a, b"f").unwrap_err(), Errno::ENOENT);
    rename((&root, b"a"), (&b, b"a"), RenameFlags::empty()).unwrap();
    assert_eq!((root.attributes().unwrap().links, b.attributes().unwrap().links), (3, 3));
    rename((&b, b"a"), (&b, b"g"), RenameFlags::RENAME_EXCHANGE).unwrap();
    assert_eq!(b.ops().lookup(&b, b"a").unwrap().number(), f.number());
    assert_eq!(b.ops().lookup(&b, b"g").unwrap().number(), a.number());
    file(&b, b"h");
    assert_eq!(rename((&b, b"g"), (&root, b"b"), RenameFlags::empty()), Err(Errno::ENOTEMPTY));
    let empty = directory(&root, b"empty");
    rename((&b, b"g"), (&root, b"empty"), RenameFlags::empty()).unwrap();
    assert_eq!(empty.attributes().unwrap().links, 0);
    assert_eq!(empty.ops().create(&empty, b"x", &node(FileType::Regular)).unwrap_err(), Errno::ENOENT);
    assert_eq!((root.attributes().unwrap().links, b.attributes().unwrap().links), (4, 2));
    assert_eq!(b.attributes().unwrap().size, 20 * 4);
}

#[test]
fn links_are_counted_and_unnamed_files_can_get_a_name_once() {
    let (_memory, root) = tmpfs(&Options::default());
    let root = root.inode;
    let inode = file(&root, b"a");
    root.ops().link(&root, b"b", &inode).unwrap();
    assert_eq!(root.ops().link(&root, b"b", &inode), Err(Errno::EEXIST));
    assert_eq!(inode.attributes().unwrap().links, 2);
    root.ops().unlink(&root, b"a", &inode).unwrap();
    root.ops().unlink(&root, b"b", &inode).unwrap();
    assert_eq!(root.ops().link(&root, b"c", &inode), Err(Errno::ENOENT));
    let unnamed = root.ops().create_unnamed(&root, &node(FileType::Regular)).unwrap();
    assert_eq!(unnamed.attributes().unwrap().links, 0);
    root.ops().link(&root, b"c", &unnamed).unwrap();
    assert_eq!(root.ops().lookup(&root, b"c").unwrap().number(), unnamed.number());
}

#[test]
fn symlinks_and_removed_directories() {
    let (_memory, root) = tmpfs(&Options::default());
    let root = root.inode;
    let link = root.ops().make_symlink(&root, b"l", b"/target", &node(FileType::Symlink)).unwrap();
    assert!(matches!(link.ops().read_link(&link, None), Ok(LinkTarget::Text(text)) if text == b"/target"));
    assert_eq!(size(&link), 7);
    let inner = directory(&root, b"d");
    file(&inner, b"f");
    assert_eq!(root.ops().remove_directory(&root, b"d", &inner), Err(Errno::ENOTEMPTY));
    let f = inner.ops().lookup(&inner, b"f").unwrap();
    inner.ops().unlink(&inner, b"f", &f).unwrap();
    root.ops().remove_directory(&root, b"d", &inner).unwrap();
    assert_eq!(root.attributes().unwrap().links, 2);
}

#[test]
fn deep_tree_is_dropped_without_recursion() {
    let (_memory, root) = tmpfs(&Options { inodes: Some(0), ..Options::default() });
    let mut here = Arc::clone(&root.inode);
    for _ in 0..200_000 {
        here = directory(&here, b"d");
    }
    drop(here);
    drop(root);
}

#[test]
fn seals_forbid_what_they_name() {
    let (_memory, root) = tmpfs(&Options::default());
    let inode =
        root.inode.ops().create_sealable(&root.inode, &node(FileType::Regular), SealFlags::empty()).unwrap();
    let seal = |seals| inode.ops().add_seals(&inode, seals);
    write(&inode, 0, &[1; 100]).unwrap();
    seal(SealFlags::F_SEAL_GROW).unwrap();
    assert_eq!(write(&inode, 90, &[2; 20]), Ok(10));
    assert_eq!(write(&inode, 100, &[2]), Err(Errno::EPERM));
    assert_eq!(resize(&inode, 101), Err(Errno::EPERM));
    resize(&inode, 50).unwrap();
    seal(SealFlags::F_SEAL_SHRINK).unwrap();
    assert_eq!(resize(&inode, 10), Err(Errno::EPERM));
    let pages = inode.downcast::<Regular>().unwrap().pages();
    assert!(pages.writable());
    seal(SealFlags::F_SEAL_WRITE | SealFlags::F_SEAL_SEAL).unwrap();
    assert_eq!(write(&inode, 0, &[2]), Err(Errno::EPERM));
    assert!(!pages.writable());
    assert_eq!(seal(SealFlags::F_SEAL_EXEC), Err(Errno::EPERM));
    assert_eq!(inode.ops().seals(&inode), Ok(pages.seals()));
    let ordinary = file(&root.inode, b"f");
    assert_eq!(ordinary.ops().add_seals(&ordinary, SealFlags::F_SEAL_WRITE), Err(Errno::EPERM));
}

#[test]
fn extended_attributes_follow_their_flags() {
    let (_memory, root) = tmpfs(&Options::default());
    let (ops, inode) = (root.inode.ops(), &root.inode);
    let set = |value: &[u8], flags| ops.set_xattr(inode, b"user.a", value, flags);
    assert_eq!(set(b"1", XattrFlags::XATTR_REPLACE), Err(Errno::ENODATA));
    set(b"1", XattrFlags::XATTR_CREATE).unwrap();
    assert_eq!(set(b"2", XattrFlags::XATTR_CREATE), Err(Errno::EEXIST));
    set(b"3", XattrFlags::empty()).unwrap();
    assert_eq!(ops.get_xattr(inode, b"user.a"), Ok(b"3".to_vec()));
    assert_eq!(ops.list_xattr(inode), Ok(vec![b"user.a".to_vec()]));
    assert_eq!(ops.get_xattr(inode, b"system.posix_acl_access"), Err(Errno::EOPNOTSUPP));
    ops.remove_xattr(inode, b"user.a").unwrap();
    assert_eq!(ops.remove_xattr(inode, b"user.a"), Err(Errno::ENODATA));
    // The list of names is bounded.
    let long = |index: usize| format!("user.{index:0250}").into_bytes();
    let refused = (0..1000).map(|index| ops.set_xattr(inode, &long(index), b"", XattrFlags::empty()));
    assert_eq!(refused.skip(256).find_map(Result::err), Some(Errno::ENOSPC));
}

#[test]
fn listing_goes_on_while_others_remove() {
    let (_memory, root) = tmpfs(&Options::default());
    for index in 0..500 {
        file(&root.inode, format!("{index}").as_bytes());
    }
    let root = &root.inode;
    let (mut position, mut seen) = (0, Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for index in (0..500).step_by(2) {
                let name = format!("{index}").into_bytes();
                let inode = root.ops().lookup(root, &name).unwrap();
                root.ops().unlink(root, &name, &inode).unwrap();
            }
        });
        loop {
            let mut part = Collected { room: 7, names: Vec::new() };
            let next = root.downcast::<super::directory::Directory>().unwrap().list(&mut part, position);
            if next == position {
                break;
            }
            position = next;
            seen.extend(part.names);
        }
    });
    for index in (1..500).step_by(2) {
        let name = format!("{index}").into_bytes();
        assert_eq!(seen.iter().filter(|&other| *other == name).count(), 1);
    }
    assert_eq!(&seen[..2], [b".".to_vec(), b"..".to_vec()]);
}

struct Collected {
    room: usize,
    names: Vec<Vec<u8>>,
}

impl bartizan_sentry::vfs::DirectorySink for Collected {
    fn entry(&mut self, name: &[u8], _inode: u64, _kind: FileType, _next_offset: u64) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        self.names.push(name.to_vec());
        true
    }
}
