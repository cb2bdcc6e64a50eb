//! POSIX message queues: `mq_open`, `mq_unlink`, `mq_timedsend`, `mq_timedreceive`, `mq_notify`, `mq_getsetattr`.

use std::sync::Arc;
use std::time::Instant;

use bartizan_abi::ipc::MqAttr;
use bartizan_abi::signal::{SigCode, SigEvent, SigEventNotify, SigInfo, Signal};
use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, OpenFlags, Resource, Timespec};

use super::UserPath;
use super::anonymous::install;
use crate::kernel::mqueue::{
    MQ_PRIO_MAX, Notification, Posted, Queue, QueueDirectory, QueueFile, check_name,
};
use crate::kernel::signal::{Sender, Target};
use crate::kernel::sysv::Message;
use crate::kernel::{CurrentTask, WaitClock, realtime};
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::permission::{May, is_sticky_for};
use crate::vfs::{FdNumber, File, Inode, NewNode};
use crate::{Restart, SysError, SysResult, WaitError};

/// Bytes of the cookie that `SIGEV_THREAD` brings (`NOTIFY_COOKIE_LEN`).
const NOTIFY_COOKIE_LEN: usize = 32;

fn directory_of(inode: &Arc<Inode>) -> Result<&QueueDirectory, Errno> {
    inode.downcast::<QueueDirectory>().ok_or(Errno::ENOENT)
}

/// `mq_open(2)`.
pub fn mq_open(
    task: &CurrentTask,
    name: UserPath,
    flags: OpenFlags,
    mode: u32,
    attributes: UserPtr<MqAttr>,
) -> SysResult<FdNumber> {
    let wanted = attributes.optional().map(|attributes| task.read_value(attributes)).transpose()?;
    let name = name.read(task)?;
    check_name(&name)?;
    let ipc = task.ipc();
    let files = ipc.message_files();
    let root = files.directory(task.kernel(), &ipc)?;
    let directory = directory_of(&root)?;
    let existing = directory.find(&name);
    let made = existing.is_none();
    let inode = match existing {
        Some(inode) => {
            check_existing(task, &inode, flags)?;
            inode
        }
        None if !flags.contains(OpenFlags::O_CREAT) => return Err(Errno::ENOENT.into()),
        None => make(task, &root, &name, mode, wanted.as_ref())?,
    };
    let path = files.path(task.kernel(), &ipc, &name, Arc::clone(&inode))?;
    let creation = OpenFlags::O_CREAT | OpenFlags::O_EXCL | OpenFlags::O_NOCTTY | OpenFlags::O_TRUNC;
    let kept = flags - creation - OpenFlags::O_CLOEXEC;
    let file = File::new(Box::new(QueueFile::new(&inode)), path, kept);
    let installed = install(task, file, OpenFlags::O_CLOEXEC);
    if installed.is_err() && made {
        // As Linux, which takes the number first.
        let _gone = directory.take(&name);
    }
    installed
}

/// Whether the caller may open a queue that is there.
fn check_existing(task: &CurrentTask, inode: &Arc<Inode>, flags: OpenFlags) -> Result<(), Errno> {
    if flags.contains(OpenFlags::O_CREAT | OpenFlags::O_EXCL) {
        return Err(Errno::EEXIST);
    }
    if flags.contains(OpenFlags::O_ACCMODE) {
        return Err(Errno::EINVAL);
    }
    let mut may = May::empty();
    may.set(May::READ, flags.readable());
    may.set(May::WRITE, flags.writable());
    inode.check(&task.credentials(), may)
}

fn make(
    task: &CurrentTask,
    root: &Arc<Inode>,
    name: &[u8],
    mode: u32,
    wanted: Option<&MqAttr>,
) -> Result<Arc<Inode>, Errno> {
    let credentials = task.credentials();
    root.check(&credentials, May::WRITE | May::EXECUTE)?;
    let node = NewNode {
        kind: FileType::Regular,
        mode: FileMode::from_bits_truncate(mode & 0o7777) - task.fs_context().umask(),
        uid: credentials.fsuid,
        gid: credentials.fsgid,
        device: DeviceNumber::NONE,
        now: realtime(),
    };
    let limit = task.group().limits().soft(Resource::RLIMIT_MSGQUEUE);
    directory_of(root)?.make(root, name, &node, wanted, (&credentials, limit))
}

