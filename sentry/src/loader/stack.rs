//! The contents of a new stack: System V ABI, 3.4.1, and Linux' `create_elf_tables`.
//!
//! From the top down: a null word, the program's name, environment strings, argument strings, a gap of random size, the machine's name,
//! random bytes; then, from the stack pointer up: the count of arguments, their addresses, those of the environment, and the
//! auxiliary vector.

use std::ops::Range;

use bartizan_abi::Errno;
use zerocopy::IntoBytes;

use super::arguments::Arguments;
use super::auxiliary::{self, ProgramFacts, StackAddresses};

const PLATFORM: &[u8] = b"x86_64\0";
const WORD: u64 = 8;
const ALIGNMENT: u64 = 16;

/// What a new stack holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackImage {
    /// The stack pointer: where `bytes` go.
    pub pointer: u64,
    /// Everything up to the top.
    pub bytes: Vec<u8>,
    /// Where the argument strings are.
    pub arguments: Range<u64>,
    /// Where the environment strings are.
    pub environment: Range<u64>,
    /// The auxiliary vector alone.
    pub vector: Vec<u8>,
}

/// Where the parts of a stack are that do not depend on the rest.
struct Plan {
    arguments: Range<u64>,
    environment: Range<u64>,
    addresses: StackAddresses,
    pointer: u64,
}

fn strings_size(strings: &[Vec<u8>]) -> u64 {
    strings.iter().map(|string| string.len() as u64 + 1).sum()
}

fn plan(top: u64, shift: u64, name: &[u8], arguments: &Arguments) -> Option<Plan> {
    let name_at = top.checked_sub(WORD)?.checked_sub(name.len() as u64 + 1)?;
    let environment = name_at.checked_sub(strings_size(&arguments.envp))?..name_at;
    let strings = environment.start.checked_sub(strings_size(&arguments.argv))?..environment.start;
    let platform =
        (strings.start.checked_sub(shift)? & !(ALIGNMENT - 1)).checked_sub(PLATFORM.len() as u64)?;
    let random = platform.checked_sub(16)?;
    let words = arguments.argv.len() + arguments.envp.len() + 3 + auxiliary::LENGTH * 2;
    let pointer = random.checked_sub(words as u64 * WORD)? & !(ALIGNMENT - 1);
    let addresses = StackAddresses { random, name: name_at, platform };
    Some(Plan { arguments: strings, environment, addresses, pointer })
}

/// The stack below `top` (on a page) of a program that was executed as `name`; `shift` bytes and the `random` bytes are chosen by chance.
///
/// # Errors
/// `E2BIG` if there is no room above address zero.
pub fn build(
    top: u64,
    shift: u64,
    random: [u8; 16],
    name: &[u8],
    arguments: &Arguments,
    facts: &ProgramFacts,
) -> Result<StackImage, Errno> {
    let plan = plan(top, shift, name, arguments).ok_or(Errno::E2BIG)?;
    let vector = auxiliary::vector(facts, &plan.addresses);
    let mut words = vec![arguments.argv.len() as u64];
    push_addresses(&mut words, &arguments.argv, plan.arguments.start);
    push_addresses(&mut words, &arguments.envp, plan.environment.start);

    let mut bytes = Vec::with_capacity((top - plan.pointer) as usize);
    bytes.extend_from_slice(words.as_bytes());
    bytes.extend_from_slice(vector.as_bytes());
    let mut put = |address: u64, content: &[u8]| {
        bytes.resize((address - plan.pointer) as usize, 0);
        bytes.extend_from_slice(content);
    };
    put(plan.addresses.random, &random);
    put(plan.addresses.platform, PLATFORM);
    put(plan.arguments.start, &[]);
    for string in arguments.argv.iter().chain(&arguments.envp) {
        bytes.extend_from_slice(string);
        bytes.push(0);
    }
    bytes.extend_from_slice(name);
    bytes.resize((top - plan.pointer) as usize, 0);
    Ok(StackImage {
        pointer: plan.pointer,
        bytes,
        arguments: plan.arguments,
        environment: plan.environment,
        vector: vector.as_bytes().to_vec(),
    })
}

