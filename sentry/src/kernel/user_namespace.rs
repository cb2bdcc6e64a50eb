//! User namespaces (`user_namespaces(7)`): which ids mean whom there, and where capabilities count.
//!
//! All of the kernel keeps ids as the initial namespace has them; they are translated where a guest names or sees them. A map is
//! written once, so that reading it takes no lock.

use std::sync::{Arc, OnceLock};

use bartizan_abi::{Capability, Errno};

use super::Credentials;
use super::id_map::{Extent, IdMap};
use crate::sync::{LockClass, Mutex};

/// What is shown in place of an id that has no meaning (`/proc/sys/kernel/overflowuid`).
pub const OVERFLOW_ID: u32 = 65_534;

/// How deep namespaces may be nested.
const MOST_LEVELS: u32 = 32;

/// Of which ids a map tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// Users.
    User,
    /// Groups.
    Group,
}

/// A user namespace; a handle, cheap to copy. The initial one, the default, is no object at all, so that nothing is looked up there.
#[derive(Debug, Clone, Default)]
pub struct UserNamespace(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    identity: u32,
    parent: UserNamespace,
    level: u32,
    /// The effective user and group of its maker.
    owner: (u32, u32),
    users: OnceLock<IdMap>,
    groups: OnceLock<IdMap>,
    /// Whether `setgroups(2)` is allowed; locked, too, while a map is written.
    setgroups: Mutex<bool>,
    /// Whether its maker could give files capabilities.
    maker_sets_capabilities: bool,
}

impl PartialEq for UserNamespace {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }
}

impl Eq for UserNamespace {}

impl UserNamespace {
    /// The number of the initial namespace (`PROC_USER_INIT_INO`).
    const INITIAL: u32 = 0xefff_fffd;

    /// A namespace below that of `maker`, with the number `identity`; no id means anybody there yet.
    ///
    /// # Errors
    /// `ENOSPC` below too many others, `EPERM` for a maker who means nobody in their own.
    pub fn make(identity: u32, maker: &Credentials) -> Result<Self, Errno> {
        let parent = maker.user_namespace.clone();
        let level = parent.level() + 1;
        if level > MOST_LEVELS {
            return Err(Errno::ENOSPC);
        }
        if !parent.has(IdKind::User, maker.euid) || !parent.has(IdKind::Group, maker.egid) {
            return Err(Errno::EPERM);
        }
        let setgroups = parent.allows_setgroups();
        Ok(Self(Some(Arc::new(Inner {
            identity,
            parent,
            level,
            owner: (maker.euid, maker.egid),
            users: OnceLock::new(),
            groups: OnceLock::new(),
            setgroups: Mutex::new(LockClass::Table, setgroups),
            maker_sets_capabilities: maker.effective.has(Capability::CAP_SETFCAP),
        }))))
    }

    /// Whether it is the one in which everything started.
    #[inline]
    pub fn is_initial(&self) -> bool {
        self.0.is_none()
    }

    /// The number that `/proc/[pid]/ns/user` shows.
    pub fn identity(&self) -> u32 {
        self.0.as_ref().map_or(Self::INITIAL, |inner| inner.identity)
    }

    /// The namespace above it.
    pub fn parent(&self) -> Option<&Self> {
        self.0.as_ref().map(|inner| &inner.parent)
    }

    /// The user who made it.
    pub fn owner(&self) -> u32 {
        self.0.as_ref().map_or(0, |inner| inner.owner.0)
    }

    fn level(&self) -> u32 {
        self.0.as_ref().map_or(0, |inner| inner.level)
    }

