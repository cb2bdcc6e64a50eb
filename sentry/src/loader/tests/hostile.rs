//! What is wrong gets the errno that the host gives, and nothing panics.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use bartizan_abi::Errno;
use bartizan_abi::elf::{EM_386, ET_REL, PT_INTERP, ProgramHeader};
use proptest::prelude::*;

use super::fixture::{Machine, SmallElf};

/// What becomes of an `execve`.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Refused(i32),
    Killed,
    Runs,
}

fn ours(content: &[u8]) -> Verdict {
    let machine = Machine::new().with("/a", content).with("/short", b"\x7fELF").with("/text", &[b'x'; 100]);
    match machine.prepare("/a", &["a"]) {
        Err(errno) => Verdict::Refused(errno.raw()),
        Ok(program) => match machine.load(program) {
            Err(_) => Verdict::Killed,
            Ok(_) => Verdict::Runs,
        },
    }
}

/// The host's verdict.
fn host(directory: &std::path::Path, content: &[u8]) -> Verdict {
    let path = directory.join("program");
    let _absent = std::fs::remove_file(&path);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path).expect("a file");
    file.write_all(content).expect("a written file");
    drop(file);
    let mut command = Command::new(&path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    loop {
        match command.status() {
            // A child of another test may still have the file open for a moment.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            Err(error) => return Verdict::Refused(error.raw_os_error().unwrap_or(0)),
            Ok(status) if status.signal() == Some(11) => return Verdict::Killed,
            Ok(_) => return Verdict::Runs,
        }
    }
}

