//! What a terminal does to output on its way to the screen (`termios(3)`, `c_oflag`).

use bartizan_abi::Termios;
use bartizan_abi::termios::{InputModes, LocalModes, OutputModes};

/// Columns between two tabs.
const TAB: u32 = 8;

/// `TABDLY` with this value: tabs become blanks.
const XTABS: u32 = 0o14000;

/// The most bytes that one byte becomes: a tab of blanks.
pub const MOST_EXPANDED: usize = TAB as usize;

/// Processes output. Knows the column that the cursor is in.
#[derive(Debug, Default)]
pub struct OutputProcessor {
    column: u32,
}

impl OutputProcessor {
    /// The column that the cursor is in.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// Gives what `byte` becomes to `screen` (`do_output_char`).
    pub fn put(&mut self, termios: &Termios, byte: u8, screen: &mut impl Extend<u8>) {
        let modes = OutputModes::from_bits_retain(termios.c_oflag);
        if !modes.contains(OutputModes::OPOST) {
            screen.extend([byte]);
            return;
        }
        match byte {
            b'\n' => {
                if modes.contains(OutputModes::ONLRET) {
                    self.column = 0;
                }
                if modes.contains(OutputModes::ONLCR) {
                    self.column = 0;
                    screen.extend(*b"\r\n");
                } else {
                    screen.extend([byte]);
                }
            }
            b'\r' if modes.contains(OutputModes::ONOCR) && self.column == 0 => {}
            b'\r' if modes.contains(OutputModes::OCRNL) => {
                if modes.contains(OutputModes::ONLRET) {
                    self.column = 0;
                }
                screen.extend([b'\n']);
            }
            b'\r' => {
                self.column = 0;
                screen.extend([byte]);
            }
            b'\t' => {
                let blanks = TAB - self.column % TAB;
                self.column += blanks;
                if termios.c_oflag & OutputModes::TABDLY.bits() == XTABS {
                    screen.extend((0..blanks).map(|_| b' '));
                } else {
                    screen.extend([byte]);
                }
            }
            0x08 => {
                self.column = self.column.saturating_sub(1);
                screen.extend([byte]);
            }
            _ => {
                let upper = modes.contains(OutputModes::OLCUC);
                let byte = if upper { byte.to_ascii_uppercase() } else { byte };
                // Bytes that continue a character of UTF-8 take no column.
                let utf8 = termios.c_iflag & InputModes::IUTF8.bits() != 0;
                let moves = !(byte.is_ascii_control() || utf8 && is_continuation(byte));
                self.column += u32::from(moves);
                screen.extend([byte]);
            }
        }
    }

    /// Shows `byte` as the user typed it: control characters as `^C` where `ECHOCTL` is on.
    pub fn echo(&mut self, termios: &Termios, byte: u8, screen: &mut impl Extend<u8>) {
        let visible = termios.c_lflag & LocalModes::ECHOCTL.bits() != 0;
        if visible && byte.is_ascii_control() && byte != b'\t' {
            self.column += 2;
            screen.extend([b'^', byte ^ 0o100]);
        } else {
            self.put(termios, byte, screen);
        }
    }

    /// Notes that the cursor went back by `columns`, by bytes that were not put here.
    pub fn went_back(&mut self, columns: u32) {
        self.column = self.column.saturating_sub(columns);
    }
}

/// Whether `byte` continues a character of UTF-8.
pub fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(oflag: u32, text: &[u8]) -> Vec<u8> {
        let termios = Termios { c_oflag: oflag, ..Termios::INITIAL };
        let (mut processor, mut screen) = (OutputProcessor::default(), Vec::new());
        for &byte in text {
            processor.put(&termios, byte, &mut screen);
        }
        screen
    }

    #[test]
    fn line_ends_and_tabs_follow_the_modes() {
        let post = OutputModes::OPOST.bits();
        assert_eq!(shown(0, b"a\nb\t"), b"a\nb\t");
        assert_eq!(shown(post | OutputModes::ONLCR.bits(), b"a\nb"), b"a\r\nb");
        assert_eq!(shown(post | XTABS, b"ab\tc"), b"ab      c");
        assert_eq!(shown(post | OutputModes::OCRNL.bits(), b"a\rb"), b"a\nb");
        assert_eq!(shown(post | OutputModes::ONOCR.bits(), b"\ra\rb"), b"a\rb");
        assert_eq!(shown(post | OutputModes::OLCUC.bits(), b"abc"), b"ABC");
    }
}
