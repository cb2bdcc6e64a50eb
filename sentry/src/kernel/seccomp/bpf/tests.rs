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
    filter
        .extend([0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c, 0x7c, 0xac, 0x84].map(|code| statement(code, 1)));
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
