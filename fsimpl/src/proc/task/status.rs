//! `/proc/[pid]/status` (`proc_pid_status(5)`).

use std::fmt::Write;

use bartizan_abi::CapabilitySet;
use bartizan_sentry::kernel::{CpuSet, UserNamespace};

use super::snapshot::Snapshot;
use crate::proc::system::processors;

/// All lines that Linux has, in its order.
pub fn status(task: &Snapshot, ids: &UserNamespace) -> Vec<u8> {
    let mut head = b"Name:\t".to_vec();
    for &byte in &task.name {
        match byte {
            b'\n' => head.extend_from_slice(b"\\n"),
            b'\\' => head.extend_from_slice(b"\\\\"),
            byte => head.push(byte),
        }
    }
    head.push(b'\n');
    let mut text = String::new();
    let _infallible = identity(task, ids, &mut text)
        .and_then(|()| memory(task, &mut text))
        .and_then(|()| signals(task, &mut text))
        .and_then(|()| privileges(task, &mut text));
    head.extend_from_slice(text.as_bytes());
    head
}

fn identity(task: &Snapshot, ids: &UserNamespace, text: &mut String) -> std::fmt::Result {
    if let Some(umask) = task.umask {
        writeln!(text, "Umask:\t{umask:04o}")?;
    }
    writeln!(text, "State:\t{} ({})", task.state.letter(), task.state.word())?;
    writeln!(text, "Tgid:\t{}\nNgid:\t0\nPid:\t{}", task.pid, task.tid)?;
    writeln!(text, "PPid:\t{}\nTracerPid:\t{}", task.parent, task.tracer)?;
    let c = &task.credentials;
    let [uid, euid, suid, fsuid] = [c.uid, c.euid, c.suid, c.fsuid].map(|id| ids.uid(id));
    let [gid, egid, sgid, fsgid] = [c.gid, c.egid, c.sgid, c.fsgid].map(|id| ids.gid(id));
    writeln!(text, "Uid:\t{uid}\t{euid}\t{suid}\t{fsuid}")?;
    writeln!(text, "Gid:\t{gid}\t{egid}\t{sgid}\t{fsgid}")?;
    let groups: Vec<String> = c.groups.iter().map(|&group| ids.gid(group).to_string()).collect();
    writeln!(text, "FDSize:\t{}\nGroups:\t{} ", task.descriptors, groups.join(" "))?;
    writeln!(text, "NStgid:\t{}\nNSpid:\t{}", task.pid, task.tid)?;
    writeln!(text, "NSpgid:\t{}\nNSsid:\t{}\nKthread:\t0", task.process_group, task.session)
}

fn memory(task: &Snapshot, text: &mut String) -> std::fmt::Result {
    let Some((sizes, layout)) = &task.memory else { return Ok(()) };
    let program = layout.end_code.saturating_sub(layout.start_code).min(sizes.totals.executable);
    let lines = [
        ("VmPeak", sizes.peak),
        ("VmSize", sizes.totals.all),
        ("VmLck", sizes.totals.locked),
        ("VmPin", 0),
        ("VmHWM", sizes.resident_peak),
        ("VmRSS", sizes.resident()),
        ("RssAnon", sizes.private_bytes),
        ("RssFile", sizes.source_bytes),
        ("RssShmem", 0),
        ("VmData", sizes.totals.data),
        ("VmStk", sizes.totals.stack),
        ("VmExe", program),
        ("VmLib", sizes.totals.executable - program),
        ("VmPTE", 0),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ];
    for (name, bytes) in lines {
        writeln!(text, "{name}:\t{:>8} kB", bytes / 1024)?;
    }
    writeln!(text, "CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff")
}

fn signals(task: &Snapshot, text: &mut String) -> std::fmt::Result {
    let signals = &task.signals;
    writeln!(text, "Threads:\t{}\nSigQ:\t{}/{}", task.threads, signals.queued, signals.limit)?;
    let sets = [
        ("SigPnd", signals.pending),
        ("ShdPnd", signals.shared_pending),
        ("SigBlk", signals.blocked),
        ("SigIgn", signals.ignored),
        ("SigCgt", signals.caught),
    ];
    for (name, set) in sets {
        writeln!(text, "{name}:\t{:016x}", set.bits())?;
    }
    Ok(())
}

