//! Directories of generated trees.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use bartizan_abi::{Errno, FileType};
use bartizan_sentry::vfs::{
    Attributes, DirectorySink, File, FileOps, FsStr, Inode, InodeOps, LinkTarget, NewNode, OpenRequest,
};

use super::{Content, Modes, PseudoFile, PseudoLink, Tree};

/// The name of an entry.
type Name = Cow<'static, str>;

/// A directory whose entries never change.
#[derive(Debug)]
pub struct StaticDirectory {
    number: u64,
    parent: u64,
    attributes: Attributes,
    entries: Arc<[(Name, Arc<Inode>)]>,
}

/// Collects the entries of a [`StaticDirectory`].
#[derive(Debug)]
pub struct DirectoryBuilder {
    tree: Arc<Tree>,
    number: u64,
    parent: u64,
    entries: Vec<(Name, Arc<Inode>)>,
    modes: Modes,
}

impl DirectoryBuilder {
    /// A directory with `number`, without entries, in directory number `parent`.
    pub fn new(tree: &Arc<Tree>, number: u64, parent: u64) -> Self {
        Self { tree: Arc::clone(tree), number, parent, entries: Vec::new(), modes: Modes::Usual }
    }

    /// Adds a file with permissions `mode`.
    pub fn file(&mut self, name: impl Into<Name>, mode: u32, content: impl Content) -> &mut Self {
        let number = self.tree.next_number();
        let attributes = self.tree.attributes(FileType::Regular, mode);
        let file = PseudoFile::new(attributes, content).with_modes(self.modes);
        let inode = self.tree.inode(number, FileType::Regular, file);
        self.entries.push((name.into(), inode));
        self
    }

    /// From now on the permission bits of files that are added, also below, are meant so.
    pub fn modes(&mut self, modes: Modes) -> &mut Self {
        self.modes = modes;
        self
    }

    /// Adds a symbolic link to `target`.
    pub fn link(&mut self, name: impl Into<Name>, target: &'static str) -> &mut Self {
        let number = self.tree.next_number();
        let attributes = self.tree.attributes(FileType::Symlink, 0o777);
        let link = PseudoLink::new(attributes, |_: Option<&_>| Ok(LinkTarget::Text(target.into())));
        self.entries.push((name.into(), self.tree.inode(number, FileType::Symlink, link)));
        self
    }

    /// Adds a directory that `fill` fills.
    pub fn directory(&mut self, name: impl Into<Name>, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let mut builder = Self::new(&self.tree, self.tree.next_number(), self.number);
        builder.modes = self.modes;
        fill(&mut builder);
        let number = builder.number;
        self.entries.push((name.into(), self.tree.inode(number, FileType::Directory, builder.finish())));
        self
    }

    /// The directory.
    pub fn finish(self) -> StaticDirectory {
        let mut attributes = self.tree.attributes(FileType::Directory, 0o555);
        let directories = self.entries.iter().filter(|(_, inode)| inode.kind() == FileType::Directory);
        attributes.links += directories.count() as u32;
        StaticDirectory { number: self.number, parent: self.parent, attributes, entries: self.entries.into() }
    }
}

impl StaticDirectory {
    /// Its entries.
    pub fn entries(&self) -> &[(Name, Arc<Inode>)] {
        &self.entries
    }

    /// The entry `name`.
    pub fn find(&self, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        let found = self.entries.iter().find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, inode)| Arc::clone(inode)).ok_or(Errno::ENOENT)
    }
}

impl InodeOps for StaticDirectory {
    /// As Linux, whose trees of generated files have no such operation.
    fn create(&self, _directory: &Arc<Inode>, _name: &FsStr, _node: &NewNode) -> Result<Arc<Inode>, Errno> {
        Err(Errno::ENOENT)
    }

    fn make_directory(
        &self,
        _directory: &Arc<Inode>,
        _name: &FsStr,
        _node: &NewNode,
    ) -> Result<Arc<Inode>, Errno> {
        Err(Errno::ENOENT)
    }

    fn attributes(&self, _inode: &Inode) -> Result<Attributes, Errno> {
        Ok(self.attributes)
    }

    fn open(&self, _inode: &Arc<Inode>, _request: &OpenRequest<'_>) -> Result<Box<dyn FileOps>, Errno> {
        let entries = Arc::clone(&self.entries);
        Ok(Box::new(OpenListing { number: self.number, parent: self.parent, entries: FixedEntries(entries) }))
    }

    fn lookup(&self, _directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        self.find(name)
    }
}

/// The entries of an open directory, beyond `.` and `..`.
pub trait Entries: Send + Sync + Debug + 'static {
    /// Gives the entries whose position is at least `position` to `sink`, in order, each with the position behind it. Returns the
    /// position behind the last one that was taken. Positions 0 and 1 are `.` and `..`.
    fn list(&self, sink: &mut dyn DirectorySink, position: u64) -> Result<u64, Errno>;
}

/// An open directory.
#[derive(Debug)]
pub struct OpenListing<E> {
    /// The inode number of the directory.
    pub number: u64,
    /// That of the directory above.
    pub parent: u64,
    /// The rest.
    pub entries: E,
}

impl<E: Entries> FileOps for OpenListing<E> {
    fn read_directory(&self, _file: &File, sink: &mut dyn DirectorySink, offset: u64) -> Result<u64, Errno> {
        match list_dots(sink, self.number, self.parent, offset) {
            Ok(position) => self.entries.list(sink, position),
            Err(position) => Ok(position),
        }
    }
}

/// Gives `.` and `..`, as far as they are behind `position`; the error is where the sink was full.
fn list_dots(sink: &mut dyn DirectorySink, number: u64, parent: u64, position: u64) -> Result<u64, u64> {
    for (index, name, number) in [(0, &b"."[..], number), (1, b"..", parent)] {
        if position <= index && !sink.entry(name, number, FileType::Directory, index + 1) {
            return Err(index);
        }
    }
    Ok(position.max(2))
}

#[derive(Debug)]
struct FixedEntries(Arc<[(Name, Arc<Inode>)]>);

impl Entries for FixedEntries {
    fn list(&self, sink: &mut dyn DirectorySink, position: u64) -> Result<u64, Errno> {
        let mut behind = position;
        let first = usize::try_from(position.saturating_sub(2)).unwrap_or(usize::MAX);
        for (next, (name, inode)) in (3..).zip(self.0.iter()).skip(first) {
            if !sink.entry(name.as_bytes(), inode.number(), inode.kind(), next) {
                break;
            }
            behind = next;
        }
        Ok(behind)
    }
}
