//! Signal frames: how a handler is entered and left on x86-64 (`arch/x86/kernel/signal.c`).

use bartizan_abi::Errno;
use bartizan_abi::arch::x86_64::{
    Eflags, FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2, FP_XSTATE_MAGIC2_SIZE, FPX_SW_BYTES_OFFSET, FXSAVE_SIZE,
    FpxSwBytes, RED_ZONE_SIZE, RtSigFrame, SigContext, UContext, UContextFlags, USER_CS, USER_DS,
    XSAVE_ALIGNMENT,
};
use bartizan_abi::signal::{SigAction, SigActionFlags, SigInfo, SigSet, Signal, StackFlags, StackT};
use bartizan_platform::{FpuState, Registers};
use zerocopy::{FromBytes, IntoBytes};

use crate::kernel::CurrentTask;
use crate::mm::{UserAddr, UserPtr};

/// Where the software's bytes end in the header of the extended state: which components are there.
const XSTATE_BV: usize = FXSAVE_SIZE;
/// The smallest extended state: legacy region and header.
const XSTATE_MIN: usize = FXSAVE_SIZE + 64;
/// The largest extended state that is believed; AMX needs 11 KiB.
const XSTATE_MAX: usize = 16 << 10;

impl CurrentTask {
    /// Puts a frame on the guest's stack and makes it run the handler next.
    pub(super) fn push_signal_frame(
        &self,
        signal: Signal,
        info: &SigInfo,
        action: &SigAction,
        old_mask: SigSet,
    ) -> Result<(), Errno> {
        if action.flags & SigActionFlags::SA_RESTORER.bits() == 0 {
            return Err(Errno::EFAULT);
        }
        let registers = self.registers();
        let stack = self.with_signals(|task| task.stack);
        let switch = action.flags & SigActionFlags::SA_ONSTACK.bits() != 0
            && stack.ss_size != 0
            && !is_on_stack(&stack, registers.rsp);
        let top = if switch {
            stack.ss_sp.wrapping_add(stack.ss_size)
        } else {
            registers.rsp.wrapping_sub(RED_ZONE_SIZE)
        };
        let fpu = self.save_fpu().map_err(|_| Errno::EFAULT)?;
        let fpu_size = (fpu.area.len() + FP_XSTATE_MAGIC2_SIZE) as u64;
        let fpu_at = top.checked_sub(fpu_size).ok_or(Errno::EFAULT)? & !(XSAVE_ALIGNMENT - 1);
        let frame_at = (fpu_at.checked_sub(size_of::<RtSigFrame>() as u64).ok_or(Errno::EFAULT)? & !15)
            .checked_sub(8)
            .ok_or(Errno::EFAULT)?;
        let left_stack = (switch || is_on_stack(&stack, registers.rsp))
            && (frame_at < stack.ss_sp || frame_at - stack.ss_sp > stack.ss_size);
        if left_stack {
            return Err(Errno::EFAULT);
        }
        self.write_bytes(UserAddr(fpu_at), &frame_fpu(fpu))?;
        let frame = RtSigFrame {
            pretcode: action.restorer,
            uc: UContext {
                uc_flags: (UContextFlags::UC_FP_XSTATE
                    | UContextFlags::UC_SIGCONTEXT_SS
                    | UContextFlags::UC_STRICT_RESTORE_SS)
                    .bits(),
                uc_link: 0,
                uc_stack: shown_stack(&stack, registers.rsp),
                uc_mcontext: machine_context(&registers, fpu_at, old_mask, self.last_fault()),
                uc_sigmask: old_mask.bits(),
            },
            info: *info,
        };
        self.write_value(UserPtr::new(UserAddr(frame_at)), &frame)?;
        if stack.ss_flags & StackFlags::SS_AUTODISARM.bits() != 0 && switch {
            self.with_signals(|task| task.stack = disabled_stack());
        }
        let offset = |field: usize| frame_at + field as u64;
        self.set_registers(Registers {
            rip: action.handler,
            rsp: frame_at,
            rax: 0,
            rdi: u64::try_from(signal.raw()).unwrap_or(0),
            rsi: offset(std::mem::offset_of!(RtSigFrame, info)),
            rdx: offset(std::mem::offset_of!(RtSigFrame, uc)),
            eflags: registers.eflags & !(Eflags::DF | Eflags::RF | Eflags::TF).bits(),
            orig_rax: u64::MAX,
            ..registers
        });
        self.load_fpu(&FpuState::initial()).map_err(|_| Errno::EFAULT)
    }

