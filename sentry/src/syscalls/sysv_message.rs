//! System V message queues: `msgget`, `msgsnd`, `msgrcv`, `msgctl`.

use std::sync::Arc;

use bartizan_abi::ipc::{
    IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, IpcFlags, MSG_INFO, MSG_STAT, MSG_STAT_ANY, MsgQueueFlags,
    Msginfo, MsqidDs,
};
use bartizan_abi::{Errno, PollEvents};

use super::sysv_semaphore::limit;
use crate::kernel::sysv::{GetRequest, Message, MessageQueue, QueueReport, Receiver, Selection, Send};
use crate::kernel::{CurrentTask, UserNamespace};
use crate::mm::{UserAddr, UserPtr};
use crate::{Restart, SysError, SysResult};

/// Bytes of a segment of a message, of which `IPC_INFO` still tells (`MSGSSZ`).
const MSGSSZ: i32 = 16;
/// How many of them there are (`MSGSEG`).
const MSGSEG: u16 = u16::MAX;
/// Bytes before the text of a message: its type.
const HEADER: u64 = 8;

/// `msgget(2)`.
pub fn msgget(task: &CurrentTask, key: i32, flags: IpcFlags) -> SysResult<i32> {
    let credentials = task.credentials();
    let limits = task.ipc().limits();
    let request = GetRequest { key, flags, credentials: &credentials, limit: limits.msgmni };
    let make = |id, permissions| Ok(Arc::new(MessageQueue::new(id, permissions, limits.msgmnb)));
    Ok(task.ipc().messages.get(&request, |_| Ok(()), make)?)
}

/// `msgsnd(2)`.
pub fn msgsnd(
    task: &CurrentTask,
    id: i32,
    pointer: UserPtr<i64>,
    length: u64,
    flags: MsgQueueFlags,
) -> SysResult<()> {
    let kind = task.read_value(pointer)?;
    if length > task.ipc().limits().msgmax || id < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let text =
        task.read_slice(UserPtr::<u8>::new(pointer.address().checked_add(HEADER)?), length as usize)?;
    let message = Arc::new(Message::new(&task.ipc(), kind, text)?);
    let queue = task.ipc().messages.find(id)?;
    let send = || match queue.send(&task.credentials(), &message, task.pid()) {
        Ok(Send::Sent) => Some(Ok(())),
        Ok(Send::Full) if flags.contains(MsgQueueFlags::IPC_NOWAIT) => Some(Err(Errno::EAGAIN)),
        Ok(Send::Full) => None,
        Err(errno) => Some(Err(errno)),
    };
    match task.wait_on(queue.room(), PollEvents::WRITABLE, None, send) {
        Ok(result) => Ok(result?),
        Err(_) => Err(SysError::Restart(Restart::WithoutHandler)),
    }
}

/// Which message a caller of `msgrcv` wants (`convert_mode`).
fn selection(kind: i64, flags: MsgQueueFlags) -> Selection {
    match kind {
        kind if flags.contains(MsgQueueFlags::MSG_COPY) => Selection::Copy(kind),
        0 => Selection::Any,
        ..0 => Selection::UpTo(kind.checked_neg().unwrap_or(i64::MAX)),
        kind if flags.contains(MsgQueueFlags::MSG_EXCEPT) => Selection::Other(kind),
        kind => Selection::Equal(kind),
    }
}

/// `msgrcv(2)`.
pub fn msgrcv(
    task: &CurrentTask,
    id: i32,
    pointer: UserPtr<i64>,
    length: u64,
    kind: i64,
    flags: MsgQueueFlags,
) -> SysResult<usize> {
    if id < 0 || i64::try_from(length).is_err() {
        return Err(Errno::EINVAL.into());
    }
    let copies = flags.contains(MsgQueueFlags::MSG_COPY);
    if copies && (flags.contains(MsgQueueFlags::MSG_EXCEPT) || !flags.contains(MsgQueueFlags::IPC_NOWAIT)) {
        return Err(Errno::EINVAL.into());
    }
    let room = usize::try_from(length).unwrap_or(usize::MAX);
    let queue = task.ipc().messages.find(id)?;
    let message = receive(task, &queue, selection(kind, flags), room, flags)?;
    let count = message.text.len().min(room);
    if copies && count < message.text.len() {
        return Err(Errno::EINVAL.into());
    }
    task.write_value(pointer, &message.kind)?;
    task.write_bytes(pointer.address().checked_add(HEADER)?, &message.text[..count])?;
    Ok(count)
}

