//! The vDSO as an ELF shared object, put together in memory: `vdso(7)`.
//!
//! One page: headers, symbols (each function as `__vdso_NAME` and weakly as `NAME`, version `LINUX_2.6`), both hash tables, the
//! dynamic section, a note, the code at a fixed place, and section headers for debuggers.

use bartizan_abi::elf::{
    DT_GNU_HASH, DT_HASH, DT_NULL, DT_SONAME, DT_STRSZ, DT_STRTAB, DT_SYMENT, DT_SYMTAB, DT_VERDEF,
    DT_VERDEFNUM, DT_VERSYM, Dynamic, ELF_MAGIC, ELFCLASS64, ELFDATA2LSB, EM_X86_64, ET_DYN, EV_CURRENT,
    Elf64Header, NoteHeader, PF_R, PF_X, PT_DYNAMIC, PT_LOAD, PT_NOTE, ProgramHeader, SHF_ALLOC,
    SHF_EXECINSTR, SHT_DYNAMIC, SHT_DYNSYM, SHT_GNU_HASH, SHT_GNU_VERDEF, SHT_GNU_VERSYM, SHT_HASH, SHT_NOTE,
    SHT_PROGBITS, SHT_STRTAB, STB_GLOBAL, STB_WEAK, STT_FUNC, SectionHeader, Symbol, VER_DEF_CURRENT,
    VER_FLG_BASE, VersionDefinition, VersionDefinitionName,
};
use zerocopy::IntoBytes;

use super::code::{self, CODE_OFFSET};

const SONAME: &str = "linux-vdso.so.1";
const VERSION: &str = "LINUX_2.6";
/// The version index of all symbols: 1 is the object itself.
const VERSION_INDEX: u16 = 2;
/// What the note says: the version of Linux whose interface this is, as `LINUX_VERSION_CODE`.
const LINUX_VERSION: u32 = (6 << 16) | (18 << 8);
const PROGRAM_HEADERS: usize = 3;
/// The index of the section `.text` in the table of [`build`].
const TEXT_SECTION: u16 = 9;

/// Bytes that grow, with a name for each part.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    section_names: Vec<u8>,
    sections: Vec<SectionHeader>,
}

impl Writer {
    fn align(&mut self, alignment: usize) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
        self.bytes.len() as u64
    }

    /// Appends a section and returns where it starts.
    fn section(&mut self, name: &str, header: SectionHeader, content: &[u8]) -> u64 {
        let start = self.align(header.sh_addralign.max(1) as usize);
        self.bytes.extend_from_slice(content);
        let sh_name = self.section_names.len() as u32;
        self.section_names.extend_from_slice(name.as_bytes());
        self.section_names.push(0);
        let in_memory = header.sh_flags & SHF_ALLOC != 0;
        self.sections.push(SectionHeader {
            sh_name,
            sh_addr: if in_memory { start } else { 0 },
            sh_offset: start,
            sh_size: content.len() as u64,
            ..header
        });
        start
    }
}

/// Names, one after the other; the first is empty.
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        at
    }
}