/// `mq_unlink(2)`.
pub fn mq_unlink(task: &CurrentTask, name: UserPath) -> SysResult<()> {
    let name = name.read(task)?;
    check_name(&name)?;
    let ipc = task.ipc();
    let root = ipc.message_files().directory(task.kernel(), &ipc)?;
    let directory = directory_of(&root)?;
    let inode = directory.find(&name).ok_or(Errno::ENOENT)?;
    let credentials = task.credentials();
    root.check(&credentials, May::WRITE | May::EXECUTE)?;
    if is_sticky_for(&root.attributes()?, &inode.attributes()?, &credentials) {
        return Err(Errno::EPERM.into());
    }
    directory.take(&name)?;
    Ok(())
}

/// The open queue that `fd` is, good for what `usable` wants of its flags.
fn open_queue(task: &CurrentTask, fd: FdNumber, usable: fn(OpenFlags) -> bool) -> Result<Arc<File>, Errno> {
    let file = task.fd_table().get(fd)?;
    if file.downcast::<QueueFile>().is_none() || !usable(file.flags()) {
        return Err(Errno::EBADF);
    }
    Ok(file)
}

fn queue_of(file: &File) -> Result<&Queue, Errno> {
    file.downcast::<QueueFile>().ok_or(Errno::EBADF)?.queue()
}

/// When a wait ends: `None` if never. Time-outs are absolute, on the wall clock.
fn deadline(task: &CurrentTask, timeout: UserPtr<Timespec>) -> Result<Option<Instant>, Errno> {
    let Some(timeout) = timeout.optional() else { return Ok(None) };
    let time = task.read_value(timeout)?;
    time.to_duration().ok_or(Errno::EINVAL)?;
    Ok(WaitClock::Realtime.instant_at(time))
}

/// How a wait ends without what was waited for.
fn wait_failure(error: WaitError) -> SysError {
    match error {
        WaitError::TimedOut => Errno::ETIMEDOUT.into(),
        WaitError::Interrupted => SysError::Restart(Restart::IfAsked),
    }
}

/// `mq_timedsend(2)`.
pub fn mq_timedsend(
    task: &CurrentTask,
    fd: FdNumber,
    text: UserPtr<u8>,
    length: usize,
    priority: u32,
    timeout: UserPtr<Timespec>,
) -> SysResult<()> {
    let deadline = deadline(task, timeout)?;
    if priority >= MQ_PRIO_MAX {
        return Err(Errno::EINVAL.into());
    }
    let file = open_queue(task, fd, OpenFlags::writable)?;
    let queue = queue_of(&file)?;
    if length > queue.limits().bytes {
        return Err(Errno::EMSGSIZE.into());
    }
    let message = queue.message(priority, task.read_slice(text, length)?)?;
    let waits = !file.flags().contains(OpenFlags::O_NONBLOCK);
    match queue.send(&message, waits.then(|| task.parker())) {
        Posted::Full => Err(Errno::EAGAIN.into()),
        Posted::Sent(told) => {
            if let Some(notification) = told {
                notify(task, &notification);
            }
            Ok(())
        }
        Posted::Waits(sender) => match task.wait_until(deadline, || sender.sent()) {
            Ok(()) => Ok(()),
            Err(_) if queue.abandon_send(&sender) => Ok(()),
            Err(error) => Err(wait_failure(error)),
        },
    }
}

/// Tells a process of a message that the caller has sent.
fn notify(task: &CurrentTask, notification: &Notification) {
    if notification.event.sigev_notify != SigEventNotify::SIGEV_SIGNAL as i32 {
        return;
    }
    let Some(signal) = Signal::from_raw(notification.event.sigev_signo) else { return };
    let receiver = {
        let tree = task.kernel().tree();
        tree.process(notification.pid).and_then(|process| process.tasks.first().cloned())
    };
    if let Some(receiver) = receiver {
        let uid = task.credentials().uid;
        let value = notification.event.sigev_value;
        let info = SigInfo::queue(signal, SigCode::SI_MESGQ, task.pid(), uid, value);
        // As Linux, which tells nobody when the receiver's queue of signals is full.
        let _lost = receiver.send_signal(info, Target::Process, Sender::Kernel);
    }
}