    /// Whether it is `other` or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        let mut at = self;
        while at.level() > other.level() {
            match at.parent() {
                Some(parent) => at = parent,
                None => break,
            }
        }
        at == other
    }

    /// The map of `kind`, if ids are not what they are everywhere; `Err` if none has been written.
    fn map(&self, kind: IdKind) -> Option<Option<&IdMap>> {
        let inner = self.0.as_ref()?;
        Some(match kind {
            IdKind::User => inner.users.get(),
            IdKind::Group => inner.groups.get(),
        })
    }

    /// Whom `id` means here; `None` for nobody.
    #[inline]
    pub fn resolve(&self, kind: IdKind, id: u32) -> Option<u32> {
        match self.map(kind) {
            None => Some(id).filter(|&id| id != u32::MAX),
            Some(map) => map?.down(id),
        }
    }

    /// What `id` of the kernel is called here; `None` if it has no name.
    #[inline]
    pub fn name(&self, kind: IdKind, id: u32) -> Option<u32> {
        match self.map(kind) {
            None => Some(id),
            Some(map) => map?.up(id),
        }
    }

    /// Whether `id` of the kernel has a name here.
    pub fn has(&self, kind: IdKind, id: u32) -> bool {
        self.name(kind, id).is_some()
    }

    /// What user `uid` of the kernel is called here, or [`OVERFLOW_ID`].
    #[inline]
    pub fn uid(&self, uid: u32) -> u32 {
        self.name(IdKind::User, uid).unwrap_or(OVERFLOW_ID)
    }

    /// What group `gid` of the kernel is called here, or [`OVERFLOW_ID`].
    #[inline]
    pub fn gid(&self, gid: u32) -> u32 {
        self.name(IdKind::Group, gid).unwrap_or(OVERFLOW_ID)
    }

    /// The user called 0 here.
    pub fn root_uid(&self) -> Option<u32> {
        self.resolve(IdKind::User, 0)
    }

    /// Whether `setgroups(2)` is allowed: not before groups have names.
    pub fn may_setgroups(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.groups.get().is_some() && *inner.setgroups.lock())
    }

    /// What `/proc/[pid]/setgroups` shows.
    pub fn allows_setgroups(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| *inner.setgroups.lock())
    }

    /// Writes `/proc/[pid]/setgroups`.
    ///
    /// # Errors
    /// `EPERM`: to forbid it after groups have names, or to allow it again.
    pub fn set_setgroups(&self, allow: bool) -> Result<(), Errno> {
        let Some(inner) = &self.0 else { return if allow { Ok(()) } else { Err(Errno::EPERM) } };
        let mut allowed = inner.setgroups.lock();
        match (allow, *allowed) {
            (true, true) => Ok(()),
            (false, _) if inner.groups.get().is_none() => {
                *allowed = false;
                Ok(())
            }
            _ => Err(Errno::EPERM),
        }
    }

    /// The lines of `/proc/[pid]/uid_map` or `gid_map` as somebody in `reader` sees them.
    pub fn map_text(&self, kind: IdKind, reader: &Self) -> String {
        // Where a namespace looks at itself, it sees what its ids are called above it.
        let above = if reader == self { self.parent().unwrap_or(self) } else { reader };
        match self.map(kind) {
            None => IdMap::line(&Extent { first: 0, lower: 0, count: u32::MAX }),
            Some(None) => String::new(),
            Some(Some(map)) => {
                let lines = map.extents().iter().map(|extent| {
                    let lower = above.name(kind, extent.lower).unwrap_or(u32::MAX);
                    IdMap::line(&Extent { lower, ..*extent })
                });
                lines.collect()
            }
        }
    }

    /// Writes `/proc/[pid]/uid_map` or `gid_map`; `opener` opened the file, `writer` writes to it.
    ///
    /// # Errors
    /// `EINVAL` for what is no map, `EPERM` for a second one and for what the two may not.
    pub fn set_map(
        &self,
        kind: IdKind,
        text: &[u8],
        opener: &Credentials,
        writer: &Credentials,
    ) -> Result<(), Errno> {
        let inner = self.0.as_ref().ok_or(Errno::EPERM)?;
        if opener.user_namespace != *self && opener.user_namespace != inner.parent {
            return Err(Errno::EPERM);
        }
        let setgroups = inner.setgroups.lock();
        let slot = match kind {
            IdKind::User => &inner.users,
            IdKind::Group => &inner.groups,
        };
        if slot.get().is_some() || !opener.has_capability_in(Capability::CAP_SYS_ADMIN, self) {
            return Err(Errno::EPERM);
        }
        let asked = IdMap::parse(text)?;
        if !inner.permits(self, kind, &asked, *setgroups, (opener, writer)) {
            return Err(Errno::EPERM);
        }
        let map = asked.resolved(|extent| match inner.parent.map(kind) {
            None => Some(extent.lower),
            Some(map) => map?.down_range(extent.lower, extent.count),
        });
        slot.set(map.ok_or(Errno::EPERM)?).map_err(|_| Errno::EPERM)
    }
}