/// The image, at most one page long, to be mapped at a page boundary right above the parameter page.
pub fn build() -> Vec<u8> {
    let mut strings = Strings(vec![0]);
    let soname = strings.add(SONAME);
    let version = strings.add(VERSION);
    let (names, symbols) = symbols(&mut strings);

    let mut writer = Writer::default();
    writer.bytes.resize(size_of::<Elf64Header>() + PROGRAM_HEADERS * size_of::<ProgramHeader>(), 0);
    writer.section("", SectionHeader::default(), &[]);
    writer.sections[0] = SectionHeader::default();
    let hash = writer.section(".hash", read_only(SHT_HASH, 8, 4, 3, 0), sysv_hash(&names).as_bytes());
    let gnu_hash = writer.section(".gnu.hash", read_only(SHT_GNU_HASH, 8, 0, 3, 0), &gnu_hash(&names));
    let symbol_size = size_of::<Symbol>() as u64;
    let dynsym = writer.section(".dynsym", read_only(SHT_DYNSYM, 8, symbol_size, 4, 1), symbols.as_bytes());
    let dynstr = writer.section(".dynstr", read_only(SHT_STRTAB, 1, 0, 0, 0), &strings.0);
    let mut indices = vec![VERSION_INDEX; symbols.len()];
    indices[0] = 0;
    let versym = writer.section(".gnu.version", read_only(SHT_GNU_VERSYM, 2, 2, 3, 0), indices.as_bytes());
    let definitions = version_definitions(soname, version);
    let verdef = writer.section(".gnu.version_d", read_only(SHT_GNU_VERDEF, 8, 0, 4, 2), &definitions);
    let note_content = note();
    let note = writer.section(".note", read_only(SHT_NOTE, 4, 0, 0, 0), &note_content);
    let dynamic_content = [
        (DT_SONAME, u64::from(soname)),
        (DT_HASH, hash),
        (DT_GNU_HASH, gnu_hash),
        (DT_STRTAB, dynstr),
        (DT_SYMTAB, dynsym),
        (DT_STRSZ, strings.0.len() as u64),
        (DT_SYMENT, symbol_size),
        (DT_VERSYM, versym),
        (DT_VERDEF, verdef),
        (DT_VERDEFNUM, 2),
        (DT_NULL, 0),
    ]
    .map(|(d_tag, d_val)| Dynamic { d_tag, d_val });
    let dynamic_header = read_only(SHT_DYNAMIC, 8, size_of::<Dynamic>() as u64, 4, 0);
    let dynamic = writer.section(".dynamic", dynamic_header, dynamic_content.as_bytes());

    debug_assert!(writer.bytes.len() <= CODE_OFFSET, "headers run into the code");
    writer.bytes.resize(CODE_OFFSET, 0);
    let text = SectionHeader { sh_flags: SHF_ALLOC | SHF_EXECINSTR, ..read_only(SHT_PROGBITS, 16, 0, 0, 0) };
    writer.section(".text", text, code::bytes());

    let segments = [
        segment(PT_LOAD, PF_R | PF_X, 0, 0, 0x1000),
        segment(PT_DYNAMIC, PF_R, dynamic, dynamic_content.as_bytes().len() as u64, 8),
        segment(PT_NOTE, PF_R, note, note_content.len() as u64, 4),
    ];
    finish(writer, segments)
}

/// Appends section names and headers, then fills in the ELF header and the program headers.
fn finish(mut writer: Writer, mut segments: [ProgramHeader; PROGRAM_HEADERS]) -> Vec<u8> {
    let names_at = writer.section_names.len();
    writer.section_names.extend_from_slice(b".shstrtab\0");
    let names = std::mem::take(&mut writer.section_names);
    let header = SectionHeader { sh_type: SHT_STRTAB, sh_addralign: 1, ..SectionHeader::default() };
    writer.section("", header, &names);
    if let Some(last) = writer.sections.last_mut() {
        last.sh_name = names_at as u32;
    }
    let e_shoff = writer.align(8);
    let sections = std::mem::take(&mut writer.sections);
    writer.bytes.extend_from_slice(sections.as_bytes());

    let size = writer.bytes.len() as u64;
    segments[0].p_filesz = size;
    segments[0].p_memsz = size;
    let mut e_ident = [0; 16];
    e_ident[..4].copy_from_slice(&ELF_MAGIC);
    e_ident[4..7].copy_from_slice(&[ELFCLASS64, ELFDATA2LSB, EV_CURRENT]);
    let header = Elf64Header {
        e_ident,
        e_type: ET_DYN,
        e_machine: EM_X86_64,
        e_version: u32::from(EV_CURRENT),
        e_entry: CODE_OFFSET as u64,
        e_phoff: size_of::<Elf64Header>() as u64,
        e_shoff,
        e_flags: 0,
        e_ehsize: size_of::<Elf64Header>() as u16,
        e_phentsize: size_of::<ProgramHeader>() as u16,
        e_phnum: PROGRAM_HEADERS as u16,
        e_shentsize: size_of::<SectionHeader>() as u16,
        e_shnum: sections.len() as u16,
        e_shstrndx: sections.len() as u16 - 1,
    };
    let start = size_of::<Elf64Header>();
    writer.bytes[..start].copy_from_slice(header.as_bytes());
    writer.bytes[start..start + segments.as_bytes().len()].copy_from_slice(segments.as_bytes());
    writer.bytes
}