/// `mq_timedreceive(2)`.
pub fn mq_timedreceive(
    task: &CurrentTask,
    fd: FdNumber,
    text: UserPtr<u8>,
    length: usize,
    priority: UserPtr<u32>,
    timeout: UserPtr<Timespec>,
) -> SysResult<usize> {
    let deadline = deadline(task, timeout)?;
    let file = open_queue(task, fd, OpenFlags::readable)?;
    let queue = queue_of(&file)?;
    if length < queue.limits().bytes {
        return Err(Errno::EMSGSIZE.into());
    }
    let waits = !file.flags().contains(OpenFlags::O_NONBLOCK);
    let message = receive(task, queue, waits, deadline)?;
    if let Some(priority) = priority.optional() {
        task.write_value(priority, &u32::try_from(message.kind).unwrap_or(0))?;
    }
    task.write_slice(text, &message.text)?;
    Ok(message.text.len())
}

fn receive(
    task: &CurrentTask,
    queue: &Queue,
    waits: bool,
    deadline: Option<Instant>,
) -> SysResult<Arc<Message>> {
    if !waits {
        return Ok(queue.receive().ok_or(Errno::EAGAIN)?);
    }
    let receiver = match queue.receive_or_wait(task.parker()) {
        Ok(message) => return Ok(message),
        Err(receiver) => receiver,
    };
    let result = task.wait_until(deadline, || receiver.message());
    result.or_else(|error| queue.abandon_receive(&receiver).ok_or_else(|| wait_failure(error)))
}

/// `mq_notify(2)`. There are no netlink sockets, by which the C library would be told for `SIGEV_THREAD`.
pub fn mq_notify(task: &CurrentTask, fd: FdNumber, event: UserPtr<SigEvent>) -> SysResult<()> {
    let event = event.optional().map(|event| task.read_value(event)).transpose()?;
    if let Some(event) = &event {
        match SigEventNotify::try_from(event.sigev_notify)? {
            SigEventNotify::SIGEV_NONE => {}
            SigEventNotify::SIGEV_SIGNAL if (0..=64).contains(&event.sigev_signo) => {}
            SigEventNotify::SIGEV_THREAD => return Err(refuse_thread(task, event)),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    let file = open_queue(task, fd, |_| true)?;
    let queue = queue_of(&file)?;
    match event {
        None => queue.remove_notification(task.pid()),
        Some(event) => queue.set_notification(Notification { pid: task.pid(), event })?,
    }
    Ok(())
}

/// The cookie and the socket of `SIGEV_THREAD` are looked at; no socket is the right one.
fn refuse_thread(task: &CurrentTask, event: &SigEvent) -> SysError {
    let cookie = UserPtr::<[u8; NOTIFY_COOKIE_LEN]>::new(UserAddr(event.sigev_value));
    if let Err(errno) = task.read_value(cookie) {
        return errno.into();
    }
    match task.fd_table().get(FdNumber(event.sigev_signo)) {
        Ok(file) if file.inode().kind() == FileType::Socket => Errno::EINVAL.into(),
        Ok(_) => Errno::ENOTSOCK.into(),
        Err(errno) => errno.into(),
    }
}

/// `mq_getsetattr(2)`.
pub fn mq_getsetattr(
    task: &CurrentTask,
    fd: FdNumber,
    new: UserPtr<MqAttr>,
    old: UserPtr<MqAttr>,
) -> SysResult<()> {
    let new = new.optional().map(|new| task.read_value(new)).transpose()?;
    let status = i64::from(OpenFlags::O_NONBLOCK.bits());
    if new.is_some_and(|new| new.mq_flags & !status != 0) {
        return Err(Errno::EINVAL.into());
    }
    let file = open_queue(task, fd, |_| true)?;
    let queue = queue_of(&file)?;
    let limits = queue.limits();
    let nonblocking = (file.flags() & OpenFlags::O_NONBLOCK).bits();
    let before = MqAttr {
        mq_flags: nonblocking.into(),
        mq_maxmsg: i64::try_from(limits.messages).unwrap_or(i64::MAX),
        mq_msgsize: i64::try_from(limits.bytes).unwrap_or(i64::MAX),
        mq_curmsgs: i64::try_from(queue.count()).unwrap_or(i64::MAX),
        ..MqAttr::default()
    };
    if let Some(new) = new {
        let flags = if new.mq_flags == 0 { OpenFlags::empty() } else { OpenFlags::O_NONBLOCK };
        file.set_flags(flags, OpenFlags::O_NONBLOCK);
    }
    match old.optional() {
        Some(old) => Ok(task.write_value(old, &before)?),
        None => Ok(()),
    }
}

/// A descriptor of `file` is closed: the process is not told of messages any more.
pub fn on_close(pid: i32, file: &File) {
    if let Some(queue) = file.downcast::<QueueFile>().and_then(|file| file.queue().ok()) {
        queue.remove_notification(pid);
    }
}
