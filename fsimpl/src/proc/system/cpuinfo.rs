//! `/proc/cpuinfo` (`proc_cpuinfo(5)`).

use std::fmt::Write;

use bartizan_abi::Errno;

use super::processors;

/// What of the host's file concerns guests: the processor that their instructions run on. How the host is set up (microcode,
/// sockets) is none of their business.
const KEPT: [&str; 21] = [
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "stepping",
    "cpu MHz",
    "cache size",
    "fpu",
    "fpu_exception",
    "cpuid level",
    "wp",
    "flags",
    "bugs",
    "bogomips",
    "TLB size",
    "clflush size",
    "cache_alignment",
    "address sizes",
    "power management",
    "vmx flags",
    "processor",
];

/// One paragraph for each processor, numbered from zero.
pub fn generate() -> Result<String, Errno> {
    let host = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Ok(render(&host, processors()))
}

fn render(host: &str, count: usize) -> String {
    let paragraph = host.split("\n\n").next().unwrap_or_default();
    let mut text = String::new();
    for number in 0..count {
        let _infallible = writeln!(text, "processor\t: {number}");
        for line in paragraph.lines() {
            let key = line.split(':').next().unwrap_or_default().trim_end();
            match key {
                "processor" => {}
                "model name" => {
                    let _infallible = writeln!(text, "{line}");
                }
                "cpuid level" => {
                    // Where Linux has them, between what is kept on either side.
                    let _infallible = write!(
                        text,
                        "physical id\t: 0\nsiblings\t: {count}\ncore id\t\t: {number}\ncpu cores\t: {count}\n\
                         apicid\t\t: {number}\ninitial apicid\t: {number}\n{line}\n"
                    );
                }
                key if KEPT.contains(&key) => {
                    let _infallible = writeln!(text, "{line}");
                }
                _ => {}
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processor_has_a_paragraph_without_the_host_s_set_up() {
        let host = "processor\t: 0\nvendor_id\t: X\nmicrocode\t: 0x1\nphysical id\t: 3\ncpuid level\t: 13\nflags\t\t: fpu\n\n\
                    processor\t: 1\n";
        let text = render(host, 2);
        assert_eq!(text.matches("processor\t: ").count(), 2);
        assert!(!text.contains("microcode") && !text.contains(": 3\n"));
        assert!(text.contains("siblings\t: 2\ncore id\t\t: 1\n") && text.ends_with("flags\t\t: fpu\n\n"));
    }
}
