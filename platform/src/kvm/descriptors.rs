//! The tables that the processor reads in ring 0: GDT, TSS and IDT, as bytes (Intel SDM volume 3, chapters 3, 6 and 7).

/// Selectors, as Linux has them on x86-64.
pub(super) const KERNEL_CODE: u16 = 0x10;
pub(super) const KERNEL_DATA: u16 = 0x18;
pub(super) const USER_CODE_32: u16 = 0x23;
pub(super) const USER_DATA: u16 = 0x2b;
pub(super) const USER_CODE: u16 = 0x33;
pub(super) const TASK_STATE: u16 = 0x40;

/// Entries of the global descriptor table; the last two are the one of the task state.
pub(super) const GDT_ENTRIES: usize = 10;
/// Bytes of the 64-bit task state segment.
pub(super) const TSS_SIZE: usize = 104;
/// Vectors that have a gate: those of processor exceptions. All others are beyond the limit, which is a general protection fault.
pub(super) const GATES: usize = 32;
/// Bytes of a gate.
pub(super) const GATE_SIZE: usize = 16;

const CODE_64_RING_0: u64 = 0x00af_9b00_0000_ffff;
const DATA_RING_0: u64 = 0x00cf_9300_0000_ffff;
const CODE_32_RING_3: u64 = 0x00cf_fb00_0000_ffff;
const DATA_RING_3: u64 = 0x00cf_f300_0000_ffff;
const CODE_64_RING_3: u64 = 0x00af_fb00_0000_ffff;
/// Present, ring 0, busy 64-bit task state.
const BUSY_TASK_STATE: u64 = 0x8b;
/// Present, interrupt gate.
const INTERRUPT_GATE: u64 = 0x8e;
/// The same, open to ring 3.
const USER_INTERRUPT_GATE: u64 = 0xee;
/// The exceptions that programs raise with instructions of their own: `int3` and `into`.
const USER_VECTORS: [usize; 2] = [3, 4];

/// The global descriptor table, with the task state segment at address `task_state`.
pub(super) fn gdt(task_state: u64) -> [u64; GDT_ENTRIES] {
    let mut table = [0; GDT_ENTRIES];
    for (selector, descriptor) in [
        (KERNEL_CODE, CODE_64_RING_0),
        (KERNEL_DATA, DATA_RING_0),
        (USER_CODE_32, CODE_32_RING_3),
        (USER_DATA, DATA_RING_3),
        (USER_CODE, CODE_64_RING_3),
    ] {
        table[usize::from(selector) / 8] = descriptor;
    }
    let limit = TSS_SIZE as u64 - 1;
    let low =
        limit | (task_state & 0xff_ffff) << 16 | BUSY_TASK_STATE << 40 | (task_state >> 24 & 0xff) << 56;
    let at = usize::from(TASK_STATE) / 8;
    table[at] = low;
    table[at + 1] = task_state >> 32;
    table
}

/// The task state segment: exceptions of ring 3 use the stack that ends at `stack`; no port is open.
pub(super) fn tss(stack: u64) -> [u8; TSS_SIZE] {
    const RSP0: usize = 4;
    const IO_MAP: usize = 102;
    let mut segment = [0; TSS_SIZE];
    segment[RSP0..RSP0 + 8].copy_from_slice(&stack.to_le_bytes());
    // Beyond the limit: all ports are closed.
    segment[IO_MAP..].copy_from_slice(&(TSS_SIZE as u16).to_le_bytes());
    segment
}

/// The interrupt descriptor table; the handler of vector `n` is at `handlers + n * distance`.
pub(super) fn idt(handlers: u64, distance: u64) -> [u64; 2 * GATES] {
    let mut table = [0; 2 * GATES];
    for (vector, handler) in (0..GATES).zip((handlers..).step_by(distance as usize)) {
        let kind = if USER_VECTORS.contains(&vector) { USER_INTERRUPT_GATE } else { INTERRUPT_GATE };
        table[2 * vector] =
            handler & 0xffff | u64::from(KERNEL_CODE) << 16 | kind << 40 | (handler >> 16 & 0xffff) << 48;
        table[2 * vector + 1] = handler >> 32;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_spread_over_descriptors() {
        let address = 0xffff_8765_4321_0fed;
        let gdt = gdt(address);
        assert_eq!(gdt[8], 0x4300_8b21_0fed_0067);
        assert_eq!(gdt[9], 0xffff_8765);
        let idt = idt(address, 16);
        assert_eq!(idt[0], 0x4321_8e00_0010_0fed);
        assert_eq!(idt[1], 0xffff_8765);
        assert_eq!(idt[6], 0x4321_ee00_0010_101d);
        assert_eq!(tss(address)[4..12], address.to_le_bytes());
    }
}
