//! `docs/compat.md`, made from the table of system calls.

use std::fmt::Write;

use bartizan_abi::Sysno;

use super::table::{Support, entry};

/// The page that lists every system call of x86-64 with what it does here, in Markdown.
pub fn compatibility_page() -> String {
    let mut rows = String::new();
    let (mut full, mut partial, mut refused, mut missing) = (0, 0, 0, 0);
    for number in Sysno::all() {
        let (support, note) = match entry(number as u64).map(|entry| entry.support) {
            Some(Support::Full) => {
                full += 1;
                ("full", "")
            }
            Some(Support::Partial(note)) => {
                partial += 1;
                ("partial", note)
            }
            Some(Support::Refused(note)) => {
                refused += 1;
                ("refused", note)
            }
            None => {
                missing += 1;
                ("missing", "`ENOSYS`, counted by name")
            }
        };
        let _infallible = writeln!(rows, "| {} | `{}` | {support} | {note} |", number as u16, number.name());
    }
    format!(
        "# System calls\n\
         \n\
         Made from the table in `sentry/src/syscalls/table.rs` by `cargo xtask docs`; not to be edited.\n\
         \n\
         - **full**: as Linux has it, as far as the tests beside the host kernel show.\n\
         - **partial**: usable; the note says what is missing.\n\
         - **refused**: answered as a Linux kernel without the feature, or without the permission, answers.\n\
         - **missing**: `ENOSYS`; a sandbox counts how often each is called.\n\
         \n\
         {full} full, {partial} partial, {refused} refused, {missing} missing.\n\
         \n\
         | number | call | support | note |\n\
         | ---: | --- | --- | --- |\n\
         {rows}"
    )
}
