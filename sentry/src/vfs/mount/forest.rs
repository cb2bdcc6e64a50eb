//! All trees of mounts: which mount is where, and in which tree.
//!
//! Everything here is called with the lock of the forest. Mounts are told apart by their numbers, which are never used twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bartizan_abi::{Errno, FileType};

use super::groups::Group;
use super::{Mount, MountFlags, Path, Place, TreeChanges};
use crate::kernel::UserNamespace;
use crate::vfs::{Dentry, Filesystem, FsString};

/// The most mounts in one namespace (`/proc/sys/fs/mount-max`).
const MOST_MOUNTS: usize = 100_000;

/// The tree of mounts that are just being made.
pub(super) const NO_TREE: u64 = 0;

/// All mounts.
#[derive(Debug, Default)]
pub(super) struct Forest {
    pub(super) nodes: HashMap<u64, Node>,
    /// By number of the mount below and address of its dentry; the dentry is alive as long as the mount on it is.
    on_top: HashMap<(u64, usize), Arc<Mount>>,
    pub(super) trees: HashMap<u64, Tree>,
    /// By the number that `mountinfo` shows.
    pub(super) groups: BTreeMap<u32, Group>,
    last_id: u64,
    last_tree: u64,
    /// The trees that have changed, to be told without the lock.
    pub(super) touched: BTreeSet<u64>,
    /// What has been taken out, to be let go of without the lock.
    pub(super) gone: Vec<Gone>,
}

/// A mount with its relations to others.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) mount: Arc<Mount>,
    /// The tree that it is in.
    pub(super) tree: u64,
    /// The mount that it is on; none at the top.
    pub(super) parent: Option<u64>,
    /// The mounts on it, in the order in which they came.
    pub(super) children: Vec<u64>,
    /// The peers that it shares mounts with.
    pub(super) group: Option<u32>,
    /// The peers from which it receives mounts.
    pub(super) master: Option<u32>,
    /// Whether it must not be bound elsewhere.
    pub(super) unbindable: bool,
}

/// The mounts of a namespace, or those that a descriptor holds.
#[derive(Debug)]
pub(super) struct Tree {
    /// At the top; hidden perhaps by others.
    pub(super) root: u64,
    /// In the order of their making, the root among them.
    pub(super) mounts: BTreeSet<u64>,
    /// The tree of the namespace in which it was made, if it is not one itself.
    pub(super) origin: Option<u64>,
    /// The user namespace that it belongs to.
    pub(super) owner: UserNamespace,
    /// Who wants to hear of changes.
    pub(super) changes: Arc<TreeChanges>,
}

/// A mount that is in no tree any more, and where it was.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) mount: Arc<Mount>,
    _place: Option<Place>,
}

fn key(mount: u64, dentry: &Arc<Dentry>) -> (u64, usize) {
    (mount, Arc::as_ptr(dentry).addr())
}

impl Forest {
    /// A forest whose first tree has a hidden mount at its top.
    pub(super) fn new(first_id: u64) -> Self {
        Self { last_id: first_id, ..Self::default() }
    }

    /// A new mount that is nowhere.
    pub(super) fn make(
        &mut self,
        filesystem: Arc<Filesystem>,
        root: Arc<Dentry>,
        source: FsString,
        flags: MountFlags,
    ) -> Arc<Mount> {
        self.last_id += 1;
        let mount = Mount::of(self.last_id, filesystem, root, source, flags);
        self.insert(&mount);
        mount
    }

    pub(super) fn insert(&mut self, mount: &Arc<Mount>) {
        let node = Node {
            mount: Arc::clone(mount),
            tree: NO_TREE,
            parent: None,
            children: Vec::new(),
            group: None,
            master: None,
            unbindable: false,
        };
        self.nodes.insert(mount.id, node);
    }

    /// Makes a tree with `root`, which is nowhere, at its top, and returns its number.
    pub(super) fn plant(&mut self, root: u64) -> u64 {
        self.last_tree += 1;
        let tree = self.last_tree;
        self.trees.insert(
            tree,
            Tree {
                root,
                mounts: BTreeSet::new(),
                origin: None,
                owner: UserNamespace::default(),
                changes: Arc::default(),
            },
        );
        self.set_tree(root, tree);
        tree
    }

    /// Tree number `tree` belongs to `owner`.
    pub(super) fn set_owner(&mut self, tree: u64, owner: UserNamespace) {
        if let Some(tree) = self.trees.get_mut(&tree) {
            tree.owner = owner;
        }
    }

    /// The user namespace to which the tree of `mount` belongs.
    pub(super) fn owner_of(&self, mount: &Mount) -> Option<&UserNamespace> {
        Some(&self.trees.get(&self.tree_of(mount)?)?.owner)
    }

    pub(super) fn node(&self, id: u64) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub(super) fn mount(&self, id: u64) -> Option<&Arc<Mount>> {
        Some(&self.nodes.get(&id)?.mount)
    }

    /// Whether `mount` is in a tree, and in which.
    pub(super) fn tree_of(&self, mount: &Mount) -> Option<u64> {
        Some(self.nodes.get(&mount.id)?.tree)
    }

