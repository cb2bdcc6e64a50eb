//! `/proc/sysvipc` (`proc_sysvipc(5)`): the objects of System V IPC.

use std::fmt::Write;

use bartizan_abi::Errno;

use super::System;
use crate::pseudo::DirectoryBuilder;

/// Fills `/proc/sysvipc`.
pub fn fill(directory: &mut DirectoryBuilder, system: &System) {
    let with = |generate: fn(&System) -> Result<String, Errno>| {
        let system = system.clone();
        move || generate(&system)
    };
    directory.file("msg", 0o444, with(messages)).file("sem", 0o444, with(semaphores)).file(
        "shm",
        0o444,
        with(segments),
    );
}

fn messages(system: &System) -> Result<String, Errno> {
    let mut text = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n".to_owned();
    for queue in system.kernel()?.ipc().messages.all() {
        let report = queue.report();
        let p = report.permissions;
        let _infallible = writeln!(
            text,
            "{:10} {:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}",
            p.key,
            report.id,
            p.mode,
            report.bytes,
            report.messages,
            report.last_sender,
            report.last_receiver,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            report.sent,
            report.received,
            report.changed
        );
    }
    Ok(text)
}

fn semaphores(system: &System) -> Result<String, Errno> {
    let mut text =
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n".to_owned();
    for set in system.kernel()?.ipc().semaphores.all() {
        let report = set.report();
        let p = report.permissions;
        let _infallible = writeln!(
            text,
            "{:10} {:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}",
            p.key,
            report.id,
            p.mode,
            report.count,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            report.operated,
            report.changed
        );
    }
    Ok(text)
}

fn segments(system: &System) -> Result<String, Errno> {
    let mut text = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n".to_owned();
    for segment in system.kernel()?.ipc().segments.all() {
        let report = segment.report();
        let p = report.permissions;
        let _infallible = writeln!(
            text,
            "{:10} {:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}",
            p.key,
            report.id,
            p.mode,
            report.size,
            report.creator,
            report.last,
            report.attachments,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            report.attached,
            report.detached,
            report.changed,
            report.resident,
            0
        );
    }
    Ok(text)
}
