//! Files in memory, a platform that runs nothing, and a small ELF file to start from.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::elf::{
    ELF_MAGIC, EM_X86_64, ET_EXEC, Elf64Header, PF_R, PF_W, PF_X, PT_LOAD, ProgramHeader,
};
use bartizan_abi::{Errno, Personality};
use bartizan_platform::memory::{self, MemoryFile, PAGE_SIZE};
use bartizan_platform::{
    Access, AddressSpace, BackingFile, Capabilities, Context, Mapping, Platform, PlatformError,
};
use zerocopy::IntoBytes;

use crate::loader::vdso::{TimeSource, Vdso};
use crate::loader::{
    AfterExec, Arguments, ExecRequest, Identity, LoadRequest, LoadedImage, Program, ProgramFile, prepare,
};
use crate::mm::{MappingSet, MemoryLimits, PageError, PageRun, PageSource};
use crate::vfs::{File, FsStr};

/// A platform whose address spaces take everything and run nothing.
#[derive(Debug)]
struct Inert;

impl Platform for Inert {
    fn name(&self) -> &'static str {
        "inert"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::empty()
    }

    fn user_addresses(&self) -> Range<u64> {
        0x1_0000..0x7fff_ffff_f000
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(Inert))
    }

    fn new_context(&self) -> Result<Box<dyn Context>, PlatformError> {
        Err(PlatformError::Died { what: "nothing runs here".to_owned() })
    }
}

impl AddressSpace for Inert {
    fn map(&self, _mapping: Mapping) -> Result<(), PlatformError> {
        Ok(())
    }

    fn unmap(&self, _range: Range<u64>) -> Result<(), PlatformError> {
        Ok(())
    }

    fn protect(&self, _range: Range<u64>, _access: Access) -> Result<(), PlatformError> {
        Ok(())
    }

    fn retire(&self, object: Box<dyn Any + Send>) {
        drop(object);
    }

    fn flush(&self, _current: Option<&mut dyn Context>) -> Result<(), PlatformError> {
        Ok(())
    }
}

/// A file whose contents lie in a memory file.
#[derive(Debug)]
pub struct TestFile {
    content: Vec<u8>,
    pages: Arc<TestPages>,
}

#[derive(Debug)]
struct TestPages {
    memory: Arc<MemoryFile>,
    range: Range<u64>,
    mappings: MappingSet,
}

impl PageSource for TestPages {
    fn pages(&self, offset: u64, length: u64, _access: Access) -> Result<PageRun, PageError> {
        let start = self.range.start.checked_add(offset).filter(|start| *start < self.range.end);
        let start = start.ok_or(PageError::BeyondEnd)?;
        let range = start..self.range.end.min(start.saturating_add(length));
        self.memory.retain(range.clone());
        let file = Arc::clone(&self.memory) as Arc<dyn BackingFile>;
        Ok(PageRun { file, range, access: Access::READ | Access::EXECUTE })
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }

    fn identity(&self) -> (u64, u64) {
        (1, 2)
    }
}

impl ProgramFile for TestFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let rest =
            usize::try_from(offset).ok().and_then(|offset| self.content.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn page_source(&self) -> Result<Arc<dyn PageSource>, Errno> {
        Ok(Arc::clone(&self.pages) as Arc<dyn PageSource>)
    }

    fn mapped_file(self: &Arc<Self>) -> Option<Arc<File>> {
        None
    }
}

/// A machine with some files.
pub struct Machine {
    memory: Arc<MemoryFile>,
    vdso: Arc<Vdso>,
    files: BTreeMap<Vec<u8>, Arc<TestFile>>,
    pub personality: Personality,
    pub limits: MemoryLimits,
}

impl Machine {
    pub fn new() -> Self {
        let memory = MemoryFile::new(64 << 20).expect("a memory file");
        let vdso = Vdso::allocate(&memory, TimeSource::Syscall).expect("a vDSO");
        let limits = MemoryLimits::default();
        Self { memory, vdso, files: BTreeMap::new(), personality: Personality::ADDR_NO_RANDOMIZE, limits }
    }

    pub fn with(mut self, path: &str, content: &[u8]) -> Self {
        let length = (content.len() as u64).next_multiple_of(PAGE_SIZE).max(PAGE_SIZE);
        let range = self.memory.allocate(length).expect("memory for a file");
        let view = self.memory.view(range.start, content.len()).expect("a view");
        assert_eq!(memory::write(content, &view), content.len());
        let pages = TestPages { memory: Arc::clone(&self.memory), range, mappings: MappingSet::new() };
        let file = TestFile { content: content.to_vec(), pages: Arc::new(pages) };
        self.files.insert(path.into(), Arc::new(file));
        self
    }

