//! The file systems together, as the VFS of a kernel mounts and walks them.

use std::sync::Arc;

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, OpenFlags};
use bartizan_platform::mock::MockPlatform;
use bartizan_sentry::kernel::signal::SignalActions;
use bartizan_sentry::kernel::{
    Credentials, Kernel, KernelOptions, Limits, NewTask, Process, TASK_COMM_LEN, Task, TaskShared,
    ThreadGroup,
};
use bartizan_sentry::mm::MemoryManager;
use bartizan_sentry::vfs::{
    DataSink, DeviceRegistry, DirectorySink, FdFlags, File, FollowLast, FsContext, MountFlags,
    MountNamespace, NewNode, OpenHow, Path, SliceSink, SliceSource, link_text,
};

use crate::{dev, host, proc, tmpfs};

const PID: i32 = 7;

/// A sandbox with one task that does not run.
struct Sandbox {
    kernel: Arc<Kernel>,
    fs: Arc<FsContext>,
    task: Arc<Task>,
}

impl Sandbox {
    fn new() -> Self {
        let options = KernelOptions {
            platform: MockPlatform::new(),
            memory_limit: 64 << 20,
            hostname: b"box".to_vec(),
            tracer: None,
            profiler: None,
        };
        let kernel = Kernel::new(options).unwrap();
        let devices = DeviceRegistry::default();
        dev::register(&devices, kernel.memory());
        let unlimited = tmpfs::Options { inodes: Some(0), ..tmpfs::Options::default() };
        let root = tmpfs::new(&kernel, &unlimited).unwrap();
        let namespace = MountNamespace::new(root, b"", MountFlags::empty(), Arc::new(devices));
        let fs = FsContext::new(Arc::clone(&namespace)).unwrap();
        for name in ["dev", "proc"] {
            let root = fs.root();
            root.inode().ops().make_directory(root.inode(), name.as_bytes(), &directory()).unwrap();
        }
        let root = Credentials::root();
        let place = |path: &str| fs.resolve(&root, path.as_bytes(), FollowLast::Yes).unwrap();
        let dev = tmpfs::new_named(&kernel, "devtmpfs", &tmpfs::Options::default()).unwrap();
        dev::populate(&dev.inode).unwrap();
        namespace.mount(&place("/dev"), dev, b"", MountFlags::NO_SUID | MountFlags::RELATIME).unwrap();
        namespace.mount(&place("/proc"), proc::new(&kernel).unwrap(), b"proc", MountFlags::NO_EXEC).unwrap();
        let task = task(&kernel, &fs);
        Self { kernel, fs, task }
    }

    fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<File>, Errno> {
        self.fs.open(&Credentials::root(), path.as_bytes(), OpenHow::existing(flags))
    }

    fn read(&self, path: &str) -> Result<String, Errno> {
        let file = self.open(path, OpenFlags::O_RDONLY)?;
        let mut text = Vec::new();
        loop {
            let mut buffer = [0; 1000];
            let count = file.ops().read(&file, &mut SliceSink::new(&mut buffer), text.len() as u64)?;
            if count == 0 {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            text.extend_from_slice(&buffer[..count]);
        }
    }

    fn list(&self, path: &str) -> Vec<String> {
        let file = self.open(path, OpenFlags::O_DIRECTORY).unwrap();
        let mut names = Names(Vec::new());
        let end = file.ops().read_directory(&file, &mut names, 0).unwrap();
        assert_eq!(file.ops().read_directory(&file, &mut Names(Vec::new()), end), Ok(end));
        names.0
    }

    fn link(&self, path: &str) -> Result<String, Errno> {
        let found = self.fs.resolve(&Credentials::root(), path.as_bytes(), FollowLast::No)?;
        link_text(&found, None).map(|text| String::from_utf8_lossy(&text).into_owned())
    }
}

/// A new directory of root's.
fn directory() -> NewNode {
    NewNode {
        kind: FileType::Directory,
        mode: FileMode::new(0o755),
        uid: 0,
        gid: 0,
        device: DeviceNumber::NONE,
        now: bartizan_sentry::kernel::realtime(),
    }
}

struct Names(Vec<String>);

impl DirectorySink for Names {
    fn entry(&mut self, name: &[u8], _inode: u64, _kind: FileType, _next: u64) -> bool {
        self.0.push(String::from_utf8_lossy(name).into_owned());
        true
    }
}

/// Process [`PID`], with one task.
fn task(kernel: &Arc<Kernel>, fs: &Arc<FsContext>) -> Arc<Task> {
    let group = ThreadGroup::new(PID, Arc::new(Limits::default()));
    let mut name = [0; TASK_COMM_LEN];
    name[..4].copy_from_slice(b"test");
    let shared = TaskShared {
        memory: Some(MemoryManager::new(kernel.platform(), kernel.memory()).unwrap()),
        files: Some(Arc::default()),
        fs: Some(Arc::clone(fs)),
    };
    let task = Task::new(
        kernel,
        NewTask {
            tid: PID,
            group: Arc::clone(&group),
            credentials: Arc::new(Credentials::root()),
            actions: Arc::new(SignalActions::default()),
            shared,
            name,
        },
    );
    kernel.tree().add_process(Process::new(group, &task));
    task
}

#[test]
fn devices_answer_through_their_nodes() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.read("/dev/null"), Ok(String::new()));
    let zero = sandbox.open("/dev/zero", OpenFlags::O_RDWR).unwrap();
    let mut data = [7; 10];
    assert_eq!(zero.ops().read(&zero, &mut SliceSink::new(&mut data), 0), Ok(10));
    assert_eq!(data, [0; 10]);
    let source = zero.ops().page_source(&zero).unwrap();
    let run = source.pages(1 << 40, 4096, bartizan_platform::Access::WRITE).unwrap();
    run.file.release(run.range);
    let full = sandbox.open("/dev/full", OpenFlags::O_WRONLY).unwrap();
    assert_eq!(full.ops().write(&full, &mut SliceSource::new(b"x"), 0), Err(Errno::ENOSPC));
    let random = sandbox.open("/dev/urandom", OpenFlags::O_RDONLY).unwrap();
    let mut numbers = [0; 1000];
    let mut sink = SliceSink::new(&mut numbers);
    assert_eq!(random.ops().read(&random, &mut sink, 0), Ok(1000));
    assert_eq!(sink.remaining(), 0);
    assert!(numbers.iter().any(|&byte| byte != 0));
    assert_eq!(sandbox.open("/dev/tty", OpenFlags::O_RDWR).unwrap_err(), Errno::ENXIO);
    assert_eq!(sandbox.link("/dev/stdin"), Ok("/proc/self/fd/0".into()));
    assert!(sandbox.list("/dev").contains(&"shm".to_owned()));
}

