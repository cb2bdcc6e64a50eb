//! The line discipline `N_TTY`: what the user types becomes lines, signals and echo (`termios(3)`).
//!
//! Knows nothing of files, tasks or locks: bytes go in, and the caller is told what else they did.

use std::collections::VecDeque;

use bartizan_abi::Termios;
use bartizan_abi::signal::Signal;
use bartizan_abi::termios::{
    InputModes, LocalModes, VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL, VLNEXT, VMIN, VQUIT, VREPRINT, VSTART,
    VSTOP, VSUSP, VTIME, VWERASE,
};

use super::output::{OutputProcessor, is_continuation};

/// How much input is kept (`N_TTY_BUF_SIZE`); the last place is for the end of the line.
pub const INPUT_SIZE: usize = 4096;

/// A special character with this value does not exist (`_POSIX_VDISABLE`).
const DISABLED: u8 = 0;

/// A byte of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Typed {
    byte: u8,
    end: End,
}

/// Whether a byte ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It does not.
    None,
    /// It does, and belongs to it.
    Line,
    /// It does, and is no part of what is read: the end-of-file character.
    File,
}

/// What a byte of input did beside being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The foreground process group gets this signal.
    Signal(Signal),
    /// Output stops.
    Stop,
    /// Output goes on.
    Start,
}

/// The input side of a terminal.
#[derive(Debug, Default)]
pub struct LineDiscipline {
    input: VecDeque<Typed>,
    /// How many bytes of `input` belong to lines that are complete.
    complete: usize,
    /// The next byte is taken as it is.
    literal_next: bool,
    /// A printed erase (`ECHOPRT`) is going on.
    erasing: bool,
    /// The column in which the line that is being typed started.
    line_column: u32,
}

/// Where echo goes: the output side of the same terminal.
#[derive(Debug)]
pub struct Echo<'a> {
    /// Settings of the terminal.
    pub termios: &'a Termios,
    /// Its output processing.
    pub processor: &'a mut OutputProcessor,
    /// What the screen gets.
    pub screen: &'a mut VecDeque<u8>,
}

impl Echo<'_> {
    fn local(&self, mode: LocalModes) -> bool {
        self.termios.c_lflag & mode.bits() != 0
    }

    fn input(&self, mode: InputModes) -> bool {
        self.termios.c_iflag & mode.bits() != 0
    }

    /// Whether `byte` is the special character at `index`.
    fn is(&self, index: usize, byte: u8) -> bool {
        let special = self.termios.c_cc.get(index).copied().unwrap_or(DISABLED);
        special != DISABLED && special == byte
    }

    fn typed(&mut self, byte: u8) {
        self.processor.echo(self.termios, byte, self.screen);
    }

    fn raw(&mut self, byte: u8) {
        self.processor.put(self.termios, byte, self.screen);
    }
}

impl LineDiscipline {
    /// How many bytes more it takes now. A line that is too long is taken all the same, and cut.
    pub fn room(&self, termios: &Termios) -> usize {
        let room = (INPUT_SIZE - 1).saturating_sub(self.input.len());
        if room == 0 && is_canonical(termios) && self.complete == 0 { 1 } else { room }
    }

    /// Takes a byte that the user typed.
    pub fn receive(&mut self, byte: u8, stopped: bool, echo: &mut Echo<'_>) -> Effect {
        let mut byte = byte;
        if echo.input(InputModes::ISTRIP) {
            byte &= 0x7f;
        }
        if echo.input(InputModes::IUCLC) && echo.local(LocalModes::IEXTEN) {
            byte = byte.to_ascii_lowercase();
        }
        if echo.local(LocalModes::EXTPROC) {
            self.keep(byte, End::None);
            return Effect::None;
        }
        if std::mem::take(&mut self.literal_next) {
            self.ordinary(byte, echo);
            return Effect::None;
        }
        if let Some(effect) = self.control(byte, echo) {
            return effect;
        }
        let restart = stopped && echo.input(InputModes::IXON) && echo.input(InputModes::IXANY);
        self.text(byte, echo);
        if restart { Effect::Start } else { Effect::None }
    }

    /// Characters that control output or send signals.
    fn control(&mut self, byte: u8, echo: &mut Echo<'_>) -> Option<Effect> {
        if echo.input(InputModes::IXON) {
            if echo.is(VSTART, byte) {
                return Some(Effect::Start);
            }
            if echo.is(VSTOP, byte) {
                return Some(Effect::Stop);
            }
        }
        if !echo.local(LocalModes::ISIG) {
            return None;
        }
        let keys = [(VINTR, Signal::SIGINT), (VQUIT, Signal::SIGQUIT), (VSUSP, Signal::SIGTSTP)];
        let (_, signal) = keys.into_iter().find(|&(index, _)| echo.is(index, byte))?;
        if !echo.local(LocalModes::NOFLSH) {
            self.flush();
        }
        if echo.local(LocalModes::ECHO) {
            echo.typed(byte);
        }
        Some(Effect::Signal(signal))
    }

