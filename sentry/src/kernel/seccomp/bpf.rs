//! Classic BPF as seccomp filters use it: a checker, and an interpreter of what has passed it.
//!
//! Pure logic. A [`Program`] is decoded once, so that running it looks at no instruction that could be wrong: jumps go
//! forward and stay inside, loads are aligned and inside the data, scratch words are written before they are read, and the last
//! instruction returns. So each instruction runs at most once.

use bartizan_abi::Errno;
use bartizan_abi::seccomp::{
    BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_DIV, BPF_IMM, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP,
    BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MAXINSNS, BPF_MEM, BPF_MEMWORDS, BPF_MISC,
    BPF_MUL, BPF_NEG, BPF_OR, BPF_RET, BPF_RSH, BPF_ST, BPF_STX, BPF_SUB, BPF_TAX, BPF_TXA, BPF_W, BPF_X,
    BPF_XOR, SeccompData, SockFilter,
};
use zerocopy::IntoBytes;

/// Words of the data that a filter sees.
const DATA_WORDS: usize = size_of::<SeccompData>() / 4;
/// Bits that a shift can go.
const SHIFT_MASK: u32 = 31;

/// What filters see of a call, as words.
#[derive(Debug, Clone, Copy)]
pub struct Words([u32; DATA_WORDS]);

impl From<&SeccompData> for Words {
    fn from(data: &SeccompData) -> Self {
        let mut words = [0; DATA_WORDS];
        for (word, bytes) in words.iter_mut().zip(data.as_bytes().as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        Self(words)
    }
}

/// The second operand of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    Constant(u32),
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Xor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Equal,
    Greater,
    GreaterOrEqual,
    AnySet,
}

/// One instruction. Numbers of words are in bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    LoadData(u8),
    LoadConstant(u32),
    LoadIndexConstant(u32),
    LoadScratch(u8),
    LoadIndexScratch(u8),
    StoreScratch(u8),
    StoreIndexScratch(u8),
    Calculate(Operation, Operand),
    Negate,
    Jump(u32),
    Branch(Condition, Operand, u8, u8),
    ToIndex,
    FromIndex,
    Return(u32),
    ReturnAccumulator,
}

/// Instructions of extended BPF before the first of a filter.
const PROLOGUE_COST: usize = 3;

impl Instruction {
    /// How many instructions of extended BPF it becomes.
    fn cost(self) -> usize {
        match self {
            Self::Return(_) => 2,
            // With a check for zero.
            Self::Calculate(Operation::Divide, Operand::Index) => 5,
            Self::Branch(condition, operand, if_true, if_false) => {
                // Constants are signed there.
                let wide = matches!(operand, Operand::Constant(0x8000_0000..));
                let inverted = if_true == 0 && condition != Condition::AnySet;
                let jumps = if if_false == 0 || inverted { 1 } else { 2 };
                jumps + usize::from(wide)
            }
            _ => 1,
        }
    }
}

/// A filter that has passed the checker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Box<[Instruction]>);

impl Program {
    /// Checks and decodes a filter as `seccomp(2)` does.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn new(filter: &[SockFilter]) -> Result<Self, Errno> {
        if filter.is_empty() || filter.len() > BPF_MAXINSNS {
            return Err(Errno::EINVAL);
        }
        let decoded = filter
            .iter()
            .enumerate()
            .map(|(place, instruction)| decode(instruction, filter.len() - place - 1));
        let instructions = decoded.collect::<Result<Box<[_]>, _>>()?;
        let returns =
            matches!(instructions.last(), Some(Instruction::Return(_) | Instruction::ReturnAccumulator));
        if !returns || !scratch_is_written_first(&instructions) {
            return Err(Errno::EINVAL);
        }
        Ok(Self(instructions))
    }

    /// How many instructions it counts for: as many as the extended BPF program that Linux makes of it has.
    pub fn cost(&self) -> usize {
        PROLOGUE_COST + self.0.iter().map(|instruction| instruction.cost()).sum::<usize>()
    }

    /// What the filter returns for a call.
    pub fn run(&self, data: &Words) -> u32 {
        let mut machine = Machine { accumulator: 0, index: 0, scratch: [0; BPF_MEMWORDS] };
        let mut place = 0;
        while let Some(instruction) = self.0.get(place) {
            match machine.step(*instruction, data) {
                Step::Next => place += 1,
                Step::Skip(count) => place += 1 + count as usize,
                Step::Return(value) => return value,
            }
        }
        // The checker has seen that the last instruction returns and that no jump passes it.
        0
    }
}