/// The addresses of strings that lie one after the other, with the null word behind.
fn push_addresses(words: &mut Vec<u64>, strings: &[Vec<u8>], mut address: u64) {
    for string in strings {
        words.push(address);
        address += string.len() as u64 + 1;
    }
    words.push(0);
}

#[cfg(test)]
mod tests {
    use bartizan_abi::elf::AuxType;

    use super::*;
    use crate::loader::auxiliary::Identity;

    const TOP: u64 = 0x7fff_ffff_f000;
    const FACTS: ProgramFacts = ProgramFacts {
        vdso: 0x7000_0000,
        table: 0x40_0040,
        table_length: 9,
        interpreter_base: 0x7100_0000,
        entry: 0x40_1000,
        identity: Identity { uid: 1, euid: 2, gid: 3, egid: 4, secure: true },
    };

    fn word(image: &StackImage, address: u64) -> u64 {
        let at = (address - image.pointer) as usize;
        u64::from_ne_bytes(image.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    fn string(image: &StackImage, address: u64) -> &[u8] {
        let text = &image.bytes[(address - image.pointer) as usize..];
        &text[..text.iter().position(|byte| *byte == 0).expect("an end")]
    }

    fn auxiliary(image: &StackImage, arguments: &Arguments, kind: AuxType) -> Option<u64> {
        let start = image.pointer + (arguments.argv.len() + arguments.envp.len() + 3) as u64 * 8;
        (0..auxiliary::LENGTH as u64)
            .find(|index| word(image, start + index * 16) == kind.0)
            .map(|index| word(image, start + index * 16 + 8))
    }

    #[test]
    fn a_program_finds_its_strings_and_facts() {
        let arguments = Arguments {
            argv: vec![b"sh".to_vec(), b"".to_vec(), b"-c".to_vec()],
            envp: vec![b"PATH=/bin".to_vec()],
        };
        for shift in [0, 1, 4095, 8191] {
            let image = build(TOP, shift, [7; 16], b"/bin/sh", &arguments, &FACTS).expect("it fits");
            assert_eq!(image.pointer % 16, 0);
            assert_eq!(image.pointer + image.bytes.len() as u64, TOP);
            assert_eq!(word(&image, image.pointer), 3);
            assert_eq!(string(&image, word(&image, image.pointer + 8)), b"sh");
            assert_eq!(string(&image, word(&image, image.pointer + 16)), b"");
            assert_eq!(string(&image, word(&image, image.pointer + 24)), b"-c");
            assert_eq!(word(&image, image.pointer + 32), 0);
            assert_eq!(string(&image, word(&image, image.pointer + 40)), b"PATH=/bin");
            assert_eq!(word(&image, image.pointer + 48), 0);
            assert_eq!(auxiliary(&image, &arguments, AuxType::AT_PHNUM), Some(9));
            assert_eq!(auxiliary(&image, &arguments, AuxType::AT_SECURE), Some(1));
            assert_eq!(auxiliary(&image, &arguments, AuxType::AT_NULL), Some(0));
            let name = auxiliary(&image, &arguments, AuxType::AT_EXECFN).expect("a name");
            assert_eq!(string(&image, name), b"/bin/sh");
            let platform = auxiliary(&image, &arguments, AuxType::AT_PLATFORM).expect("a platform");
            assert_eq!(string(&image, platform), b"x86_64");
            let random = auxiliary(&image, &arguments, AuxType::AT_RANDOM).expect("random bytes");
            assert_eq!(word(&image, random), 0x0707_0707_0707_0707);
            assert_eq!(image.arguments.end, image.environment.start);
            assert_eq!(image.environment.end, name);
        }
    }

    #[test]
    fn a_stack_that_does_not_fit_is_refused() {
        let arguments = Arguments { argv: vec![vec![b'a'; 5000]], envp: Vec::new() };
        assert_eq!(build(4096, 0, [0; 16], b"a", &arguments, &FACTS), Err(Errno::E2BIG));
        assert_eq!(build(0, 0, [0; 16], b"a", &Arguments::default(), &FACTS), Err(Errno::E2BIG));
    }
}
