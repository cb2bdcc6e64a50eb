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
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
        SockFilter { code, jt, jf, k }
    }

    fn statement(code: u16, k: u32) -> SockFilter {
        instruction(code, 0, 0, k)
    }

    const RETURN_ALL: SockFilter = SockFilter { code: BPF_RET | BPF_A, jt: 0, jf: 0, k: 0 };

    /// The plainest way to do what `filter` says: raw codes, one at a time, with wide numbers. `None` if it does what no filter may.
    fn model(filter: &[SockFilter], data: &[u8]) -> Option<u32> {
        let (mut a, mut x) = (0_u64, 0_u64);
        let mut memory = [None::<u64>; BPF_MEMWORDS];
        let mut at = 0;
        loop {
            let SockFilter { code, jt, jf, k } = *filter.get(at)?;
            let k = u64::from(k);
            let source = if code & 8 == 0 { k } else { x };
            let mut skip = 0;
            match code {
                0x20 => {
                    let bytes = data.get(k as usize..k as usize + 4).filter(|_| k % 4 == 0)?;
                    a = u32::from_ne_bytes(bytes.try_into().ok()?).into();
                }
                0x80 => a = data.len() as u64,
                0x81 => x = data.len() as u64,
                0x00 => a = k,
                0x01 => x = k,
                0x60 => a = (*memory.get(k as usize)?)?,
                0x61 => x = (*memory.get(k as usize)?)?,
                0x02 => *memory.get_mut(k as usize)? = Some(a),
                0x03 => *memory.get_mut(k as usize)? = Some(x),
                0x04 | 0x0c => a += source,
                0x14 | 0x1c => a = a + (1 << 32) - source,
                0x24 | 0x2c => a *= source,
                0x34 | 0x3c if source == 0 => return if code == 0x3c { Some(0) } else { None },
                0x34 | 0x3c => a /= source,
                0x44 | 0x4c => a |= source,
                0x54 | 0x5c => a &= source,
                0x64 | 0x74 if source > 31 => return None,
                0x64 | 0x6c => a <<= source % 32,
                0x74 | 0x7c => a >>= source % 32,
                0x84 => a = (1 << 32) - a,
                0xa4 | 0xac => a ^= source,
                0x05 => skip = k as usize,
                0x15 | 0x1d => skip = usize::from(if a == source { jt } else { jf }),
                0x25 | 0x2d => skip = usize::from(if a > source { jt } else { jf }),
                0x35 | 0x3d => skip = usize::from(if a >= source { jt } else { jf }),
                0x45 | 0x4d => skip = usize::from(if a & source != 0 { jt } else { jf }),
                0x07 => x = a,
                0x87 => a = x,
                0x06 => return Some(k as u32),
                0x16 => return Some(a as u32),
                _ => return None,
            }
            a %= 1 << 32;
            at += 1 + skip;
        }
    }

    /// All codes that filters may use.
    const CODES: [u16; 39] = [
        0x20, 0x80, 0x81, 0x00, 0x01, 0x60, 0x61, 0x02, 0x03, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c,
        0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0x84, 0xa4, 0xac, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35,
        0x3d, 0x45, 0x4d, 0x07, 0x87,
    ];

    fn any_instruction() -> impl Strategy<Value = SockFilter> {
        let code = (0..CODES.len()).prop_map(|index| CODES[index]);
        let small = prop_oneof![0..4_u32, (0..16_u32).prop_map(|word| word * 4)];
        let constant = prop_oneof![8 => small, 1 => any::<u32>()];
        (code, 0..4_u8, 0..4_u8, constant).prop_map(|(code, jt, jf, k)| instruction(code, jt, jf, k))
    }

    fn any_filter() -> impl Strategy<Value = Vec<SockFilter>> {
        let end = prop_oneof![
            proptest::strategy::Just(RETURN_ALL),
            any::<u32>().prop_map(|k| statement(BPF_RET | BPF_K, k))
        ];
        (proptest::collection::vec(any_instruction(), 0..10), end).prop_map(|(mut filter, end)| {
            filter.push(end);
            filter
        })
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4096))]

        #[test]
        fn what_passes_the_checker_does_what_the_model_does(filter in any_filter(), data in any::<[u32; 16]>()) {
            if let Ok(program) = Program::new(&filter) {
                let words = Words(data);
                prop_assert_eq!(Some(program.run(&words)), model(&filter, data.as_bytes()));
            }
        }

        #[test]
        fn arbitrary_codes_never_harm(codes in proptest::collection::vec(any::<(u16, u8, u8, u32)>(), 0..8)) {
            let mut filter: Vec<SockFilter> =
                codes.into_iter().map(|(code, jt, jf, k)| instruction(code, jt, jf, k)).collect();
            filter.push(RETURN_ALL);
            if let Ok(program) = Program::new(&filter) {
                let data = [7_u32; 16];
                prop_assert!(model(&filter, data.as_bytes()) == Some(program.run(&Words(data))));
            }
        }
    }

    #[test]
    fn straight_line_code_of_all_operations_agrees() {
        let mut filter = vec![statement(0x20, 4), statement(0x02, 3), statement(0x61, 3), statement(0x01, 5)];
        filter.extend(
            [0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c, 0x7c, 0xac, 0x84].map(|code| statement(code, 1)),
        );
        filter.push(RETURN_ALL);
        let data = SeccompData { nr: 1, arch: 0xc000_003e, ..SeccompData::default() };
        let program = Program::new(&filter).unwrap();
        assert_eq!(Some(program.run(&Words::from(&data))), model(&filter, data.as_bytes()));
    }

    #[test]
    fn refuses_what_linux_refuses() {
        let refused = |filter: &[SockFilter]| Program::new(filter) == Err(Errno::EINVAL);
        assert!(refused(&[]));
        assert!(refused(&vec![RETURN_ALL; BPF_MAXINSNS + 1]));
        assert!(!refused(&vec![RETURN_ALL; BPF_MAXINSNS]));
        assert!(refused(&[statement(BPF_LD | BPF_IMM, 1)]), "no return at the end");
        for bad in [
            statement(0x20, 64),
            statement(0x20, 2),
            statement(0x30, 0), // a byte
            statement(0x40, 0), // relative to the index
            statement(0x34, 0),
            statement(0x94, 3), // modulo
            statement(0x64, 32),
            statement(0x60, 0),
            statement(0x02, 16),
            statement(0x05, 1),
            instruction(0x15, 1, 0, 0),
            instruction(0x15, 0, 1, 0),
            statement(0x0e, 0),
            statement(0x120, 0),
        ] {
            assert!(refused(&[bad, RETURN_ALL]), "{bad:?}");
        }
    }

    #[test]
    fn a_branch_around_a_store_is_found() {
        let load = statement(BPF_LD | BPF_MEM, 0);
        let around = [instruction(0x15, 1, 0, 0), statement(BPF_ST, 0), load, RETURN_ALL];
        assert_eq!(Program::new(&around), Err(Errno::EINVAL));
        let both = [
            instruction(0x15, 0, 2, 0),
            statement(BPF_ST, 0),
            statement(0x05, 1),
            statement(BPF_STX, 0),
            load,
            RETURN_ALL,
        ];
        assert!(Program::new(&both).is_ok());
    }
}
