//! `/proc/[pid]/limits` (`proc_pid_limits(5)`).

use std::fmt::Write;

use bartizan_abi::{RLIM_INFINITY, Resource, Rlimit64};

/// The words and units that Linux has for each resource, in its order.
const LINES: [(Resource, &str, &str); 16] = [
    (Resource::RLIMIT_CPU, "Max cpu time", "seconds"),
    (Resource::RLIMIT_FSIZE, "Max file size", "bytes"),
    (Resource::RLIMIT_DATA, "Max data size", "bytes"),
    (Resource::RLIMIT_STACK, "Max stack size", "bytes"),
    (Resource::RLIMIT_CORE, "Max core file size", "bytes"),
    (Resource::RLIMIT_RSS, "Max resident set", "bytes"),
    (Resource::RLIMIT_NPROC, "Max processes", "processes"),
    (Resource::RLIMIT_NOFILE, "Max open files", "files"),
    (Resource::RLIMIT_MEMLOCK, "Max locked memory", "bytes"),
    (Resource::RLIMIT_AS, "Max address space", "bytes"),
    (Resource::RLIMIT_LOCKS, "Max file locks", "locks"),
    (Resource::RLIMIT_SIGPENDING, "Max pending signals", "signals"),
    (Resource::RLIMIT_MSGQUEUE, "Max msgqueue size", "bytes"),
    (Resource::RLIMIT_NICE, "Max nice priority", ""),
    (Resource::RLIMIT_RTPRIO, "Max realtime priority", ""),
    (Resource::RLIMIT_RTTIME, "Max realtime timeout", "us"),
];

/// A table of soft and hard limits.
pub fn limits(get: impl Fn(Resource) -> Rlimit64) -> Vec<u8> {
    let mut text = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (resource, name, unit) in LINES {
        let limit = get(resource);
        let (soft, hard) = (show(limit.rlim_cur), show(limit.rlim_max));
        let _infallible = write!(text, "{name:<25} {soft:<20} {hard:<20} ");
        // Linux pads the unit only where there is one.
        let _infallible = if unit.is_empty() { writeln!(text) } else { writeln!(text, "{unit:<10}") };
    }
    text.into_bytes()
}

fn show(value: u64) -> String {
    if value == RLIM_INFINITY { "unlimited".into() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_the_form_of_the_host_s() {
        let ours = limits(|_| Rlimit64 { rlim_cur: 1, rlim_max: RLIM_INFINITY });
        let ours = String::from_utf8(ours).unwrap();
        let host = std::fs::read_to_string("/proc/self/limits").unwrap();
        assert_eq!(ours.lines().count(), host.lines().count());
        for (ours, host) in ours.lines().zip(host.lines()) {
            assert_eq!(ours[..26], host[..26]);
            assert_eq!(ours.len(), host.len(), "{ours}");
        }
    }
}
