//! `/proc/meminfo` (`proc_meminfo(5)`).

use std::fmt::Write;

use bartizan_abi::Errno;

use super::System;

/// The memory of the sandbox, not that of the host.
pub fn generate(system: &System) -> Result<String, Errno> {
    let kernel = system.kernel()?;
    Ok(render(kernel.memory().limit(), kernel.memory().used()))
}

/// All lines that Linux has without swap, huge pages and a page cache, in kB.
fn render(limit: u64, used: u64) -> String {
    let free = limit.saturating_sub(used);
    let lines = [
        ("MemTotal", limit),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", 0),
        ("Active(anon)", used),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", used),
        ("Mapped", 0),
        ("Shmem", 0),
        ("KReclaimable", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("KernelStack", 0),
        ("PageTables", 0),
        ("CommitLimit", limit),
        ("Committed_AS", used),
        ("VmallocTotal", 0),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
    ];
    let mut text = String::new();
    for (name, bytes) in lines {
        let _infallible = writeln!(text, "{:<16}{:>8} kB", format!("{name}:"), bytes / 1024);
    }
    text.push_str("HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n");
    text.push_str("HugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_as_linux_aligns_them() {
        let text = render(16_367_280 << 10, 1024 << 10);
        assert!(text.starts_with(
            "MemTotal:       16367280 kB\nMemFree:        16366256 kB\nMemAvailable:   16366256 kB\n"
        ));
        assert!(text.contains("\nActive(anon):       1024 kB\n"));
    }
}
