//! A file system of one's own: a directory whose files are the entries of a map in the host program.
//!
//! Run with `cargo run --release --example custom_fs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bartizan::abi::{Errno, FileMode, FileType};
use bartizan::vfs::{
    Attributes, DataSink, DirectorySink, File, FileOps, Filesystem, FilesystemOps, FilesystemRoot,
    FilesystemStatistics, FsStr, Inode, InodeOps, OpenRequest,
};
use bartizan::{Mount, Result, Sandbox};

/// The file system as a whole.
#[derive(Debug)]
struct Settings;

impl FilesystemOps for Settings {
    fn type_name(&self) -> &'static str {
        "settings"
    }

    fn statistics(&self) -> std::result::Result<FilesystemStatistics, Errno> {
        Ok(FilesystemStatistics { block_size: 4096, ..FilesystemStatistics::default() })
    }
}

/// Its one directory.
#[derive(Debug)]
struct Directory {
    files: BTreeMap<&'static [u8], Arc<Inode>>,
}

impl InodeOps for Directory {
    fn attributes(&self, _inode: &Inode) -> std::result::Result<Attributes, Errno> {
        Ok(Attributes::new(FileType::Directory, FileMode::from_bits_retain(0o555)))
    }

    fn open(
        &self,
        inode: &Arc<Inode>,
        _request: &OpenRequest<'_>,
    ) -> std::result::Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(OpenDirectory(Arc::clone(inode))))
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> std::result::Result<Arc<Inode>, Errno> {
        self.files.get(name).cloned().ok_or(Errno::ENOENT)
    }
}

#[derive(Debug)]
struct OpenDirectory(Arc<Inode>);

impl FileOps for OpenDirectory {
    fn read_directory(
        &self,
        _file: &File,
        sink: &mut dyn DirectorySink,
        offset: u64,
    ) -> std::result::Result<u64, Errno> {
        let directory = self.0.downcast::<Directory>().ok_or(Errno::ENOTDIR)?;
        let dots = [&b"."[..], b".."].map(|name| (name, &self.0));
        let entries = dots.into_iter().chain(directory.files.iter().map(|(&name, inode)| (name, inode)));
        let mut position = offset;
        for (name, inode) in entries.skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if !sink.entry(name, inode.number(), inode.kind(), position + 1) {
                break;
            }
            position += 1;
        }
        Ok(position)
    }
}

/// A file with fixed contents; open, it is its own description.
#[derive(Debug, Clone)]
struct Setting(&'static str);

impl InodeOps for Setting {
    fn attributes(&self, _inode: &Inode) -> std::result::Result<Attributes, Errno> {
        let attributes = Attributes::new(FileType::Regular, FileMode::from_bits_retain(0o444));
        Ok(Attributes { size: self.0.len() as u64, ..attributes })
    }

    fn open(
        &self,
        _inode: &Arc<Inode>,
        _request: &OpenRequest<'_>,
    ) -> std::result::Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(self.clone()))
    }
}

impl FileOps for Setting {
    fn read(&self, _file: &File, sink: &mut dyn DataSink, offset: u64) -> std::result::Result<usize, Errno> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.0.as_bytes().get(start..));
        rest.map_or(Ok(0), |rest| sink.put(rest))
    }
}

fn main() -> Result<()> {
    let settings = Mount::custom(|kernel| {
        let filesystem = Filesystem::new(kernel.allocate_device(), true, Box::new(Settings));
        let file = |number, text| {
            Inode::new(number, FileType::Regular, Arc::clone(&filesystem), Box::new(Setting(text)))
        };
        let files = BTreeMap::from([(&b"colour"[..], file(2, "blue\n")), (&b"depth"[..], file(3, "42\n"))]);
        let root = Inode::new(1, FileType::Directory, Arc::clone(&filesystem), Box::new(Directory { files }));
        Ok(FilesystemRoot { filesystem, inode: root })
    });
    let sandbox = Sandbox::builder().root(Mount::host_directory("/")).mount("/mnt", settings).build()?;
    let output = sandbox
        .command("/bin/sh")
        .args(["-c", "cd /mnt && for f in *; do echo $f: $(cat $f); done"])
        .output()?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
