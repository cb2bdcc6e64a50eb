//! System V shared memory (`shmget(2)`, `shmat(2)`, `shmctl(2)`).
//!
//! A segment is the source of the pages of the areas that show it; memory management tells it of each of them. It lives
//! until it has been removed and nobody shows it any more.

use std::ops::Range;
use std::sync::{Arc, Weak};

use bartizan_abi::Errno;
use bartizan_abi::ipc::{IPC_PRIVATE, IpcPerm, SHM_DEST, SHM_LOCKED};
use bartizan_platform::Access;
use bartizan_platform::memory::{MemoryFile, PAGE_SIZE};

use super::registry::Identified;
use super::{Charge, IpcNamespace, Permissions, Registry};
use crate::kernel::{Credentials, realtime};
use crate::mm::{Attach, Attachment, MappingSet, PageError, PageRun, PageSource, SharedMemory};
use crate::sync::{LockClass, Mutex};

/// The device that `/proc/[pid]/maps` shows for segments: that of memory without a file.
const DEVICE: u64 = 1;

/// A segment of shared memory.
#[derive(Debug)]
pub struct Segment {
    this: Weak<Self>,
    registry: Weak<Registry<Self>>,
    id: i32,
    key: i32,
    size: u64,
    memory: Arc<SharedMemory>,
    state: Mutex<State>,
    _charge: Charge,
}

#[derive(Debug)]
struct State {
    permissions: Permissions,
    attachments: u64,
    attached: i64,
    detached: i64,
    changed: i64,
    creator: i32,
    last: i32,
    removed: bool,
    /// Who has locked it.
    locked_by: Option<u32>,
}

/// What `shmctl(IPC_STAT)` and `/proc/sysvipc/shm` tell; times in seconds, sizes in bytes.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SegmentReport {
    pub id: i32,
    pub permissions: Permissions,
    pub size: u64,
    pub resident: u64,
    pub attachments: u64,
    pub attached: i64,
    pub detached: i64,
    pub changed: i64,
    pub creator: i32,
    pub last: i32,
}

impl Identified for Segment {
    fn id(&self) -> i32 {
        self.id
    }

    fn permissions(&self) -> Permissions {
        self.state.lock().permissions.clone()
    }
}

