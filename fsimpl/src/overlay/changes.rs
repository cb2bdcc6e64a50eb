//! Making, removing and renaming names.

use std::sync::Arc;

use bartizan_abi::{Errno, FileType, RenameFlags};
use bartizan_sentry::vfs::{FsStr, Inode, Rename};
use smallvec::SmallVec;

use super::copy_up::Contents;
use super::inode::{OverlayInode, of};
use super::layers::{Entry, Overlay, find, is_whiteout, remove, rename as rename_upper, whiteout};
use super::listing::{check_empty, clear, has_entries};

impl OverlayInode {
    /// Makes `name` in this directory, which is `directory`; `make` does so in a directory of the upper layer. Over a whiteout it is made in the
    /// work directory first.
    ///
    /// # Errors
    /// What the layers give; then nothing has changed.
    pub fn make(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        make: impl Fn(&Arc<Inode>, &FsStr) -> Result<Arc<Inode>, Errno>,
    ) -> Result<Arc<Inode>, Errno> {
        let upper = self.copy_up(Contents::All)?;
        let overlay = self.overlay();
        let made = match find(upper, name)? {
            None => {
                let _locked = upper.lock_directory();
                make(upper, name)?
            }
            Some(hidden) if !is_whiteout(&hidden)? => return Err(Errno::EEXIST),
            Some(hidden) => {
                let work = &overlay.upper()?.work;
                let temporary = overlay.temporary_name();
                let made = {
                    let _locked = work.lock_directory();
                    make(work, &temporary)?
                };
                let from = Entry { directory: work, name: &temporary };
                let to = Entry { directory: upper, name };
                overlay.replace_whiteout(from, &made, to, &hidden).inspect_err(|_| {
                    let _left_for_the_next_mount = remove(from, &made);
                })?;
                made
            }
        };
        overlay.inode(directory.filesystem(), Some(made), SmallVec::new(), None)
    }

    /// Takes `name` in this directory, which is `directory`, from `target`: something below gets hidden.
    ///
    /// # Errors
    /// What the layers give; then nothing has changed.
    pub fn take_name(
        &self,
        directory: &Arc<Inode>,
        name: &FsStr,
        target: &OverlayInode,
    ) -> Result<(), Errno> {
        let upper = self.copy_up(Contents::All)?;
        let overlay = self.overlay();
        let _stays = target.lock_copying();
        let entry = Entry { directory: upper, name };
        let below = self.is_below(name)?;
        match find(upper, name)? {
            None => {
                {
                    let _locked = upper.lock_directory();
                    upper.ops().create(upper, name, &whiteout())?;
                }
                if target.upper().is_some() {
                    overlay.hide_lower_name(target.number());
                }
            }
            Some(there) if below || there.kind() == FileType::Directory && has_entries(&there)? => {
                overlay.set_aside(entry, &there, below)?;
            }
            Some(there) => remove(entry, &there)?,
        }
        target.remove_place(directory, name);
        overlay.forget_if_gone(target)
    }
}

impl Overlay {
    /// Puts `made`, which is at `from` in the work directory, in place of the whiteout `hidden`.
    fn replace_whiteout(
        &self,
        from: Entry<'_>,
        made: &Arc<Inode>,
        to: Entry<'_>,
        hidden: &Arc<Inode>,
    ) -> Result<(), Errno> {
        if made.kind() != FileType::Directory {
            return rename_upper(from, made, to, Some(hidden), RenameFlags::empty());
        }
        // What the whiteout hid stays hidden.
        self.set_opaque(made)?;
        rename_upper(from, made, to, Some(hidden), RenameFlags::RENAME_EXCHANGE)?;
        let _left_for_the_next_mount = remove(from, hidden);
        Ok(())
    }

    /// Takes `there` away from `entry` in the upper layer; a whiteout takes its place if something is `below`.
    fn set_aside(&self, entry: Entry<'_>, there: &Arc<Inode>, below: bool) -> Result<(), Errno> {
        let work = &self.upper()?.work;
        let name = self.temporary_name();
        let aside = Entry { directory: work, name: &name };
        let directory = there.kind() == FileType::Directory;
        if !directory && !below {
            return remove(entry, there);
        }
        if below {
            let hidden = {
                let _locked = work.lock_directory();
                work.ops().create(work, &name, &whiteout())?
            };
            let flags = if directory { RenameFlags::RENAME_EXCHANGE } else { RenameFlags::empty() };
            rename_upper(aside, &hidden, entry, Some(there), flags).inspect_err(|_| {
                let _left_for_the_next_mount = remove(aside, &hidden);
            })?;
        } else {
            rename_upper(entry, there, aside, None, RenameFlags::empty())?;
        }
        if directory {
            let _left_for_the_next_mount = clear(there).and_then(|()| remove(aside, there));
        }
        Ok(())
    }
}