/// Takes the message, waiting for it if the caller does.
fn receive(
    task: &CurrentTask,
    queue: &MessageQueue,
    selection: Selection,
    room: usize,
    flags: MsgQueueFlags,
) -> SysResult<Arc<Message>> {
    let most = if flags.contains(MsgQueueFlags::MSG_NOERROR) { usize::MAX } else { room };
    let waits = !flags.contains(MsgQueueFlags::IPC_NOWAIT);
    loop {
        let receiver = Receiver::new(selection, most, task.pid(), task.parker());
        if let Some(message) = queue.receive(&task.credentials(), &receiver, waits)? {
            return Ok(message);
        }
        let Ok(result) = task.wait_until(None, || receiver.result()) else {
            return match queue.abandon(&receiver) {
                Some(Err(Errno::EAGAIN)) | None => Err(SysError::Restart(Restart::WithoutHandler)),
                Some(result) => Ok(result?),
            };
        };
        match result {
            // The queue has changed, and perhaps who may use it.
            Err(Errno::EAGAIN) => {}
            result => return Ok(result?),
        }
    }
}

/// `msgctl(2)`.
pub fn msgctl(task: &CurrentTask, id: i32, command: i32, pointer: UserAddr) -> SysResult<i32> {
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL.into());
    }
    let ipc = task.ipc();
    let queues = &ipc.messages;
    let credentials = task.credentials();
    match command {
        IPC_INFO | MSG_INFO => {
            task.write_value(UserPtr::new(pointer), &info(task, command))?;
            Ok(queues.highest_index())
        }
        IPC_STAT => {
            let report = queues.find(id)?.stat(&credentials)?;
            task.write_value(UserPtr::new(pointer), &description(&task.user_namespace(), &report))?;
            Ok(0)
        }
        MSG_STAT | MSG_STAT_ANY => {
            let queue = queues.at_index(id)?;
            let report = if command == MSG_STAT { queue.stat(&credentials)? } else { queue.report() };
            task.write_value(UserPtr::new(pointer), &description(&task.user_namespace(), &report))?;
            Ok(report.id)
        }
        IPC_SET => {
            let new: MsqidDs = task.read_value(UserPtr::new(pointer))?;
            let limit = task.ipc().limits().msgmnb;
            queues.find(id)?.change(&credentials, &new.msg_perm, new.msg_qbytes, limit)?;
            Ok(0)
        }
        IPC_RMID => {
            queues.find(id)?.remove(&task.ipc(), &credentials)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn info(task: &CurrentTask, command: i32) -> Msginfo {
    let limits = task.ipc().limits();
    let mut info = Msginfo {
        msgpool: limit(limits.msgmni * limits.msgmnb / 1024),
        msgmap: limit(limits.msgmnb),
        msgmax: limit(limits.msgmax),
        msgmnb: limit(limits.msgmnb),
        msgmni: limit(limits.msgmni),
        msgssz: MSGSSZ,
        msgtql: limit(limits.msgmnb),
        msgseg: MSGSEG,
        ..Msginfo::default()
    };
    if command == MSG_INFO {
        let reports: Vec<QueueReport> =
            task.ipc().messages.all().iter().map(|queue| queue.report()).collect();
        info.msgpool = limit(reports.len() as u64);
        info.msgmap = limit(reports.iter().map(|report| report.messages).sum());
        info.msgtql = limit(reports.iter().map(|report| report.bytes).sum());
    }
    info
}

fn description(ids: &UserNamespace, report: &QueueReport) -> MsqidDs {
    MsqidDs {
        msg_perm: report.permissions.told(ids),
        msg_stime: report.sent,
        msg_rtime: report.received,
        msg_ctime: report.changed,
        msg_cbytes: report.bytes,
        msg_qnum: report.messages,
        msg_qbytes: report.most_bytes,
        msg_lspid: report.last_sender,
        msg_lrpid: report.last_receiver,
        ..MsqidDs::default()
    }
}