fn read_only(sh_type: u32, sh_addralign: u64, sh_entsize: u64, sh_link: u32, sh_info: u32) -> SectionHeader {
    SectionHeader {
        sh_type,
        sh_flags: SHF_ALLOC,
        sh_addralign,
        sh_entsize,
        sh_link,
        sh_info,
        ..SectionHeader::default()
    }
}

fn segment(p_type: u32, p_flags: u32, at: u64, size: u64, p_align: u64) -> ProgramHeader {
    ProgramHeader {
        p_type,
        p_flags,
        p_offset: at,
        p_vaddr: at,
        p_paddr: at,
        p_filesz: size,
        p_memsz: size,
        p_align,
    }
}

/// The symbol table with its first, empty entry, and the names of all other entries.
fn symbols(strings: &mut Strings) -> (Vec<String>, Vec<Symbol>) {
    let mut names = Vec::new();
    let mut symbols = vec![Symbol::default()];
    for (prefix, binding) in [("__vdso_", STB_GLOBAL), ("", STB_WEAK)] {
        for function in code::functions() {
            let name = format!("{prefix}{}", function.name);
            symbols.push(Symbol {
                st_name: strings.add(&name),
                st_info: binding << 4 | STT_FUNC,
                st_other: 0,
                st_shndx: TEXT_SECTION,
                st_value: u64::from(function.offset),
                st_size: u64::from(function.size),
            });
            names.push(name);
        }
    }
    (names, symbols)
}

/// The hash function of the System V ABI.
fn sysv_hash_of(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

/// `DT_HASH`: bucket and chain counts, buckets, chains.
fn sysv_hash(names: &[String]) -> Vec<u32> {
    const BUCKETS: usize = 3;
    let mut buckets = [0u32; BUCKETS];
    let mut chains = vec![0u32; names.len() + 1];
    for (index, name) in (1..).zip(names) {
        let bucket = &mut buckets[sysv_hash_of(name) as usize % BUCKETS];
        chains[index as usize] = std::mem::replace(bucket, index);
    }
    let mut table = vec![BUCKETS as u32, chains.len() as u32];
    table.extend_from_slice(&buckets);
    table.extend_from_slice(&chains);
    table
}

/// `DT_GNU_HASH` with one bucket, which holds all symbols, and a Bloom filter that lets all names pass.
fn gnu_hash(names: &[String]) -> Vec<u8> {
    let [buckets, first_symbol, bloom_words, bloom_shift] = [1u32, 1, 1, 6];
    let mut table = [buckets, first_symbol, bloom_words, bloom_shift].as_bytes().to_vec();
    table.extend_from_slice(&u64::MAX.to_le_bytes());
    table.extend_from_slice(&first_symbol.to_le_bytes());
    for (index, name) in names.iter().enumerate() {
        let hash =
            name.bytes().fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)));
        let end_of_chain = u32::from(index + 1 == names.len());
        table.extend_from_slice(&(hash & !1 | end_of_chain).to_le_bytes());
    }
    table
}

/// The two versions that the object defines: itself, and the one of all its symbols.
fn version_definitions(soname: u32, version: u32) -> Vec<u8> {
    let size = size_of::<VersionDefinition>() as u32;
    let entry = size + size_of::<VersionDefinitionName>() as u32;
    let definition = |vd_flags, vd_ndx, hash, vd_next| VersionDefinition {
        vd_version: VER_DEF_CURRENT,
        vd_flags,
        vd_ndx,
        vd_cnt: 1,
        vd_hash: hash,
        vd_aux: size,
        vd_next,
    };
    let mut bytes = Vec::new();
    bytes.extend_from_slice(definition(VER_FLG_BASE, 1, sysv_hash_of(SONAME), entry).as_bytes());
    bytes.extend_from_slice(VersionDefinitionName { vda_name: soname, vda_next: 0 }.as_bytes());
    bytes.extend_from_slice(definition(0, VERSION_INDEX, sysv_hash_of(VERSION), 0).as_bytes());
    bytes.extend_from_slice(VersionDefinitionName { vda_name: version, vda_next: 0 }.as_bytes());
    bytes
}

fn note() -> Vec<u8> {
    let mut bytes = NoteHeader { n_namesz: 6, n_descsz: 4, n_type: 0 }.as_bytes().to_vec();
    bytes.extend_from_slice(b"Linux\0\0\0");
    bytes.extend_from_slice(&LINUX_VERSION.to_le_bytes());
    bytes
}
