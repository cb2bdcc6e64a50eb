//! `do -t`: the program gets a terminal of the sandbox's own, and the launcher's terminal shows it.

use std::io::{Read, Write, stdin, stdout};
use std::thread::{JoinHandle, spawn};

use bartizan::{Terminal, TerminalSize};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::{Handle, Signals};

/// The size of the launcher's own window, if it has one.
pub fn own_size() -> TerminalSize {
    match tcgetwinsize(stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            TerminalSize { rows: size.ws_row, columns: size.ws_col }
        }
        _ => TerminalSize::default(),
    }
}

/// The launcher's terminal while it shows another one: keys come raw. It is as before when this is dropped.
pub struct Bridge {
    before: Option<Termios>,
    resizing: Option<Handle>,
    output: Option<JoinHandle<()>>,
}

impl Bridge {
    /// Connects the launcher's standard streams with `terminal`.
    pub fn new(terminal: &Terminal) -> std::io::Result<Self> {
        let before = if isatty(stdin()) { Some(tcgetattr(stdin())?) } else { None };
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        }
        let resizing = follow_size(terminal)?;
        let keyboard = terminal.clone();
        // Nobody can end a read of the standard input: the thread ends with the launcher.
        spawn(move || type_in(&keyboard));
        let screen = terminal.clone();
        let output = spawn(move || show(&screen));
        Ok(Self { before, resizing: Some(resizing), output: Some(output) })
    }

    /// Waits until everything that was printed is shown. No program has the terminal open any more.
    pub fn finish(mut self) {
        if let Some(output) = self.output.take()
            && output.join().is_err()
        {
            eprintln!("launcher: the thread that shows the terminal panicked");
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(handle) = self.resizing.take() {
            handle.close();
        }
        if let Some(before) = &self.before
            && let Err(error) = tcsetattr(stdin(), OptionalActions::Now, before)
        {
            eprintln!("launcher: cannot restore the terminal: {error}");
        }
    }
}

/// Passes changes of the window's size on.
fn follow_size(terminal: &Terminal) -> std::io::Result<Handle> {
    let mut signals = Signals::new([SIGWINCH])?;
    let handle = signals.handle();
    let terminal = terminal.clone();
    spawn(move || {
        for _ in signals.forever() {
            terminal.resize(own_size());
        }
    });
    Ok(handle)
}

/// What the user types. At the end of the input the program gets the character for that.
fn type_in(mut terminal: &Terminal) {
    const END_OF_FILE: [u8; 1] = [4];
    let mut buffer = [0; 4096];
    while let Ok(count) = stdin().lock().read(&mut buffer)
        && count > 0
    {
        // Once the program has ended there is nobody to type for.
        if terminal.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    // If this fails, the program has ended already.
    let _ended = terminal.write_all(&END_OF_FILE);
}

/// What the program shows.
fn show(mut terminal: &Terminal) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count) = terminal.read(&mut buffer)
        && count > 0
    {
        let mut screen = stdout().lock();
        // A screen that is gone stops the program like a full one would: by not being read.
        if screen.write_all(&buffer[..count]).and_then(|()| screen.flush()).is_err() {
            return;
        }
    }
}
