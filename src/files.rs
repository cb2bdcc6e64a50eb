//! Reaching into a sandbox's files from the host.

use bartizan_abi::{Errno, FileMode, FileType, OpenFlags};
use bartizan_sentry::kernel::Credentials;
use bartizan_sentry::vfs::create::{NewEntry, create};
use bartizan_sentry::vfs::{FollowLast, FsContext, OpenHow, Path, SliceSink, SliceSource};

/// How much is read at once, bytes.
const CHUNK: usize = 64 << 10;

/// The place that `path` leads to; directories that are missing are made.
pub(crate) fn make_directories(
    fs: &FsContext,
    credentials: &Credentials,
    path: &[u8],
) -> Result<Path, Errno> {
    let mut place = fs.root();
    for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        place = fs.with_walker(credentials, None, Some(&place), |walker| {
            match walker.resolve(name, FollowLast::Yes) {
                Err(Errno::ENOENT) => {
                    let parent = walker.resolve_parent(name)?;
                    create(walker, &parent, NewEntry::Directory, FileMode::new(0o755))
                }
                found => found,
            }
        })?;
    }
    Ok(place)
}

/// Makes or replaces the file at `path`, readable for everybody.
pub(crate) fn write(fs: &FsContext, path: &[u8], contents: &[u8]) -> Result<(), Errno> {
    let flags = OpenFlags::O_WRONLY | OpenFlags::O_CREAT | OpenFlags::O_TRUNC;
    let how = OpenHow { flags, mode: FileMode::new(0o666) };
    let file = fs.open(&Credentials::root(), path, how)?;
    if file.inode().kind() != FileType::Regular {
        return Err(Errno::EINVAL);
    }
    let mut source = SliceSource::new(contents);
    let mut offset = 0;
    while bartizan_sentry::vfs::DataSource::remaining(&source) > 0 {
        offset = file.ops().write(&file, &mut source, offset)?.end;
    }
    Ok(())
}

/// The contents of the regular file at `path`.
pub(crate) fn read(fs: &FsContext, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let file = fs.open(&Credentials::root(), path, OpenHow::existing(OpenFlags::O_RDONLY))?;
    if file.inode().kind() != FileType::Regular {
        return Err(Errno::EINVAL);
    }
    let mut contents = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let mut sink = SliceSink::new(&mut chunk);
        match file.ops().read(&file, &mut sink, contents.len() as u64)? {
            0 => return Ok(contents),
            count => contents.extend_from_slice(&chunk[..count]),
        }
    }
}