    /// Characters that edit or end a line, and all others.
    fn text(&mut self, byte: u8, echo: &mut Echo<'_>) {
        let byte = match byte {
            b'\r' if echo.input(InputModes::IGNCR) => return,
            b'\r' if echo.input(InputModes::ICRNL) => b'\n',
            b'\n' if echo.input(InputModes::INLCR) => b'\r',
            byte => byte,
        };
        if !echo.local(LocalModes::ICANON) {
            self.ordinary(byte, echo);
            return;
        }
        let extended = echo.local(LocalModes::IEXTEN);
        if echo.is(VERASE, byte) || echo.is(VKILL, byte) || (extended && echo.is(VWERASE, byte)) {
            self.erase(byte, echo);
        } else if extended && echo.is(VLNEXT, byte) {
            self.literal_next = true;
            if echo.local(LocalModes::ECHO) {
                self.finish_erasing(echo);
                if echo.local(LocalModes::ECHOCTL) {
                    echo.screen.extend(*b"^\x08");
                }
            }
        } else if extended && echo.local(LocalModes::ECHO) && echo.is(VREPRINT, byte) {
            self.reprint(byte, echo);
        } else if byte == b'\n' {
            if echo.local(LocalModes::ECHO) || echo.local(LocalModes::ECHONL) {
                echo.raw(b'\n');
            }
            self.end_line(byte, End::Line);
        } else if echo.is(VEOF, byte) {
            self.end_line(DISABLED, End::File);
        } else if echo.is(VEOL, byte) || (extended && echo.is(VEOL2, byte)) {
            if echo.local(LocalModes::ECHO) {
                echo.typed(byte);
            }
            self.end_line(byte, End::Line);
        } else {
            self.ordinary(byte, echo);
        }
    }

    /// A character without any meaning.
    fn ordinary(&mut self, byte: u8, echo: &mut Echo<'_>) {
        if echo.local(LocalModes::ECHO) {
            self.finish_erasing(echo);
            if self.complete == self.input.len() {
                self.line_column = echo.processor.column();
            }
            if byte == b'\n' { echo.raw(byte) } else { echo.typed(byte) }
        }
        if byte == 0xff && echo.input(InputModes::PARMRK) {
            self.keep(byte, End::None);
        }
        self.keep(byte, End::None);
    }

    fn keep(&mut self, byte: u8, end: End) {
        // The last place is for the end of the line: what is too long loses its tail.
        if self.input.len() + 1 < INPUT_SIZE || (end != End::None && self.input.len() < INPUT_SIZE) {
            self.input.push_back(Typed { byte, end });
        }
    }

    fn end_line(&mut self, byte: u8, end: End) {
        self.keep(byte, end);
        self.complete = self.input.len();
    }

    /// Erases a character, a word or the line that is being typed (`eraser`).
    fn erase(&mut self, byte: u8, echo: &mut Echo<'_>) {
        if self.complete == self.input.len() {
            return;
        }
        let utf8 = echo.input(InputModes::IUTF8);
        let whole_line = echo.is(VKILL, byte);
        let word = echo.is(VWERASE, byte);
        if whole_line && !self.erases_visibly(echo) {
            self.input.truncate(self.complete);
            self.finish_erasing(echo);
            if echo.local(LocalModes::ECHO) {
                echo.typed(byte);
                if echo.local(LocalModes::ECHOK) {
                    echo.raw(b'\n');
                }
            }
            return;
        }
        let mut seen_word = false;
        while self.input.len() > self.complete {
            let start = self.character_start(utf8);
            let Some(first) = self.input.get(start).map(|typed| typed.byte) else { break };
            if word {
                let part_of_word = first.is_ascii_alphanumeric() || first == b'_' || first >= 0x80;
                if part_of_word {
                    seen_word = true;
                } else if seen_word {
                    break;
                }
            }
            let erased: Vec<u8> = self.input.drain(start..).map(|typed| typed.byte).collect();
            if echo.local(LocalModes::ECHO) {
                self.show_erased(&erased, byte, word || whole_line, echo);
            }
            if !word && !whole_line {
                break;
            }
        }
        if self.input.len() == self.complete && echo.local(LocalModes::ECHO) {
            self.finish_erasing(echo);
        }
    }

    /// Whether the kill character makes the line vanish from the screen.
    fn erases_visibly(&self, echo: &Echo<'_>) -> bool {
        [LocalModes::ECHO, LocalModes::ECHOK, LocalModes::ECHOKE, LocalModes::ECHOE]
            .into_iter()
            .all(|mode| echo.local(mode))
    }

    /// Where the last character starts.
    fn character_start(&self, utf8: bool) -> usize {
        let mut start = self.input.len().saturating_sub(1);
        while utf8
            && start > self.complete
            && self.input.get(start).is_some_and(|typed| is_continuation(typed.byte))
        {
            start -= 1;
        }
        start
    }

