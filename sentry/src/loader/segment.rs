//! How one loaded part of a program is mapped.

use std::ops::Range;

use bartizan_abi::Errno;
use bartizan_abi::ProtFlags;
use bartizan_abi::elf::{PF_R, PF_W, PF_X, ProgramHeader};
use bartizan_platform::memory::PAGE_SIZE;

/// What becomes of one `PT_LOAD`: pages of the file, then zeros. All ranges are addresses in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts, on a page.
    pub start: u64,
    /// Bytes of the file that are mapped, whole pages; zero for none.
    pub file_length: u64,
    /// From where in the file, on a page.
    pub file_offset: u64,
    /// The rest of the last page of the file, which has to become zeros; empty if there is none.
    pub tail: Range<u64>,
    /// Whole pages of zeros behind; empty if there are none.
    pub zeros: Range<u64>,
    /// What may be done with it.
    pub protection: ProtFlags,
}

fn page_start(address: u64) -> u64 {
    address & !(PAGE_SIZE - 1)
}

fn page_offset(address: u64) -> u64 {
    address & (PAGE_SIZE - 1)
}

fn page_end(address: u64) -> Result<u64, Errno> {
    address.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::EINVAL)
}

impl Segment {
    /// How `header` is mapped when all addresses are moved by `bias` (modulo 2^64), inside `user`.
    ///
    /// # Errors
    /// `EINVAL` for sizes, addresses and offsets that Linux refuses, `ENOMEM` for what lies outside `user`.
    pub fn new(header: &ProgramHeader, bias: u64, user: &Range<u64>) -> Result<Self, Errno> {
        if header.p_filesz > header.p_memsz {
            return Err(Errno::EINVAL);
        }
        let address = header.p_vaddr.wrapping_add(bias);
        let end = address.checked_add(header.p_memsz).filter(|end| *end <= user.end).ok_or(Errno::EINVAL)?;
        let start = page_start(address);
        if start < user.start || address >= user.end {
            return Err(Errno::ENOMEM);
        }
        let mut segment = Self {
            start,
            file_length: 0,
            file_offset: 0,
            tail: start..start,
            zeros: start..start,
            protection: protection(header.p_flags),
        };
        let mut zeros_from = start;
        if header.p_filesz > 0 {
            // Linux maps from the page of the file that holds the first byte: both must lie at the same place of a page.
            let before = page_offset(header.p_vaddr);
            let offset = header.p_offset.checked_sub(before).filter(|offset| page_offset(*offset) == 0);
            segment.file_offset = offset.ok_or(Errno::EINVAL)?;
            let file_end = address + header.p_filesz;
            segment.file_length = page_end(file_end)? - start;
            zeros_from = page_end(file_end)?;
            if header.p_memsz > header.p_filesz {
                segment.tail = file_end..zeros_from;
            }
        }
        if header.p_memsz > header.p_filesz {
            segment.zeros = zeros_from..page_end(end)?.max(zeros_from);
        }
        Ok(segment)
    }
}

fn protection(flags: u32) -> ProtFlags {
    let mut protection = ProtFlags::empty();
    protection.set(ProtFlags::PROT_READ, flags & PF_R != 0);
    protection.set(ProtFlags::PROT_WRITE, flags & PF_W != 0);
    protection.set(ProtFlags::PROT_EXEC, flags & PF_X != 0);
    protection
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Range<u64> = 0x1000..0x7fff_ffff_f000;

    fn header(vaddr: u64, offset: u64, filesz: u64, memsz: u64) -> ProgramHeader {
        ProgramHeader {
            p_type: bartizan_abi::elf::PT_LOAD,
            p_flags: PF_R | PF_W,
            p_offset: offset,
            p_vaddr: vaddr,
            p_filesz: filesz,
            p_memsz: memsz,
            ..ProgramHeader::default()
        }
    }

    #[test]
    fn zeros_begin_inside_the_last_page_of_the_file() {
        let segment =
            Segment::new(&header(0x2d10, 0x1d10, 0x300, 0x2000), 0x10000, &USER).expect("it is fine");
        assert_eq!((segment.start, segment.file_length, segment.file_offset), (0x12000, 0x2000, 0x1000));
        assert_eq!(segment.tail, 0x13010..0x14000);
        assert_eq!(segment.zeros, 0x14000..0x15000);
        assert_eq!(segment.protection, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
    }

    #[test]
    fn a_segment_may_be_file_alone_or_zeros_alone() {
        let file = Segment::new(&header(0x2000, 0x1000, 0x1000, 0x1000), 0, &USER).expect("it is fine");
        assert!(file.tail.is_empty() && file.zeros.is_empty());
        let zeros = Segment::new(&header(0x2010, 0x7, 0, 0x1000), 0, &USER).expect("it is fine");
        assert_eq!((zeros.file_length, zeros.zeros), (0, 0x2000..0x4000));
        assert!(zeros.tail.is_empty());
    }

    #[test]
    fn hostile_segments_are_refused() {
        let refused = |header| Segment::new(&header, 0, &USER).expect_err("it is hostile");
        assert_eq!(refused(header(0x2000, 0x1000, 0x2000, 0x1000)), Errno::EINVAL);
        assert_eq!(refused(header(0x2000, 0x1001, 0x10, 0x10)), Errno::EINVAL);
        assert_eq!(refused(header(0x2010, 0, 0x10, 0x10)), Errno::EINVAL);
        assert_eq!(refused(header(u64::MAX, 0xfff, 1, 2)), Errno::EINVAL);
        assert_eq!(refused(header(0x2000, 0, 0, u64::MAX)), Errno::EINVAL);
        assert_eq!(refused(header(0x8000_0000_0000, 0, 1, 1)), Errno::EINVAL);
        assert_eq!(refused(header(0x10, 0x10, 1, 1)), Errno::ENOMEM);
    }
}
