//! A kernel on the mock platform, with an empty root directory.

use std::sync::Arc;
use std::time::Duration;

use bartizan_abi::{Errno, FileMode, FileType};
use bartizan_platform::mock::MockPlatform;
use bartizan_platform::{Access, Registers};

use super::Guest;
use super::guest::{BLOCK, FIRST_BLOCK, Programs, STACK_OFFSET};
use crate::kernel::clone::StartState;
use crate::kernel::task::TaskShared;
use crate::kernel::{Credentials, Kernel, KernelOptions, Limits, ProcessEnd, ProcessHandle};
use crate::mm::{MapPlacement, MapRequest, MemoryManager};
use crate::vfs::{
    Attributes, DeviceRegistry, FdTable, FileOps, Filesystem, FilesystemOps, FilesystemRoot,
    FilesystemStatistics, FsContext, Inode, InodeOps, MountFlags, MountNamespace, OpenRequest,
};

/// How long a test's guest may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A file system with nothing in it.
#[derive(Debug)]
struct Empty;

impl FilesystemOps for Empty {
    fn type_name(&self) -> &'static str {
        "empty"
    }

    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        Ok(FilesystemStatistics::default())
    }
}

impl InodeOps for Empty {
    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(Attributes::new(FileType::Directory, FileMode::from_bits_retain(0o755)))
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        Err(Errno::EACCES)
    }
}

/// A kernel whose guests are closures. Its first process is an init that reaps whatever it gets.
pub struct World {
    pub kernel: Arc<Kernel>,
    programs: Programs,
    fs: Arc<FsContext>,
}

impl World {
    pub fn new() -> Self {
        let platform = MockPlatform::new();
        let options = KernelOptions {
            platform: Arc::clone(&platform) as Arc<dyn bartizan_platform::Platform>,
            memory_limit: 64 << 20,
            hostname: b"test".to_vec(),
            tracer: None,
            profiler: None,
        };
        let kernel = Kernel::new(options).expect("a kernel");
        let filesystem = Filesystem::new(kernel.allocate_device(), true, Box::new(Empty));
        let inode = Inode::new(1, FileType::Directory, Arc::clone(&filesystem), Box::new(Empty));
        let root = FilesystemRoot { filesystem, inode };
        let namespace =
            MountNamespace::new(root, b"none", MountFlags::empty(), Arc::new(DeviceRegistry::default()));
        let fs = FsContext::new(namespace).expect("a root directory");
        Self { kernel, programs: Programs::new(platform), fs }
    }

    /// Starts `program` as a process of the host's, as root.
    pub fn start(&self, program: impl FnOnce(&Guest) + Send + 'static) -> ProcessHandle {
        self.start_as(Credentials::root(), program)
    }

    /// Starts `program` as a process of the host's.
    pub fn start_as(
        &self,
        credentials: Credentials,
        program: impl FnOnce(&Guest) + Send + 'static,
    ) -> ProcessHandle {
        let memory = MemoryManager::new(self.kernel.platform(), self.kernel.memory()).expect("memory");
        let access = Access::READ | Access::WRITE;
        let block = MapRequest::anonymous(MapPlacement::FixedNoReplace(FIRST_BLOCK), BLOCK, access);
        memory.map(&block).expect("a block of memory");
        let shared = TaskShared {
            memory: Some(memory),
            files: Some(Arc::new(FdTable::default())),
            fs: Some(self.fs.duplicate()),
        };
        let started = self.programs.add(program);
        let task =
            self.kernel.first_task(shared, credentials, Limits::default(), *b"test\0\0\0\0\0\0\0\0\0\0\0\0");
        let task = task.expect("a task");
        let registers = Registers { rip: 0x40_0000, rsp: FIRST_BLOCK + STACK_OFFSET, ..Registers::default() };
        self.kernel.start(&task, StartState { registers, fpu: None, set_tid: None }).expect("a thread");
        // So that the next process takes the next program.
        started.recv().expect("the program starts");
        self.kernel.handle_on(task.pid())
    }

    /// Runs `program` as the second process of a sandbox whose first one reaps orphans; returns how it ended.
    pub fn run(program: impl FnOnce(&Guest) + Send + 'static) -> ProcessEnd {
        Self::new().run_as(Credentials::root(), program)
    }

    /// As [`run`](Self::run), with these credentials.
    pub fn run_as(
        self,
        credentials: Credentials,
        program: impl FnOnce(&Guest) + Send + 'static,
    ) -> ProcessEnd {
        let _init = self.start(Guest::reap_for_ever);
        let mut process = self.start_as(credentials, program);
        let end = self.end_of(&mut process);
        self.finish();
        end
    }

    /// Waits for the end of a process.
    pub fn end_of(&self, process: &mut ProcessHandle) -> ProcessEnd {
        process.wait(Some(PATIENCE)).expect("the guest ends in time")
    }

    /// Ends everything, and fails if an assertion in a guest did.
    pub fn finish(self) {
        self.kernel.shut_down();
        self.programs.join();
        assert_eq!(self.kernel.tree().task_count(), 0, "tasks are left");
    }
}
