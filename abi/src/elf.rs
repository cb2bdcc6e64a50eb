//! ELF64 and the auxiliary vector: `elf(5)`, `getauxval(3)`.

use crate::macros::{abi_named_consts, abi_open_enum, abi_structs};

/// The first four bytes.
pub const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

abi_structs! {
    /// `Elf64_Ehdr`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Elf64Header: 64 {
        pub e_ident: [u8; 16],
        pub e_type: u16,
        pub e_machine: u16,
        pub e_version: u32,
        pub e_entry: u64,
        pub e_phoff: u64,
        pub e_shoff: u64,
        pub e_flags: u32,
        pub e_ehsize: u16,
        pub e_phentsize: u16,
        pub e_phnum: u16,
        pub e_shentsize: u16,
        pub e_shnum: u16,
        pub e_shstrndx: u16,
    }

    /// `Elf64_Phdr`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct ProgramHeader: 56 {
        pub p_type: u32,
        pub p_flags: u32,
        pub p_offset: u64,
        pub p_vaddr: u64,
        pub p_paddr: u64,
        pub p_filesz: u64,
        pub p_memsz: u64,
        pub p_align: u64,
    }

    /// `Elf64_Shdr`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct SectionHeader: 64 {
        pub sh_name: u32,
        pub sh_type: u32,
        pub sh_flags: u64,
        pub sh_addr: u64,
        pub sh_offset: u64,
        pub sh_size: u64,
        pub sh_link: u32,
        pub sh_info: u32,
        pub sh_addralign: u64,
        pub sh_entsize: u64,
    }

    /// `Elf64_Sym`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Symbol: 24 {
        pub st_name: u32,
        pub st_info: u8,
        pub st_other: u8,
        pub st_shndx: u16,
        pub st_value: u64,
        pub st_size: u64,
    }

    /// `Elf64_Dyn`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Dynamic: 16 {
        pub d_tag: i64,
        pub d_val: u64,
    }

    /// `Elf64_Nhdr`; name and descriptor follow, each padded to 4 bytes.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct NoteHeader: 12 {
        pub n_namesz: u32,
        pub n_descsz: u32,
        pub n_type: u32,
    }

    /// `Elf64_Verdef`: the definition of a symbol version.
    #[expect(missing_docs, reason = "the names are those of the LSB")]
    pub struct VersionDefinition: 20 {
        pub vd_version: u16,
        pub vd_flags: u16,
        pub vd_ndx: u16,
        pub vd_cnt: u16,
        pub vd_hash: u32,
        pub vd_aux: u32,
        pub vd_next: u32,
    }

    /// `Elf64_Verdaux`: the name of a symbol version.
    #[expect(missing_docs, reason = "the names are those of the LSB")]
    pub struct VersionDefinitionName: 8 {
        pub vda_name: u32,
        pub vda_next: u32,
    }

    /// `Elf64_auxv_t`.
    pub struct AuxEntry: 16 {
        /// [`AuxType`].
        pub a_type: u64,
        /// A number or an address.
        pub a_val: u64,
    }
}

abi_named_consts! { "`elf(5)`", usize;
    EI_CLASS = 4,
    EI_DATA = 5,
    EI_VERSION = 6,
    EI_OSABI = 7,
}

abi_named_consts! { "`elf(5)`", u8;
    ELFCLASS32 = 1,
    ELFCLASS64 = 2,
    ELFDATA2LSB = 1,
    ELFDATA2MSB = 2,
    EV_CURRENT = 1,
    ELFOSABI_NONE = 0,
    ELFOSABI_LINUX = 3,
    STB_LOCAL = 0,
    STB_GLOBAL = 1,
    STB_WEAK = 2,
    STT_NOTYPE = 0,
    STT_OBJECT = 1,
    STT_FUNC = 2,
}

abi_named_consts! { "`elf(5)`", u16;
    ET_NONE = 0,
    ET_REL = 1,
    ET_EXEC = 2,
    ET_DYN = 3,
    ET_CORE = 4,
    EM_386 = 3,
    EM_X86_64 = 62,
    EM_AARCH64 = 183,
    SHN_UNDEF = 0,
    SHN_ABS = 0xfff1,
    PN_XNUM = 0xffff,
    VER_DEF_CURRENT = 1,
    VER_FLG_BASE = 1,
    VER_NDX_LOCAL = 0,
    VER_NDX_GLOBAL = 1,
}