#[test]
fn files_about_the_sandbox_are_there() {
    let sandbox = Sandbox::new();
    let names = sandbox.list("/proc");
    for name in ["cpuinfo", "meminfo", "self", "thread-self", "sys", "7"] {
        assert!(names.contains(&name.to_owned()), "{name}: {names:?}");
    }
    assert!(sandbox.read("/proc/meminfo").unwrap().starts_with("MemTotal:          65536 kB\n"));
    assert_eq!(sandbox.read("/proc/sys/kernel/hostname"), Ok("box\n".into()));
    assert_eq!(sandbox.read("/proc/sys/kernel/ostype"), Ok("Linux\n".into()));
    assert_eq!(sandbox.read("/proc/sys/kernel/cap_last_cap"), Ok("40\n".into()));
    assert_eq!(
        sandbox.read("/proc/sys/kernel/random/boot_id"),
        sandbox.read("/proc/sys/kernel/random/boot_id")
    );
    assert_ne!(sandbox.read("/proc/sys/kernel/random/uuid"), sandbox.read("/proc/sys/kernel/random/uuid"));
    sandbox.kernel.filesystem_types().register("proc", |new| crate::proc::new(new.kernel));
    assert_eq!(sandbox.read("/proc/filesystems"), Ok("nodev\tproc\n".into()));
    for name in
        ["version", "stat", "uptime", "loadavg", "filesystems", "cmdline", "swaps", "devices", "cpuinfo"]
    {
        assert!(!sandbox.read(&format!("/proc/{name}")).unwrap().is_empty(), "{name}");
    }
    let hostname = sandbox.open("/proc/sys/kernel/hostname", OpenFlags::O_WRONLY).unwrap();
    hostname.ops().write(&hostname, &mut SliceSource::new(b"new\n"), 0).unwrap();
    assert_eq!(sandbox.kernel.uts().hostname(), b"new");
    // Nobody in the sandbox asks.
    assert_eq!(sandbox.link("/proc/self"), Err(Errno::ENOENT));
}

