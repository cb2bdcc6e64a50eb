//! The ptrace platform: works on any Linux, and is the reference for the others.
//!
//! Each address space is a *stub* process, made by the [`nursery`]; each context that runs in it has a thread there, the tracee. Guest code runs
//! under `PTRACE_SYSEMU`, so that its system calls stop it and are not executed. Mapping calls are made by tracees into which
//! they are [injected](injection).
//!
//! # Safety of the host
//! Guest code can reach the [stub's page](stub), but can only execute it, and while it is traced every system call from there stops like any
//! other. Threads that are not traced run stub code alone, which uses no memory. A tracer that ends without having let go of its
//! tracees takes them with it (`PTRACE_O_EXITKILL`). A [`filter`] is the second fence.
//!
//! # What a host program has to know
//! Stops of tracees are reported like those of children. A host that waits for *any* child (`waitpid(-1)`) while guests run would take
//! them away; it must wait for its own children by their ids. A host with a handler for `SIGCHLD` should install it with
//! `SA_NOCLDSTOP`, or it is called for each stop. Both are ptrace's doing; the other platforms are free of it.
//!
//! # Locks
//! In this order: `Space::apply`, `Stub::parked`, `Nursery::seed`, all held while threads are driven by ptrace; the rest are leaves.

mod context;
mod exit;
mod filter;
pub(crate) mod fpu;
mod injection;
mod interrupt;
mod measure;
mod nursery;
mod placement;
mod seed;
mod space;
mod stub;
mod sys;
mod tracee;

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

pub use measure::measure_round_trip;

use self::context::PtraceContext;
use self::fpu::Layout;
use self::nursery::{Nursery, Stub};
use self::placement::Placement;
use self::space::PtraceAddressSpace;
use self::tracee::{OrderError, TraceeError};
use crate::{AddressSpace, Capabilities, Context, Platform, PlatformError};

/// The signal that stops a tracee: ignored by default, so that it is harmless where nobody traces.
const KICK: i32 = libc::SIGURG;

const NAME: &str = "ptrace";

/// Bytes with which the size of the extended state is asked for; the largest that exists has 11 KiB.
const MOST_EXTENDED_STATE: usize = 64 * 1024;

/// Guest code in traced processes.
#[derive(Debug)]
pub struct PtracePlatform {
    nursery: Arc<Nursery>,
    placement: Arc<Placement>,
    layout: Layout,
    /// The stub with which the platform was tried out.
    spare: Mutex<Option<Stub>>,
}

impl PtracePlatform {
    /// Starts the platform: one process and one thread, which end when it and all its address spaces are dropped.
    ///
    /// # Errors
    /// [`PlatformError::Unavailable`] where tracing is forbidden, with the reason and the remedy; [`PlatformError::Exhausted`] when the
    /// host's limits are reached.
    pub fn new() -> Result<Arc<Self>, PlatformError> {
        let placement = Arc::new(Placement::new());
        let nursery = Arc::new(Nursery::new(&placement)?);
        let spare = nursery.new_stub().map_err(|error| explain(&nursery, error))?;
        let layout = probe(&spare).map_err(|error| explain(&nursery, error))?;
        Ok(Arc::new(Self { nursery, placement, layout, spare: Mutex::new(Some(spare)) }))
    }
}

/// Tries a stub out, and asks what extended state is like here.
fn probe(stub: &Stub) -> Result<Layout, OrderError> {
    let tracee = stub.attach()?;
    let mut area = vec![0; MOST_EXTENDED_STATE];
    let length = tracee.read_extended_state(&mut area)?;
    stub.detach(tracee)?;
    Ok(Layout::of(&area[..length.min(MOST_EXTENDED_STATE)]))
}

/// Says why the platform does not work.
fn explain(nursery: &Nursery, error: OrderError) -> PlatformError {
    let reason = match error {
        OrderError::Refused(source) => {
            return PlatformError::Exhausted { what: "a stub process", source };
        }
        OrderError::Tracee(TraceeError::Died { .. }) => match nursery.seed_status() {
            Some(status) => nursery::explain_seed(status),
            None => {
                "the first stub process cannot be found; is there a security policy that hides processes?"
                    .into()
            }
        },
        OrderError::Tracee(TraceeError::Host { call, source })
            if matches!(source.raw_os_error(), Some(libc::EPERM | libc::EACCES)) =>
        {
            explain_refusal(call, &source)
        }
        OrderError::Tracee(TraceeError::Host { call, source })
            if matches!(source.raw_os_error(), Some(libc::ENOSYS | libc::EIO | libc::EINVAL)) =>
        {
            format!(
                "{call} is not supported by this kernel ({source}); Linux 4.8 or newer with ptrace is needed"
            )
        }
        OrderError::Tracee(error) => return error.into(),
    };
    PlatformError::Unavailable { platform: NAME, reason }
}

fn explain_refusal(call: &str, source: &io::Error) -> String {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let remedy = match scope.trim() {
        "3" => "kernel.yama.ptrace_scope is 3, which forbids tracing until the next boot",
        "2" => "kernel.yama.ptrace_scope is 2: give this process CAP_SYS_PTRACE or set it to 1",
        _ => {
            "allow ptrace in the seccomp or security profile of this container (CAP_SYS_PTRACE), and let this process \
             be dumpable and not traced itself"
        }
    };
    format!("{call} was refused ({source}): {remedy}")
}

/// For an order that was not carried out for want of `what`.
fn order_failed(what: &'static str, error: OrderError) -> PlatformError {
    match error {
        OrderError::Refused(source) => PlatformError::Exhausted { what, source },
        OrderError::Tracee(error) => error.into(),
    }
}

/// The addresses that guests may map: from where any process may, up to the stub.
fn user_addresses() -> Range<u64> {
    /// The usual `vm.mmap_min_addr`; what lies below is not mapped by anybody.
    const START: u64 = 0x1_0000;
    START..stub::PAGE
}

impl Platform for PtracePlatform {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::empty()
    }

    fn user_addresses(&self) -> Range<u64> {
        user_addresses()
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        let spare = self.spare.lock().take();
        let stub = match spare {
            Some(stub) => stub,
            None => self.nursery.new_stub().map_err(|error| order_failed("a process", error))?,
        };
        Ok(Arc::new(PtraceAddressSpace::new(stub)))
    }

    fn new_context(&self) -> Result<Box<dyn Context>, PlatformError> {
        Ok(Box::new(PtraceContext::new(&self.placement, &self.layout)))
    }
}