    /// Shows on the screen that `erased` is gone.
    fn show_erased(&mut self, erased: &[u8], key: u8, several: bool, echo: &mut Echo<'_>) {
        let Some(&first) = erased.first() else { return };
        if echo.local(LocalModes::ECHOPRT) {
            if !self.erasing {
                echo.raw(b'\\');
                self.erasing = true;
            }
            for &byte in erased {
                echo.typed(byte);
            }
        } else if !several && !echo.local(LocalModes::ECHOE) {
            echo.typed(key);
        } else if first == b'\t' {
            let column = echo.processor.column();
            let before = self.column_of_end(echo);
            back(column.saturating_sub(before), b"\x08", echo);
        } else {
            let visible = echo.local(LocalModes::ECHOCTL);
            let width = if first.is_ascii_control() { if visible { 2 } else { 0 } } else { 1 };
            back(width, b"\x08 \x08", echo);
        }
    }

    /// The column behind the line that is being typed, by what is left of it.
    fn column_of_end(&self, echo: &Echo<'_>) -> u32 {
        let (utf8, visible) = (echo.input(InputModes::IUTF8), echo.local(LocalModes::ECHOCTL));
        let mut column = self.line_column;
        for typed in self.input.iter().skip(self.complete) {
            column += match typed.byte {
                b'\t' => 8 - column % 8,
                byte if byte.is_ascii_control() => {
                    if visible {
                        2
                    } else {
                        0
                    }
                }
                byte if utf8 && is_continuation(byte) => 0,
                _ => 1,
            };
        }
        column
    }

    fn finish_erasing(&mut self, echo: &mut Echo<'_>) {
        if std::mem::take(&mut self.erasing) {
            echo.raw(b'/');
        }
    }

    /// Shows the line that is being typed once more.
    fn reprint(&mut self, key: u8, echo: &mut Echo<'_>) {
        self.finish_erasing(echo);
        echo.typed(key);
        echo.raw(b'\n');
        self.line_column = echo.processor.column();
        for index in self.complete..self.input.len() {
            if let Some(typed) = self.input.get(index).copied() {
                echo.typed(typed.byte);
            }
        }
    }

    /// The settings changed from `old`: what is there is seen as lines or as bytes from now on.
    pub fn settings_changed(&mut self, old: &Termios, new: &Termios) {
        let line_modes = LocalModes::ICANON | LocalModes::EXTPROC;
        if (old.c_lflag ^ new.c_lflag) & line_modes.bits() == 0 {
            return;
        }
        for typed in &mut self.input {
            typed.end = End::None;
        }
        self.complete = 0;
        if is_canonical(new)
            && let Some(last) = self.input.back_mut()
        {
            last.end = End::Line;
            self.complete = self.input.len();
        }
        self.literal_next = false;
        self.erasing = false;
    }

    /// Drops all input.
    pub fn flush(&mut self) {
        *self = Self::default();
    }

    /// Bytes that a read would find, as `FIONREAD` counts them.
    pub fn available(&self, termios: &Termios) -> usize {
        if !is_canonical(termios) {
            return self.input.len();
        }
        self.input.iter().take(self.complete).filter(|typed| typed.end != End::File).count()
    }

    /// Whether a read of `wanted` bytes has enough to come back (`input_available_p`, `VMIN`).
    pub fn is_readable(&self, termios: &Termios, wanted: usize) -> bool {
        if is_canonical(termios) {
            self.complete > 0
        } else {
            self.input.len() >= least(termios).clamp(1, wanted.max(1))
        }
    }

    /// What a read of at most `most` bytes gets; `None` if there is nothing yet.
    pub fn read(&mut self, termios: &Termios, most: usize) -> Option<Vec<u8>> {
        if !is_canonical(termios) {
            let count = most.min(self.input.len());
            let taken: Vec<u8> = self.input.drain(..count).map(|typed| typed.byte).collect();
            return Some(taken);
        }
        if self.complete == 0 {
            return None;
        }
        let mut line = Vec::new();
        while line.len() < most && self.complete > 0 {
            let Some(typed) = self.take() else { break };
            if typed.end != End::File {
                line.push(typed.byte);
            }
            if typed.end != End::None {
                return Some(line);
            }
        }
        // A read that was just long enough takes the end of file behind it along.
        if most > 0 && self.input.front().is_some_and(|typed| typed.end == End::File) {
            let _end = self.take();
        }
        Some(line)
    }

    fn take(&mut self) -> Option<Typed> {
        let typed = self.input.pop_front()?;
        self.complete = self.complete.saturating_sub(1);
        Some(typed)
    }
}

/// Moves the cursor back over `columns`, with `step` for each.
fn back(columns: u32, step: &[u8], echo: &mut Echo<'_>) {
    for _ in 0..columns {
        echo.screen.extend(step);
    }
    echo.processor.went_back(columns);
}

/// Whether input is given out line by line.
pub fn is_canonical(termios: &Termios) -> bool {
    let mode = LocalModes::from_bits_retain(termios.c_lflag);
    mode.contains(LocalModes::ICANON) && !mode.contains(LocalModes::EXTPROC)
}

/// `VMIN`.
pub fn least(termios: &Termios) -> usize {
    termios.c_cc.get(VMIN).copied().map_or(0, usize::from)
}

/// `VTIME`, in tenths of a second.
pub fn tenths(termios: &Termios) -> u32 {
    termios.c_cc.get(VTIME).copied().map_or(0, u32::from)
}

#[cfg(test)]
mod tests;