fn privileges(task: &Snapshot, text: &mut String) -> std::fmt::Result {
    let credentials = &task.credentials;
    let capabilities: [(&str, CapabilitySet); 5] = [
        ("CapInh", credentials.inheritable),
        ("CapPrm", credentials.permitted),
        ("CapEff", credentials.effective),
        ("CapBnd", credentials.bounding),
        ("CapAmb", credentials.ambient),
    ];
    for (name, set) in capabilities {
        writeln!(text, "{name}:\t{:016x}", set.bits())?;
    }
    let (mode, filters) = task.seccomp;
    let no_new_privs = u8::from(credentials.no_new_privs);
    writeln!(text, "NoNewPrivs:\t{no_new_privs}\nSeccomp:\t{mode}\nSeccomp_filters:\t{filters}")?;
    writeln!(text, "Speculation_Store_Bypass:\tunknown\nSpeculationIndirectBranch:\tunknown")?;
    let cpus = members(&task.processors);
    writeln!(text, "Cpus_allowed:\t{}\nCpus_allowed_list:\t{}", mask(&cpus), list(&cpus))?;
    writeln!(text, "Mems_allowed:\t1\nMems_allowed_list:\t0")?;
    // How often the host took the processor away is not known.
    writeln!(text, "voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t0", task.switches)
}

/// The numbers of the processors of a set, ascending.
fn members(set: &CpuSet) -> Vec<usize> {
    let bytes = set.to_bytes();
    (0..bytes.len() * 8).filter(|cpu| bytes[cpu / 8] >> (cpu % 8) & 1 != 0).collect()
}

/// A mask as Linux writes it: hexadecimal digits for all processors that there are, in groups of 32.
fn mask(cpus: &[usize]) -> String {
    let count = cpus.last().map_or(1, |last| last + 1).max(processors());
    let word = |index: usize| {
        let bits =
            cpus.iter().filter(|&&cpu| cpu / 32 == index).fold(0u32, |bits, cpu| bits | 1 << (cpu % 32));
        let digits = (count - index * 32).min(32).div_ceil(4);
        format!("{bits:0digits$x}")
    };
    (0..count.div_ceil(32)).rev().map(word).collect::<Vec<_>>().join(",")
}

/// Processors as Linux lists them: ranges with commas between.
fn list(cpus: &[usize]) -> String {
    let ranges = cpus.chunk_by(|before, after| before + 1 == *after);
    let texts = ranges.filter_map(|range| match range {
        [] => None,
        [only] => Some(only.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use bartizan_sentry::mm::{Layout, MemorySizes};

    use super::*;
    use crate::proc::task::tests::snapshot;

    #[test]
    fn processors_are_shown_as_linux_does() {
        let cpus = members(&CpuSet::from_bytes(&[0b1011, 0x80, 0, 0, 1]));
        assert_eq!(list(&cpus), "0-1,3,15,32");
        if processors() < 33 {
            assert_eq!(mask(&cpus), "1,0000800b");
        }
        assert_eq!(list(&[]), "");
    }

    #[test]
    fn lines_are_those_of_the_host_in_its_order() {
        let memory = Some((MemorySizes::default(), Layout::default()));
        let ours =
            String::from_utf8(status(&Snapshot { memory, ..snapshot() }, &UserNamespace::default())).unwrap();
        let host = std::fs::read_to_string("/proc/self/status").unwrap();
        let keys = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect()
        };
        // Hosts differ in what their kernel is built with; what both have stands in the same order.
        let (ours_keys, host_keys) = (keys(&ours), keys(&host));
        let common: Vec<_> = ours_keys.iter().filter(|key| host_keys.contains(key)).collect();
        assert_eq!(common, host_keys.iter().filter(|key| ours_keys.contains(key)).collect::<Vec<_>>());
        assert!(common.len() > 40);
        assert!(ours.starts_with("Name:\ta) b\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t7\n"));
        assert!(ours.contains("\nVmPeak:\t       0 kB\n") && ours.contains("\nGroups:\t0 5 \n"));
    }
}
