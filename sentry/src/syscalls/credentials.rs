//! Who a task is: `getuid`, `setuid` and their kin, `getgroups`, `setgroups`, `capget`, `capset`.

use std::sync::Arc;

use bartizan_abi::{
    CapUserData, CapUserHeader, CapabilitySet, Errno, LINUX_CAPABILITY_VERSION_1, LINUX_CAPABILITY_VERSION_2,
    LINUX_CAPABILITY_VERSION_3,
};

use crate::SysResult;
use crate::kernel::{CapabilitySets, Credentials, CurrentTask, IdKind, MOST_GROUPS, OVERFLOW_ID, UNCHANGED};
use crate::mm::UserPtr;

/// What one of the caller's ids is called in its namespace.
fn named(task: &CurrentTask, kind: IdKind, which: fn(&Credentials) -> u32) -> u32 {
    let credentials = task.credentials();
    credentials.user_namespace.name(kind, which(&credentials)).unwrap_or(OVERFLOW_ID)
}

/// Whom `ids` mean in the caller's namespace; [`UNCHANGED`] means itself.
///
/// # Errors
/// `EINVAL` for what means nobody.
fn meant<const N: usize>(task: &CurrentTask, kind: IdKind, ids: [u32; N]) -> Result<[u32; N], Errno> {
    let namespace = task.user_namespace();
    let mut meant = ids;
    for id in meant.iter_mut().filter(|id| **id != UNCHANGED) {
        *id = namespace.resolve(kind, *id).ok_or(Errno::EINVAL)?;
    }
    Ok(meant)
}

/// `getuid(2)`.
pub fn getuid(task: &CurrentTask) -> SysResult<u32> {
    Ok(named(task, IdKind::User, |own| own.uid))
}

/// `geteuid(2)`.
pub fn geteuid(task: &CurrentTask) -> SysResult<u32> {
    Ok(named(task, IdKind::User, |own| own.euid))
}

/// `getgid(2)`.
pub fn getgid(task: &CurrentTask) -> SysResult<u32> {
    Ok(named(task, IdKind::Group, |own| own.gid))
}

/// `getegid(2)`.
pub fn getegid(task: &CurrentTask) -> SysResult<u32> {
    Ok(named(task, IdKind::Group, |own| own.egid))
}

/// `getresuid(2)`.
pub fn getresuid(
    task: &CurrentTask,
    uid: UserPtr<u32>,
    euid: UserPtr<u32>,
    suid: UserPtr<u32>,
) -> SysResult<()> {
    let credentials = task.credentials();
    let ids = &credentials.user_namespace;
    task.write_value(uid, &ids.uid(credentials.uid))?;
    task.write_value(euid, &ids.uid(credentials.euid))?;
    Ok(task.write_value(suid, &ids.uid(credentials.suid))?)
}

/// `getresgid(2)`.
pub fn getresgid(
    task: &CurrentTask,
    gid: UserPtr<u32>,
    egid: UserPtr<u32>,
    sgid: UserPtr<u32>,
) -> SysResult<()> {
    let credentials = task.credentials();
    let ids = &credentials.user_namespace;
    task.write_value(gid, &ids.gid(credentials.gid))?;
    task.write_value(egid, &ids.gid(credentials.egid))?;
    Ok(task.write_value(sgid, &ids.gid(credentials.sgid))?)
}

/// Replaces the caller's identity. A process that changes who it acts as is no longer open to others (`PR_SET_DUMPABLE`).
pub(super) fn commit(
    task: &CurrentTask,
    change: impl FnOnce(&Credentials) -> Result<Credentials, Errno>,
) -> SysResult<()> {
    let old = task.credentials();
    let new = change(&old)?;
    let same_actor = |of: &Credentials| (of.euid, of.egid, of.fsuid, of.fsgid);
    if same_actor(&old) != same_actor(&new) || !new.gains_nothing_over(&old) {
        task.group().set_dumpable(0);
        task.set_parent_death_signal(0);
    }
    task.set_credentials(new);
    Ok(())
}

/// `setuid(2)`.
pub fn setuid(task: &CurrentTask, uid: u32) -> SysResult<()> {
    let [uid] = meant(task, IdKind::User, [uid])?;
    commit(task, |old| old.set_uid(uid))
}

/// `setreuid(2)`.
pub fn setreuid(task: &CurrentTask, uid: u32, euid: u32) -> SysResult<()> {
    let [uid, euid] = meant(task, IdKind::User, [uid, euid])?;
    commit(task, |old| old.set_reuid(uid, euid))
}

/// `setresuid(2)`.
pub fn setresuid(task: &CurrentTask, uid: u32, euid: u32, suid: u32) -> SysResult<()> {
    let [uid, euid, suid] = meant(task, IdKind::User, [uid, euid, suid])?;
    commit(task, |old| old.set_resuid(uid, euid, suid))
}

/// `setfsuid(2)`: gives the old id in any case.
pub fn setfsuid(task: &CurrentTask, fsuid: u32) -> SysResult<u32> {
    let old = task.credentials();
    if let Some(new) = meant(task, IdKind::User, [fsuid]).ok().and_then(|[fsuid]| old.set_fsuid(fsuid)) {
        commit(task, |_| Ok(new))?;
    }
    Ok(old.user_namespace.uid(old.fsuid))
}