/// Whether it can be moved: directories of lower layers cannot, since nothing says later where they came from.
fn check_movable(inode: &OverlayInode) -> Result<(), Errno> {
    let below = inode.kind() == FileType::Directory && !inode.lowers().is_empty();
    if below { Err(Errno::EXDEV) } else { Ok(()) }
}

/// Moves the source of `rename` to its target, or exchanges them.
///
/// # Errors
/// `EXDEV` for directories that are in lower layers, `EINVAL` if a whiteout is asked for, `ENOTEMPTY`, and what the layers give.
pub fn rename(rename: &Rename<'_>) -> Result<(), Errno> {
    let (source, exchange) = (of(rename.source)?, rename.flags.contains(RenameFlags::RENAME_EXCHANGE));
    if rename.flags.contains(RenameFlags::RENAME_WHITEOUT) {
        return Err(Errno::EINVAL);
    }
    check_movable(source)?;
    let target = rename.target.map(|target| of(target)).transpose()?;
    match (target, rename.target) {
        (Some(target), _) if exchange => check_movable(target)?,
        (Some(target), Some(inode)) if target.kind() == FileType::Directory => check_empty(inode)?,
        _ => {}
    }
    let (old, new) = (of(rename.old_directory)?, of(rename.new_directory)?);
    let old_upper = old.copy_up(Contents::All)?;
    let new_upper = new.copy_up(Contents::All)?;
    let from = Entry { directory: old_upper, name: rename.old_name };
    let to = Entry { directory: new_upper, name: rename.new_name };
    let moved = source.copy_up_name(from.directory, from.name)?;
    let overlay = source.overlay();
    let below_old = old.is_below(rename.old_name)?;
    // As Linux, whether or not there is anything below.
    if source.kind() == FileType::Directory && new.is_merged() {
        overlay.set_opaque(moved)?;
    }
    match target.filter(|_| exchange) {
        Some(target) => {
            let other = target.copy_up_name(to.directory, to.name)?;
            if target.kind() == FileType::Directory && old.is_merged() {
                overlay.set_opaque(other)?;
            }
            rename_upper(from, moved, to, Some(other), RenameFlags::RENAME_EXCHANGE)?;
            target.set_parent_number(old.number());
        }
        None => {
            let _stays = target.map(OverlayInode::lock_copying);
            let alias = overlay.move_over(from, moved, to, below_old)?;
            if let Some(target) = target {
                if alias && target.upper().is_some() {
                    overlay.hide_lower_name(target.number());
                }
                target.remove_place(rename.new_directory, rename.new_name);
                overlay.forget_if_gone(target)?;
            }
        }
    }
    source.set_parent_number(new.number());
    Ok(())
}

impl Overlay {
    /// Moves `moved` over what is at `to` in the upper layer, which looks empty. Where it was, something below gets hidden. Whether there was nothing at `to`.
    fn move_over(
        &self,
        from: Entry<'_>,
        moved: &Arc<Inode>,
        to: Entry<'_>,
        below: bool,
    ) -> Result<bool, Errno> {
        let there = find(to.directory, to.name)?;
        let directory = moved.kind() == FileType::Directory;
        let in_the_way = match &there {
            Some(there) if directory => is_whiteout(there)? || has_entries(there)?,
            _ => false,
        };
        let leave = if below { RenameFlags::RENAME_WHITEOUT } else { RenameFlags::empty() };
        match &there {
            Some(there) if in_the_way => {
                rename_upper(from, moved, to, Some(there), RenameFlags::RENAME_EXCHANGE)?;
                // Now it is where the source was: a whiteout can stay there.
                if !(below && is_whiteout(there)?) {
                    self.set_aside(from, there, below)?;
                }
            }
            _ => rename_upper(from, moved, to, there.as_ref(), leave)?,
        }
        Ok(there.is_none())
    }
}