    /// Leaves a handler: takes registers, extended state, mask and alternate stack from the frame (`rt_sigreturn(2)`).
    /// Returns the result register.
    ///
    /// # Errors
    /// `EFAULT` for a frame that cannot be: `SIGSEGV`.
    pub fn pop_signal_frame(&self) -> Result<u64, Errno> {
        let mut registers = self.registers();
        let frame_at = registers.rsp.checked_sub(8).ok_or(Errno::EFAULT)?;
        let frame: RtSigFrame = self.read_value(UserPtr::new(UserAddr(frame_at)))?;
        let context = &frame.uc.uc_mcontext;
        self.with_signals(|task| task.saved_mask = None);
        self.set_signal_mask(SigSet(frame.uc.uc_sigmask));
        restore_registers(&mut registers, context);
        let fpu = self.read_frame_fpu(context.fpstate)?;
        self.load_fpu(&fpu).map_err(|_| Errno::EFAULT)?;
        self.set_registers(registers);
        // A bad alternate stack in the frame is ignored, as Linux does.
        let _ignored = self.set_alternate_stack(&frame.uc.uc_stack, registers.rsp);
        Ok(registers.rax)
    }

    /// The extended state at `address` in a frame.
    fn read_frame_fpu(&self, address: u64) -> Result<FpuState, Errno> {
        if address == 0 {
            return Ok(FpuState::initial());
        }
        let mut area = vec![0; FXSAVE_SIZE];
        self.read_bytes(UserAddr(address), &mut area)?;
        let (software, _) =
            FpxSwBytes::read_from_prefix(&area[FPX_SW_BYTES_OFFSET..]).map_err(|_| Errno::EFAULT)?;
        let size = software.xstate_size as usize;
        let extended = software.magic1 == FP_XSTATE_MAGIC1
            && (XSTATE_MIN..=XSTATE_MAX).contains(&size)
            && self.read_value::<u32>(UserPtr::new(UserAddr(address).checked_add(size as u64)?))?
                == FP_XSTATE_MAGIC2;
        area.resize(if extended { size } else { XSTATE_MIN }, 0);
        if extended {
            self.read_bytes(UserAddr(address), &mut area)?;
        } else {
            // Only x87 and SSE are there.
            area[XSTATE_BV] = 3;
        }
        Ok(FpuState { area: area.into_boxed_slice() })
    }

    /// `sigaltstack(2)` for a caller whose stack pointer is `rsp`.
    ///
    /// # Errors
    /// `EPERM` on the alternate stack, `EINVAL`, `ENOMEM` for one that is too small.
    pub fn set_alternate_stack(&self, new: &StackT, rsp: u64) -> Result<(), Errno> {
        let mode = new.ss_flags & !StackFlags::SS_AUTODISARM.bits();
        let disable = mode & StackFlags::SS_DISABLE.bits() != 0;
        self.with_signals(|task| {
            if is_on_stack(&task.stack, rsp) {
                return Err(Errno::EPERM);
            }
            if !disable && mode != 0 && mode != StackFlags::SS_ONSTACK.bits() {
                return Err(Errno::EINVAL);
            }
            if !disable && new.ss_size < bartizan_abi::signal::MINSIGSTKSZ {
                return Err(Errno::ENOMEM);
            }
            task.stack = if disable { disabled_stack() } else { StackT { __pad0: 0, ..*new } };
            Ok(())
        })
    }