abi_named_consts! { "`elf(5)`", u32;
    PT_NULL = 0,
    PT_LOAD = 1,
    PT_DYNAMIC = 2,
    PT_INTERP = 3,
    PT_NOTE = 4,
    PT_SHLIB = 5,
    PT_PHDR = 6,
    PT_TLS = 7,
    PT_GNU_EH_FRAME = 0x6474_e550,
    PT_GNU_STACK = 0x6474_e551,
    PT_GNU_RELRO = 0x6474_e552,
    PT_GNU_PROPERTY = 0x6474_e553,
    PF_X = 1,
    PF_W = 2,
    PF_R = 4,
    SHT_NULL = 0,
    SHT_PROGBITS = 1,
    SHT_SYMTAB = 2,
    SHT_STRTAB = 3,
    SHT_HASH = 5,
    SHT_DYNAMIC = 6,
    SHT_NOTE = 7,
    SHT_NOBITS = 8,
    SHT_DYNSYM = 11,
    SHT_GNU_HASH = 0x6fff_fff6,
    SHT_GNU_VERDEF = 0x6fff_fffd,
    SHT_GNU_VERSYM = 0x6fff_ffff,
    NT_PRSTATUS = 1,
    NT_PRFPREG = 2,
    NT_PRPSINFO = 3,
    NT_AUXV = 6,
    NT_X86_XSTATE = 0x202,
}

abi_named_consts! { "`elf(5)`", u64;
    SHF_WRITE = 1,
    SHF_ALLOC = 2,
    SHF_EXECINSTR = 4,
}

abi_named_consts! { "`elf(5)`", i64;
    DT_NULL = 0,
    DT_NEEDED = 1,
    DT_HASH = 4,
    DT_STRTAB = 5,
    DT_SYMTAB = 6,
    DT_RELA = 7,
    DT_STRSZ = 10,
    DT_SYMENT = 11,
    DT_SONAME = 14,
    DT_GNU_HASH = 0x6fff_fef5,
    DT_VERSYM = 0x6fff_fff0,
    DT_FLAGS_1 = 0x6fff_fffb,
    DT_VERDEF = 0x6fff_fffc,
    DT_VERDEFNUM = 0x6fff_fffd,
}

abi_open_enum! {
    /// `a_type` of the auxiliary vector.
    pub struct AuxType: u64 {
        AT_NULL = 0,
        AT_IGNORE = 1,
        AT_EXECFD = 2,
        AT_PHDR = 3,
        AT_PHENT = 4,
        AT_PHNUM = 5,
        AT_PAGESZ = 6,
        AT_BASE = 7,
        AT_FLAGS = 8,
        AT_ENTRY = 9,
        AT_NOTELF = 10,
        AT_UID = 11,
        AT_EUID = 12,
        AT_GID = 13,
        AT_EGID = 14,
        AT_PLATFORM = 15,
        AT_HWCAP = 16,
        AT_CLKTCK = 17,
        AT_SECURE = 23,
        AT_BASE_PLATFORM = 24,
        AT_RANDOM = 25,
        AT_HWCAP2 = 26,
        AT_RSEQ_FEATURE_SIZE = 27,
        AT_RSEQ_ALIGN = 28,
        AT_HWCAP3 = 29,
        AT_HWCAP4 = 30,
        AT_EXECFN = 31,
        AT_SYSINFO_EHDR = 33,
        AT_MINSIGSTKSZ = 51,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_values_are_those_of_the_c_library() {
        assert_eq!(size_of::<Elf64Header>(), size_of::<libc::Elf64_Ehdr>());
        assert_eq!(size_of::<ProgramHeader>(), size_of::<libc::Elf64_Phdr>());
        assert_eq!(size_of::<SectionHeader>(), size_of::<libc::Elf64_Shdr>());
        assert_eq!(size_of::<Symbol>(), size_of::<libc::Elf64_Sym>());
        assert_eq!(AuxType::AT_MINSIGSTKSZ.0, libc::AT_MINSIGSTKSZ);
        assert_eq!(AuxType(33).name(), Some("AT_SYSINFO_EHDR"));
        assert_eq!(PT_GNU_STACK, libc::PT_GNU_STACK);
    }
}
