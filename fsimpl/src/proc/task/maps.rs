//! `/proc/[pid]/maps` and `smaps` (`proc_pid_maps(5)`, `proc_pid_smaps(5)`).

use std::fmt::Write;

use bartizan_abi::DeviceNumber;
use bartizan_platform::Access;
use bartizan_sentry::mm::{AreaFlags, AreaName, AreaReport};
use bartizan_sentry::vfs::{File, FsString};

/// The column in which names start.
const NAME_COLUMN: usize = 73;

/// One line for each area. `path` says where a file is.
pub fn maps(areas: &[AreaReport], path: impl Fn(&File) -> FsString) -> Vec<u8> {
    let mut text = Vec::new();
    for area in areas {
        write_line(&mut text, area, &path);
    }
    text
}

/// For each area its line of `maps`, and what is in place of it.
pub fn smaps(areas: &[AreaReport], path: impl Fn(&File) -> FsString) -> Vec<u8> {
    let mut text = Vec::new();
    for area in areas {
        write_line(&mut text, area, &path);
        text.extend_from_slice(sizes(area).as_bytes());
    }
    text
}

fn write_line(text: &mut Vec<u8>, area: &AreaReport, path: impl Fn(&File) -> FsString) {
    let letter = |access, letter| if area.access.contains(access) { letter } else { '-' };
    let device = DeviceNumber::from_u64(area.identity.0).unwrap_or(DeviceNumber::NONE);
    let line = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        area.range.start,
        area.range.end,
        letter(Access::READ, 'r'),
        letter(Access::WRITE, 'w'),
        letter(Access::EXECUTE, 'x'),
        if area.flags.contains(AreaFlags::SHARED) { 's' } else { 'p' },
        area.offset,
        device.major(),
        device.minor(),
        area.identity.1
    );
    let name = match &area.name {
        AreaName::None => None,
        AreaName::Special(name) => Some(name.as_bytes().to_vec()),
        AreaName::File(file) => Some(path(file)),
        AreaName::SharedAnonymous => Some(b"/dev/zero (deleted)".to_vec()),
        AreaName::Label(label) => Some(label.clone().into_bytes()),
        AreaName::Given(name, shared) => {
            let kind: &[u8] = if *shared { b"[anon_shmem:" } else { b"[anon:" };
            Some([kind, &name[..], b"]"].concat())
        }
    };
    text.extend_from_slice(line.as_bytes());
    if let Some(name) = name {
        let padding = NAME_COLUMN.saturating_sub(line.len()).max(1);
        text.extend(std::iter::repeat_n(b' ', padding));
        for byte in name {
            if byte == b'\n' { text.extend_from_slice(b"\\012") } else { text.push(byte) }
        }
    }
    text.push(b'\n');
}

/// One line for all areas, and the sums of what is in place of them.
pub fn smaps_rollup(areas: &[AreaReport]) -> String {
    let start = areas.first().map_or(0, |area| area.range.start);
    let end = areas.last().map_or(0, |area| area.range.end);
    let mut text = format!("{start:08x}-{end:08x} ---p 00000000 00:00 0 ");
    text.extend(std::iter::repeat_n(' ', NAME_COLUMN.saturating_sub(text.len())));
    text.push_str("[rollup]\n");
    let line = |name: &str, bytes: u64| format!("{:<16}{:>8} kB\n", format!("{name}:"), bytes / 1024);
    let mut sums = amounts_of(0, 0, false, false);
    for area in areas {
        sums.iter_mut().zip(amounts(area)).for_each(|(sum, (_, bytes))| sum.1 += bytes);
    }
    for (name, bytes) in sums.into_iter().skip(SIZES_OF_AREA) {
        text.push_str(&line(name, bytes));
        if name == "Pss_Dirty" {
            let pss = |wanted: fn(&AreaReport) -> u64| areas.iter().map(wanted).sum::<u64>();
            text.push_str(&line("Pss_Anon", pss(|area| area.private_bytes)));
            text.push_str(&line("Pss_File", pss(|area| if is_file(area) { area.source_bytes } else { 0 })));
            text.push_str(&line("Pss_Shmem", pss(|area| if is_file(area) { 0 } else { area.source_bytes })));
        }
    }
    text
}

fn is_file(area: &AreaReport) -> bool {
    matches!(area.name, AreaName::File(_))
}

