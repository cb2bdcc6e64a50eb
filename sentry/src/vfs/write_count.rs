//! Who has a regular file open for writing, and who forbids that because a program runs from it (`i_writecount`): `ETXTBSY`.
//!
//! One number for each inode: the writers where it is positive, those who forbid writing where it is negative. It is changed by
//! single atomic steps; an open file description has at most one share in it, which goes with the description.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use bartizan_abi::Errno;

use super::Inode;

/// The number of an inode.
#[derive(Debug, Default)]
pub(super) struct WriteCount(AtomicI32);

impl WriteCount {
    /// One writer more; `ETXTBSY` while somebody forbids writing.
    pub(super) fn add_writer(&self) -> Result<(), Errno> {
        self.step(|count| (count >= 0).then(|| count.checked_add(1)).flatten())
    }

    /// One who forbids writing more; `ETXTBSY` while somebody writes.
    pub(super) fn forbid(&self) -> Result<(), Errno> {
        self.step(|count| (count <= 0).then(|| count.checked_sub(1)).flatten())
    }

    /// Whether somebody writes.
    pub(super) fn has_writers(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    /// Gives up what was got by [`add_writer`](Self::add_writer).
    pub(super) fn remove_writer(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// Gives up what was got by [`forbid`](Self::forbid).
    pub(super) fn allow(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn step(&self, next: impl FnMut(i32) -> Option<i32>) -> Result<(), Errno> {
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::ETXTBSY),
        }
    }
}

/// What share an open file description has in the number of its inode.
#[derive(Debug, Default)]
pub(super) struct WriteShare(AtomicU8);

/// It has none.
const NONE: u8 = 0;
/// It is a writer.
const WRITES: u8 = 1;
/// It forbids writing.
const FORBIDS: u8 = 2;

impl WriteShare {
    /// Takes a writer's share; `ETXTBSY`.
    pub(super) fn write(&self, inode: &Inode) -> Result<(), Errno> {
        inode.write_count().add_writer()?;
        self.replace(inode, WRITES);
        Ok(())
    }

    /// Takes the share of one who forbids writing; `ETXTBSY`.
    pub(super) fn forbid(&self, inode: &Inode) -> Result<(), Errno> {
        inode.write_count().forbid()?;
        self.replace(inode, FORBIDS);
        Ok(())
    }

    /// Gives the share up.
    pub(super) fn give_up(&self, inode: &Inode) {
        self.replace(inode, NONE);
    }

    /// Whether it is a writer's.
    pub(super) fn writes(&self) -> bool {
        self.0.load(Ordering::Acquire) == WRITES
    }

    fn replace(&self, inode: &Inode, new: u8) {
        match self.0.swap(new, Ordering::AcqRel) {
            WRITES => inode.write_count().remove_writer(),
            FORBIDS => inode.write_count().allow(),
            _ => {}
        }
    }
}

/// Forbids writing to the program that runs in an address space, for as long as this lives.
#[derive(Debug)]
pub struct WritesForbidden(Arc<Inode>);

impl WritesForbidden {
    /// Forbids writing to `inode`.
    ///
    /// # Errors
    /// `ETXTBSY` while somebody writes.
    pub fn new(inode: &Arc<Inode>) -> Result<Arc<Self>, Errno> {
        inode.write_count().forbid()?;
        Ok(Arc::new(Self(Arc::clone(inode))))
    }
}

impl Drop for WritesForbidden {
    fn drop(&mut self) {
        self.0.write_count().allow();
    }
}

/// Calls `operation`, which changes the contents of `inode` without a description that is open for writing (`truncate(2)`).
///
/// # Errors
/// `ETXTBSY` while a program runs from it; those of `operation`.
pub fn writing<T, E: From<Errno>>(inode: &Inode, operation: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let share = WriteShare::default();
    share.write(inode)?;
    let result = operation();
    share.give_up(inode);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_and_programs_exclude_each_other() {
        let count = WriteCount::default();
        assert_eq!((count.add_writer(), count.add_writer()), (Ok(()), Ok(())));
        assert_eq!(count.forbid(), Err(Errno::ETXTBSY));
        count.remove_writer();
        assert_eq!(count.forbid(), Err(Errno::ETXTBSY));
        count.remove_writer();
        assert_eq!((count.forbid(), count.forbid()), (Ok(()), Ok(())));
        count.allow();
        assert_eq!(count.add_writer(), Err(Errno::ETXTBSY));
        count.allow();
        assert_eq!(count.add_writer(), Ok(()));
    }
}
