//! Registers and extended state of x86-64.

/// The general registers, in the layout of `struct user_regs_struct` (`<sys/user.h>`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are the processor's")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

impl Registers {
    /// How many there are.
    pub const COUNT: usize = 27;

    /// All registers in the order of `struct user_regs_struct`.
    pub fn to_array(&self) -> [u64; Self::COUNT] {
        let mut copy = *self;
        copy.in_order().map(|register| *register)
    }

    /// The registers from their values in the order of `struct user_regs_struct`.
    pub fn from_array(values: [u64; Self::COUNT]) -> Self {
        let mut registers = Self::default();
        for (register, value) in registers.in_order().into_iter().zip(values) {
            *register = value;
        }
        registers
    }

    /// All registers, each with its offset in bytes.
    pub(crate) fn words(&self) -> [(usize, u64); Self::COUNT] {
        let mut offset = 0;
        self.to_array().map(|value| {
            let word = (offset, value);
            offset += size_of::<u64>();
            word
        })
    }

    fn in_order(&mut self) -> [&mut u64; Self::COUNT] {
        [
            &mut self.r15,
            &mut self.r14,
            &mut self.r13,
            &mut self.r12,
            &mut self.rbp,
            &mut self.rbx,
            &mut self.r11,
            &mut self.r10,
            &mut self.r9,
            &mut self.r8,
            &mut self.rax,
            &mut self.rcx,
            &mut self.rdx,
            &mut self.rsi,
            &mut self.rdi,
            &mut self.orig_rax,
            &mut self.rip,
            &mut self.cs,
            &mut self.eflags,
            &mut self.rsp,
            &mut self.ss,
            &mut self.fs_base,
            &mut self.gs_base,
            &mut self.ds,
            &mut self.es,
            &mut self.fs,
            &mut self.gs,
        ]
    }
}

/// Extended state in the layout of the XSAVE area, standard (not compacted) format; at least the 512 bytes of
/// the legacy region, at most what `CPUID.0DH` gives for the enabled components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FpuState {
    /// The raw area.
    pub area: Box<[u8]>,
}

/// Bytes of the legacy region of the extended state and of the header behind it.
pub const SMALLEST_FPU_STATE: usize = 512 + 64;
/// Offset of `MXCSR`.
const MXCSR: usize = 24;

impl FpuState {
    /// The state of a processor that was just reset, as a new program finds it: no component but the control words.
    pub fn initial() -> Self {
        let mut area = vec![0u8; SMALLEST_FPU_STATE].into_boxed_slice();
        area[..2].copy_from_slice(&0x37fu16.to_ne_bytes());
        area[MXCSR..MXCSR + 4].copy_from_slice(&0x1f80u32.to_ne_bytes());
        Self { area }
    }
}

/// The components of the extended state that the host has enabled (`XCR0`).
#[expect(unsafe_code, reason = "XGETBV is an instruction")]
pub fn enabled_components() -> u64 {
    if !std::arch::is_x86_feature_detected!("xsave") {
        return 3;
    }
    // SAFETY: the processor and the kernel have XSAVE, as was just checked.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

/// Bytes of the extended state with all enabled components, standard format.
pub fn extended_state_size() -> usize {
    const STATE_LEAF: u32 = 0xd;
    if !std::arch::is_x86_feature_detected!("xsave") {
        return SMALLEST_FPU_STATE;
    }
    (std::arch::x86_64::__cpuid_count(STATE_LEAF, 0).ebx as usize).max(SMALLEST_FPU_STATE)
}