type Change = (&'static str, fn(&mut SmallElf));

const CHANGES: &[Change] = &[
    ("nothing", |_| {}),
    ("magic", |elf| elf.header.e_ident[3] = b'G'),
    ("class", |elf| elf.header.e_ident[4] = 1),
    ("byte order", |elf| elf.header.e_ident[5] = 2),
    ("version", |elf| elf.header.e_version = 77),
    ("type", |elf| elf.header.e_type = ET_REL),
    ("machine", |elf| elf.header.e_machine = EM_386 + 100),
    ("header size", |elf| elf.header.e_ehsize = 1),
    ("entry size", |elf| elf.header.e_phentsize = 57),
    ("no headers", |elf| elf.header.e_phoff = u64::MAX),
    ("headers behind the end", |elf| elf.header.e_phoff = 0x1ff0),
    ("too many headers", |elf| elf.header.e_phnum = 1171),
    ("more headers than the file", |elf| elf.header.e_phnum = 1170),
    ("a file that ends in the header", |elf| elf.length = 40),
    ("a file that ends in the headers", |elf| elf.length = 100),
    ("empty", |elf| elf.length = 0),
    ("more file than memory", |elf| elf.programs[1].p_memsz = 0x10),
    ("not congruent", |elf| elf.programs[1].p_offset = 0x1011),
    ("offset before the page", |elf| elf.programs[1].p_offset = 0x8),
    ("huge offset", |elf| elf.programs[1].p_offset = 0xffff_ffff_ffff_f010),
    ("huge memory", |elf| elf.programs[1].p_memsz = 0x7fff_ffff_ffff_ffff),
    ("wrapping memory", |elf| elf.programs[1].p_memsz = u64::MAX),
    ("kernel address", |elf| elf.programs[1].p_vaddr = 0xffff_8000_0000_2010),
    ("address not canonical", |elf| elf.programs[1].p_vaddr = 0x8000_0000_2010),
    ("entry outside", |elf| elf.header.e_entry = 0xffff_ffff_ffff_0000),
    ("interpreter of one byte", |elf| interpreter(elf, b"\0", 1)),
    ("empty interpreter", |elf| interpreter(elf, b"\0\0", 2)),
    ("interpreter without end", |elf| interpreter(elf, b"/nonexistent", 12)),
    ("interpreter too long", |elf| interpreter(elf, b"/nonexistent\0", 4097)),
    ("interpreter behind the end", |elf| interpreter_at(elf, 0x5000, b"", 16)),
    ("interpreter that is missing", |elf| interpreter(elf, b"/nonexistent/ld.so\0", 19)),
    ("empty movable", |elf| {
        *elf = elf.clone().movable();
        elf.programs[0].p_memsz = 0;
        elf.programs[0].p_filesz = 0;
        elf.programs.truncate(1);
    }),
    ("movable of wrapping size", |elf| {
        *elf = elf.clone().movable();
        elf.programs[1].p_memsz = u64::MAX - 0x3000;
    }),
];

fn interpreter(elf: &mut SmallElf, path: &[u8], length: u64) {
    interpreter_at(elf, 0x400, path, length);
}

fn interpreter_at(elf: &mut SmallElf, offset: u64, path: &[u8], length: u64) {
    let header =
        ProgramHeader { p_type: PT_INTERP, p_offset: offset, p_filesz: length, ..ProgramHeader::default() };
    elf.programs.insert(0, header);
    elf.pieces.push((offset as usize, path.to_vec()));
}

#[test]
fn hostile_files_get_the_hosts_verdict() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut wrong = Vec::new();
    for (what, change) in CHANGES {
        let mut elf = SmallElf::new();
        change(&mut elf);
        let content = elf.bytes();
        let (ours, host) = (ours(&content), host(directory.path(), &content));
        if ours != host {
            wrong.push(format!("{what}: {ours:?}, the host says {host:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn scripts_get_the_hosts_verdict() {
    let directory = tempfile::tempdir().expect("a directory");
    let long = format!("#!/{}\n", "x".repeat(300));
    let blank = format!("#!{}", " ".repeat(300));
    let texts = [
        "#!",
        "#!\n",
        "#! \t\n",
        "#!/nonexistent",
        "#!\0\n",
        "#",
        "echo x",
        &long,
        &blank,
        "#!/nonexistent x",
    ];
    for text in texts {
        assert_eq!(ours(text.as_bytes()), host(directory.path(), text.as_bytes()), "{text:?}");
    }
}

#[test]
fn broken_interpreters_are_told_apart() {
    let broken = |path: &[u8]| ours(&SmallElf::new().movable().with_interpreter(path).bytes());
    assert_eq!(broken(b"/short\0"), Verdict::Refused(Errno::EIO.raw()));
    assert_eq!(broken(b"/text\0"), Verdict::Refused(Errno::ELIBBAD.raw()));
}

/// Values that lie at the edges of checks.
fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..0x4000u64,
        (0..64u32).prop_map(|bit| 1 << bit),
        (0..0x3000u64).prop_map(|less| u64::MAX - less),
        (0..0x3000u64).prop_map(|less| 0x7fff_ffff_f000 - less),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn headers_of_any_content_never_panic(
        movable in any::<bool>(),
        changes in proptest::collection::vec((0..4usize, 0..8usize, edge()), 1..6),
        flips in proptest::collection::vec((0..0x200usize, any::<u8>()), 0..4),
        length in prop_oneof![Just(0x2000usize), 0..0x2000usize],
    ) {
        let mut elf = SmallElf::new();
        if movable {
            elf = elf.movable();
        }
        elf = elf.with_interpreter(b"/a\0");
        elf.length = length;
        for (index, field, value) in changes {
            match elf.programs.get_mut(index) {
                None => elf.header.e_phoff = value,
                Some(program) => match field {
                    0 => program.p_type = value as u32 & 7,
                    1 => program.p_flags = value as u32,
                    2 => program.p_offset = value,
                    3 => program.p_vaddr = value,
                    4 => program.p_filesz = value,
                    5 => program.p_memsz = value,
                    6 => program.p_align = value,
                    _ => elf.header.e_entry = value,
                },
            }
        }
        let mut content = elf.bytes();
        for (at, value) in flips {
            if let Some(byte) = content.get_mut(at) {
                *byte = value;
            }
        }
        let _any_verdict = ours(&content);
    }

    #[test]
    fn scripts_of_any_content_never_panic(text in proptest::collection::vec(prop_oneof![Just(b' '), Just(0), Just(b'\n'), Just(b'/'), any::<u8>()], 0..300)) {
        let content = [b"#!".as_slice(), &text].concat();
        let _any_verdict = ours(&content);
    }
}
