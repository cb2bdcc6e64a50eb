//! The virtual machine of a sandbox: its memory slots, and what its processors are.

#![expect(unsafe_code, reason = "memory slots are ranges of host addresses")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use parking_lot::Mutex;

use super::cpuid;
use super::quirks::Quirks;
use super::unavailable;
use crate::PlatformError;

/// The version of the interface that never changes any more.
const API_VERSION: i32 = 12;

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    vm: VmFd,
    cpuid: CpuId,
    features: cpuid::Features,
    quirks: Quirks,
    /// Whether `SYSCALL` stays in ring 3; see [`super::quirks`].
    syscall_stays: AtomicBool,
    most_processors: usize,
    slots: Mutex<Slots>,
}

/// Numbers of memory slots.
#[derive(Debug)]
struct Slots {
    free: Vec<u32>,
    next: u32,
    most: u32,
}

/// The error of a call of the host's, made of one of the crate's.
pub(super) fn host_error(error: kvm_ioctls::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}

impl Machine {
    /// Makes a machine without memory and processors.
    ///
    /// # Errors
    /// [`PlatformError::Unavailable`] which says what is missing.
    pub(super) fn new() -> Result<Arc<Self>, PlatformError> {
        let kvm = open()?;
        for (capability, name) in [
            (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
            (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
            (Cap::SyncRegs, "KVM_CAP_SYNC_REGS"),
            (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
            (Cap::Xsave, "KVM_CAP_XSAVE"),
            (Cap::Xcrs, "KVM_CAP_XCRS"),
        ] {
            if !kvm.check_extension(capability) {
                return Err(unavailable(format!("the host's KVM lacks {name}; use a newer kernel")));
            }
        }
        let supported = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(|error| {
            unavailable(format!("the host does not tell its processor's features ({})", host_error(error)))
        })?;
        let (cpuid, features) = cpuid::for_guests(&supported)?;
        let vm = kvm.create_vm().map_err(|error| {
            unavailable(format!("the host makes no virtual machine ({})", host_error(error)))
        })?;
        let most = u32::try_from(kvm.get_nr_memslots()).unwrap_or(u32::MAX);
        Ok(Arc::new(Self {
            vm,
            cpuid,
            features,
            quirks: Quirks::of_host(),
            syscall_stays: AtomicBool::new(false),
            most_processors: kvm.get_max_vcpus(),
            slots: Mutex::new(Slots { free: Vec::new(), next: 0, most }),
        }))
    }

    /// What is special about the host's hypervisor.
    pub(super) fn quirks(&self) -> Quirks {
        self.quirks
    }

    /// Whether `SYSCALL` stays in ring 3.
    pub(super) fn syscall_stays(&self) -> bool {
        self.syscall_stays.load(Ordering::Relaxed)
    }

    /// Told once, by the probe.
    pub(super) fn set_syscall_stays(&self, stays: bool) {
        self.syscall_stays.store(stays, Ordering::Relaxed);
    }

    /// What the processor can do.
    pub(super) fn features(&self) -> cpuid::Features {
        self.features
    }

    /// What `CPUID` tells guests.
    pub(super) fn cpuid(&self) -> &CpuId {
        &self.cpuid
    }

    /// How many processors there can be.
    pub(super) fn most_processors(&self) -> usize {
        self.most_processors
    }

    /// Makes processor `index`, once.
    pub(super) fn make_processor(&self, index: u64) -> io::Result<VcpuFd> {
        self.vm.create_vcpu(index).map_err(host_error)
    }

    /// Shows the guest `length` bytes at the address `host` as physical memory from `physical` on; returns the number of the slot. Whoever
    /// owns the host's memory keeps it mapped until the slot is removed or no processor runs any more.
    pub(super) fn add_slot(&self, physical: u64, host: u64, length: u64) -> Result<u32, PlatformError> {
        let slot = {
            let mut slots = self.slots.lock();
            match slots.free.pop() {
                Some(slot) => slot,
                None if slots.next < slots.most => {
                    slots.next += 1;
                    slots.next - 1
                }
                None => {
                    let source = io::Error::from_raw_os_error(libc::ENOSPC);
                    return Err(PlatformError::Exhausted { what: "a memory slot", source });
                }
            }
        };
        let result = self.set_slot(slot, physical, host, length);
        if result.is_err() {
            self.slots.lock().free.push(slot);
        }
        result.map(|()| slot)
    }

    /// Removes a slot: the guest's tables must not name its memory any more.
    pub(super) fn remove_slot(&self, slot: u32) -> Result<(), PlatformError> {
        self.set_slot(slot, 0, 0, 0)?;
        self.slots.lock().free.push(slot);
        Ok(())
    }

    fn set_slot(&self, slot: u32, physical: u64, host: u64, length: u64) -> Result<(), PlatformError> {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: physical,
            memory_size: length,
            userspace_addr: host,
        };
        // SAFETY: the memory belongs to files or tables that are only ever seen through volatile or atomic accesses, and is not given back to
        // the host's allocator as long as guest tables name it; an access that the host refuses is an error of KVM_RUN.
        unsafe { self.vm.set_user_memory_region(region) }
            .map_err(|error| PlatformError::Exhausted { what: "a memory slot", source: host_error(error) })
    }

    /// Makes the host forget all that it keeps of guest tables: removing any slot does that, and the one for the page at the address `host` has no
    /// other use.
    pub(super) fn forget_tables(&self, host: u64) -> Result<(), PlatformError> {
        let slot = self.add_slot(super::table_memory::SPARE_AT, host, crate::memory::PAGE_SIZE)?;
        self.remove_slot(slot)
    }
}

/// Opens the device, and says what is wrong if that fails.
fn open() -> Result<Kvm, PlatformError> {
    let kvm = Kvm::new().map_err(|error| {
        let error = host_error(error);
        let hint = match error.raw_os_error() {
            Some(libc::ENOENT) => {
                "there is no /dev/kvm: load kvm_intel or kvm_amd, or enable virtualisation in the firmware (nested, if this is a virtual machine)"
            }
            Some(libc::EACCES | libc::EPERM) => {
                "no permission to open /dev/kvm: become a member of its group, or let it into the container"
            }
            Some(libc::ENODEV | libc::ENXIO) => "/dev/kvm has no hypervisor behind it",
            _ => "/dev/kvm does not open",
        };
        unavailable(format!("{hint} ({error})"))
    })?;
    let version = kvm.get_api_version();
    if version != API_VERSION {
        return Err(unavailable(format!(
            "the host's KVM has version {version} of its interface, not {API_VERSION}"
        )));
    }
    Ok(kvm)
}