impl Inner {
    /// Whether the two may write the map (`new_idmap_permitted`).
    fn permits(
        &self,
        own: &UserNamespace,
        kind: IdKind,
        map: &IdMap,
        setgroups: bool,
        (opener, writer): (&Credentials, &Credentials),
    ) -> bool {
        let capability = match kind {
            IdKind::User => Capability::CAP_SETUID,
            IdKind::Group => Capability::CAP_SETGID,
        };
        if kind == IdKind::User && map.reaches(0) {
            let could = if opener.user_namespace == *own {
                self.maker_sets_capabilities
            } else {
                opener.has_capability_in(Capability::CAP_SETFCAP, &self.parent)
            };
            if !could {
                return false;
            }
        }
        if let [Extent { lower, count: 1, .. }] = *map.extents()
            && self.owner.0 == opener.euid
        {
            let same = match kind {
                IdKind::User => self.parent.resolve(kind, lower) == Some(opener.euid),
                IdKind::Group => !setgroups && self.parent.resolve(kind, lower) == Some(opener.egid),
            };
            if same {
                return true;
            }
        }
        [opener, writer].iter().all(|who| who.has_capability_in(capability, &self.parent))
    }
}

impl Credentials {
    /// Whether the capability is effective in the initial namespace (`capable`).
    #[inline]
    pub fn has_capability(&self, capability: Capability) -> bool {
        self.user_namespace.is_initial() && self.effective.has(capability)
    }

    /// Whether the capability is effective in the own namespace.
    pub fn has_own_capability(&self, capability: Capability) -> bool {
        self.effective.has(capability)
    }

    /// Whether the capability is effective in `namespace` (`ns_capable`): in the own one and those below, and all of them in what the user
    /// has made below the own one.
    pub fn has_capability_in(&self, capability: Capability, namespace: &UserNamespace) -> bool {
        let mut at = namespace;
        loop {
            if *at == self.user_namespace {
                return self.effective.has(capability);
            }
            let Some(parent) = at.parent().filter(|_| at.level() > self.user_namespace.level()) else {
                return false;
            };
            if *parent == self.user_namespace && at.owner() == self.euid {
                return true;
            }
            at = parent;
        }
    }

    /// Whether the capability counts for what belongs to user `uid` and group `gid` of the kernel: it does if both have names in the own
    /// namespace (`capable_wrt_inode_uidgid`).
    #[inline]
    pub fn has_capability_over(&self, capability: Capability, uid: u32, gid: u32) -> bool {
        self.effective.has(capability)
            && self.user_namespace.has(IdKind::User, uid)
            && self.user_namespace.has(IdKind::Group, gid)
    }

    /// Whether they have no capability that `old` has not, be it because its user made the namespace (`cred_cap_issubset`).
    pub fn gains_nothing_over(&self, old: &Self) -> bool {
        if self.user_namespace == old.user_namespace {
            return old.permitted.contains(self.permitted);
        }
        let mut at = Some(&self.user_namespace);
        while let Some(namespace) = at {
            if namespace.parent() == Some(&old.user_namespace) && namespace.owner() == old.euid {
                return true;
            }
            at = namespace.parent();
        }
        false
    }

