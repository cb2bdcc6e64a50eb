//! Who a task is: user and group ids, capabilities (`credentials(7)`, `capabilities(7)`).
//!
//! A task's [`Credentials`] are replaced as a whole; the methods here give the changed copy, by Linux's rules.

use bartizan_abi::prctl::Securebits;
use bartizan_abi::{Capability, CapabilitySet, Errno, FileMode};

use super::user_namespace::{IdKind, UserNamespace};

use crate::vfs::Attributes;

/// An id that `set*id` calls leave as it is.
pub const UNCHANGED: u32 = u32::MAX;

/// Most supplementary groups: `NGROUPS_MAX`.
pub const MOST_GROUPS: usize = 65_536;

/// The identity of a task; immutable, replaced as a whole (`struct cred`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of credentials(7)")]
pub struct Credentials {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Vec<u32>,
    pub permitted: CapabilitySet,
    pub effective: CapabilitySet,
    pub inheritable: CapabilitySet,
    pub bounding: CapabilitySet,
    pub ambient: CapabilitySet,
    pub securebits: u32,
    pub no_new_privs: bool,
    pub user_namespace: UserNamespace,
}

/// The three capability sets that `capset(2)` replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilitySets {
    /// What checks look at.
    pub effective: CapabilitySet,
    /// What may become effective.
    pub permitted: CapabilitySet,
    /// What `execve` may keep.
    pub inheritable: CapabilitySet,
}

/// Whether a capability or an id gives way to a change.
fn allow(allowed: bool) -> Result<(), Errno> {
    if allowed { Ok(()) } else { Err(Errno::EPERM) }
}

/// `id`, or `old` for [`UNCHANGED`].
fn chosen(id: u32, old: u32) -> u32 {
    if id == UNCHANGED { old } else { id }
}

impl Credentials {
    /// The superuser with all capabilities.
    pub fn root() -> Self {
        Self::user(0, 0, Vec::new())
    }

    /// User `uid` in group `gid` and `groups`, as after a log-in: with all capabilities if it is the superuser.
    pub fn user(uid: u32, gid: u32, groups: Vec<u32>) -> Self {
        let capabilities = if uid == 0 { CapabilitySet::FULL } else { CapabilitySet::EMPTY };
        Self {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: sorted(groups),
            permitted: capabilities,
            effective: capabilities,
            inheritable: CapabilitySet::EMPTY,
            bounding: CapabilitySet::FULL,
            ambient: CapabilitySet::EMPTY,
            securebits: 0,
            no_new_privs: false,
            user_namespace: UserNamespace::default(),
        }
    }

    /// Whether user `uid` of the kernel is the superuser of the own namespace.
    fn is_root(&self, uid: u32) -> bool {
        self.user_namespace.root_uid() == Some(uid)
    }

    /// The identity that `access(2)` checks with: the real ids, and the capabilities that go with them.
    pub fn for_access(&self) -> Self {
        let mut real = Self { fsuid: self.uid, fsgid: self.gid, ..self.clone() };
        if !self.securebits().contains(Securebits::SECBIT_NO_SETUID_FIXUP) {
            real.effective = if self.is_root(self.uid) { self.permitted } else { CapabilitySet::empty() };
        }
        real
    }

    /// The identity in a program that is executed; `file` tells of its set-id bits where those count (`execve(2)`).
    pub fn after_exec(&self, file: Option<&Attributes>) -> Self {
        let mut new = self.clone();
        let named = |file: &&Attributes| {
            let namespace = &self.user_namespace;
            namespace.has(IdKind::User, file.uid) && namespace.has(IdKind::Group, file.gid)
        };
        if let Some(file) = file.filter(named) {
            if file.mode.contains(FileMode::S_ISUID) {
                new.euid = file.uid;
            }
            if file.mode.contains(FileMode::S_ISGID | FileMode::S_IXGRP) {
                new.egid = file.gid;
            }
        }
        new.suid = new.euid;
        new.fsuid = new.euid;
        new.sgid = new.egid;
        new.fsgid = new.egid;
        new.gain_capabilities(self);
        new
    }

