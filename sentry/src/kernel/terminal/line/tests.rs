use super::*;

/// A keyboard with a screen.
struct Desk {
    termios: Termios,
    line: LineDiscipline,
    processor: OutputProcessor,
    screen: VecDeque<u8>,
    effects: Vec<Effect>,
}

impl Desk {
    fn new() -> Self {
        Self {
            termios: Termios::INITIAL,
            line: LineDiscipline::default(),
            processor: OutputProcessor::default(),
            screen: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    fn press(&mut self, keys: &[u8]) -> &mut Self {
        for &key in keys {
            let Self { termios, line, processor, screen, .. } = self;
            let effect = line.receive(key, false, &mut Echo { termios, processor, screen });
            if effect != Effect::None {
                self.effects.push(effect);
            }
        }
        self
    }

    fn read(&mut self, most: usize) -> Option<Vec<u8>> {
        self.line.read(&self.termios, most)
    }

    fn screen(&mut self) -> String {
        String::from_utf8_lossy(&self.screen.drain(..).collect::<Vec<u8>>()).into_owned()
    }

    fn switch(&mut self, modes: LocalModes, on: bool) {
        let old = self.termios;
        self.termios.c_lflag = if on { old.c_lflag | modes.bits() } else { old.c_lflag & !modes.bits() };
        self.line.settings_changed(&old, &self.termios);
    }
}

#[test]
fn lines_come_whole_and_are_echoed() {
    let mut desk = Desk::new();
    assert_eq!(desk.press(b"ab").read(10), None);
    assert_eq!(desk.press(b"\rcd\n").read(10).as_deref(), Some(&b"ab\n"[..]));
    assert_eq!(desk.read(1).as_deref(), Some(&b"c"[..]));
    assert_eq!(desk.read(10).as_deref(), Some(&b"d\n"[..]));
    assert_eq!(desk.read(10), None);
    assert_eq!(desk.screen(), "ab\r\ncd\r\n");
}

#[test]
fn characters_words_and_lines_are_erased() {
    let mut desk = Desk::new();
    assert_eq!(desk.press(b"abx\x7f\n").read(10).as_deref(), Some(&b"ab\n"[..]));
    assert_eq!(desk.screen(), "abx\x08 \x08\r\n");
    assert_eq!(desk.press(b"one two\x17\n").read(10).as_deref(), Some(&b"one \n"[..]));
    assert_eq!(desk.press(b"gone\x15kept\n").read(10).as_deref(), Some(&b"kept\n"[..]));
    desk.screen();
    desk.press(b"\x01\x7f");
    assert_eq!(desk.screen(), "^A\x08 \x08\x08 \x08");
    desk.press(b"\x7f");
    assert_eq!(desk.screen(), "", "nothing is left to erase");
    desk.press(b"a\t\x7f");
    assert_eq!(desk.screen(), "a\t\x08\x08\x08\x08\x08\x08\x08");
}

#[test]
fn characters_of_utf8_are_erased_whole_where_the_terminal_knows() {
    let mut desk = Desk::new();
    desk.termios.c_iflag |= InputModes::IUTF8.bits();
    assert_eq!(desk.press("aé\x7f\n".as_bytes()).read(10).as_deref(), Some(&b"a\n"[..]));
    assert_eq!(desk.screen(), "aé\x08 \x08\r\n");
}

#[test]
fn end_of_file_ends_a_read_and_is_not_read() {
    let mut desk = Desk::new();
    assert_eq!(desk.press(b"ab\x04").read(10).as_deref(), Some(&b"ab"[..]));
    assert_eq!(desk.press(b"\x04").read(10).as_deref(), Some(&b""[..]));
    assert_eq!(desk.press(b"ab\x04").read(2).as_deref(), Some(&b"ab"[..]));
    assert_eq!(desk.read(10), None, "the read that was just long enough took it along");
    assert_eq!(desk.press(b"\x16\x04\n").read(10).as_deref(), Some(&b"\x04\n"[..]));
}

#[test]
fn keys_send_signals_and_drop_input() {
    let mut desk = Desk::new();
    assert_eq!(
        desk.press(b"abc\x03\x1c\x1a").effects,
        [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP].map(Effect::Signal)
    );
    assert_eq!(desk.screen(), "abc^C^\\^Z");
    assert_eq!(desk.press(b"\n").read(10).as_deref(), Some(&b"\n"[..]));
    desk.switch(LocalModes::ISIG, false);
    assert_eq!(desk.press(b"\x03\n").read(10).as_deref(), Some(&b"\x03\n"[..]));
    assert_eq!(desk.press(b"\x13\x11").effects[3..], [Effect::Stop, Effect::Start]);
}

#[test]
fn raw_input_comes_at_once_and_survives_a_change_of_mode() {
    let mut desk = Desk::new();
    desk.press(b"half");
    desk.switch(LocalModes::ICANON, false);
    assert!(desk.line.is_readable(&desk.termios, 10));
    assert_eq!(desk.press(b"\x7f").read(10).as_deref(), Some(&b"half\x7f"[..]));
    desk.press(b"more");
    desk.switch(LocalModes::ICANON, true);
    assert_eq!(desk.read(10).as_deref(), Some(&b"more"[..]));
    desk.switch(LocalModes::ICANON, false);
    desk.termios.c_cc[VMIN] = 3;
    desk.press(b"ab");
    assert!(!desk.line.is_readable(&desk.termios, 10));
    assert!(desk.line.is_readable(&desk.termios, 2));
    desk.press(b"c");
    assert!(desk.line.is_readable(&desk.termios, 10));
}

#[test]
fn a_line_that_is_too_long_loses_its_tail_but_not_its_end() {
    let mut desk = Desk::new();
    desk.press(&[b'x'; 2 * INPUT_SIZE]);
    assert_eq!(desk.line.room(&desk.termios), 1);
    desk.press(b"\n");
    assert_eq!(desk.line.room(&desk.termios), 0);
    let line = desk.read(2 * INPUT_SIZE).unwrap_or_default();
    assert_eq!(line.len(), INPUT_SIZE);
    assert_eq!(line.last(), Some(&b'\n'));
}
