//! `/proc/sysvipc` (`proc_sysvipc(5)`): the objects of System V IPC.

use std::fmt::Write;

use super::System;
use super::variables::{self, IpcView};
use crate::pseudo::DirectoryBuilder;

/// Fills `/proc/sysvipc`.
pub fn fill(directory: &mut DirectoryBuilder, system: &System) {
    let seen = |show: fn(&IpcView) -> String| variables::seen_objects(system, show);
    directory.file("msg", 0o444, seen(messages)).file("sem", 0o444, seen(semaphores)).file(
        "shm",
        0o444,
        seen(segments),
    );
}

fn messages(view: &IpcView) -> String {
    let mut text = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n".to_owned();
    for queue in view.namespace.messages.all() {
        let report = queue.report();
        let p = report.permissions.told(&view.ids);
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
    text
}

fn semaphores(view: &IpcView) -> String {
    let mut text =
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n".to_owned();
    for set in view.namespace.semaphores.all() {
        let report = set.report();
        let p = report.permissions.told(&view.ids);
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
    text
}

fn segments(view: &IpcView) -> String {
    let mut text = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n".to_owned();
    for segment in view.namespace.segments.all() {
        let report = segment.report();
        let p = report.permissions.told(&view.ids);
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
    text
}
