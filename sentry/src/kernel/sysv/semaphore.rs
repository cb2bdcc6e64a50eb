//! Semaphore sets (`semget(2)`, `semop(2)`, `semctl(2)`).
//!
//! Operations that cannot be done now are kept with the set, in the order in which they came; whoever changes the set does
//! those that have become possible on behalf of their tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bartizan_abi::Errno;
use bartizan_abi::ipc::{IpcPerm, SEMAEM, SEMVMX, Sembuf, SemopFlags};

use super::registry::Identified;
use super::{Charge, IpcNamespace, Permissions, UndoList};
use crate::kernel::{Credentials, Parker, realtime};
use crate::sync::{LockClass, Mutex, MutexGuard};

/// What one semaphore is accounted for, bytes.
const SEMAPHORE_BYTES: u64 = 16;

/// One semaphore.
#[derive(Debug, Clone, Copy, Default)]
struct Semaphore {
    value: i32,
    /// Who changed it last.
    pid: i32,
}

/// A set of semaphores.
#[derive(Debug)]
pub struct SemaphoreSet {
    id: i32,
    count: usize,
    state: Mutex<State>,
    _charge: Charge,
}

#[derive(Debug)]
struct State {
    permissions: Permissions,
    semaphores: Vec<Semaphore>,
    /// What is added when the tasks of a list end, by the list's id.
    adjustments: BTreeMap<u64, Adjustments>,
    pending: Vec<Arc<PendingOperation>>,
    /// What each of `pending` waits for: an index into its operations.
    blocking: Vec<usize>,
    operated: i64,
    changed: i64,
    removed: bool,
}

#[derive(Debug)]
struct Adjustments {
    values: Vec<i32>,
    _charge: Charge,
}

/// Operations that are done together, all or none.
#[derive(Debug)]
pub struct PendingOperation {
    /// What is done.
    pub operations: Vec<Sembuf>,
    /// Where it is undone, for operations with `SEM_UNDO`.
    pub undo: Option<u64>,
    /// The process that does it.
    pub pid: i32,
    /// Whom to wake.
    pub parker: Arc<Parker>,
    /// How it ended.
    result: OnceLock<Result<(), Errno>>,
}

impl PendingOperation {
    /// Operations of process `pid`, whose task sleeps at `parker`.
    pub fn new(operations: Vec<Sembuf>, undo: Option<&UndoList>, pid: i32, parker: &Arc<Parker>) -> Self {
        let undo = undo.map(UndoList::id);
        Self { operations, undo, pid, parker: Arc::clone(parker), result: OnceLock::new() }
    }

    /// How it ended, if it did.
    pub fn result(&self) -> Option<Result<(), Errno>> {
        self.result.get().copied()
    }

    fn finish(&self, result: Result<(), Errno>) {
        let _once = self.result.set(result);
        self.parker.unpark();
    }

    /// Whether it changes values.
    fn alters(&self) -> bool {
        self.operations.iter().any(|operation| operation.sem_op != 0)
    }
}

/// What became of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// They are done.
    Done,
    /// They are kept, to be done later.
    Queued,
}

/// What `semctl(IPC_STAT)` and `/proc/sysvipc/sem` tell; times in seconds.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SetReport {
    pub id: i32,
    pub permissions: Permissions,
    pub count: usize,
    pub operated: i64,
    pub changed: i64,
}

/// Why operations are not done.
enum Refusal {
    /// The operation with this index cannot be done now.
    Blocked(usize),
    Error(Errno),
}

fn flags(operation: &Sembuf) -> SemopFlags {
    SemopFlags::from_bits_retain(operation.sem_flg)
}

impl State {
    /// Does all operations or none (`perform_atomic_semop`).
    fn perform(&mut self, operation: &PendingOperation) -> Result<(), Refusal> {
        for (index, one) in operation.operations.iter().enumerate() {
            if let Err(refusal) = self.perform_one(index, one, operation.undo) {
                for done in operation.operations[..index].iter().rev() {
                    self.take_back(done, operation.undo);
                }
                return Err(refusal);
            }
        }
        for one in &operation.operations {
            if let Some(semaphore) = self.semaphores.get_mut(usize::from(one.sem_num)) {
                semaphore.pid = operation.pid;
            }
        }
        Ok(())
    }

