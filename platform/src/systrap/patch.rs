//! Patching of system call sites: how a call instruction is made to go to the stub's code instead of the host.
//!
//! What is replaced is never the call instruction, which stays where it is and traps as before, but the one instruction before it: by a jump to a
//! *trampoline* that executes that instruction, finds the thread's area, and enters the stub's code, which returns behind the call. So
//! whoever arrives at the call itself (a restarted call, a jump, a thread that was between the two) finds it, and since one
//! instruction takes the place of one, no jump can lead into the middle of anything. A jump takes five bytes; a shorter instruction is
//! replaced by a short jump to such a jump in padding nearby that is never executed.
//!
//! A trampoline changes RCX and R11 alone, which a call changes anyway, and no flag. It finds the thread's area by the FS base in the page of bases,
//! and goes to the trapping instruction when that has no such base.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::layout::bases;
use crate::{CodeChange, Patch, Patcher};

/// Bytes of a call instruction.
const CALL: u64 = 2;
/// Bytes of a jump to anywhere in reach, and of one that reaches 127 bytes.
const NEAR_JUMP: usize = 5;
const SHORT_JUMP: usize = 2;
/// How far before a call decoding starts, to find where the instruction before it starts.
const LOOK_BACK: u64 = 64;
/// From how many different starts.
const STARTS: u64 = 16;
/// How many of them have to lead to a call whose number is set by the instruction before it, which nothing else looks like.
const FEW_STARTS: u64 = 2;
/// How many of them have to lead to any other call.
const MANY_STARTS: u64 = 8;
/// No instruction is longer.
const LONGEST: u64 = 15;

/// Makes patches that enter the stub's code at `entry`.
#[derive(Debug, Clone, Copy)]
pub struct SitePatcher {
    /// Where trampolines go.
    pub entry: u64,
}

impl Patcher for SitePatcher {
    fn trampoline_size(&self) -> u64 {
        160
    }

    fn reach(&self) -> u64 {
        // Leaves room for the distance between a site and its trampoline's own parts.
        0x7000_0000
    }

    fn plan(&self, code: &[u8], address: u64, behind_call: u64, trampoline: u64) -> Option<Patch> {
        let call = behind_call.checked_sub(CALL)?;
        let text = Text { code, address };
        if text.bytes(call, CALL)? != [0x0f, 0x05] {
            return None;
        }
        let replaced = text.instruction_before(call)?;
        if !can_move(&replaced) {
            return None;
        }
        let changes = text.jump_to(&replaced, trampoline)?;
        let moved = text.bytes(replaced.ip(), replaced.len() as u64)?;
        Some(Patch { changes, trampoline: self.trampoline(moved, trampoline, behind_call)? })
    }
}

impl SitePatcher {
    /// The code at `address` that executes `moved` and makes the call that returns to `behind_call`.
    fn trampoline(&self, moved: &[u8], address: u64, behind_call: u64) -> Option<Vec<u8>> {
        const READ_FS_BASE: [u8; 5] = [0xf3, 0x48, 0x0f, 0xae, 0xc1]; // rdfsbase rcx
        const TO_SLOT: [u8; 9] = [
            0xc4, 0xe3, 0xfb, 0xf0, 0xc9, 0x04, // rorx rcx, rcx, 4
            0x0f, 0xb6, 0xcd, // movzx ecx, ch
        ];
        let mut code = Assembly { bytes: moved.to_vec(), address };
        let answers = answers(moved);
        for table in [Some(bases::NEGATED), answers, Some(bases::AREAS)].into_iter().flatten() {
            code.put(&READ_FS_BASE);
            code.put(&TO_SLOT);
            code.put(&[0x49, 0xbb]); // mov r11, table
            code.put(&table.to_le_bytes());
            if Some(table) == answers {
                code.put(&[0x49, 0x8b, 0x0c, 0xcb]); // mov rcx, [r11 + 8 * rcx]
                code.put(&[0xe3, 20]); // jrcxz, behind the jump
                code.put(&[0x89, 0xc8]); // mov eax, ecx
                code.put(&[0x41, 0xbb, 0x46, 0x02, 0, 0]); // mov r11d, 0x246
                code.put(&[0x48, 0x8d, 0x0d]); // lea rcx, [behind_call]
                code.put_distance(behind_call)?;
                code.put(&[0xe9]);
                code.put_distance(behind_call)?;
                continue;
            }
            code.put(&[0x4d, 0x8b, 0x1c, 0xcb]); // mov r11, [r11 + 8 * rcx]
            if table == bases::NEGATED {
                code.put(&READ_FS_BASE);
                code.put(&[0x4a, 0x8d, 0x0c, 0x19]); // lea rcx, [rcx + r11]
                code.put(&[0xe3, NEAR_JUMP as u8]); // jrcxz, over the jump
                code.put(&[0xe9]);
                code.put_distance(behind_call - CALL)?;
            }
        }
        code.put(&[0x48, 0x8d, 0x0d]); // lea rcx, [behind_call]
        code.put_distance(behind_call)?;
        code.put(&[0xff, 0x25, 0, 0, 0, 0]); // jmp [rip]
        code.put(&self.entry.to_le_bytes());
        (code.bytes.len() as u64 <= self.trampoline_size()).then_some(code.bytes)
    }
}