    /// Steps one and two of an `execve` of `path`.
    pub fn prepare(&self, path: &str, argv: &[&str]) -> Result<Program<TestFile>, Errno> {
        let mut open = |path: &FsStr| self.files.get(path).cloned().ok_or(Errno::ENOENT);
        let argv = argv.iter().map(|text| text.as_bytes().to_vec()).collect();
        let request = ExecRequest {
            file: open(path.as_bytes())?,
            path: path.into(),
            after_exec: AfterExec::Reachable,
            arguments: Arguments { argv, envp: vec![b"HOME=/".to_vec()] },
            stack_limit: self.limits.stack,
        };
        prepare(request, &mut open)
    }

    pub fn load(&self, program: Program<TestFile>) -> Result<LoadedImage, Errno> {
        let platform: Arc<dyn Platform> = Arc::new(Inert);
        program.load(&LoadRequest {
            platform: &platform,
            memory: &self.memory,
            vdso: &self.vdso,
            limits: self.limits,
            identity: Identity::default(),
            personality: self.personality,
        })
    }

    pub fn run(&self, path: &str) -> Result<LoadedImage, Errno> {
        self.load(self.prepare(path, &[path])?)
    }
}

/// `exit_group(0)`.
const CODE: [u8; 9] = [0xb8, 0xe7, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
/// Where [`CODE`] is in [`SmallElf`].
const CODE_AT: u64 = 0x200;

/// A program that exits, with a page of code and one of data, whose headers can be changed before it is written.
#[derive(Debug, Clone)]
pub struct SmallElf {
    pub header: Elf64Header,
    pub programs: Vec<ProgramHeader>,
    /// What follows [`CODE`] in the file, at fixed offsets.
    pub pieces: Vec<(usize, Vec<u8>)>,
    pub length: usize,
}

impl SmallElf {
    pub fn new() -> Self {
        let mut e_ident = [0; 16];
        e_ident[..4].copy_from_slice(&ELF_MAGIC);
        e_ident[4..7].copy_from_slice(&[2, 1, 1]);
        let header = Elf64Header {
            e_ident,
            e_type: ET_EXEC,
            e_machine: EM_X86_64,
            e_version: 1,
            e_entry: 0x40_0000 + CODE_AT,
            e_phoff: size_of::<Elf64Header>() as u64,
            e_ehsize: size_of::<Elf64Header>() as u16,
            e_phentsize: size_of::<ProgramHeader>() as u16,
            ..Elf64Header::default()
        };
        let code = ProgramHeader {
            p_type: PT_LOAD,
            p_flags: PF_R | PF_X,
            p_vaddr: 0x40_0000,
            p_filesz: 0x1000,
            p_memsz: 0x1000,
            p_align: 0x1000,
            ..ProgramHeader::default()
        };
        let data = ProgramHeader {
            p_flags: PF_R | PF_W,
            p_offset: 0x1010,
            p_vaddr: 0x40_2010,
            p_filesz: 0x100,
            p_memsz: 0x3000,
            ..code
        };
        Self { header, programs: vec![code, data], pieces: Vec::new(), length: 0x2000 }
    }

    /// Moves it so that it can be loaded anywhere.
    pub fn movable(mut self) -> Self {
        self.header.e_type = bartizan_abi::elf::ET_DYN;
        self.header.e_entry -= 0x40_0000;
        for program in &mut self.programs {
            program.p_vaddr -= 0x40_0000;
        }
        self
    }

    /// Adds an interpreter's path.
    pub fn with_interpreter(mut self, path: &[u8]) -> Self {
        let header = ProgramHeader {
            p_type: bartizan_abi::elf::PT_INTERP,
            p_offset: 0x300,
            p_filesz: path.len() as u64,
            ..ProgramHeader::default()
        };
        self.programs.insert(0, header);
        self.pieces.push((0x300, path.to_vec()));
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut header = self.header;
        if header.e_phnum == 0 {
            header.e_phnum = self.programs.len() as u16;
        }
        let mut bytes = vec![0xcc; self.length];
        let mut put = |at: usize, content: &[u8]| {
            let length = content.len().min(bytes.len().saturating_sub(at));
            let at = at.min(bytes.len());
            bytes[at..at + length].copy_from_slice(&content[..length]);
        };
        put(0, header.as_bytes());
        put(size_of::<Elf64Header>(), self.programs.as_bytes());
        put(CODE_AT as usize, &CODE);
        for (at, piece) in &self.pieces {
            put(*at, piece);
        }
        bytes
    }
}