    /// The alternate stack as `sigaltstack(2)` shows it.
    pub fn alternate_stack(&self, rsp: u64) -> StackT {
        shown_stack(&self.with_signals(|task| task.stack), rsp)
    }
}

fn disabled_stack() -> StackT {
    StackT { ss_flags: StackFlags::SS_DISABLE.bits(), ..StackT::default() }
}

/// Whether `sp` is on the alternate stack; one that disarms itself is never in use.
fn is_on_stack(stack: &StackT, sp: u64) -> bool {
    stack.ss_flags & StackFlags::SS_AUTODISARM.bits() == 0
        && sp > stack.ss_sp
        && sp - stack.ss_sp <= stack.ss_size
}

/// `stack` with the flag that says whether it is in use.
fn shown_stack(stack: &StackT, sp: u64) -> StackT {
    let state = if stack.ss_size == 0 {
        StackFlags::SS_DISABLE.bits()
    } else if is_on_stack(stack, sp) {
        StackFlags::SS_ONSTACK.bits()
    } else {
        0
    };
    StackT { ss_flags: state | stack.ss_flags & StackFlags::SS_AUTODISARM.bits(), ..*stack }
}

/// The extended state as a frame holds it: with the software's bytes, and the second magic number behind it.
fn frame_fpu(state: FpuState) -> Vec<u8> {
    let mut area = state.area.into_vec();
    if area.len() < XSTATE_MIN {
        area.resize(XSTATE_MIN, 0);
    }
    let size = u32::try_from(area.len()).unwrap_or(0);
    let mut features = [0; 8];
    features.copy_from_slice(&area[FPX_SW_BYTES_OFFSET..][..8]);
    let software = FpxSwBytes {
        magic1: FP_XSTATE_MAGIC1,
        extended_size: size + FP_XSTATE_MAGIC2_SIZE as u32,
        xfeatures: bartizan_platform::arch::enabled_components(),
        xstate_size: size,
        padding: [0; 7],
    };
    area[FPX_SW_BYTES_OFFSET..FXSAVE_SIZE].copy_from_slice(software.as_bytes());
    area.extend_from_slice(&FP_XSTATE_MAGIC2.to_ne_bytes());
    area
}

fn machine_context(registers: &Registers, fpstate: u64, mask: SigSet, fault: LastFault) -> SigContext {
    let &Registers {
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rdi,
        rsi,
        rbp,
        rbx,
        rdx,
        rax,
        rcx,
        rsp,
        rip,
        eflags,
        ..
    } = registers;
    SigContext {
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rdi,
        rsi,
        rbp,
        rbx,
        rdx,
        rax,
        rcx,
        rsp,
        rip,
        eflags,
        cs: USER_CS as u16,
        gs: 0,
        fs: 0,
        ss: USER_DS as u16,
        err: fault.error,
        trapno: fault.vector,
        oldmask: mask.bits(),
        cr2: fault.address,
        fpstate,
        reserved1: [0; 8],
    }
}

fn restore_registers(registers: &mut Registers, context: &SigContext) {
    let &SigContext {
        r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, ..
    } = context;
    let restored = Eflags::RESTORED.bits();
    *registers = Registers {
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rdi,
        rsi,
        rbp,
        rbx,
        rdx,
        rax,
        rcx,
        rsp,
        rip,
        eflags: registers.eflags & !restored | context.eflags & restored,
        orig_rax: u64::MAX,
        ..*registers
    };
}

/// The last processor exception of a task, which frames show (`thread.trap_nr`, `error_code`, `cr2`).
#[derive(Debug, Clone, Copy, Default)]
pub struct LastFault {
    /// The exception's vector.
    pub vector: u64,
    /// Its error code.
    pub error: u64,
    /// The address of the last page fault.
    pub address: u64,
}