/// The table of what a call returns that needs no sentry, if `moved` sets the number of such a call.
fn answers(moved: &[u8]) -> Option<u64> {
    let [0xb8, number @ ..] = moved else { return None };
    match i64::from(i32::from_le_bytes(number.try_into().ok()?)) {
        libc::SYS_getpid => Some(bases::PROCESS),
        libc::SYS_gettid => Some(bases::THREAD),
        _ => None,
    }
}

/// Machine code as it grows.
struct Assembly {
    bytes: Vec<u8>,
    address: u64,
}

impl Assembly {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Puts the distance from behind itself to `target`.
    fn put_distance(&mut self, target: u64) -> Option<()> {
        let distance = distance(self.address + self.bytes.len() as u64 + 4, target)?;
        self.put(&distance.to_le_bytes());
        Some(())
    }
}

/// The distance between two addresses, if a near jump reaches.
fn distance(from: u64, to: u64) -> Option<i32> {
    i32::try_from(to.wrapping_sub(from).cast_signed()).ok()
}

/// Whether the instruction does the same elsewhere, does not look at what it does not set, and always goes on behind itself.
fn can_move(instruction: &Instruction) -> bool {
    let scratch = [Register::RCX, Register::R11];
    let uses_scratch = (0..instruction.op_count()).any(|operand| {
        instruction.op_kind(operand) == OpKind::Register
            && scratch.contains(&instruction.op_register(operand).full_register())
    });
    instruction.len() >= SHORT_JUMP
        && instruction.flow_control() == FlowControl::Next
        && !instruction.is_ip_rel_memory_operand()
        && !instruction.is_privileged()
        && !uses_scratch
        && instruction.mnemonic() != Mnemonic::INVALID
        && !is_padding(instruction)
}

/// Whether the instruction sets RAX to what can be the number of a call.
fn sets_number(instruction: &Instruction) -> bool {
    const MOST_NUMBERS: u64 = 1024;
    let moves = matches!(instruction.code(), Code::Mov_r32_imm32 | Code::Mov_rm64_imm32);
    let rax = instruction.op0_register().full_register() == Register::RAX;
    moves && rax && instruction.immediate(1) < MOST_NUMBERS
}

/// Whether the instruction does nothing.
fn is_padding(instruction: &Instruction) -> bool {
    let exchange_with_itself =
        instruction.mnemonic() == Mnemonic::Xchg && instruction.op0_register() == instruction.op1_register();
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3) || exchange_with_itself
}

/// Code of the guest as it is.
struct Text<'a> {
    code: &'a [u8],
    address: u64,
}