    /// The mount on `dentry` of mount number `mount`.
    pub(super) fn on_top(&self, mount: u64, dentry: &Arc<Dentry>) -> Option<&Arc<Mount>> {
        self.on_top.get(&key(mount, dentry))
    }

    /// What is seen at `path`.
    pub(super) fn topmost(&self, path: &Path) -> Path {
        let mut top = path.clone();
        while let Some(root) = self.on_top(top.mount.id, &top.dentry).and_then(|mount| mount.root_path()) {
            top = root;
        }
        top
    }

    /// Mount number `id` and all that is mounted in it, outer ones first, each with all that is below before the next.
    pub(super) fn subtree(&self, id: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let mut rest = vec![id];
        while let Some(id) = rest.pop() {
            let Some(node) = self.node(id) else { continue };
            found.push(id);
            rest.extend(node.children.iter().rev());
        }
        found
    }

    /// Whether mount number `id` is on something below `dentry` of its parent.
    pub(super) fn is_inside(&self, id: u64, dentry: &Arc<Dentry>) -> bool {
        let place = self.mount(id).and_then(|mount| mount.place());
        place.is_some_and(|(_, place)| place.is_below(dentry))
    }

    /// `ENOSPC` if `tree` has no room for `more` mounts.
    pub(super) fn check_room(&self, tree: u64, more: usize) -> Result<(), Errno> {
        let mounts = self.trees.get(&tree).map_or(0, |tree| tree.mounts.len());
        if mounts + more > MOST_MOUNTS { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// Puts mount number `id`, which is nowhere, with all that is on it, on `place`: below what is there already.
    pub(super) fn put_on(&mut self, place: &Path, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.parent = Some(place.mount.id);
        let mount = Arc::clone(&node.mount);
        place.dentry.count_mount(1);
        *mount.place.write() = Some((Arc::downgrade(&place.mount), Arc::clone(&place.dentry)));
        let covering = self.on_top.insert(key(place.mount.id, &place.dentry), Arc::clone(&mount));
        let Some(parent) = self.nodes.get_mut(&place.mount.id) else { return };
        parent.children.push(id);
        let tree = parent.tree;
        self.touched.insert(tree);
        self.set_tree(id, tree);
        // What was there covers the new mount now.
        let Some(covering) = covering else { return };
        if let Some(root) = mount.root_path() {
            let top = self.topmost(&root);
            self.forget_place(covering.id);
            self.put_on(&top, covering.id);
        }
    }

    /// Takes mount number `id`, with all that is on it, from where it is.
    pub(super) fn take_off(&mut self, id: u64) -> Option<Path> {
        let mount = Arc::clone(self.mount(id)?);
        let (parent, dentry) = mount.place()?;
        self.on_top.remove(&key(parent.id, &dentry));
        self.forget_place(id);
        Path::new(parent, dentry)
    }

    /// Takes mount number `id` from its parent; what is seen there is the caller's concern.
    fn forget_place(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let parent = node.parent.take();
        let mount = Arc::clone(&node.mount);
        let place = mount.place.write().take();
        if let Some(place) = place {
            place.1.count_mount(-1);
            self.gone.push(Gone { mount, _place: Some(place) });
        }
        if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(&parent)) {
            parent.children.retain(|&child| child != id);
        }
    }

    /// Notes that mount number `id` and all on it are in `tree` now.
    pub(super) fn set_tree(&mut self, id: u64, tree: u64) {
        for id in self.subtree(id) {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            let old = std::mem::replace(&mut node.tree, tree);
            if old == tree {
                continue;
            }
            if let Some(old) = self.trees.get_mut(&old) {
                old.mounts.remove(&id);
            }
            if let Some(new) = self.trees.get_mut(&tree) {
                new.mounts.insert(id);
            }
        }
    }

    /// Takes mount number `id`, on which nothing is any more, out of its tree for good.
    pub(super) fn remove(&mut self, id: u64) {
        let _place = self.take_off(id);
        self.leave_groups(id);
        let Some(node) = self.nodes.remove(&id) else { return };
        if let Some(tree) = self.trees.get_mut(&node.tree) {
            tree.mounts.remove(&id);
        }
        self.touched.insert(node.tree);
        self.gone.push(Gone { mount: node.mount, _place: None });
    }

    /// Whether `path` is `from` or below it, over mounts (`is_path_reachable`).
    pub(super) fn is_reachable(&self, path: &Path, from: &Path) -> bool {
        let (mut mount, mut dentry) = (Arc::clone(&path.mount), Arc::clone(&path.dentry));
        while !Arc::ptr_eq(&mount, &from.mount) {
            match mount.place() {
                Some((parent, place)) => (mount, dentry) = (parent, place),
                None => return false,
            }
        }
        dentry.is_below(&from.dentry)
    }
}

/// A directory goes on a directory, anything else on anything else.
pub(super) fn check_types(place: &Dentry, root: &Dentry) -> Result<(), Errno> {
    let is_directory =
        |dentry: &Dentry| dentry.inode().is_some_and(|inode| inode.kind() == FileType::Directory);
    if is_directory(place) == is_directory(root) { Ok(()) } else { Err(Errno::ENOTDIR) }
}