    /// The sets of capabilities after `execve` of a file without capabilities of its own (`capabilities(7)`).
    fn gain_capabilities(&mut self, old: &Self) {
        let bits = self.securebits();
        let (mut from_file, mut file_effective) = (CapabilitySet::empty(), false);
        if !bits.contains(Securebits::SECBIT_NOROOT) && (self.is_root(self.euid) || self.is_root(self.uid)) {
            from_file = self.bounding.union(self.inheritable);
            file_effective = self.is_root(self.euid);
        }
        if self.euid != old.uid || self.egid != old.gid {
            self.ambient = CapabilitySet::empty();
        }
        self.permitted = from_file.union(self.ambient);
        self.effective = if file_effective { self.permitted } else { self.ambient };
        self.securebits &= !Securebits::SECBIT_KEEP_CAPS.bits();
    }

    /// Whether the file system group or a supplementary one is `gid`.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// Whether the effective group or a supplementary one is `gid`.
    pub fn in_effective_group(&self, gid: u32) -> bool {
        self.egid == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// The secure bits, those that Linux knows.
    pub fn securebits(&self) -> Securebits {
        Securebits::from_bits_truncate(self.securebits)
    }

    /// `setuid(2)`.
    ///
    /// # Errors
    /// `EINVAL` for no id, `EPERM`.
    pub fn set_uid(&self, uid: u32) -> Result<Self, Errno> {
        valid(uid)?;
        let mut new = self.clone();
        if self.has_own_capability(Capability::CAP_SETUID) {
            new.uid = uid;
            new.suid = uid;
        } else {
            allow(uid == self.uid || uid == self.suid)?;
        }
        new.euid = uid;
        new.fsuid = uid;
        new.fix_capabilities(self);
        Ok(new)
    }

    /// `setreuid(2)`; [`UNCHANGED`] leaves an id as it is.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_reuid(&self, uid: u32, euid: u32) -> Result<Self, Errno> {
        if !self.has_own_capability(Capability::CAP_SETUID) {
            allow([UNCHANGED, self.uid, self.euid].contains(&uid))?;
            allow([UNCHANGED, self.uid, self.euid, self.suid].contains(&euid))?;
        }
        let mut new = self.clone();
        new.uid = chosen(uid, self.uid);
        new.euid = chosen(euid, self.euid);
        if uid != UNCHANGED || euid != UNCHANGED && euid != self.uid {
            new.suid = new.euid;
        }
        new.fsuid = new.euid;
        new.fix_capabilities(self);
        Ok(new)
    }