impl Text<'_> {
    fn bytes(&self, at: u64, length: u64) -> Option<&[u8]> {
        let start = usize::try_from(at.checked_sub(self.address)?).ok()?;
        self.code.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    }

    /// The instructions from `start` on.
    fn decode(&self, start: u64) -> Option<Decoder<'_>> {
        let end = self.address + self.code.len() as u64;
        let code = self.bytes(start, end.checked_sub(start)?)?;
        Some(Decoder::with_ip(64, code, start, DecoderOptions::NONE))
    }

    /// The instruction before the one at `call`. Instructions have different lengths, so that decoding can start in the middle of one; but it soon
    /// comes into step. There is an answer only if enough starts lead to `call`, and all that do agree on it.
    fn instruction_before(&self, call: u64) -> Option<Instruction> {
        let mut found: Option<Instruction> = None;
        let mut agreeing = 0;
        for start in call.saturating_sub(LOOK_BACK).max(self.address)..call.saturating_sub(LOOK_BACK - STARTS)
        {
            let mut last = None;
            for instruction in &mut self.decode(start)? {
                if instruction.is_invalid() || instruction.ip() >= call {
                    break;
                }
                last = Some(instruction);
            }
            let Some(last) = last.filter(|last| last.next_ip() == call) else { continue };
            if found.is_some_and(|found| found.ip() != last.ip()) {
                return None;
            }
            agreeing += 1;
            found = Some(last);
        }
        let needed = |found: &Instruction| if sets_number(found) { FEW_STARTS } else { MANY_STARTS };
        found.filter(|found| agreeing >= needed(found) && call - found.ip() <= LONGEST)
    }

    /// The changes that turn `replaced` into a jump to `target`.
    fn jump_to(&self, replaced: &Instruction, target: u64) -> Option<Vec<CodeChange>> {
        if replaced.len() >= NEAR_JUMP {
            return Some(vec![near_jump(replaced, target)?]);
        }
        let padding = self.padding_near(replaced.next_ip())?;
        let short = distance(replaced.ip() + SHORT_JUMP as u64, padding.ip())?;
        let short = i8::try_from(short).ok()?;
        let bytes = fill(vec![0xeb, short.to_le_bytes()[0]], replaced);
        // The far jump first: whoever finds the short one finds it too.
        Some(vec![near_jump(&padding, target)?, CodeChange { address: replaced.ip(), bytes }])
    }

    /// Room for a near jump in padding that follows the end of a function, where a short jump behind `from` reaches it.
    fn padding_near(&self, from: u64) -> Option<Instruction> {
        let mut after_end = false;
        for instruction in &mut self.decode(from)? {
            if instruction.is_invalid() || instruction.ip() > from + i8::MAX as u64 {
                return None;
            }
            if after_end && is_padding(&instruction) && instruction.len() >= NEAR_JUMP {
                return Some(instruction);
            }
            after_end = matches!(
                instruction.code(),
                Code::Retnq | Code::Retnq_imm16 | Code::Jmp_rel8_64 | Code::Jmp_rel32_64
            ) || after_end && is_padding(&instruction);
        }
        None
    }
}

/// A jump to `target` in place of an instruction.
fn near_jump(replaced: &Instruction, target: u64) -> Option<CodeChange> {
    let distance = distance(replaced.ip() + NEAR_JUMP as u64, target)?;
    let mut bytes = vec![0xe9];
    bytes.extend_from_slice(&distance.to_le_bytes());
    Some(CodeChange { address: replaced.ip(), bytes: fill(bytes, replaced) })
}

/// `bytes` up to the length of the instruction that they replace. What would be left of it might be taken for the start of an instruction
/// when the code around it is decoded later.
fn fill(mut bytes: Vec<u8>, replaced: &Instruction) -> Vec<u8> {
    const NO_OPERATION: u8 = 0x90;
    bytes.resize(bytes.len().max(replaced.len()), NO_OPERATION);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_that_was_used_misleads_nobody_who_decodes_it() {
        const START: u64 = 0x40_0000;
        let mut code = vec![0x90; 80];
        code.extend([0x89, 0xd0, 0x0f, 0x05, 0xc3]); // mov eax, edx; syscall; ret
        let first = START + code.len() as u64 - 1;
        // Six bytes of padding, of which a jump needs five.
        code.extend([0x66, 0x0f, 0x1f, 0x44, 0, 0]);
        let move_at = START + code.len() as u64;
        code.extend([0xb8, 0xcb, 0, 0, 0, 0x0f, 0x05, 0xc3]); // mov eax, 203; syscall; ret
        let second = START + code.len() as u64 - 1;
        let patcher = SitePatcher { entry: 0x7000_0000 };
        let patch = patcher.plan(&code, START, first, START + 0x10000).expect("it can be patched");
        assert_eq!(patch.changes.len(), 2, "a short jump to a near one");
        for change in &patch.changes {
            let at = usize::try_from(change.address - START).expect("in the code");
            code[at..at + change.bytes.len()].copy_from_slice(&change.bytes);
        }
        let patch = patcher.plan(&code, START, second, START + 0x20000).expect("it can be patched");
        let [change] = &patch.changes[..] else { panic!("one jump: {:?}", patch.changes) };
        assert_eq!((change.address, change.bytes.len()), (move_at, NEAR_JUMP));
    }
}