/// `setgid(2)`.
pub fn setgid(task: &CurrentTask, gid: u32) -> SysResult<()> {
    let [gid] = meant(task, IdKind::Group, [gid])?;
    commit(task, |old| old.set_gid(gid))
}

/// `setregid(2)`.
pub fn setregid(task: &CurrentTask, gid: u32, egid: u32) -> SysResult<()> {
    let [gid, egid] = meant(task, IdKind::Group, [gid, egid])?;
    commit(task, |old| old.set_regid(gid, egid))
}

/// `setresgid(2)`.
pub fn setresgid(task: &CurrentTask, gid: u32, egid: u32, sgid: u32) -> SysResult<()> {
    let [gid, egid, sgid] = meant(task, IdKind::Group, [gid, egid, sgid])?;
    commit(task, |old| old.set_resgid(gid, egid, sgid))
}

/// `setfsgid(2)`: gives the old id in any case.
pub fn setfsgid(task: &CurrentTask, fsgid: u32) -> SysResult<u32> {
    let old = task.credentials();
    if let Some(new) = meant(task, IdKind::Group, [fsgid]).ok().and_then(|[fsgid]| old.set_fsgid(fsgid)) {
        commit(task, |_| Ok(new))?;
    }
    Ok(old.user_namespace.gid(old.fsgid))
}

/// `getgroups(2)`.
pub fn getgroups(task: &CurrentTask, size: i32, list: UserPtr<u32>) -> SysResult<usize> {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    let credentials = task.credentials();
    if size > 0 {
        if size < credentials.groups.len() {
            return Err(Errno::EINVAL.into());
        }
        let ids = &credentials.user_namespace;
        let named: Vec<u32> = credentials.groups.iter().map(|&group| ids.gid(group)).collect();
        task.write_slice(list, &named)?;
    }
    Ok(credentials.groups.len())
}

/// `setgroups(2)`.
pub fn setgroups(task: &CurrentTask, size: u32, list: UserPtr<u32>) -> SysResult<()> {
    let old = task.credentials();
    if !old.may_set_groups() {
        return Err(Errno::EPERM.into());
    }
    let size = size as usize;
    if size > MOST_GROUPS {
        return Err(Errno::EINVAL.into());
    }
    let named: Vec<u32> = task.read_slice(list, size)?;
    let meant = named.iter().map(|&group| old.user_namespace.resolve(IdKind::Group, group));
    let groups = meant.collect::<Option<Vec<u32>>>().ok_or(Errno::EINVAL)?;
    commit(task, |old| old.set_groups(groups))
}

/// How many [`CapUserData`] a version of the interface has; an unknown one is answered with the one to use.
fn data_count(task: &CurrentTask, header: UserPtr<CapUserHeader>, version: u32) -> Result<usize, Errno> {
    match version {
        LINUX_CAPABILITY_VERSION_1 => Ok(1),
        LINUX_CAPABILITY_VERSION_2 | LINUX_CAPABILITY_VERSION_3 => Ok(2),
        _ => {
            task.write_value(header.cast(), &LINUX_CAPABILITY_VERSION_3)?;
            Err(Errno::EINVAL)
        }
    }
}

/// The identity of task `pid`; 0 is the caller.
fn credentials_of(task: &CurrentTask, pid: i32) -> Result<Arc<Credentials>, Errno> {
    match pid {
        0 => Ok(task.credentials()),
        pid if pid < 0 => Err(Errno::EINVAL),
        pid => task.kernel().tree().task(pid).map(|other| other.credentials()).ok_or(Errno::ESRCH),
    }
}

/// `capget(2)`.
pub fn capget(
    task: &CurrentTask,
    header: UserPtr<CapUserHeader>,
    data: UserPtr<CapUserData>,
) -> SysResult<()> {
    let CapUserHeader { version, pid } = task.read_value(header)?;
    let count = match data_count(task, header, version) {
        // Without a place for the answer, it is the version that was asked for.
        Err(Errno::EINVAL) if data.is_null() => return Ok(()),
        count => count?,
    };
    let credentials = credentials_of(task, pid)?;
    if data.is_null() {
        return Ok(());
    }
    let half = |set: CapabilitySet, index: usize| (set.bits() >> (32 * index) & u64::from(u32::MAX)) as u32;
    let answer: Vec<CapUserData> = (0..count)
        .map(|index| CapUserData {
            effective: half(credentials.effective, index),
            permitted: half(credentials.permitted, index),
            inheritable: half(credentials.inheritable, index),
        })
        .collect();
    Ok(task.write_slice(data, &answer)?)
}

/// `capset(2)`.
pub fn capset(
    task: &CurrentTask,
    header: UserPtr<CapUserHeader>,
    data: UserPtr<CapUserData>,
) -> SysResult<()> {
    let CapUserHeader { version, pid } = task.read_value(header)?;
    let count = data_count(task, header, version)?;
    if pid != 0 && pid != task.tid() {
        return Err(Errno::EPERM.into());
    }
    let data = task.read_slice(data, count)?;
    let join = |part: fn(&CapUserData) -> u32| {
        let bits = data.iter().enumerate().map(|(index, data)| u64::from(part(data)) << (32 * index));
        CapabilitySet::from_bits_truncate(bits.fold(0, |sum, bits| sum | bits))
    };
    let sets = CapabilitySets {
        effective: join(|data| data.effective),
        permitted: join(|data| data.permitted),
        inheritable: join(|data| data.inheritable),
    };
    commit(task, |old| old.set_capabilities(sets))
}
