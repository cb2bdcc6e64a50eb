//! One virtual processor: its set-up, and one run from entry to exit.
//!
//! Registers travel in the page that is shared with the host's kernel (`KVM_CAP_SYNC_REGS`), and, for those that it does not show cheaply, in the data page of the
//! [stub](super::stub). So an entry and an exit are one `KVM_RUN`, without any other call. Only when a signal ends guest code half-way, or the processor
//! comes to another address space, are the system registers fetched and set.

#![expect(unsafe_code, reason = "model-specific registers and extended state of a guest")]

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use kvm_bindings::{
    Msrs, kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{SyncReg, VcpuExit, VcpuFd};

use super::counts::{Counts, Reason};
use super::descriptors::{
    GATE_SIZE, GATES, GDT_ENTRIES, KERNEL_CODE, KERNEL_DATA, TASK_STATE, TSS_SIZE, USER_CODE, USER_CODE_32,
    USER_DATA,
};
use super::kick::Kick;
use super::machine::{Machine, host_error};
use super::space::Space;
use super::stub::{Entry, Stub, data};
use crate::{PlatformError, Registers};

/// Bytes of extended state that the host gives and takes.
pub(super) const XSAVE_BYTES: usize = 4096;

const ENTRY_FLAGS: u64 = 2;
/// What the guest decides of its flags: the arithmetic ones, trap, direction, nested task, resume, alignment check and identification.
const GUEST_FLAGS: u64 = 0x25_4dd5;
/// Interrupts are on, and a bit that is always set.
const FIXED_FLAGS: u64 = 0x202;

/// Why guest code does not run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// A system call.
    Syscall,
    /// One of 32-bit code, by `SYSCALL`.
    Syscall32,
    /// An exception.
    Exception { vector: u64, error: u64, address: u64 },
    /// The host refused the page at this physical address, if it tells.
    Refused { physical: Option<u64> },
    /// A kick; registers are stored.
    Kicked,
    /// A kick before guest code ran; registers are as they were.
    NotEntered,
    /// No processor could have these registers.
    Impossible,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Vcpu {
    fd: VcpuFd,
    machine: Arc<Machine>,
    stub: Stub,
    /// System registers with which the stub runs.
    ring_0: kvm_sregs,
    /// Whether they are loaded.
    in_ring_0: bool,
    /// Address space and generation of which it may have translations.
    known: (u64, u64),
    /// Segment selectors that are loaded, if that is known.
    selectors: Option<u64>,
    counts: Arc<Counts>,
}

impl Vcpu {
    /// Sets up a new processor.
    pub(super) fn new(fd: VcpuFd, machine: &Arc<Machine>, stub: Stub) -> io::Result<Self> {
        let mut vcpu = Self {
            ring_0: fd.get_sregs().map_err(host_error)?,
            fd,
            machine: Arc::clone(machine),
            stub,
            in_ring_0: false,
            known: (0, 0),
            selectors: None,
            counts: Arc::default(),
        };
        vcpu.set_up()?;
        Ok(vcpu)
    }

    fn set_up(&mut self) -> io::Result<()> {
        let features = self.machine.features();
        self.fd.set_cpuid2(self.machine.cpuid()).map_err(host_error)?;
        fill_system_registers(&mut self.ring_0, &self.stub, features);
        self.fd.set_sregs(&self.ring_0).map_err(host_error)?;
        if features.xsave {
            let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
            xcrs.xcrs[0].value = features.components;
            self.fd.set_xcrs(&xcrs).map_err(host_error)?;
        }
        let registers = [
            (msr::STAR, u64::from(KERNEL_CODE) << 32 | u64::from(USER_CODE_32) << 48),
            (msr::LSTAR, self.stub.syscall_address()),
            (msr::CSTAR, self.stub.syscall_32_address()),
            (msr::SYSCALL_MASK, 0x24_7fd5),
            (msr::SYSENTER_CS, 0),
            (msr::KERNEL_GS_BASE, 0),
        ];
        for (index, value) in registers {
            self.set_msr(index, value)?;
        }
        self.show_host_time();
        self.fd.set_sync_valid_reg(SyncReg::Register);
        Ok(())
    }

    fn set_msr(&self, index: u32, data: u64) -> io::Result<()> {
        let entry = kvm_msr_entry { index, data, ..Default::default() };
        let entries = Msrs::from_entries(&[entry]).map_err(|_| io::ErrorKind::OutOfMemory)?;
        match self.fd.set_msrs(&entries).map_err(host_error)? {
            1 => Ok(()),
            _ => Err(io::Error::other(format!("the host refuses model-specific register {index:#x}"))),
        }
    }

    /// Lets the time stamp counter be the host's, which the clocks that the sentry shows are made of. Where the host does not know how to, it does not change the counter.
    fn show_host_time(&self) {
        /// `KVM_SET_DEVICE_ATTR`, which the crate has for other processors alone.
        const SET_DEVICE_ATTRIBUTE: libc::c_ulong = 0x4018_aee1;
        const TSC_CONTROL: u32 = 0;
        const TSC_OFFSET: u64 = 0;
        let offset = 0_u64;
        let attribute = kvm_bindings::kvm_device_attr {
            group: TSC_CONTROL,
            attr: TSC_OFFSET,
            addr: (&raw const offset).addr() as u64,
            flags: 0,
        };
        // SAFETY: the call reads the attribute and the offset, which both live until it returns.
        let _not_known =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), SET_DEVICE_ATTRIBUTE, &raw const attribute) };
    }

    /// How often guest code was left here.
    pub(super) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The byte that makes `KVM_RUN` return at once; valid as long as this value.
    pub(super) fn immediate_exit(&mut self) -> *const AtomicU8 {
        (&raw const self.fd.get_kvm_run().immediate_exit).cast()
    }

    /// Runs guest code until there is a reason to stop.
    ///
    /// # Errors
    /// [`PlatformError::GuestBroke`] for what the host's hypervisor gave up on.
    pub(super) fn run(
        &mut self,
        registers: &mut Registers,
        space: &Space,
        generation: u64,
        kick: &Kick,
    ) -> Result<Stop, PlatformError> {
        if !is_possible(registers) {
            return Ok(Stop::Impossible);
        }
        self.load(registers, space, generation).map_err(|source| PlatformError::Host {
            call: "setting the system registers of a virtual processor",
            source,
        })?;
        let stop = self.run_to_stop(registers, space, generation, kick)?;
        self.counts.add(Reason::of(stop));
        Ok(stop)
    }

    fn run_to_stop(
        &mut self,
        registers: &mut Registers,
        space: &Space,
        generation: u64,
        kick: &Kick,
    ) -> Result<Stop, PlatformError> {
        loop {
            match self.fd.run() {
                Ok(VcpuExit::Hlt) => {
                    self.known = (space.id(), generation);
                    return Ok(self.store(registers));
                }
                Ok(VcpuExit::MemoryFault { gpa, .. }) => {
                    self.store_user(registers)?;
                    return Ok(Stop::Refused { physical: Some(gpa) });
                }
                Ok(exit) => {
                    let what = format!("the hypervisor gave up: {exit:?}");
                    return Err(self.broke(what));
                }
                Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                    if let Some(stop) = self.interrupted(registers, kick)? {
                        return Ok(stop);
                    }
                    self.counts.add(Reason::Interruption);
                }
                Err(error) if error.errno() == libc::EFAULT => {
                    self.store_user(registers)?;
                    return Ok(Stop::Refused { physical: None });
                }
                Err(error) => {
                    let what = format!("the hypervisor gave up: {}", host_error(error));
                    return Err(self.broke(what));
                }
            }
        }
    }

    /// Makes everything ready for `KVM_RUN`.
    fn load(&mut self, registers: &Registers, space: &Space, generation: u64) -> io::Result<()> {
        let selectors = selectors_of(registers);
        let by_host = !self.machine.features().fsgsbase;
        if by_host {
            self.set_segments(registers, selectors);
        }
        if !self.in_ring_0 || self.ring_0.cr3 != space.root() {
            self.ring_0.cr3 = space.root();
            self.fd.set_sregs(&self.ring_0).map_err(host_error)?;
            self.in_ring_0 = true;
            self.selectors = None;
            self.stub.store(data::CR3, space.root());
        }
        let entry = match self.known {
            _ if self.selectors != Some(selectors) && !by_host => Entry::All,
            known if known == (space.id(), generation) => Entry::Plain,
            _ => Entry::Flushing,
        };
        // Unknown until the stub has stored them again.
        self.selectors = None;
        self.known = (0, 0);
        let frame = [
            registers.rip,
            registers.cs,
            registers.eflags & GUEST_FLAGS | FIXED_FLAGS,
            registers.rsp,
            registers.ss,
        ];
        for (index, word) in frame.into_iter().enumerate() {
            self.stub.store(data::FRAME + 8 * index, word);
        }
        for (offset, word) in [
            (data::RAX, registers.rax),
            (data::FS_BASE, registers.fs_base),
            (data::GS_BASE, registers.gs_base),
            (data::SELECTORS, selectors),
        ] {
            self.stub.store(offset, word);
        }
        let (rip, rsp) = (self.stub.entry_address(entry), self.stub.data_address(data::FRAME));
        self.fd.sync_regs_mut().regs = kvm_regs {
            rax: 0,
            rbx: registers.rbx,
            rcx: registers.rcx,
            rdx: registers.rdx,
            rsi: registers.rsi,
            rdi: registers.rdi,
            rsp,
            rbp: registers.rbp,
            r8: registers.r8,
            r9: registers.r9,
            r10: registers.r10,
            r11: registers.r11,
            r12: registers.r12,
            r13: registers.r13,
            r14: registers.r14,
            r15: registers.r15,
            rip,
            rflags: ENTRY_FLAGS,
        };
        self.fd.set_sync_dirty_reg(SyncReg::Register);
        Ok(())
    }

    /// Where the stub cannot load bases: lets the system registers have them, to be set if they are not what is loaded.
    fn set_segments(&mut self, registers: &Registers, selectors: u64) {
        let segment = |shift: u32, base| {
            let selector = (selectors >> shift & 0xffff) as u16;
            if selector < 4 {
                return kvm_segment { selector, base, unusable: 1, ..Default::default() };
            }
            let kind = if selector == USER_DATA { 3 } else { 11 };
            let (l, db) = if selector == USER_CODE { (1, 0) } else { (0, 1) };
            let (limit, dpl) = (u32::MAX, 3);
            kvm_segment {
                base,
                limit,
                selector,
                type_: kind,
                present: 1,
                dpl,
                db,
                s: 1,
                l,
                g: 1,
                ..Default::default()
            }
        };
        let loaded =
            [segment(0, 0), segment(16, 0), segment(32, registers.fs_base), segment(48, registers.gs_base)];
        let system = &mut self.ring_0;
        if self.selectors != Some(selectors) || [system.ds, system.es, system.fs, system.gs] != loaded {
            [system.ds, system.es, system.fs, system.gs] = loaded;
            self.in_ring_0 = false;
        }
    }

    /// Stores the registers that are the same in ring 0 and ring 3.
    fn store_common(&mut self, registers: &mut Registers) -> kvm_regs {
        let found = self.fd.sync_regs_mut().regs;
        *registers = Registers {
            rbx: found.rbx,
            rcx: found.rcx,
            rdx: found.rdx,
            rsi: found.rsi,
            rdi: found.rdi,
            rbp: found.rbp,
            r8: found.r8,
            r9: found.r9,
            r10: found.r10,
            r11: found.r11,
            r12: found.r12,
            r13: found.r13,
            r14: found.r14,
            r15: found.r15,
            orig_rax: u64::MAX,
            ..*registers
        };
        found
    }

    /// Stores the registers after the stub has halted.
    fn store(&mut self, registers: &mut Registers) -> Stop {
        let found = self.store_common(registers);
        registers.rax = self.stub.load(data::RAX);
        if self.machine.features().fsgsbase {
            registers.fs_base = self.stub.load(data::FS_BASE);
            registers.gs_base = self.stub.load(data::GS_BASE);
        }
        let selectors = self.stub.load(data::SELECTORS);
        self.selectors = Some(selectors);
        let [ds, es, fs, gs] = [0, 16, 32, 48].map(|shift| selectors >> shift & 0xffff);
        *registers = Registers { ds, es, fs, gs, ..*registers };
        let vector = self.stub.load(data::VECTOR);
        if vector == data::SYSCALL || vector == data::SYSCALL_32 {
            registers.rsp = found.rsp;
            let (cs, stop) = match vector {
                data::SYSCALL => (USER_CODE, Stop::Syscall),
                _ => (USER_CODE_32, Stop::Syscall32),
            };
            after_syscall(registers, cs);
            return stop;
        }
        let [rip, cs, eflags, rsp, ss] =
            [0, 8, 16, 24, 32].map(|offset| self.stub.load(data::FRAME + offset));
        if found.rsp != self.stub.data_address(data::FRAME - 16) {
            // An exception on the way out: `iretq` did not like what it was given, and the guest is as it was.
            return Stop::Impossible;
        }
        *registers = Registers { rip, cs, eflags, rsp, ss, ..*registers };
        if self.machine.syscall_stays() && rip == self.stub.syscall_address() && cs == u64::from(USER_CODE) {
            after_syscall(registers, USER_CODE);
            return Stop::Syscall;
        }
        Stop::Exception { vector, error: self.stub.load(data::ERROR), address: self.stub.load(data::CR2) }
    }

    /// Stores the registers of ring 3, after guest code was stopped half-way.
    fn store_user(&mut self, registers: &mut Registers) -> Result<kvm_sregs, PlatformError> {
        let system = self.fd.get_sregs().map_err(|error| PlatformError::Host {
            call: "reading the system registers of a virtual processor",
            source: host_error(error),
        })?;
        if system.cs.selector & 3 != 3 {
            return Err(self.broke("the host refused memory of the stub".to_owned()));
        }
        self.take_user(registers, &system);
        Ok(system)
    }

    fn take_user(&mut self, registers: &mut Registers, system: &kvm_sregs) {
        let found = self.store_common(registers);
        *registers = Registers {
            rax: found.rax,
            rsp: found.rsp,
            rip: found.rip,
            eflags: found.rflags,
            cs: system.cs.selector.into(),
            ss: system.ss.selector.into(),
            ds: system.ds.selector.into(),
            es: system.es.selector.into(),
            fs: system.fs.selector.into(),
            gs: system.gs.selector.into(),
            fs_base: system.fs.base,
            gs_base: system.gs.base,
            ..*registers
        };
        self.in_ring_0 = false;
    }

    /// After `KVM_RUN` was interrupted: the reason to stop, or nothing if it has to go on first.
    fn interrupted(&mut self, registers: &mut Registers, kick: &Kick) -> Result<Option<Stop>, PlatformError> {
        let events = self.events()?;
        // An exception is on its way: that comes first, and ends in the stub.
        if events.exception.injected != 0 || events.exception.pending != 0 {
            kick.ignore_once(self.immediate_exit());
            return Ok(None);
        }
        let system = self.fd.get_sregs().map_err(|error| PlatformError::Host {
            call: "reading the system registers of a virtual processor",
            source: host_error(error),
        })?;
        let rip = self.fd.sync_regs_mut().regs.rip;
        if system.cs.selector & 3 == 0 {
            if self.stub.is_entering(rip) {
                return Ok(Some(Stop::NotEntered));
            }
            kick.ignore_once(self.immediate_exit());
            return Ok(None);
        }
        self.take_user(registers, &system);
        if self.machine.syscall_stays() && rip == self.stub.syscall_address() {
            after_syscall(registers, USER_CODE);
            return Ok(Some(Stop::Syscall));
        }
        Ok(Some(Stop::Kicked))
    }

    fn events(&self) -> Result<kvm_vcpu_events, PlatformError> {
        self.fd.get_vcpu_events().map_err(|error| PlatformError::Host {
            call: "reading the events of a virtual processor",
            source: host_error(error),
        })
    }

    /// Makes the processor usable again, and the error that tells of it.
    fn broke(&mut self, what: String) -> PlatformError {
        // If this fails, the next run does, too.
        let _again = self.fd.set_vcpu_events(&kvm_vcpu_events::default());
        self.in_ring_0 = false;
        PlatformError::GuestBroke { what }
    }

    /// Reads and clears what the processor says of the last debug exception (`DR6`).
    pub(super) fn take_debug_status(&mut self) -> Result<u64, PlatformError> {
        let call = "the debug registers of a virtual processor";
        let mut registers = self
            .fd
            .get_debug_regs()
            .map_err(|error| PlatformError::Host { call, source: host_error(error) })?;
        let status = registers.dr6;
        registers.dr6 = 0xffff_0ff0;
        self.fd
            .set_debug_regs(&registers)
            .map_err(|error| PlatformError::Host { call, source: host_error(error) })?;
        Ok(status)
    }

    /// The extended state, in the standard format.
    pub(super) fn fpu(&self) -> Result<Vec<u8>, PlatformError> {
        let state = self.fd.get_xsave().map_err(|error| PlatformError::Host {
            call: "reading the extended state of a virtual processor",
            source: host_error(error),
        })?;
        Ok(state.region.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    /// Replaces the extended state; what `area` lacks is zero.
    pub(super) fn set_fpu(&mut self, area: &[u8]) -> Result<(), PlatformError> {
        let mut state = kvm_xsave::default();
        for (word, bytes) in state.region.iter_mut().zip(area.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        // SAFETY: no feature with a state beyond these 4096 bytes is enabled.
        unsafe { self.fd.set_xsave(&state) }.map_err(|error| PlatformError::Host {
            call: "setting the extended state of a virtual processor",
            source: host_error(error),
        })
    }
}

/// Makes of the registers behind a `SYSCALL` those that a system call is reported with.
fn after_syscall(registers: &mut Registers, cs: u16) {
    *registers = Registers {
        rip: registers.rcx,
        eflags: registers.r11,
        cs: cs.into(),
        ss: USER_DATA.into(),
        orig_rax: registers.rax,
        rax: i64::from(-libc::ENOSYS) as u64,
        ..*registers
    };
}

fn is_canonical(address: u64) -> bool {
    let top = address.cast_signed() >> 47;
    top == 0 || top == -1
}

/// Whether a processor in ring 3 can have these.
fn is_possible(registers: &Registers) -> bool {
    [USER_CODE, USER_CODE_32].map(u64::from).contains(&registers.cs)
        && registers.ss == u64::from(USER_DATA)
        && [registers.rip, registers.fs_base, registers.gs_base].into_iter().all(is_canonical)
}

/// The data segment selectors; those that are none become null.
fn selectors_of(registers: &Registers) -> u64 {
    let valid = |selector: u64| {
        let usable = selector < 4 || [USER_DATA, USER_CODE, USER_CODE_32].map(u64::from).contains(&selector);
        if usable { selector } else { 0 }
    };
    [registers.gs, registers.fs, registers.es, registers.ds]
        .into_iter()
        .fold(0, |all, selector| all << 16 | valid(selector))
}

/// Model-specific registers (Intel SDM volume 4).
mod msr {
    pub(super) const SYSENTER_CS: u32 = 0x174;
    pub(super) const STAR: u32 = 0xc000_0081;
    pub(super) const LSTAR: u32 = 0xc000_0082;
    pub(super) const CSTAR: u32 = 0xc000_0083;
    pub(super) const SYSCALL_MASK: u32 = 0xc000_0084;
    pub(super) const KERNEL_GS_BASE: u32 = 0xc000_0102;
}

/// The state in which the stub runs: 64-bit, paging, ring 0, with its own tables.
fn fill_system_registers(registers: &mut kvm_sregs, stub: &Stub, features: super::cpuid::Features) {
    // PE, MP, ET, NE, WP, AM, PG.
    const CR0: u64 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18 | 1 << 31;
    // PAE, OSFXSR, OSXMMEXCPT.
    const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10;
    // SCE, LME, LMA, NXE.
    const EFER: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11;
    let flag = |has: bool, bit: u32| u64::from(has) << bit;
    registers.cr0 = CR0;
    registers.cr4 = CR4
        | flag(features.umip, 11)
        | flag(features.fsgsbase, 16)
        | flag(features.xsave, 18)
        | flag(features.smep, 20)
        | flag(features.smap, 21);
    registers.efer = EFER;
    let null = kvm_segment { unusable: 1, ..Default::default() };
    registers.cs = kvm_segment {
        limit: u32::MAX,
        selector: KERNEL_CODE,
        type_: 11,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    registers.ss = kvm_segment {
        limit: u32::MAX,
        selector: KERNEL_DATA,
        type_: 3,
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        ..Default::default()
    };
    (registers.ds, registers.es, registers.fs, registers.gs, registers.ldt) = (null, null, null, null, null);
    registers.tr = kvm_segment {
        base: stub.data_address(data::TSS),
        limit: TSS_SIZE as u32 - 1,
        selector: TASK_STATE,
        type_: 11,
        present: 1,
        ..Default::default()
    };
    let table = |offset, length: usize| kvm_dtable {
        base: stub.data_address(offset),
        limit: length as u16 - 1,
        ..Default::default()
    };
    registers.gdt = table(data::GDT, GDT_ENTRIES * 8);
    registers.idt = table(data::IDT, GATES * GATE_SIZE);
}