    fn perform_one(&mut self, index: usize, one: &Sembuf, undo: Option<u64>) -> Result<(), Refusal> {
        let number = usize::from(one.sem_num);
        let semaphore = self.semaphores.get_mut(number).ok_or(Refusal::Error(Errno::EFBIG))?;
        let change = i32::from(one.sem_op);
        let value = semaphore.value + change;
        if (change == 0 && semaphore.value != 0) || value < 0 {
            let at_once = flags(one).contains(SemopFlags::IPC_NOWAIT);
            return Err(if at_once { Refusal::Error(Errno::EAGAIN) } else { Refusal::Blocked(index) });
        }
        if value > SEMVMX as i32 {
            return Err(Refusal::Error(Errno::ERANGE));
        }
        if flags(one).contains(SemopFlags::SEM_UNDO) {
            let adjustments = undo.and_then(|list| self.adjustments.get_mut(&list));
            // The list was made before the operation was tried, and goes only with the set.
            let adjustments = adjustments.ok_or(Refusal::Error(Errno::EIDRM))?;
            let adjusted = adjustments.values[number] - change;
            let most = SEMAEM as i32;
            if !(-most - 1..=most).contains(&adjusted) {
                return Err(Refusal::Error(Errno::ERANGE));
            }
            adjustments.values[number] = adjusted;
        }
        semaphore.value = value;
        Ok(())
    }

    fn take_back(&mut self, one: &Sembuf, undo: Option<u64>) {
        let number = usize::from(one.sem_num);
        let change = i32::from(one.sem_op);
        if let Some(semaphore) = self.semaphores.get_mut(number) {
            semaphore.value -= change;
        }
        let undone = flags(one).contains(SemopFlags::SEM_UNDO);
        if let Some(adjustments) = undo.filter(|_| undone).and_then(|list| self.adjustments.get_mut(&list)) {
            adjustments.values[number] += change;
        }
    }

    /// Does what has become possible: those who wait for zero first, then the others in their order (`do_smart_update`).
    fn settle(&mut self) {
        self.settle_some(false);
        while self.settle_some(true) {
            self.settle_some(false);
        }
    }

    /// Does what has become possible, of those that alter values or of the others; returns whether values were altered.
    fn settle_some(&mut self, alters: bool) -> bool {
        let mut index = 0;
        while index < self.pending.len() {
            let operation = Arc::clone(&self.pending[index]);
            if operation.alters() != alters {
                index += 1;
                continue;
            }
            let result = match self.perform(&operation) {
                Err(Refusal::Blocked(at)) => {
                    self.blocking[index] = at;
                    index += 1;
                    continue;
                }
                Err(Refusal::Error(errno)) => Err(errno),
                Ok(()) => Ok(()),
            };
            self.pending.remove(index);
            self.blocking.remove(index);
            if result.is_ok() {
                self.operated = realtime().tv_sec;
            }
            operation.finish(result);
            if alters && result.is_ok() {
                return true;
            }
        }
        false
    }

    fn report(&self, id: i32) -> SetReport {
        SetReport {
            id,
            permissions: self.permissions.clone(),
            count: self.semaphores.len(),
            operated: self.operated,
            changed: self.changed,
        }
    }

    fn semaphore(&self, number: i32) -> Result<&Semaphore, Errno> {
        usize::try_from(number).ok().and_then(|number| self.semaphores.get(number)).ok_or(Errno::EINVAL)
    }

    /// How many operations wait for semaphore `number` to be zero, or else to grow.
    fn waiting(&self, number: usize, for_zero: bool) -> usize {
        let blocked = self
            .pending
            .iter()
            .zip(&self.blocking)
            .filter_map(|(operation, at)| operation.operations.get(*at));
        blocked
            .filter(|one| usize::from(one.sem_num) == number)
            .filter(|one| if for_zero { one.sem_op == 0 } else { one.sem_op < 0 })
            .count()
    }
}

