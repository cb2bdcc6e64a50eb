//! Finding what a name leads to, through all layers.

use std::sync::Arc;

use bartizan_abi::{Errno, FileType};
use bartizan_sentry::vfs::{FsStr, Inode};
use smallvec::SmallVec;

use super::inode::{Lower, OverlayInode, Place};
use super::layers::{find, is_whiteout};

impl OverlayInode {
    /// The entry `name` of this directory, which is `directory`.
    ///
    /// # Errors
    /// `ENOENT` if there is none, or what a layer gives.
    pub fn find(&self, directory: &Arc<Inode>, name: &FsStr) -> Result<Arc<Inode>, Errno> {
        let upper = self.upper().map(|upper| find(upper, name)).transpose()?.flatten();
        let below = match &upper {
            None => true,
            Some(upper) if is_whiteout(upper)? => return Err(Errno::ENOENT),
            Some(upper) => upper.kind() == FileType::Directory && !self.overlay().is_opaque(upper)?,
        };
        let mut lowers = SmallVec::new();
        if below {
            self.find_below(name, upper.is_some(), &mut lowers)?;
        }
        let place = Place { parent: Arc::clone(directory), name: name.into() };
        self.overlay().inode(directory.filesystem(), upper, lowers, Some(place))
    }

    /// Collects what lower layers have at `name`; if there is a directory `above`, directories alone are seen through it.
    fn find_below(&self, name: &FsStr, above: bool, lowers: &mut SmallVec<[Lower; 1]>) -> Result<(), Errno> {
        let last = self.lowers().len().saturating_sub(1);
        for (index, Lower { layer, inode }) in self.lowers().iter().enumerate() {
            let Some(found) = find(inode, name)? else { continue };
            if is_whiteout(&found)? {
                break;
            }
            let directory = found.kind() == FileType::Directory;
            if !directory && (above || !lowers.is_empty()) {
                break;
            }
            // The lowest has nothing to hide.
            let ends = !directory || index < last && self.overlay().is_opaque(&found)?;
            lowers.push(Lower { layer: *layer, inode: found });
            if ends {
                break;
            }
        }
        Ok(())
    }

    /// Whether a lower layer would show something at `name` if the upper one had nothing there.
    ///
    /// # Errors
    /// What a layer gives.
    pub fn is_below(&self, name: &FsStr) -> Result<bool, Errno> {
        for Lower { inode, .. } in self.lowers() {
            if let Some(found) = find(inode, name)? {
                return Ok(!is_whiteout(&found)?);
            }
        }
        Ok(false)
    }
}
