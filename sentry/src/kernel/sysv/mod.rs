//! System V IPC (`sysvipc(7)`): semaphores, message queues and shared memory, and the namespace that holds them.
//!
//! Each kind has a [`Registry`] of its objects by id and by key (lock class `IpcNames`), and each object has one lock
//! (`IpcObject`) that is never held while a task sleeps or its memory is accessed. An object leaves its registry before
//! it is marked as removed; whoever still holds it finds the mark under its lock and reports `EIDRM`.

mod message;
mod permissions;
mod registry;
mod semaphore;
mod shared_memory;
mod undo;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bartizan_abi::Errno;
use bartizan_abi::ipc::{MSGMAX, MSGMNB, MSGMNI, SEMMNI, SEMMNS, SEMMSL, SEMOPM, SHMALL, SHMMAX, SHMMNI};

pub use message::{Message, MessageQueue, QueueReport, Receiver, Selection, Send};
pub use permissions::Permissions;
pub use registry::{GetRequest, Registry};
pub use semaphore::{Applied, PendingOperation, SemaphoreSet, SetReport};
pub use shared_memory::{Segment, SegmentReport};
pub use undo::UndoList;

use super::UserNamespace;
use super::mqueue::{MSG_MAX, MSGSIZE_MAX, MessageFiles, QUEUES_MAX};
use crate::sync::{LockClass, RwLock};

/// The objects of System V IPC that some processes have in common, and their limits (`ipc_namespaces(7)`).
#[derive(Debug)]
pub struct IpcNamespace {
    identity: u32,
    owner: UserNamespace,
    /// `semget(2)`.
    pub semaphores: Registry<SemaphoreSet>,
    /// `msgget(2)`.
    pub messages: Registry<MessageQueue>,
    /// `shmget(2)`. Shared with the segments, which leave it when nobody has them attached any more.
    pub segments: Arc<Registry<Segment>>,
    ledger: Arc<Ledger>,
    /// Pages of all segments.
    pages: Arc<Ledger>,
    limits: RwLock<IpcLimits>,
    next_undo: AtomicU64,
    message_files: MessageFiles,
}

/// The limits of a namespace.
#[derive(Debug, Clone, Copy)]
#[expect(
    missing_docs,
    reason = "the names are those of proc_sys_kernel(5) and, of message queues, mq_overview(7)"
)]
pub struct IpcLimits {
    pub semmsl: u64,
    pub semmns: u64,
    pub semopm: u64,
    pub semmni: u64,
    pub msgmax: u64,
    pub msgmnb: u64,
    pub msgmni: u64,
    pub shmmax: u64,
    pub shmall: u64,
    pub shmmni: u64,
    pub queues_max: u64,
    pub msg_max: i64,
    pub msg_default: i64,
    pub msgsize_max: i64,
    pub msgsize_default: i64,
}

impl Default for IpcLimits {
    /// Those with which Linux starts.
    fn default() -> Self {
        Self {
            semmsl: SEMMSL,
            semmns: SEMMNS,
            semopm: SEMOPM,
            semmni: SEMMNI,
            msgmax: MSGMAX,
            msgmnb: MSGMNB,
            msgmni: MSGMNI,
            shmmax: SHMMAX,
            shmall: SHMALL,
            shmmni: SHMMNI,
            queues_max: QUEUES_MAX,
            msg_max: MSG_MAX,
            msg_default: MSG_MAX,
            msgsize_max: MSGSIZE_MAX,
            msgsize_default: MSGSIZE_MAX,
        }
    }
}

impl IpcNamespace {
    /// The number of the initial namespace (`PROC_IPC_INIT_INO`).
    const INITIAL: u32 = 0xefff_ffff;

    /// The initial namespace, empty. Its objects and those of namespaces beside it may use up to `memory` bytes of the host besides guest
    /// memory.
    pub fn new(memory: u64) -> Self {
        let ledger = Arc::new(Ledger { used: AtomicU64::new(0), limit: AtomicU64::new(memory) });
        Self::of(Self::INITIAL, UserNamespace::default(), ledger)
    }

    /// Another namespace, empty, with the number `identity`, in `owner` (`CLONE_NEWIPC`).
    pub fn beside(&self, identity: u32, owner: UserNamespace) -> Arc<Self> {
        Arc::new(Self::of(identity, owner, Arc::clone(&self.ledger)))
    }

    fn of(identity: u32, owner: UserNamespace, ledger: Arc<Ledger>) -> Self {
        Self {
            identity,
            semaphores: Registry::new(owner.clone()),
            messages: Registry::new(owner.clone()),
            segments: Arc::new(Registry::new(owner.clone())),
            owner,
            ledger,
            pages: Arc::new(Ledger { used: AtomicU64::new(0), limit: AtomicU64::new(SHMALL) }),
            limits: RwLock::new(LockClass::Table, IpcLimits::default()),
            next_undo: AtomicU64::new(0),
            message_files: MessageFiles::default(),
        }
    }

    /// The number that `/proc/[pid]/ns/ipc` shows.
    pub fn identity(&self) -> u32 {
        self.identity
    }

    /// The user namespace whose administrators may do everything in it.
    pub fn owner(&self) -> &UserNamespace {
        &self.owner
    }

    /// Accounts for pages of a segment.
    ///
    /// # Errors
    /// `ENOSPC` if there are too many (`shmall`).
    fn charge_pages(&self, pages: u64) -> Result<Charge, Errno> {
        Charge::new(&self.pages, pages).map_err(|_| Errno::ENOSPC)
    }

    /// The limits as they are now.
    pub fn limits(&self) -> IpcLimits {
        *self.limits.read()
    }

    /// Changes the limits; what there is already stays.
    ///
    /// # Errors
    /// Those of `change`, which has changed nothing then.
    pub fn change_limits(
        &self,
        change: impl FnOnce(&mut IpcLimits) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut limits = self.limits.write();
        let mut new = *limits;
        change(&mut new)?;
        self.pages.limit.store(new.shmall, Ordering::Relaxed);
        *limits = new;
        Ok(())
    }

    /// A list of undo operations for a task that has none.
    pub fn new_undo_list(&self) -> Arc<UndoList> {
        Arc::new(UndoList::new(self.next_undo.fetch_add(1, Ordering::Relaxed)))
    }

    /// POSIX message queues.
    pub fn message_files(&self) -> &MessageFiles {
        &self.message_files
    }

    /// Accounts for memory of the host that an object needs.
    ///
    /// # Errors
    /// `ENOMEM` if that is too much.
    pub fn charge(&self, bytes: u64) -> Result<Charge, Errno> {
        Charge::new(&self.ledger, bytes)
    }
}

/// How much memory of the host the objects of a namespace use.
#[derive(Debug)]
struct Ledger {
    used: AtomicU64,
    limit: AtomicU64,
}

/// Memory of the host that is accounted for until this is dropped.
#[derive(Debug)]
pub struct Charge {
    ledger: Arc<Ledger>,
    bytes: u64,
}

impl Charge {
    fn new(ledger: &Arc<Ledger>, bytes: u64) -> Result<Self, Errno> {
        let limit = ledger.limit.load(Ordering::Relaxed);
        let add = |used: u64| used.checked_add(bytes).filter(|&used| used <= limit);
        ledger.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map_err(|_| Errno::ENOMEM)?;
        Ok(Self { ledger: Arc::clone(ledger), bytes })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