    /// `setresuid(2)`; [`UNCHANGED`] leaves an id as it is.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_resuid(&self, uid: u32, euid: u32, suid: u32) -> Result<Self, Errno> {
        if !self.has_own_capability(Capability::CAP_SETUID) {
            let known = [UNCHANGED, self.uid, self.euid, self.suid];
            allow([uid, euid, suid].iter().all(|id| known.contains(id)))?;
        }
        let mut new = self.clone();
        new.uid = chosen(uid, self.uid);
        new.euid = chosen(euid, self.euid);
        new.suid = chosen(suid, self.suid);
        new.fsuid = new.euid;
        new.fix_capabilities(self);
        Ok(new)
    }

    /// `setfsuid(2)`: the changed copy, or none if the caller may not.
    pub fn set_fsuid(&self, fsuid: u32) -> Option<Self> {
        let known = [self.uid, self.euid, self.suid, self.fsuid].contains(&fsuid);
        if fsuid == UNCHANGED || !known && !self.has_own_capability(Capability::CAP_SETUID) {
            return None;
        }
        let mut new = self.clone();
        new.fsuid = fsuid;
        if !self.securebits().contains(Securebits::SECBIT_NO_SETUID_FIXUP) {
            if self.is_root(self.fsuid) && !self.is_root(fsuid) {
                new.effective = self.effective.difference(CapabilitySet::FS);
            } else if !self.is_root(self.fsuid) && self.is_root(fsuid) {
                new.effective = self.effective | (self.permitted & CapabilitySet::FS);
            }
        }
        Some(new)
    }

    /// `setgid(2)`.
    ///
    /// # Errors
    /// `EINVAL` for no id, `EPERM`.
    pub fn set_gid(&self, gid: u32) -> Result<Self, Errno> {
        valid(gid)?;
        let mut new = self.clone();
        if self.has_own_capability(Capability::CAP_SETGID) {
            new.gid = gid;
            new.sgid = gid;
        } else {
            allow(gid == self.gid || gid == self.sgid)?;
        }
        new.egid = gid;
        new.fsgid = gid;
        Ok(new)
    }

    /// `setregid(2)`; [`UNCHANGED`] leaves an id as it is.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_regid(&self, gid: u32, egid: u32) -> Result<Self, Errno> {
        if !self.has_own_capability(Capability::CAP_SETGID) {
            allow([UNCHANGED, self.gid, self.egid].contains(&gid))?;
            allow([UNCHANGED, self.gid, self.egid, self.sgid].contains(&egid))?;
        }
        let mut new = self.clone();
        new.gid = chosen(gid, self.gid);
        new.egid = chosen(egid, self.egid);
        if gid != UNCHANGED || egid != UNCHANGED && egid != self.gid {
            new.sgid = new.egid;
        }
        new.fsgid = new.egid;
        Ok(new)
    }

    /// `setresgid(2)`; [`UNCHANGED`] leaves an id as it is.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_resgid(&self, gid: u32, egid: u32, sgid: u32) -> Result<Self, Errno> {
        if !self.has_own_capability(Capability::CAP_SETGID) {
            let known = [UNCHANGED, self.gid, self.egid, self.sgid];
            allow([gid, egid, sgid].iter().all(|id| known.contains(id)))?;
        }
        let mut new = self.clone();
        new.gid = chosen(gid, self.gid);
        new.egid = chosen(egid, self.egid);
        new.sgid = chosen(sgid, self.sgid);
        new.fsgid = new.egid;
        Ok(new)
    }

    /// `setfsgid(2)`: the changed copy, or none if the caller may not.
    pub fn set_fsgid(&self, fsgid: u32) -> Option<Self> {
        let known = [self.gid, self.egid, self.sgid, self.fsgid].contains(&fsgid);
        if fsgid == UNCHANGED || !known && !self.has_own_capability(Capability::CAP_SETGID) {
            return None;
        }
        Some(Self { fsgid, ..self.clone() })
    }

    /// Whether `setgroups(2)` is allowed.
    pub fn may_set_groups(&self) -> bool {
        self.has_own_capability(Capability::CAP_SETGID) && self.user_namespace.may_setgroups()
    }

    /// `setgroups(2)`.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SETGID`, `EINVAL` for too many groups or for no group.
    pub fn set_groups(&self, groups: Vec<u32>) -> Result<Self, Errno> {
        allow(self.may_set_groups())?;
        if groups.len() > MOST_GROUPS || groups.contains(&UNCHANGED) {
            return Err(Errno::EINVAL);
        }
        Ok(Self { groups: sorted(groups), ..self.clone() })
    }

    /// `capset(2)`.
    ///
    /// # Errors
    /// `EPERM`: for permitted ones that were not, effective ones that are not permitted, inheritable ones out of reach.
    pub fn set_capabilities(&self, sets: CapabilitySets) -> Result<Self, Errno> {
        let CapabilitySets { effective, permitted, inheritable } = sets;
        if !self.has_own_capability(Capability::CAP_SETPCAP) {
            allow((self.inheritable | self.permitted).contains(inheritable))?;
        }
        allow((self.inheritable | self.bounding).contains(inheritable))?;
        allow(self.permitted.contains(permitted))?;
        allow(permitted.contains(effective))?;
        let ambient = self.ambient & permitted & inheritable;
        Ok(Self { effective, permitted, inheritable, ambient, ..self.clone() })
    }

    /// Adjusts capabilities after user ids changed from those of `old` (`cap_task_fix_setuid`).
    fn fix_capabilities(&mut self, old: &Self) {
        let bits = self.securebits();
        if bits.contains(Securebits::SECBIT_NO_SETUID_FIXUP) {
            return;
        }
        let has_root = |credentials: &Self| {
            [credentials.uid, credentials.euid, credentials.suid].into_iter().any(|uid| self.is_root(uid))
        };
        let (was_root, is_root) = (old.is_root(old.euid), self.is_root(self.euid));
        if has_root(old) && !has_root(self) {
            if !bits.contains(Securebits::SECBIT_KEEP_CAPS) {
                self.permitted = CapabilitySet::EMPTY;
                self.effective = CapabilitySet::EMPTY;
            }
            self.ambient = CapabilitySet::EMPTY;
        }
        if was_root && !is_root {
            self.effective = CapabilitySet::EMPTY;
        }
        if !was_root && is_root {
            self.effective = self.permitted;
        }
    }

    /// Whether this identity may look into a process of `other` (`ptrace_may_access` with real ids, `prlimit(2)`).
    pub fn matches(&self, other: &Self) -> bool {
        [other.uid, other.euid, other.suid].iter().all(|&id| id == self.uid)
            && [other.gid, other.egid, other.sgid].iter().all(|&id| id == self.gid)
    }
}

