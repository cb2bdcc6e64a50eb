//! The smallest host: a sandbox with a file made from outside, and one program's output.
//!
//! Run with `cargo run --release --example embed`.

use bartizan::{Mount, Result, Sandbox};

fn main() -> Result<()> {
    let sandbox =
        Sandbox::builder().root(Mount::host_directory("/")).mount("/tmp", Mount::tmpfs()).build()?;
    sandbox.write_file("/tmp/numbers", b"3\n1\n2\n")?;

    let output = sandbox.command("/usr/bin/sort").arg("/tmp/numbers").output()?;

    print!("{}", String::from_utf8_lossy(&output.stdout));
    println!("sort {}", output.status);
    Ok(())
}
