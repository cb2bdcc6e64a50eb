//! Prints `docs/compat.md`, made from the table of system calls.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(bartizan_sentry::syscalls::compatibility_page().as_bytes())
}