/// How many of the amounts of `smaps` are of the area itself, and not in `smaps_rollup`.
const SIZES_OF_AREA: usize = 3;

/// The lines of `smaps` for one area, bytes.
fn amounts(area: &AreaReport) -> [(&'static str, u64); 22] {
    let flags = area.flags;
    let mut lines = amounts_of(
        area.private_bytes,
        area.source_bytes,
        flags.contains(AreaFlags::SHARED),
        flags.contains(AreaFlags::LOCKED),
    );
    lines[0].1 = area.range.end - area.range.start;
    lines
}

fn sizes(area: &AreaReport) -> String {
    let mut text = String::new();
    for (name, bytes) in amounts(area) {
        let _infallible = writeln!(text, "{:<16}{:>8} kB", format!("{name}:"), bytes / 1024);
    }
    let _infallible = writeln!(text, "THPeligible:           0\nVmFlags: {}", flags(area));
    text
}

fn amounts_of(private: u64, source: u64, shared: bool, locked: bool) -> [(&'static str, u64); 22] {
    let resident = private + source;
    [
        ("Size", 0),
        ("KernelPageSize", 4096),
        ("MMUPageSize", 4096),
        ("Rss", resident),
        ("Pss", resident),
        ("Pss_Dirty", private),
        ("Shared_Clean", if shared { 0 } else { source }),
        ("Shared_Dirty", if shared { source } else { 0 }),
        ("Private_Clean", 0),
        ("Private_Dirty", private),
        ("Referenced", resident),
        ("Anonymous", private),
        ("KSM", 0),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", if locked { resident } else { 0 }),
    ]
}

/// The two-letter codes of `VmFlags`.
fn flags(area: &AreaReport) -> String {
    let codes = [
        (area.access.contains(Access::READ), "rd "),
        (area.access.contains(Access::WRITE), "wr "),
        (area.access.contains(Access::EXECUTE), "ex "),
        (area.flags.contains(AreaFlags::SHARED), "sh "),
        (area.may.contains(Access::READ), "mr "),
        (area.may.contains(Access::WRITE), "mw "),
        (area.may.contains(Access::EXECUTE), "me "),
        (area.flags.contains(AreaFlags::GROWS_DOWN), "gd "),
        (area.flags.contains(AreaFlags::LOCKED), "lo "),
        (area.flags.contains(AreaFlags::SEQUENTIAL), "sr "),
        (area.flags.contains(AreaFlags::RANDOM), "rr "),
        (area.flags.contains(AreaFlags::DONT_FORK), "dc "),
        (area.flags.contains(AreaFlags::DONT_EXPAND), "de "),
        (area.flags.contains(AreaFlags::NO_RESERVE), "nr "),
        (area.flags.contains(AreaFlags::WIPE_ON_FORK), "wf "),
        (area.flags.contains(AreaFlags::DONT_DUMP), "dd "),
    ];
    codes.into_iter().filter(|(set, _)| *set).map(|(_, code)| code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(name: AreaName) -> AreaReport {
        AreaReport {
            range: 0x5576_d0c3_0000..0x5576_d0c3_2000,
            access: Access::READ,
            may: Access::READ | Access::EXECUTE,
            flags: AreaFlags::empty(),
            offset: 0x2000,
            identity: (DeviceNumber::new(0xfe, 0).to_u64(), 247_282),
            name,
            private_bytes: 4096,
            source_bytes: 4096,
        }
    }

    #[test]
    fn lines_have_the_form_of_linux() {
        let line = maps(&[area(AreaName::Special("[vdso]")), area(AreaName::None)], |_| Vec::new());
        let expected = "5576d0c30000-5576d0c32000 r--p 00002000 fe:00 247282                     [vdso]\n\
                        5576d0c30000-5576d0c32000 r--p 00002000 fe:00 247282 \n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn smaps_has_the_lines_of_the_host_s() {
        let ours = String::from_utf8(smaps(&[area(AreaName::None)], |_| Vec::new())).unwrap();
        let host = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let host: Vec<_> = host.lines().take_while(|line| !line.starts_with("VmFlags")).collect();
        for line in ours.lines().skip(1).filter(|line| line.ends_with(" kB")) {
            let found = host.iter().find(|host| host[..16] == line[..16]);
            assert!(found.is_none_or(|host| host.len() == line.len()), "{line}");
        }
        assert!(ours.ends_with("VmFlags: rd mr me \n"));
    }
}