/// The state of a running filter.
struct Machine {
    accumulator: u32,
    index: u32,
    scratch: [u32; BPF_MEMWORDS],
}

enum Step {
    Next,
    Skip(u32),
    Return(u32),
}

impl Machine {
    fn value(&self, operand: Operand) -> u32 {
        match operand {
            Operand::Constant(value) => value,
            Operand::Index => self.index,
        }
    }

    #[inline]
    fn step(&mut self, instruction: Instruction, data: &Words) -> Step {
        match instruction {
            Instruction::LoadData(word) => self.accumulator = data.0[usize::from(word)],
            Instruction::LoadConstant(value) => self.accumulator = value,
            Instruction::LoadIndexConstant(value) => self.index = value,
            Instruction::LoadScratch(word) => self.accumulator = self.scratch[usize::from(word)],
            Instruction::LoadIndexScratch(word) => self.index = self.scratch[usize::from(word)],
            Instruction::StoreScratch(word) => self.scratch[usize::from(word)] = self.accumulator,
            Instruction::StoreIndexScratch(word) => self.scratch[usize::from(word)] = self.index,
            Instruction::Calculate(operation, operand) => {
                match calculate(operation, self.accumulator, self.value(operand)) {
                    Some(value) => self.accumulator = value,
                    // Division by zero ends the filter.
                    None => return Step::Return(0),
                }
            }
            Instruction::Negate => self.accumulator = self.accumulator.wrapping_neg(),
            Instruction::Jump(count) => return Step::Skip(count),
            Instruction::Branch(condition, operand, if_true, if_false) => {
                let holds = holds(condition, self.accumulator, self.value(operand));
                return Step::Skip(u32::from(if holds { if_true } else { if_false }));
            }
            Instruction::ToIndex => self.index = self.accumulator,
            Instruction::FromIndex => self.accumulator = self.index,
            Instruction::Return(value) => return Step::Return(value),
            Instruction::ReturnAccumulator => return Step::Return(self.accumulator),
        }
        Step::Next
    }
}

/// The result of an operation; `None` for a division by zero.
fn calculate(operation: Operation, one: u32, other: u32) -> Option<u32> {
    Some(match operation {
        Operation::Add => one.wrapping_add(other),
        Operation::Subtract => one.wrapping_sub(other),
        Operation::Multiply => one.wrapping_mul(other),
        Operation::Divide => one.checked_div(other)?,
        Operation::Or => one | other,
        Operation::And => one & other,
        Operation::ShiftLeft => one << (other & SHIFT_MASK),
        Operation::ShiftRight => one >> (other & SHIFT_MASK),
        Operation::Xor => one ^ other,
    })
}

fn holds(condition: Condition, one: u32, other: u32) -> bool {
    match condition {
        Condition::Equal => one == other,
        Condition::Greater => one > other,
        Condition::GreaterOrEqual => one >= other,
        Condition::AnySet => one & other != 0,
    }
}

/// Bits of a code: its class, and in arithmetic and jumps the operation and where the operand comes from.
const CLASS: u16 = 0x07;
const OPERATION: u16 = 0xf0;