fn valid(id: u32) -> Result<(), Errno> {
    if id == UNCHANGED { Err(Errno::EINVAL) } else { Ok(()) }
}

fn sorted(mut groups: Vec<u32>) -> Vec<u32> {
    groups.sort_unstable();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_root_drops_capabilities_for_good() {
        let user = Credentials::root().set_resuid(1000, 1000, 1000).expect("root may");
        assert!(user.effective.is_empty() && user.permitted.is_empty());
        assert_eq!(user.fsuid, 1000);
        assert_eq!(user.set_uid(0), Err(Errno::EPERM));
    }

    #[test]
    fn effective_root_comes_and_goes_while_the_saved_id_is_root() {
        let away = Credentials::root().set_resuid(UNCHANGED, 1000, UNCHANGED).expect("root may");
        assert!(away.effective.is_empty() && away.permitted == CapabilitySet::FULL);
        let back = away.set_resuid(UNCHANGED, 0, UNCHANGED).expect("it is the saved id");
        assert_eq!(back, Credentials::root());
    }

    #[test]
    fn keep_caps_keeps_the_permitted_set() {
        let mut root = Credentials::root();
        root.securebits = Securebits::SECBIT_KEEP_CAPS.bits();
        let user = root.set_uid(1000).expect("root may");
        assert!(user.effective.is_empty() && user.permitted == CapabilitySet::FULL);
    }

    #[test]
    fn setreuid_sets_the_saved_id_when_it_changes_more_than_the_effective_one() {
        let user = Credentials { suid: 3, ..Credentials::user(1, 1, Vec::new()) };
        assert_eq!(user.set_reuid(UNCHANGED, 3).map(|new| (new.uid, new.euid, new.suid)), Ok((1, 3, 3)));
        assert_eq!(user.set_reuid(UNCHANGED, 1).map(|new| (new.uid, new.euid, new.suid)), Ok((1, 1, 3)));
        assert_eq!(user.set_reuid(3, UNCHANGED), Err(Errno::EPERM));
    }

    #[test]
    fn fsuid_moves_the_file_capabilities() {
        let away = Credentials::root().set_fsuid(1000).expect("root may");
        assert!(!away.has_capability(Capability::CAP_DAC_OVERRIDE));
        assert!(away.has_capability(Capability::CAP_SYS_ADMIN));
        assert_eq!(away.set_fsuid(0).expect("it is the real id"), Credentials::root());
        assert_eq!(Credentials::user(1, 1, Vec::new()).set_fsuid(2), None);
    }

    #[test]
    fn capset_only_lowers() {
        let sets = CapabilitySets {
            effective: CapabilitySet::EMPTY,
            permitted: CapabilitySet::EMPTY.with(Capability::CAP_KILL),
            inheritable: CapabilitySet::EMPTY,
        };
        let low = Credentials::root().set_capabilities(sets).expect("lowering is allowed");
        assert!(!low.has_capability(Capability::CAP_KILL));
        let raised = CapabilitySets { permitted: CapabilitySet::FULL, ..sets };
        assert_eq!(low.set_capabilities(raised), Err(Errno::EPERM));
        let beyond = CapabilitySets { effective: CapabilitySet::FULL, ..sets };
        assert_eq!(low.set_capabilities(beyond), Err(Errno::EPERM));
    }

    #[test]
    fn groups_are_found() {
        let user = Credentials::root().set_groups(vec![9, 4, 7]).expect("root may");
        assert!(user.in_group(4) && user.in_group(0) && !user.in_group(5));
        let plain = Credentials::user(5, 5, Vec::new());
        assert_eq!(plain.set_groups(Vec::new()), Err(Errno::EPERM));
        assert_eq!(Credentials::root().set_groups(vec![UNCHANGED]), Err(Errno::EINVAL));
    }
}
