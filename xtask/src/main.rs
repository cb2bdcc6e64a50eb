//! The chores of the workspace, as `cargo xtask NAME`.

mod packages;
mod run;
mod test;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask test [ARGUMENT…]   make ready what the tests need, then run all tests (arguments go to the test runner)
cargo xtask soak [SECONDS]     run all tests, with those that take long, again and again, an hour by default
cargo xtask bench              tables of what operations and programs cost on the host and in a sandbox
cargo xtask compare [OPTION…]  the same beside other sandboxes, as a table and as docs/performance.md (--help says more)
cargo xtask docs [--check]     write docs/compat.md, or check that it is up to date
cargo xtask packages           install the Debian packages that the tests need
cargo xtask tools              build the suites of others that the tests run, below the target directory";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let Some((chore, rest)) = arguments.split_first() else { bail!("no chore named\n\n{USAGE}") };
    match chore.as_str() {
        "test" => test::test(rest),
        "soak" => test::soak(rest),
        "bench" => test::bench(rest),
        "compare" => test::compare(rest),
        "docs" => test::docs(rest),
        "packages" => packages::make_ready().map(|_missing| ()),
        "tools" => tools::make_ready(),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("there is no chore {chore}\n\n{USAGE}"),
    }
}
