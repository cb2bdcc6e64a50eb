//! What guests are told of the processor: what the host supports, less what belongs to a system's kernel or would need one.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

use super::unavailable;
use crate::PlatformError;
use crate::arch::enabled_components;

/// x87, SSE, AVX and the three components of AVX-512.
const COMPONENTS: u64 = 0b1110_0111;

/// Features that the platform itself uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    pub fsgsbase: bool,
    pub xsave: bool,
    pub smep: bool,
    pub smap: bool,
    pub umip: bool,
    /// The extended state that guests may use (`XCR0`).
    pub components: u64,
    /// How many bits a physical address has.
    pub physical_bits: u32,
}

const FSGSBASE: u32 = 1 << 0;
const SMEP: u32 = 1 << 7;
const SMAP: u32 = 1 << 20;
const UMIP: u32 = 1 << 2;
const XSAVE: u32 = 1 << 26;

/// Bits of a leaf that guests do not see: ecx of leaf 1 (MONITOR, VMX, PDCM, PCID, x2APIC, TSC deadline, hypervisor).
const HIDDEN_1_ECX: u32 = 1 << 3 | 1 << 5 | 1 << 15 | 1 << 17 | 1 << 21 | 1 << 24 | 1 << 31;
/// ebx of leaf 7 (TSC_ADJUST, SGX, PQM, MPX, PQE, processor trace).
const HIDDEN_7_EBX: u32 = 1 << 1 | 1 << 2 | 1 << 12 | 1 << 14 | 1 << 15 | 1 << 25;
/// ecx of leaf 7 (PKU, OSPKE, WAITPKG, shadow stacks, LA57, bus lock detection, PKS).
const HIDDEN_7_ECX: u32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 16 | 1 << 24 | 1 << 31;
/// edx of leaf 7 (UINTR, IBT, and the three of AMX).
const HIDDEN_7_EDX: u32 = 1 << 5 | 1 << 20 | 1 << 22 | 1 << 24 | 1 << 25;

/// What guests are told, made of what the host supports.
///
/// # Errors
/// [`PlatformError::Unavailable`] if there is more to tell than the interface has room for.
pub(super) fn for_guests(supported: &CpuId) -> Result<(CpuId, Features), PlatformError> {
    let components = leaf(supported, 0xd, 0)
        .map_or(3, |leaf| u64::from(leaf.eax) | u64::from(leaf.edx) << 32)
        & enabled_components()
        & COMPONENTS;
    let basic = leaf(supported, 1, 0).copied().unwrap_or_default();
    let extended = leaf(supported, 7, 0).copied().unwrap_or_default();
    let physical_bits = leaf(supported, 0x8000_0008, 0).map_or(36, |leaf| leaf.eax & 0xff);
    let features = Features {
        fsgsbase: extended.ebx & FSGSBASE != 0,
        xsave: basic.ecx & XSAVE != 0,
        smep: extended.ebx & SMEP != 0,
        smap: extended.ebx & SMAP != 0,
        umip: extended.ecx & UMIP != 0,
        components,
        physical_bits: physical_bits.clamp(36, 46),
    };
    let entries: Vec<_> = supported
        .as_slice()
        .iter()
        .filter(|entry| !(0x4000_0000..0x5000_0000).contains(&entry.function))
        .map(|entry| hide(*entry, components))
        .collect();
    let cpuid = CpuId::from_entries(&entries)
        .map_err(|error| unavailable(format!("the processor has too many features to tell ({error:?})")))?;
    Ok((cpuid, features))
}

fn leaf(cpuid: &CpuId, function: u32, index: u32) -> Option<&kvm_cpuid_entry2> {
    cpuid.as_slice().iter().find(|entry| entry.function == function && entry.index == index)
}

fn hide(mut entry: kvm_cpuid_entry2, components: u64) -> kvm_cpuid_entry2 {
    match (entry.function, entry.index) {
        (1, _) => entry.ecx &= !HIDDEN_1_ECX,
        (7, 0) => {
            entry.ebx &= !HIDDEN_7_EBX;
            entry.ecx &= !HIDDEN_7_ECX;
            entry.edx &= !HIDDEN_7_EDX;
        }
        (0xd, 0) => {
            entry.eax &= components as u32;
            entry.edx &= (components >> 32) as u32;
        }
        (0xd, index) if index > 1 && components >> index.min(63) & 1 == 0 => {
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
        }
        _ => {}
    }
    entry
}