    /// These credentials in `namespace`, with all capabilities there (`set_cred_user_ns`).
    pub fn entering(&self, namespace: UserNamespace) -> Self {
        let full = Self::root();
        Self {
            user_namespace: namespace,
            permitted: full.permitted,
            effective: full.effective,
            inheritable: full.inheritable,
            bounding: full.bounding,
            ambient: full.ambient,
            securebits: full.securebits,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A namespace that user 1000 made, and the credentials of its maker in it.
    fn made_by_a_user() -> (UserNamespace, Credentials, Credentials) {
        let user = Credentials::user(1000, 100, Vec::new());
        let namespace = UserNamespace::make(7, &user).unwrap();
        let inside = user.entering(namespace.clone());
        (namespace, user, inside)
    }

    #[test]
    fn ids_have_no_names_before_the_map_is_written() {
        let (namespace, user, inside) = made_by_a_user();
        assert_eq!((namespace.uid(1000), namespace.gid(100)), (OVERFLOW_ID, OVERFLOW_ID));
        assert_eq!(namespace.resolve(IdKind::User, 0), None);
        assert_eq!(namespace.set_map(IdKind::User, b"0 1000 1", &inside, &inside), Ok(()));
        assert_eq!((namespace.uid(1000), namespace.root_uid()), (0, Some(1000)));
        assert_eq!(namespace.set_map(IdKind::User, b"0 1000 1", &user, &user), Err(Errno::EPERM));
        assert_eq!(namespace.map_text(IdKind::User, &namespace), "         0       1000          1\n");
        assert_eq!(namespace.map_text(IdKind::Group, &namespace), "");
    }

    #[test]
    fn a_group_is_mapped_only_without_setgroups() {
        let (namespace, _, inside) = made_by_a_user();
        let write = || namespace.set_map(IdKind::Group, b"0 100 1\n", &inside, &inside);
        assert_eq!(write(), Err(Errno::EPERM));
        assert_eq!(namespace.set_setgroups(false), Ok(()));
        assert_eq!(namespace.set_setgroups(true), Err(Errno::EPERM));
        assert_eq!(write(), Ok(()));
        assert!(!namespace.may_setgroups());
        assert_eq!(namespace.set_setgroups(false), Err(Errno::EPERM));
    }

    #[test]
    fn users_map_others_only_with_privilege_above() {
        let (namespace, user, inside) = made_by_a_user();
        let root = Credentials::root();
        for (opener, text) in [(&inside, &b"0 1001 1"[..]), (&inside, b"0 1000 2"), (&user, b"0 0 1")] {
            assert_eq!(namespace.set_map(IdKind::User, text, opener, opener), Err(Errno::EPERM));
        }
        assert_eq!(namespace.set_map(IdKind::User, b"0 1000 2", &root, &user), Err(Errno::EPERM));
        assert_eq!(namespace.set_map(IdKind::User, b"0 1000 2\n5 7 1", &root, &root), Ok(()));
        assert_eq!((namespace.uid(1001), namespace.uid(7)), (1, 5));
    }

    #[test]
    fn capabilities_count_below_and_for_what_the_user_made() {
        let (namespace, user, inside) = made_by_a_user();
        let capability = Capability::CAP_SYS_ADMIN;
        assert!(inside.has_own_capability(capability) && !inside.has_capability(capability));
        assert!(inside.has_capability_in(capability, &namespace));
        assert!(!inside.has_capability_in(capability, &UserNamespace::default()));
        assert!(user.has_capability_in(capability, &namespace));
        assert!(!Credentials::user(1001, 0, Vec::new()).has_capability_in(capability, &namespace));
        assert!(Credentials::root().has_capability_in(capability, &namespace));
        namespace.set_map(IdKind::User, b"0 1000 1", &inside, &inside).unwrap();
        let below = UserNamespace::make(8, &Credentials { egid: 100, ..inside.clone() });
        assert_eq!(below, Err(Errno::EPERM), "its group has no name");
        assert!(!inside.has_capability_over(capability, 1000, 100));
        assert!(inside.gains_nothing_over(&user) && !user.gains_nothing_over(&inside));
        assert!(!inside.gains_nothing_over(&Credentials::user(1001, 0, Vec::new())));
        assert!(
            namespace.is_within(&UserNamespace::default()) && !UserNamespace::default().is_within(&namespace)
        );
    }
}
