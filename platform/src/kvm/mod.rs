//! The `kvm` platform: guest code runs in ring 3 of a virtual machine, in address spaces whose page tables are written here.
//!
//! # How it works
//! A platform is one virtual machine. The memory file and the host files that guests map are its physical memory, in few large windows ([`files`]). Each
//! address space is a set of [page tables](tables): mapping and unmapping are table edits, and take no call of the host's. A task thread runs its guest on a
//! [virtual processor](vcpu). There is no kernel in the machine, only a page of code for each processor, the [stub]: whatever enters ring 0 there, a system call or an
//! exception, is saved and handed to the sentry by one exit.
//!
//! # What the guest can reach
//! Its own pages, with the rights that the tables give. The stub's pages are for ring 0 alone; physical memory that no table names cannot be named at all, and tables are not
//! mapped. No port and no interrupt exists. What the guest does to its processor's state (flags, segments, bases, extended state) ends with the exit: the stub
//! runs with what the host has set.
//!
//! # What it lacks
//! It is not chosen by itself. Large pages and PCIDs are not used. `VMCALL` in the guest returns an error where Linux raises `SIGILL`.
//! Where the host has no hardware for nested page tables, see [`quirks`].

mod context;
mod counts;
mod cpuid;
mod descriptors;
mod exit;
mod files;
mod kick;
mod machine;
mod pieces;
mod probe;
mod processors;
mod quirks;
mod space;
mod stub;
mod table_memory;
mod tables;
mod vcpu;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use context::KvmContext;
use files::Files;
use machine::Machine;
use processors::Processors;
use space::KvmAddressSpace;
use table_memory::TablePages;
use tables::KernelTables;

use crate::ptrace::fpu::Layout;
use crate::{AddressSpace, Capabilities, Context, Platform, PlatformError};

/// How the platform is made; by default as the host allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvmOptions {
    /// How many virtual processors there are at most; tasks that run at the same time beyond that take turns.
    pub most_processors: Option<usize>,
}

/// See the module.
#[derive(Debug)]
pub struct KvmPlatform {
    shared: Arc<Shared>,
}

/// What contexts and address spaces of one machine share.
#[derive(Debug)]
struct Shared {
    // Processors go first, then the memory that they use.
    processors: Processors,
    kernel: KernelTables,
    files: Files,
    pages: Arc<TablePages>,
    machine: Arc<Machine>,
    fpu: Layout,
    /// What makes threads leave guest code.
    signal: i32,
    next_space: AtomicU64,
}

impl KvmPlatform {
    /// Makes the platform and tries it out.
    ///
    /// # Errors
    /// [`PlatformError::Unavailable`], with what is missing and what can be done.
    pub fn new() -> Result<Arc<Self>, PlatformError> {
        Self::with_options(KvmOptions::default())
    }

    /// As [`new`](Self::new), with a choice.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(options: KvmOptions) -> Result<Arc<Self>, PlatformError> {
        let signal = kick::signal().ok_or_else(|| {
            unavailable("the program that embeds the sandbox handles all real-time signals itself".to_owned())
        })?;
        let machine = Machine::new()?;
        let pages = Arc::new(TablePages::new(&machine)?);
        let kernel = KernelTables::new(&pages)?;
        let shared = Arc::new(Shared {
            processors: Processors::new(&machine, options.most_processors),
            kernel,
            files: Files::new(&machine),
            pages,
            fpu: layout(&machine),
            machine,
            signal,
            next_space: AtomicU64::new(1),
        });
        let platform = Arc::new(Self { shared });
        probe::try_out(&platform)?;
        Ok(platform)
    }
}

/// The extended state of guests.
fn layout(machine: &Machine) -> Layout {
    let size = crate::arch::extended_state_size().min(vcpu::XSAVE_BYTES);
    Layout::new(size, machine.features().components)
}

fn unavailable(reason: String) -> PlatformError {
    PlatformError::Unavailable { platform: "kvm", reason }
}

fn user_addresses() -> Range<u64> {
    0x1_0000..0x7fff_ffff_f000
}

impl Platform for KvmPlatform {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::EXACT_ACCESS
    }

    fn user_addresses(&self) -> Range<u64> {
        user_addresses()
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(KvmAddressSpace::new(&self.shared)?))
    }

    fn new_context(&self) -> Result<Box<dyn Context>, PlatformError> {
        Ok(Box::new(KvmContext::new(&self.shared)))
    }

    fn exits(&self) -> Vec<(&'static str, u64)> {
        self.shared.processors.exits()
    }
}