impl Segment {
    /// A segment of `size` bytes of zeros that process `pid` makes.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub fn new(
        namespace: &IpcNamespace,
        memory: &Arc<MemoryFile>,
        (id, permissions): (i32, Permissions),
        size: u64,
        pid: i32,
    ) -> Result<Arc<Self>, Errno> {
        let key = permissions.key;
        let charge = namespace.charge_pages(size.div_ceil(PAGE_SIZE))?;
        let state = State {
            permissions,
            attachments: 0,
            attached: 0,
            detached: 0,
            changed: realtime().tv_sec,
            creator: pid,
            last: 0,
            removed: false,
            locked_by: None,
        };
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            registry: Arc::downgrade(&namespace.segments),
            id,
            key,
            size,
            memory: SharedMemory::new(memory, size, (DEVICE, u64::from(id.unsigned_abs()))),
            state: Mutex::new(LockClass::IpcObject, state),
            _charge: charge,
        }))
    }

    /// Its size in bytes, as it was asked for.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Lets process `pid` attach it, with permission for `wanted`; it stays while the answer lives.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`.
    pub fn prepare_attach(
        self: &Arc<Self>,
        credentials: &Credentials,
        wanted: u32,
        pid: i32,
    ) -> Result<Hold, Errno> {
        let mut state = self.state.lock();
        state.permissions.check(credentials, wanted)?;
        if state.removed {
            return Err(Errno::EIDRM);
        }
        state.attachments += 1;
        state.last = pid;
        drop(state);
        Ok(Hold(Arc::clone(self)))
    }

    /// One less has it attached; returns whether the caller has to take it out of the registry.
    fn let_go(state: &mut State) -> bool {
        state.attachments = state.attachments.saturating_sub(1);
        let gone = state.attachments == 0 && state.permissions.mode & SHM_DEST != 0;
        state.removed |= gone;
        gone
    }

    fn leave(&self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.remove(self);
        }
    }

    /// What there is to tell, for somebody who may read it (`IPC_STAT`).
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`.
    pub fn stat(&self, credentials: &Credentials) -> Result<SegmentReport, Errno> {
        let report = self.report();
        report.permissions.check(credentials, Permissions::READ)?;
        if self.state.lock().removed { Err(Errno::EIDRM) } else { Ok(report) }
    }

    /// What there is to tell, for everybody.
    pub fn report(&self) -> SegmentReport {
        let resident = self.memory.resident();
        let state = self.state.lock();
        SegmentReport {
            id: self.id,
            permissions: state.permissions.clone(),
            size: self.size,
            resident,
            attachments: state.attachments,
            attached: state.attached,
            detached: state.detached,
            changed: state.changed,
            creator: state.creator,
            last: state.last,
        }
    }

    /// `IPC_SET`.
    ///
    /// # Errors
    /// `EPERM`, `EIDRM`, `EINVAL`.
    pub fn change(&self, credentials: &Credentials, new: &IpcPerm) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.permissions.check_owner(credentials)?;
        if state.removed {
            return Err(Errno::EIDRM);
        }
        state.permissions.change(credentials, new)?;
        state.changed = realtime().tv_sec;
        Ok(())
    }

    /// `SHM_LOCK` by user `locked_by`, or `SHM_UNLOCK`; whether the caller may is its to know. Nothing is ever swapped out.
    pub fn set_locked(&self, locked_by: Option<u32>) {
        let mut state = self.state.lock();
        state.locked_by = locked_by;
        let mode = &mut state.permissions.mode;
        *mode = if locked_by.is_some() { *mode | SHM_LOCKED } else { *mode & !SHM_LOCKED };
    }

    /// Bytes of it that user `uid` has locked.
    pub fn locked_by(&self, uid: u32) -> u64 {
        if self.state.lock().locked_by == Some(uid) { self.size } else { 0 }
    }

    /// `IPC_RMID`: it goes as soon as nobody has it attached; until then it is found by its id alone.
    ///
    /// # Errors
    /// `EPERM`, `EIDRM`.
    pub fn remove(&self, namespace: &IpcNamespace, credentials: &Credentials) -> Result<(), Errno> {
        let unused = {
            let mut state = self.state.lock();
            state.permissions.check_owner(credentials)?;
            if state.removed {
                return Err(Errno::EIDRM);
            }
            state.permissions.mode |= SHM_DEST;
            state.permissions.key = IPC_PRIVATE;
            state.removed = state.attachments == 0;
            state.removed
        };
        namespace.segments.forget_key(self);
        if unused {
            namespace.segments.remove(self);
        }
        Ok(())
    }
}

/// Keeps a segment while it is being attached.
#[derive(Debug)]
pub struct Hold(Arc<Segment>);

impl Drop for Hold {
    fn drop(&mut self) {
        let gone = Segment::let_go(&mut self.0.state.lock());
        if gone {
            self.0.leave();
        }
    }
}

impl Attach for Segment {
    fn attached(&self) {
        let mut state = self.state.lock();
        state.attachments += 1;
        state.attached = realtime().tv_sec;
    }

    fn detached(&self) {
        let gone = {
            let mut state = self.state.lock();
            state.detached = realtime().tv_sec;
            Self::let_go(&mut state)
        };
        if gone {
            self.leave();
        }
    }

    fn used_by(&self, pid: i32) {
        self.state.lock().last = pid;
    }

    fn length(&self) -> u64 {
        self.memory.length()
    }
}

impl PageSource for Segment {
    fn pages(&self, offset: u64, length: u64, access: Access) -> Result<PageRun, PageError> {
        self.memory.pages(offset, length, access)
    }

    fn mappings(&self) -> &MappingSet {
        self.memory.mappings()
    }

    fn identity(&self) -> (u64, u64) {
        self.memory.identity()
    }

    fn remove(&self, range: Range<u64>) -> Result<(), Errno> {
        PageSource::remove(&*self.memory, range)
    }

    fn attach(&self) -> Option<Attachment> {
        Some(Attachment::new(self.this.upgrade()?))
    }

    fn label(&self) -> Option<String> {
        Some(format!("/SYSV{:08x} (deleted)", self.key))
    }
}

#[cfg(test)]
mod tests {
    use bartizan_abi::ipc::IpcFlags;

    use super::*;
    use crate::kernel::sysv::GetRequest;

    fn segment(namespace: &IpcNamespace, key: i32) -> Arc<Segment> {
        let memory = MemoryFile::new(1 << 20).unwrap();
        let request = GetRequest {
            key,
            flags: IpcFlags::from_bits_retain(0o1600),
            credentials: &Credentials::root(),
            limit: 10,
        };
        let make = |id, permissions| Segment::new(namespace, &memory, (id, permissions), 5000, 1);
        let id = namespace.segments.get(&request, |_| Ok(()), make).unwrap();
        namespace.segments.find(id).unwrap()
    }

    #[test]
    fn lives_until_the_last_detaches() {
        let namespace = IpcNamespace::new(0);
        let segment = segment(&namespace, 5);
        let first = segment.prepare_attach(&Credentials::root(), 0o600, 7).unwrap();
        let second = segment.attach().unwrap();
        assert_eq!(segment.report().detached, 0);
        assert_eq!((segment.report().attachments, segment.report().last), (2, 7));
        assert_eq!(segment.remove(&namespace, &Credentials::root()), Ok(()));
        assert_eq!(segment.report().permissions.mode, 0o1600);
        assert_eq!(segment.report().permissions.key, 0);
        drop(first);
        assert_eq!(namespace.segments.len(), 1);
        drop(second);
        assert_eq!(namespace.segments.len(), 0);
        let again = segment.prepare_attach(&Credentials::root(), 0o600, 7);
        assert_eq!(again.err(), Some(Errno::EIDRM));
    }

    #[test]
    fn removed_at_once_if_nobody_has_it() {
        let namespace = IpcNamespace::new(0);
        let segment = segment(&namespace, 5);
        assert_eq!(segment.remove(&namespace, &Credentials::user(5, 5, vec![])), Err(Errno::EPERM));
        assert_eq!(segment.remove(&namespace, &Credentials::root()), Ok(()));
        assert!(namespace.segments.is_empty());
    }
}
