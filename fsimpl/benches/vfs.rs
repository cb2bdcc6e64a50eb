//! What the VFS and the file systems take of the sentry's own time, without the platform's switch: `cargo bench -p bartizan-fsimpl`.
//!
//! The tree is the host's root under an overlay, as `launcher do` has it, with a tmpfs on `/tmp`.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bartizan_abi::{Errno, FileMode, FileType, OpenFlags};
use bartizan_fsimpl::overlay::{Layers, Upper};
use bartizan_fsimpl::{host, overlay, tmpfs};
use bartizan_platform::mock::MockPlatform;
use bartizan_sentry::kernel::{Credentials, Kernel, KernelOptions, realtime};
use bartizan_sentry::vfs::{
    DeviceRegistry, DirectorySink, FollowLast, FsContext, Inode, MountFlags, MountNamespace, NewNode,
    OpenHow, SliceSink, SliceSource,
};
use criterion::Criterion;

/// A file whose path has as many components as those of libraries have.
const FILE: &[u8] = b"/usr/lib/x86_64-linux-gnu/libc.so.6";
const DIRECTORY: &[u8] = b"/usr/lib/x86_64-linux-gnu";
const SCRATCH: &[u8] = b"/tmp/file";

/// How long each number of threads walks.
const WALK: Duration = Duration::from_millis(500);

struct Tree {
    fs: Arc<FsContext>,
    root: Credentials,
}

impl Tree {
    fn new() -> Result<Self> {
        let kernel = Kernel::new(KernelOptions {
            platform: MockPlatform::new(),
            memory_limit: 256 << 20,
            hostname: b"bench".to_vec(),
            tracer: None,
            profiler: None,
        })?;
        let changes = tmpfs::new(&kernel, &tmpfs::Options::default())?;
        let directory = |name: &[u8]| -> Result<Arc<Inode>, Errno> {
            let node = NewNode {
                kind: FileType::Directory,
                mode: FileMode::new(0o755),
                uid: 0,
                gid: 0,
                device: Default::default(),
                now: realtime(),
            };
            changes.inode.ops().make_directory(&changes.inode, name, &node)
        };
        let lower = host::new(&kernel, "/".as_ref(), &host::Options::default())?;
        let upper = Upper { directory: directory(b"upper")?, work: directory(b"work")?, user_marks: false };
        let layers = Layers { lower: vec![lower.inode], upper: Some(upper), shown: String::new() };
        let root = overlay::new(&kernel, layers)?;
        let namespace =
            MountNamespace::new(root, b"", MountFlags::RELATIME, Arc::new(DeviceRegistry::default()));
        let fs = FsContext::new(namespace).context("the root is no directory")?;
        let root = Credentials::root();
        let place = fs.resolve(&root, b"/tmp", FollowLast::Yes)?;
        let scratch = tmpfs::new(&kernel, &tmpfs::Options::default())?;
        fs.namespace().mount(&place, scratch, b"", MountFlags::RELATIME)?;
        Ok(Self { fs, root })
    }

    fn stat(&self, path: &[u8]) -> Result<u64, Errno> {
        Ok(self.fs.resolve(&self.root, path, FollowLast::Yes)?.inode().attributes()?.size)
    }

    fn open(&self, path: &[u8], flags: OpenFlags) -> Result<Arc<bartizan_sentry::vfs::File>, Errno> {
        self.fs.open(&self.root, path, OpenHow { flags, mode: FileMode::new(0o644) })
    }
}

/// Takes all entries.
struct Counter(u64);

impl DirectorySink for Counter {
    fn entry(&mut self, _name: &[u8], _inode: u64, _kind: FileType, _next: u64) -> bool {
        self.0 += 1;
        true
    }
}

/// How many look-ups a second `threads` threads make together.
fn walks(tree: &Tree, threads: usize) -> Result<f64, Errno> {
    let (stop, walked) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let walkers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<(), Errno> {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        for _ in 0..100 {
                            black_box(tree.stat(FILE)?);
                        }
                        count += 100;
                    }
                    walked.fetch_add(count, Ordering::Relaxed);
                    Ok(())
                })
            })
            .collect();
        std::thread::sleep(WALK);
        stop.store(true, Ordering::Relaxed);
        walkers.into_iter().try_for_each(|walker| walker.join().unwrap_or(Err(Errno::EIO)))
    })?;
    Ok(walked.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

fn main() -> Result<()> {
    let tree = Tree::new()?;
    let file = tree.open(SCRATCH, OpenFlags::O_RDWR | OpenFlags::O_CREAT)?;
    file.ops().write(&file, &mut SliceSource::new(&[7; 4096]), 0)?;
    let listed = {
        let directory = tree.open(DIRECTORY, OpenFlags::O_DIRECTORY)?;
        let mut counter = Counter(0);
        let mut position = 0;
        loop {
            let next = directory.ops().read_directory(&directory, &mut counter, position)?;
            if next == position {
                break counter.0;
            }
            position = next;
        }
    };
    let mut criterion = Criterion::default().configure_from_args().without_plots();
    criterion.bench_function("stat", |bencher| bencher.iter(|| tree.stat(black_box(FILE))));
    criterion.bench_function("open_close", |bencher| {
        bencher.iter(|| tree.open(black_box(FILE), OpenFlags::O_RDONLY));
    });
    criterion.bench_function("tmpfs_read_4k", |bencher| {
        let mut buffer = [0; 4096];
        bencher.iter(|| file.ops().read(&file, &mut SliceSink::new(black_box(&mut buffer)), 0));
    });
    let mut group = criterion.benchmark_group("getdents");
    group.throughput(criterion::Throughput::Elements(listed));
    group.bench_function("entry", |bencher| {
        bencher.iter(|| -> Result<u64, Errno> {
            let directory = tree.open(DIRECTORY, OpenFlags::O_DIRECTORY)?;
            let (mut counter, mut position) = (Counter(0), 0);
            loop {
                let next = directory.ops().read_directory(&directory, &mut counter, position)?;
                if next == position {
                    return Ok(counter.0);
                }
                position = next;
            }
        });
    });
    group.finish();
    criterion.final_summary();
    let one = walks(&tree, 1)?;
    for threads in [1, 2, 8] {
        let all = walks(&tree, threads)?;
        println!("{threads} threads: {:.2} million walks a second, {:.2} times one", all / 1e6, all / one);
    }
    println!("entries listed: {listed}");
    Ok(())
}
