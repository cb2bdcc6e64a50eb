//! `docs/compat.md` is what the table of system calls says.

use std::path::Path;

/// `BARTIZAN_UPDATE_DOCS=1` writes the page instead of checking it (`cargo xtask docs`).
#[test]
fn compatibility_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compat.md");
    let page = bartizan::compatibility_page();
    if std::env::var_os("BARTIZAN_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("docs/compat.md can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/compat.md is out of date: run `cargo xtask docs`");
}
