//! The files of a control group, with the formats of Linux (`Documentation/admin-guide/cgroup-v2`).

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_sentry::kernel::Kernel;
use bartizan_sentry::kernel::cgroup::{Cgroup, Controllers, Limit, UNLIMITED};

/// Bytes in a page: limits of memory are kept in whole ones.
const PAGE_SIZE: u64 = 4096;
/// Nanoseconds in a microsecond.
const MICROSECOND: u64 = 1000;

/// What a write changes.
#[derive(Debug)]
pub struct Change<'a> {
    /// The kernel.
    pub kernel: &'a Arc<Kernel>,
    /// The group.
    pub group: &'a Arc<Cgroup>,
    /// The process that has opened the file, which `0` stands for.
    pub opener: i32,
}

type Generate = fn(&Kernel, &Cgroup) -> String;
type Store = fn(&Change<'_>, &str) -> Result<(), Errno>;

/// A file that groups have.
#[derive(Debug)]
pub struct FileKind {
    /// Its name.
    pub name: &'static str,
    /// Whether the root has it, too.
    pub in_root: bool,
    /// The controllers that it belongs to.
    pub controllers: Controllers,
    /// What it says, if it can be read.
    pub generate: Option<Generate>,
    /// What a write does, if it can be written.
    pub store: Option<Store>,
}

const fn file(name: &'static str, generate: Generate) -> FileKind {
    FileKind {
        name,
        in_root: false,
        controllers: Controllers::empty(),
        generate: Some(generate),
        store: None,
    }
}

impl FileKind {
    const fn everywhere(self) -> Self {
        Self { in_root: true, ..self }
    }

    const fn of(self, controllers: Controllers) -> Self {
        Self { controllers, ..self }
    }

    const fn writable(self, store: Store) -> Self {
        Self { store: Some(store), ..self }
    }
}

/// All of them.
pub const FILES: &[FileKind] = &[
    file("cgroup.controllers", |_, group| names(group.controllers())).everywhere(),
    file("cgroup.events", events),
    file("cgroup.freeze", |_, group| format!("{}\n", u8::from(group.is_freezing()))).writable(freeze),
    FileKind { generate: None, ..file("cgroup.kill", |_, _| String::new()) }.writable(kill),
    file("cgroup.max.depth", |_, _| "max\n".into()).everywhere(),
    file("cgroup.max.descendants", |_, _| "max\n".into()).everywhere(),
    file("cgroup.procs", |kernel, group| lines(&group.processes(&kernel.tree())))
        .everywhere()
        .writable(attach),
    file("cgroup.stat", |_, group| {
        format!("nr_descendants {}\nnr_dying_descendants 0\n", group.descendants())
    })
    .everywhere(),
    file("cgroup.subtree_control", |_, group| names(group.subtree_control())).everywhere().writable(control),
    file("cgroup.threads", |kernel, group| lines(&group.threads(&kernel.tree()))).everywhere(),
    file("cgroup.type", |_, _| "domain\n".into()),
    file("cpu.stat", cpu_stat).everywhere(),
    file("memory.current", |kernel, group| format!("{}\n", group.memory_sizes(&kernel.tree()).0))
        .of(Controllers::MEMORY),
    file("memory.events", memory_events).of(Controllers::MEMORY),
    file("memory.max", |_, group| limit(group.memory())).of(Controllers::MEMORY).writable(set_memory_max),
    file("memory.peak", |kernel, group| {
        let current = group.memory_sizes(&kernel.tree()).0;
        format!("{}\n", group.memory().peak(current))
    })
    .of(Controllers::MEMORY),
    file("memory.stat", memory_stat).of(Controllers::MEMORY).everywhere(),
    file("pids.current", |kernel, group| format!("{}\n", group.task_count(&kernel.tree())))
        .of(Controllers::PIDS),
    file("pids.events", |_, group| format!("max {}\n", group.pids().hits())).of(Controllers::PIDS),
    file("pids.max", |_, group| limit(group.pids())).of(Controllers::PIDS).writable(set_pids_max),
    file("pids.peak", |kernel, group| {
        let current = group.task_count(&kernel.tree());
        format!("{}\n", group.pids().peak(current))
    })
    .of(Controllers::PIDS),
];

/// The names of controllers, as lists of them show them.
fn names(controllers: Controllers) -> String {
    let known = [(Controllers::MEMORY, "memory"), (Controllers::PIDS, "pids")];
    let names = known.iter().filter(|(one, _)| controllers.contains(*one)).map(|(_, name)| *name);
    let names: Vec<&str> = names.collect();
    format!("{}\n", names.join(" "))
}

fn lines(numbers: &[i32]) -> String {
    numbers.iter().map(|number| format!("{number}\n")).collect()
}

fn limit(limit: &Limit) -> String {
    match limit.max() {
        UNLIMITED => "max\n".into(),
        max => format!("{max}\n"),
    }
}

fn events(kernel: &Kernel, group: &Cgroup) -> String {
    let tree = kernel.tree();
    let (populated, frozen) = (group.is_populated(&tree), group.is_frozen(&tree));
    format!("populated {}\nfrozen {}\n", u8::from(populated), u8::from(frozen))
}

fn cpu_stat(kernel: &Kernel, group: &Cgroup) -> String {
    let (user, system) = group.used_time(&kernel.tree());
    let (user, system) = (user / MICROSECOND, system / MICROSECOND);
    format!("usage_usec {}\nuser_usec {user}\nsystem_usec {system}\nnice_usec 0\n", user + system)
}

fn memory_events(_kernel: &Kernel, group: &Cgroup) -> String {
    let (hits, kills) = (group.memory().hits(), group.oom_kills());
    format!("low 0\nhigh 0\nmax {hits}\noom {hits}\noom_kill {kills}\noom_group_kill 0\n")
}

/// Memory of processes, and what of it is mapped from files; nothing else is counted.
fn memory_stat(kernel: &Kernel, group: &Cgroup) -> String {
    let (private, mapped) = group.memory_sizes(&kernel.tree());
    format!(
        "anon {private}\nfile 0\nkernel 0\nshmem 0\nfile_mapped {mapped}\nfile_dirty 0\npgfault 0\npgmajfault 0\n"
    )
}

fn freeze(change: &Change<'_>, text: &str) -> Result<(), Errno> {
    match text.parse::<i64>().map_err(|_| Errno::EINVAL)? {
        state @ (0 | 1) => {
            change.group.set_freezing(change.kernel, state == 1);
            Ok(())
        }
        _ => Err(Errno::ERANGE),
    }
}

fn kill(change: &Change<'_>, text: &str) -> Result<(), Errno> {
    match text.parse::<i64>().map_err(|_| Errno::EINVAL)? {
        1 => {
            change.group.kill(change.kernel);
            Ok(())
        }
        _ => Err(Errno::ERANGE),
    }
}

fn attach(change: &Change<'_>, text: &str) -> Result<(), Errno> {
    let pid = match text.parse::<i32>().map_err(|_| Errno::EINVAL)? {
        0 => change.opener,
        pid if pid < 0 => return Err(Errno::EINVAL),
        pid => pid,
    };
    change.group.attach(change.kernel, pid)
}

fn control(change: &Change<'_>, text: &str) -> Result<(), Errno> {
    let (mut enable, mut disable) = (Controllers::empty(), Controllers::empty());
    for word in text.split_ascii_whitespace() {
        let (sign, name) = word.split_at_checked(1).ok_or(Errno::EINVAL)?;
        let controller = match name {
            "memory" => Controllers::MEMORY,
            "pids" => Controllers::PIDS,
            _ => return Err(Errno::EINVAL),
        };
        match sign {
            "+" => (enable, disable) = (enable.union(controller), disable.difference(controller)),
            "-" => (enable, disable) = (enable.difference(controller), disable.union(controller)),
            _ => return Err(Errno::EINVAL),
        }
    }
    change.group.change_subtree_control(change.kernel, enable, disable)
}

/// A limit as it is written: `max` or a number.
fn parse_limit(text: &str) -> Result<u64, Errno> {
    if text == "max" { Ok(UNLIMITED) } else { text.parse().map_err(|_| Errno::EINVAL) }
}

fn set_pids_max(change: &Change<'_>, text: &str) -> Result<(), Errno> {
    change.group.pids().set_max(parse_limit(text)?);
    Ok(())
}

/// Bytes, perhaps with a suffix `K`, `M`, `G`; whole pages count.
fn set_memory_max(change: &Change<'_>, text: &str) -> Result<(), Errno> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let max = match parse_limit(digits)? {
        UNLIMITED => UNLIMITED,
        bytes => bytes.checked_mul(1 << shift).ok_or(Errno::EINVAL)? / PAGE_SIZE * PAGE_SIZE,
    };
    change.group.memory().set_max(max);
    Ok(())
}
