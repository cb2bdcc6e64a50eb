//! Extended state in the layout of the XSAVE area, as `PTRACE_GETREGSET` gives and takes it.

/// The legacy region and the header behind it, in bytes.
const LEGACY: usize = 512;
const HEADER_END: usize = 576;
/// Where `MXCSR` and its mask are.
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
/// Where the kernel tells which components are enabled (in the part of the legacy region that is for software).
const ENABLED: usize = 464;
/// Where the header tells which components are not in their initial state.
const PRESENT: usize = 512;

const INITIAL_MXCSR: u32 = 0x1f80;
const INITIAL_FCW: u16 = 0x37f;
/// Bits of `MXCSR` that exist on all processors of 64 bits.
const DEFAULT_MXCSR_MASK: u32 = 0xffbf;
/// The x87 and SSE components, which are always there.
const X87_AND_SSE: u64 = 3;

/// What this machine's extended state is like.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    size: usize,
    enabled: u64,
    mxcsr_mask: u32,
}

impl Layout {
    /// The layout of which `sample` is a state.
    pub(crate) fn of(sample: &[u8]) -> Self {
        let mask = u32_at(sample, MXCSR_MASK);
        let enabled = u64_at(sample, ENABLED) | X87_AND_SSE;
        let mxcsr_mask = if mask == 0 { DEFAULT_MXCSR_MASK } else { mask };
        Self { size: sample.len().max(LEGACY), enabled, mxcsr_mask }
    }

    /// The layout of `size` bytes with these components; of `MXCSR`, the bits that all processors have.
    pub(crate) fn new(size: usize, components: u64) -> Self {
        let enabled = components | X87_AND_SSE;
        Self { size: size.max(LEGACY), enabled, mxcsr_mask: DEFAULT_MXCSR_MASK }
    }

    /// Bytes of an area.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The state in which a program starts.
    pub(crate) fn initial(&self) -> Vec<u8> {
        let mut area = vec![0; self.size];
        put(&mut area, 0, &INITIAL_FCW.to_le_bytes());
        put(&mut area, MXCSR, &INITIAL_MXCSR.to_le_bytes());
        put(&mut area, PRESENT, &X87_AND_SSE.to_le_bytes());
        area
    }

    /// A state that the kernel takes, made of any bytes. What is missing in `state` is initial.
    pub(crate) fn sanitise(&self, state: &[u8]) -> Vec<u8> {
        if state.len() < LEGACY {
            return self.initial();
        }
        let mut area = vec![0; self.size];
        let length = state.len().min(self.size);
        area[..length].copy_from_slice(&state[..length]);
        let mxcsr = u32_at(&area, MXCSR) & self.mxcsr_mask;
        put(&mut area, MXCSR, &mxcsr.to_le_bytes());
        if self.size >= HEADER_END {
            // Components beyond the end of `state` are not in it, and only the standard format is taken.
            let complete = state.len() >= self.size;
            let present = if complete { u64_at(&area, PRESENT) & self.enabled } else { X87_AND_SSE };
            area[LEGACY..HEADER_END].fill(0);
            put(&mut area, PRESENT, &present.to_le_bytes());
        }
        area
    }
}

fn put(area: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(room) = area.get_mut(offset..offset + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}

fn u32_at(area: &[u8], offset: usize) -> u32 {
    area.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(area: &[u8], offset: usize) -> u64 {
    area.get(offset..offset + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let mut sample = vec![0; 832];
        put(&mut sample, ENABLED, &7_u64.to_le_bytes());
        Layout::of(&sample)
    }

    #[test]
    fn reserved_bits_are_cleared() {
        let area = layout().sanitise(&[0xff; 4096]);
        assert_eq!(area.len(), 832);
        assert_eq!(u32_at(&area, MXCSR), DEFAULT_MXCSR_MASK);
        assert_eq!(u64_at(&area, PRESENT), 7);
        assert!(area[PRESENT + 8..HEADER_END].iter().all(|byte| *byte == 0));
        assert_eq!(area[600], 0xff);
    }

    #[test]
    fn short_states_lose_what_they_lack() {
        let area = layout().sanitise(&[0xff; 700]);
        assert_eq!(u64_at(&area, PRESENT), X87_AND_SSE);
        assert_eq!(layout().sanitise(&[0xff; 100]), layout().initial());
        assert_eq!(u64_at(&layout().sanitise(&[0; 512]), PRESENT), X87_AND_SSE);
    }
}