#[test]
fn files_of_a_process_tell_about_it_until_it_is_gone() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.read("/proc/7/comm"), Ok("test\n".into()));
    assert!(sandbox.read("/proc/7/stat").unwrap().starts_with("7 (test) "));
    assert!(sandbox.read("/proc/7/task/7/status").unwrap().contains("\nPid:\t7\n"));
    assert_eq!(sandbox.list("/proc/7/task"), [".", "..", "7"]);
    assert_eq!(sandbox.link("/proc/7/cwd"), Ok("/".into()));
    assert_eq!(sandbox.link("/proc/7/exe"), Err(Errno::ENOENT));
    assert_eq!(sandbox.link("/proc/7/ns/pid"), Ok("pid:[4026531836]".into()));
    let mounts = sandbox.read("/proc/7/mounts").unwrap();
    assert_eq!(
        mounts,
        "tmpfs / tmpfs rw,nr_inodes=0,inode64 0 0\n\
         devtmpfs /dev devtmpfs rw,nosuid,relatime,inode64 0 0\n\
         proc /proc proc rw,noexec 0 0\n"
    );
    let info = sandbox.read("/proc/7/mountinfo").unwrap();
    assert!(info.contains(" / /dev rw,nosuid,relatime - devtmpfs devtmpfs rw,inode64\n"), "{info}");
    for name in sandbox.list("/proc/7").iter().skip(2) {
        let path = format!("/proc/7/{name}");
        let kind = sandbox.fs.resolve(&Credentials::root(), path.as_bytes(), FollowLast::No).unwrap();
        if kind.inode().kind() != FileType::Regular {
            continue;
        }
        match name.as_str() {
            // Nothing is mapped at the start of the memory.
            "mem" => {}
            "pagemap" => assert_eq!(sandbox.read(&path), Err(Errno::EPERM)),
            "stack" => assert_eq!(sandbox.read(&path), Err(Errno::EACCES)),
            _ => drop(sandbox.read(&path).unwrap()),
        }
    }
    let open = sandbox.open("/proc/7/status", OpenFlags::O_RDONLY).unwrap();
    let mut tree = sandbox.kernel.tree();
    tree.remove_task(&sandbox.task);
    tree.remove_process(PID);
    drop(tree);
    assert_eq!(sandbox.read("/proc/7/comm"), Err(Errno::ENOENT));
    let mut buffer = [0; 100];
    assert_eq!(open.ops().read(&open, &mut SliceSink::new(&mut buffer), 0), Err(Errno::ESRCH));
    assert!(!sandbox.list("/proc").contains(&"7".to_owned()));
}

#[test]
fn descriptors_are_links_to_what_is_open() {
    let sandbox = Sandbox::new();
    let files = sandbox.task.files().unwrap();
    let null = sandbox.open("/dev/null", OpenFlags::O_WRONLY).unwrap();
    files.add(Arc::clone(&null), FdFlags::CLOEXEC, 100).unwrap();
    assert_eq!(sandbox.list("/proc/7/fd"), [".", "..", "0"]);
    assert_eq!(sandbox.link("/proc/7/fd/0"), Ok("/dev/null".into()));
    let link = sandbox.fs.resolve(&Credentials::root(), b"/proc/7/fd/0", FollowLast::No).unwrap();
    assert_eq!(link.inode().attributes().unwrap().mode.bits(), 0o300);
    let object = sandbox.fs.resolve(&Credentials::root(), b"/proc/7/fd/0", FollowLast::Yes).unwrap();
    assert!(object.is_same(null.path()));
    let info = sandbox.read("/proc/7/fdinfo/0").unwrap();
    assert!(info.starts_with("pos:\t0\nflags:\t02000001\nmnt_id:\t"), "{info}");
    files.remove(bartizan_sentry::vfs::FdNumber(0)).unwrap();
    assert_eq!(sandbox.link("/proc/7/fd/0"), Err(Errno::ENOENT));
}

#[test]
fn imported_pipe_is_opened_once_more_through_its_descriptor() {
    let sandbox = Sandbox::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let imports = host::ImportedDescriptors::new(&sandbox.kernel).unwrap();
    let file = imports.import(reader.into()).unwrap().into_file().unwrap();
    assert_eq!(file.inode().kind(), FileType::Fifo);
    sandbox.task.files().unwrap().add(Arc::clone(&file), FdFlags::empty(), 100).unwrap();
    assert!(sandbox.link("/proc/7/fd/0").unwrap().starts_with("pipe:["));
    let again = sandbox.open("/proc/7/fd/0", OpenFlags::O_RDONLY).unwrap();
    std::io::Write::write_all(&mut writer, b"data").unwrap();
    let mut data = [0; 10];
    assert_eq!(again.ops().read(&again, &mut SliceSink::new(&mut data), 0), Ok(4));
    assert_eq!(file.ops().read(&file, &mut SliceSink::new(&mut data), 0), Err(Errno::EAGAIN));
    assert_eq!(sandbox.open("/proc/7/fd/0", OpenFlags::O_WRONLY).unwrap_err(), Errno::EACCES);
    let directory = std::fs::File::open("/").unwrap();
    assert_eq!(imports.import(directory.into()).unwrap_err(), Errno::EINVAL);
}

#[test]
fn path_of_any_depth_is_let_go_of_without_recursion() {
    let sandbox = Sandbox::new();
    let mut here = sandbox.fs.root();
    for _ in 0..100_000 {
        let inode = here.inode().ops().make_directory(here.inode(), b"d", &directory()).unwrap();
        let dentry = sandbox.fs.namespace().cache().add(&here.dentry, b"d", Some(inode));
        here = Path::new(here.mount, dentry).unwrap();
    }
    drop(here);
    sandbox.fs.namespace().cache().clear();
}