/// Decodes one instruction that `rest` others follow.
fn decode(instruction: &SockFilter, rest: usize) -> Result<Instruction, Errno> {
    let SockFilter { code, jt, jf, k } = *instruction;
    if code & !0xff != 0 {
        return Err(Errno::EINVAL);
    }
    let operand = || if code & BPF_X == 0 { Operand::Constant(k) } else { Operand::Index };
    const LOAD_DATA: u16 = BPF_LD | BPF_W | BPF_ABS;
    const LOAD_LENGTH: u16 = BPF_LD | BPF_W | BPF_LEN;
    const LOAD_INDEX_LENGTH: u16 = BPF_LDX | BPF_W | BPF_LEN;
    const LOAD_CONSTANT: u16 = BPF_LD | BPF_W | BPF_IMM;
    const LOAD_INDEX_CONSTANT: u16 = BPF_LDX | BPF_W | BPF_IMM;
    const LOAD_SCRATCH: u16 = BPF_LD | BPF_W | BPF_MEM;
    const LOAD_INDEX_SCRATCH: u16 = BPF_LDX | BPF_W | BPF_MEM;
    const RETURN: u16 = BPF_RET | BPF_K;
    const RETURN_ACCUMULATOR: u16 = BPF_RET | BPF_A;
    const NEGATE: u16 = BPF_ALU | BPF_NEG;
    const JUMP: u16 = BPF_JMP | BPF_JA;
    const TO_INDEX: u16 = BPF_MISC | BPF_TAX;
    const FROM_INDEX: u16 = BPF_MISC | BPF_TXA;
    let length = (DATA_WORDS * 4) as u32;
    Ok(match code {
        LOAD_DATA if k.is_multiple_of(4) && k < length => Instruction::LoadData((k / 4) as u8),
        LOAD_LENGTH => Instruction::LoadConstant(length),
        LOAD_INDEX_LENGTH => Instruction::LoadIndexConstant(length),
        LOAD_CONSTANT => Instruction::LoadConstant(k),
        LOAD_INDEX_CONSTANT => Instruction::LoadIndexConstant(k),
        LOAD_SCRATCH => Instruction::LoadScratch(scratch_word(k)?),
        LOAD_INDEX_SCRATCH => Instruction::LoadIndexScratch(scratch_word(k)?),
        BPF_ST => Instruction::StoreScratch(scratch_word(k)?),
        BPF_STX => Instruction::StoreIndexScratch(scratch_word(k)?),
        RETURN => Instruction::Return(k),
        RETURN_ACCUMULATOR => Instruction::ReturnAccumulator,
        NEGATE => Instruction::Negate,
        TO_INDEX => Instruction::ToIndex,
        FROM_INDEX => Instruction::FromIndex,
        JUMP if (k as usize) < rest => Instruction::Jump(k),
        code if code & CLASS == BPF_ALU => {
            let operation = operation(code & OPERATION)?;
            check_constant(operation, operand())?;
            Instruction::Calculate(operation, operand())
        }
        code if code & CLASS == BPF_JMP && usize::from(jt.max(jf)) < rest => {
            Instruction::Branch(condition(code & OPERATION)?, operand(), jt, jf)
        }
        _ => return Err(Errno::EINVAL),
    })
}

fn scratch_word(number: u32) -> Result<u8, Errno> {
    u8::try_from(number).ok().filter(|&word| usize::from(word) < BPF_MEMWORDS).ok_or(Errno::EINVAL)
}

fn operation(bits: u16) -> Result<Operation, Errno> {
    Ok(match bits {
        BPF_ADD => Operation::Add,
        BPF_SUB => Operation::Subtract,
        BPF_MUL => Operation::Multiply,
        BPF_DIV => Operation::Divide,
        BPF_OR => Operation::Or,
        BPF_AND => Operation::And,
        BPF_LSH => Operation::ShiftLeft,
        BPF_RSH => Operation::ShiftRight,
        BPF_XOR => Operation::Xor,
        _ => return Err(Errno::EINVAL),
    })
}

/// Refuses constants that make no sense: division by zero, shifts out of the word.
fn check_constant(operation: Operation, operand: Operand) -> Result<(), Errno> {
    match (operation, operand) {
        (Operation::Divide, Operand::Constant(0))
        | (Operation::ShiftLeft | Operation::ShiftRight, Operand::Constant(32..)) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

fn condition(bits: u16) -> Result<Condition, Errno> {
    Ok(match bits {
        BPF_JEQ => Condition::Equal,
        BPF_JGT => Condition::Greater,
        BPF_JGE => Condition::GreaterOrEqual,
        BPF_JSET => Condition::AnySet,
        _ => return Err(Errno::EINVAL),
    })
}

/// Whether no way through the program reads a scratch word that it has not written (`check_load_and_stores`).
fn scratch_is_written_first(instructions: &[Instruction]) -> bool {
    // For each place, the words that every jump to it has written.
    let mut written_before = vec![u16::MAX; instructions.len()];
    let mut written: u16 = 0;
    for (place, instruction) in instructions.iter().enumerate() {
        written &= written_before[place];
        let mut jump = |count: usize| written_before[place + 1 + count] &= written;
        match *instruction {
            Instruction::StoreScratch(word) | Instruction::StoreIndexScratch(word) => written |= 1 << word,
            Instruction::LoadScratch(word) | Instruction::LoadIndexScratch(word)
                if written & (1 << word) == 0 =>
            {
                return false;
            }
            Instruction::Jump(count) => {
                jump(count as usize);
                written = u16::MAX;
            }
            Instruction::Branch(_, _, if_true, if_false) => {
                jump(usize::from(if_true));
                jump(usize::from(if_false));
                written = u16::MAX;
            }
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests;
