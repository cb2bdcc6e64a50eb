//! Runs programs in a sandbox from the command line: `launcher do [OPTIONS] [--] CMD [ARG…]`.

#![expect(clippy::disallowed_methods, reason = "a program, not a library, chooses its own exit code")]

mod arguments;
mod run;
mod terminal;

use arguments::{Invocation, parse};

/// The launcher itself failed, as `docker run` and `env` have it.
const LAUNCHER_FAILED: i32 = 125;

fn main() {
    let code = match parse(std::env::args_os()) {
        Ok(Invocation::Do(options)) => run::run(&options),
        Ok(Invocation::Help(text)) => {
            print!("{text}");
            0
        }
        Err(message) => {
            eprintln!("launcher: {message}");
            LAUNCHER_FAILED
        }
    };
    std::process::exit(code);
}
