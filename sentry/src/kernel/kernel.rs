//! One sandbox's kernel: the owner of all its state.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use bartizan_abi::DeviceNumber;
use bartizan_abi::process::WaitStatus;
use bartizan_abi::signal::Signal;
use bartizan_platform::memory::MemoryFile;
use bartizan_platform::{Platform, PlatformError};

use super::services::Services;
use super::tree::TaskTree;
use super::{CpuSet, Profiler, Statistics, UtsNames, WaitQueue};
use crate::loader::vdso::{TimeSource, Vdso};
use crate::sync::{LockClass, Mutex, MutexGuard};
use crate::syscalls::trace::Tracer;

/// The number of the first namespace that is not an initial one.
const FIRST_NAMESPACE: u32 = 0xf000_0080;

/// What a kernel is made with.
#[derive(Debug)]
pub struct KernelOptions {
    /// How guest code is run.
    pub platform: Arc<dyn Platform>,
    /// The most memory that the sandbox may use, bytes.
    pub memory_limit: u64,
    /// The host name that guests see.
    pub hostname: Vec<u8>,
    /// Where system calls are traced to.
    pub tracer: Option<Tracer>,
    /// What tells what time is spent on.
    pub profiler: Option<Profiler>,
}

/// The kernel of one sandbox. All its state hangs off one `Arc<Kernel>`; nothing is global.
#[derive(Debug)]
pub struct Kernel {
    platform: Arc<dyn Platform>,
    memory: Arc<MemoryFile>,
    vdso: Arc<Vdso>,
    tree: Mutex<TaskTree>,
    uts: Arc<UtsNames>,
    tracer: Option<Tracer>,
    profiler: Option<Profiler>,
    next_device: AtomicU32,
    next_namespace: AtomicU32,
    statistics: Statistics,
    started: Instant,
    processors: CpuSet,
    /// Why the sandbox came to an end by itself.
    report: OnceLock<String>,
    /// Whether no task may be made any more.
    dead: AtomicBool,
    /// Told when a task has ended.
    task_ends: WaitQueue,
    pub(super) services: Services,
    /// The threads of tasks, to be joined.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Kernel {
    /// A kernel without tasks. It makes no thread before the first of them.
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub fn new(options: KernelOptions) -> std::io::Result<Arc<Self>> {
        let memory = MemoryFile::new(options.memory_limit)?;
        let vdso = Vdso::allocate(&memory, TimeSource::detect())?;
        Ok(Arc::new(Self {
            platform: options.platform,
            memory,
            vdso,
            tree: Mutex::new(LockClass::TaskTree, TaskTree::default()),
            uts: Arc::new(UtsNames::new(options.hostname)),
            tracer: options.tracer,
            profiler: options.profiler,
            next_device: AtomicU32::new(1),
            next_namespace: AtomicU32::new(FIRST_NAMESPACE),
            statistics: Statistics::default(),
            started: Instant::now(),
            processors: CpuSet::of_host(),
            report: OnceLock::new(),
            dead: AtomicBool::new(false),
            task_ends: WaitQueue::new(),
            services: Services::default(),
            threads: Mutex::new(LockClass::Table, Vec::new()),
        }))
    }

    /// How guest code is run.
    pub fn platform(&self) -> &Arc<dyn Platform> {
        &self.platform
    }

    /// The physical memory of the sandbox.
    pub fn memory(&self) -> &Arc<MemoryFile> {
        &self.memory
    }

    /// The code that guests ask for the time.
    pub fn vdso(&self) -> &Arc<Vdso> {
        &self.vdso
    }

    /// The process tree, class `TaskTree`.
    pub fn tree(&self) -> MutexGuard<'_, TaskTree> {
        self.tree.lock()
    }

    /// The initial namespace of host name and domain name.
    pub fn uts(&self) -> &Arc<UtsNames> {
        &self.uts
    }

    /// Where system calls are traced to, if they are.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.tracer.as_ref()
    }

    /// What tells what time is spent on, if somebody wants to know.
    pub fn profiler(&self) -> Option<&Profiler> {
        self.profiler.as_ref()
    }

    /// What it counts.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// When it was made: `/proc/uptime` counts from here.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The processors of the host on which guests may run, as they were when it was made.
    pub fn processors(&self) -> &CpuSet {
        &self.processors
    }

    /// Told when a task has ended.
    pub fn task_ends(&self) -> &WaitQueue {
        &self.task_ends
    }

    /// A device number for a file system without a device (`st_dev`, major 0).
    pub fn allocate_device(&self) -> DeviceNumber {
        DeviceNumber::new(0, self.next_device.fetch_add(1, Ordering::Relaxed))
    }

    /// A number for a new namespace (`/proc/[pid]/ns`).
    pub(super) fn allocate_namespace(&self) -> u32 {
        self.next_namespace.fetch_add(1, Ordering::Relaxed)
    }

    /// The sandbox cannot go on because of its platform: it ends, with a report.
    pub fn fail(&self, error: &PlatformError) {
        self.die(error.to_string());
    }

    /// Ends the sandbox with a report for the host.
    pub fn die(&self, report: String) {
        let _first_counts = self.report.set(report);
        self.kill_all();
    }

    /// Why the sandbox came to an end by itself, if it did.
    pub fn report(&self) -> Option<&str> {
        self.report.get().map(String::as_str)
    }

    /// Whether no task may be made any more.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Ends all processes and forbids new ones. Does not wait for them.
    pub fn kill_all(&self) {
        self.dead.store(true, Ordering::Release);
        let tree = self.tree();
        for (_, process) in tree.processes() {
            process.group.begin_exit(WaitStatus::Signaled { signal: Signal::SIGKILL, core_dumped: false });
            // One that was ending already may still be telling its tracer.
            process.group.signals().wake_all();
        }
    }

    /// Keeps the thread of a new task, and joins those that have ended.
    pub(super) fn keep_thread(&self, thread: JoinHandle<()>) {
        let mut ended = Vec::new();
        {
            let mut threads = self.threads.lock();
            let mut index = 0;
            while index < threads.len() {
                if threads[index].is_finished() {
                    ended.push(threads.swap_remove(index));
                } else {
                    index += 1;
                }
            }
            threads.push(thread);
        }
        join(ended);
    }

    /// Ends all processes and waits until nothing of them is left. Called by the host, never by a task.
    pub fn shut_down(&self) {
        self.kill_all();
        loop {
            let threads = std::mem::take(&mut *self.threads.lock());
            if threads.is_empty() {
                // What ended without having been waited for; it refers to this kernel.
                let left = self.tree().clear();
                drop(left);
                self.flights().collect();
                return;
            }
            join(threads);
        }
    }
}

/// Waits for threads; one that panicked has already ended its sandbox.
fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        let _panicked = thread.join();
    }
}