impl Identified for SemaphoreSet {
    fn id(&self) -> i32 {
        self.id
    }

    fn permissions(&self) -> Permissions {
        self.state.lock().permissions.clone()
    }
}

impl SemaphoreSet {
    /// A set of `count` semaphores, all zero.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(
        namespace: &IpcNamespace,
        id: i32,
        permissions: Permissions,
        count: usize,
    ) -> Result<Self, Errno> {
        let charge = namespace.charge(count as u64 * SEMAPHORE_BYTES)?;
        let state = State {
            permissions,
            semaphores: vec![Semaphore::default(); count],
            adjustments: BTreeMap::new(),
            pending: Vec::new(),
            blocking: Vec::new(),
            operated: 0,
            changed: realtime().tv_sec,
            removed: false,
        };
        Ok(Self { id, count, state: Mutex::new(LockClass::IpcObject, state), _charge: charge })
    }

    /// How many semaphores it has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The set, for somebody who is allowed `wanted`.
    fn access(&self, credentials: &Credentials, wanted: u32) -> Result<MutexGuard<'_, State>, Errno> {
        let state = self.state.lock();
        state.permissions.check(credentials, wanted)?;
        if state.removed { Err(Errno::EIDRM) } else { Ok(state) }
    }

    /// Does the operations, or queues them.
    ///
    /// # Errors
    /// As `semop(2)`: `EFBIG`, `EACCES`, `EIDRM`, `EAGAIN`, `ERANGE`, `ENOMEM`.
    pub fn operate(
        self: &Arc<Self>,
        namespace: &IpcNamespace,
        credentials: &Credentials,
        operation: &Arc<PendingOperation>,
        undo: Option<&UndoList>,
    ) -> Result<Applied, Errno> {
        let highest = operation.operations.iter().map(|one| usize::from(one.sem_num)).max();
        if highest.is_none_or(|highest| highest >= self.count) {
            return Err(Errno::EFBIG);
        }
        let alters = operation.alters();
        let mut state =
            self.access(credentials, if alters { Permissions::WRITE } else { Permissions::READ })?;
        if let Some(list) = undo
            && !state.adjustments.contains_key(&list.id())
        {
            let charge = namespace.charge(self.count as u64 * 4)?;
            let adjustments = Adjustments { values: vec![0; self.count], _charge: charge };
            state.adjustments.insert(list.id(), adjustments);
            list.add(self);
        }
        match state.perform(operation) {
            Ok(()) => {
                state.operated = realtime().tv_sec;
                if alters {
                    state.settle();
                }
                Ok(Applied::Done)
            }
            Err(Refusal::Error(errno)) => Err(errno),
            Err(Refusal::Blocked(at)) => {
                state.pending.push(Arc::clone(operation));
                state.blocking.push(at);
                Ok(Applied::Queued)
            }
        }
    }

    /// Gives up operations that were queued; `errno` is their result unless they have been done meanwhile.
    ///
    /// # Errors
    /// `errno`, or what they ended with.
    pub fn abandon(&self, operation: &Arc<PendingOperation>, errno: Errno) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let place = state.pending.iter().position(|other| Arc::ptr_eq(other, operation));
        if let Some(index) = place {
            state.pending.remove(index);
            state.blocking.remove(index);
        }
        operation.result().unwrap_or(Err(errno))
    }

    /// Adds the adjustments of a list, whose last task has ended; it was one of process `pid`.
    pub(super) fn undo(&self, list: u64, pid: i32) {
        let mut state = self.state.lock();
        let Some(adjustments) = state.adjustments.remove(&list) else { return };
        for (semaphore, &adjustment) in state.semaphores.iter_mut().zip(&adjustments.values) {
            if adjustment != 0 {
                semaphore.value = (semaphore.value + adjustment).clamp(0, SEMVMX as i32);
                semaphore.pid = pid;
            }
        }
        state.operated = realtime().tv_sec;
        state.settle();
    }

    /// What there is to tell, for somebody who may read it (`IPC_STAT`).
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`.
    pub fn stat(&self, credentials: &Credentials) -> Result<SetReport, Errno> {
        Ok(self.access(credentials, Permissions::READ)?.report(self.id))
    }

    /// What there is to tell, for everybody.
    pub fn report(&self) -> SetReport {
        self.state.lock().report(self.id)
    }

    /// `GETVAL`.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`, `EINVAL`.
    pub fn value(&self, credentials: &Credentials, number: i32) -> Result<i32, Errno> {
        self.access(credentials, Permissions::READ)?.semaphore(number).map(|semaphore| semaphore.value)
    }

    /// `GETPID`.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`, `EINVAL`.
    pub fn last_process(&self, credentials: &Credentials, number: i32) -> Result<i32, Errno> {
        self.access(credentials, Permissions::READ)?.semaphore(number).map(|semaphore| semaphore.pid)
    }

    /// `GETNCNT`, or `GETZCNT` with `for_zero`.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`, `EINVAL`.
    pub fn waiters(&self, credentials: &Credentials, number: i32, for_zero: bool) -> Result<usize, Errno> {
        let state = self.access(credentials, Permissions::READ)?;
        state.semaphore(number)?;
        Ok(state.waiting(usize::try_from(number).map_err(|_| Errno::EINVAL)?, for_zero))
    }

    /// `GETALL`.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`.
    pub fn values(&self, credentials: &Credentials) -> Result<Vec<u16>, Errno> {
        let state = self.access(credentials, Permissions::READ)?;
        Ok(state.semaphores.iter().map(|semaphore| semaphore.value as u16).collect())
    }

    /// `SETVAL`; the value has been checked.
    ///
    /// # Errors
    /// `EINVAL`, `EACCES`, `EIDRM`.
    pub fn set_value(
        &self,
        credentials: &Credentials,
        number: i32,
        value: i32,
        pid: i32,
    ) -> Result<(), Errno> {
        let number = usize::try_from(number).ok().filter(|&number| number < self.count);
        let number = number.ok_or(Errno::EINVAL)?;
        let mut state = self.access(credentials, Permissions::WRITE)?;
        for adjustments in state.adjustments.values_mut() {
            adjustments.values[number] = 0;
        }
        state.semaphores[number] = Semaphore { value, pid };
        state.changed = realtime().tv_sec;
        state.settle();
        Ok(())
    }

    /// Whether the caller may use `SETALL`.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`.
    pub fn check_write(&self, credentials: &Credentials) -> Result<(), Errno> {
        self.access(credentials, Permissions::WRITE).map(drop)
    }

    /// `SETALL`; the values have been checked, and there are as many as semaphores.
    ///
    /// # Errors
    /// `EACCES`, `EIDRM`.
    pub fn set_values(&self, credentials: &Credentials, values: &[u16], pid: i32) -> Result<(), Errno> {
        let mut state = self.access(credentials, Permissions::WRITE)?;
        for (semaphore, &value) in state.semaphores.iter_mut().zip(values) {
            *semaphore = Semaphore { value: value.into(), pid };
        }
        for adjustments in state.adjustments.values_mut() {
            adjustments.values.fill(0);
        }
        state.changed = realtime().tv_sec;
        state.settle();
        Ok(())
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

    /// `IPC_RMID`: ends all operations that wait.
    ///
    /// # Errors
    /// `EPERM`, `EIDRM`.
    pub fn remove(&self, namespace: &IpcNamespace, credentials: &Credentials) -> Result<(), Errno> {
        self.state.lock().permissions.check_owner(credentials)?;
        if !namespace.semaphores.remove(self) {
            return Err(Errno::EIDRM);
        }
        let mut state = self.state.lock();
        state.removed = true;
        state.adjustments.clear();
        state.blocking.clear();
        for operation in state.pending.drain(..) {
            operation.finish(Err(Errno::EIDRM));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
