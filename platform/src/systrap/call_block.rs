//! The call block of a guest thread: how it hands calls and stops over to the sentry through memory, without the host.
//!
//! The thread fills the block in, sets its state word to say that it waits, and looks at that word until the sentry sets it back to
//! [`RUNNING`]; when its patience ends it says so in the word and sleeps in a call of which the sentry learns by its listener. The sentry looks
//! at the same word, for as long as the thread has patience, or sleeps in its listener, having taken the thread's patience before.
//!
//! Guest code can write all of it at any time. What stands in it is taken for what the guest asks for, which it may ask for anyway, and
//! a state that makes no sense leaves the sentry waiting in its listener, where every thread can be interrupted.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use super::control::{ControlMemory, area_address};
use super::frame::NOT_IMPLEMENTED;
use super::layout::block::{
    ARGUMENTS, CALLED, CALLED_ASLEEP, FLAGS, LAST_ARGUMENT, NUMBER, PATIENCE, RBX, RESULT, RETURN, RUNNING,
    STATE, STOPPED, STOPPED_ASLEEP,
};
use crate::Registers;

/// The call block of the thread with one area.
#[derive(Debug, Clone, Copy)]
pub struct CallBlock<'a> {
    memory: &'a ControlMemory,
    index: u64,
}

/// What the state word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Guest code runs, or the word makes no sense.
    Guest,
    /// A call from a patched site waits for its answer.
    Call {
        /// Whether the thread sleeps, or is about to.
        asleep: bool,
    },
    /// The thread has stopped in its handler.
    Stop {
        /// Whether the thread sleeps, or is about to.
        asleep: bool,
    },
}

impl Turn {
    fn from_word(word: u32) -> Self {
        match word {
            CALLED => Self::Call { asleep: false },
            CALLED_ASLEEP => Self::Call { asleep: true },
            STOPPED => Self::Stop { asleep: false },
            STOPPED_ASLEEP => Self::Stop { asleep: true },
            _ => Self::Guest,
        }
    }
}

impl<'a> CallBlock<'a> {
    /// The block of the thread with area `index` of `memory`.
    pub fn new(memory: &'a ControlMemory, index: u64) -> Self {
        Self { memory, index }
    }

    /// Areas that are in use exist, so that there always is a word.
    fn word(&self, offset: u64) -> u64 {
        self.memory.read_area(self.index, area_address(self.index) + offset).unwrap_or(0)
    }

    fn set_word(&self, offset: u64, value: u64) {
        let _exists = self.memory.write_area(self.index, area_address(self.index) + offset, value);
    }

    /// The state word. `None` for an area that does not exist.
    pub fn state(&self) -> Option<&'a AtomicU32> {
        self.memory.shared_word(self.index, STATE)
    }

    /// Whose turn it is.
    pub fn turn(&self) -> Turn {
        self.state().map_or(Turn::Guest, |state| Turn::from_word(state.load(Ordering::Acquire)))
    }

    /// Lets the thread go on; whose turn it was.
    pub fn resume(&self) -> Turn {
        self.state().map_or(Turn::Guest, |state| Turn::from_word(state.swap(RUNNING, Ordering::AcqRel)))
    }

    /// Answers the call; whose turn it was.
    pub fn answer(&self, result: u64) -> Turn {
        self.set_word(RESULT, result);
        self.resume()
    }

    /// How often the thread looks for an answer before it sleeps, from its next call or stop on.
    pub fn set_patience(&self, looks: u64) {
        self.set_word(PATIENCE, looks);
        // A thread that saw the old patience has set its state before, which the caller reads next.
        fence(Ordering::SeqCst);
    }

    /// What a stopped thread's handler was called with, as its call would pass it on.
    pub fn handler_arguments(&self) -> [u64; 6] {
        [self.word(NUMBER), self.word(RETURN), self.word(ARGUMENTS), 0, 0, 0]
    }

    /// Fills in what a call shows of the registers.
    pub fn fill_call(&self, registers: &mut Registers) {
        registers.orig_rax = self.word(NUMBER);
        registers.rax = NOT_IMPLEMENTED;
        registers.rip = self.word(RETURN);
        registers.rcx = registers.rip;
        registers.rdi = self.word(ARGUMENTS);
        registers.rsi = self.word(ARGUMENTS + 8);
        registers.rdx = self.word(ARGUMENTS + 16);
        registers.r10 = self.word(ARGUMENTS + 24);
        registers.r8 = self.word(ARGUMENTS + 32);
        registers.r9 = self.word(LAST_ARGUMENT);
    }

    /// Makes `registers`, those of a thread that was stopped in the stub's code for calls, those that the guest has after the call.
    pub fn leave_call(&self, registers: &mut Registers) {
        /// What `lahf` and `sahf` carry, and the overflow flag.
        const ARITHMETIC: u64 = 0x8d5;
        registers.rip = self.word(RETURN);
        registers.rcx = registers.rip;
        registers.rax = self.word(RESULT);
        registers.rbx = self.word(RBX);
        let flags = self.word(FLAGS);
        let arithmetic = (flags >> 8 & 0xff | (flags & 1) << 11) & ARITHMETIC;
        registers.eflags = registers.eflags & !ARITHMETIC | arithmetic;
        registers.r11 = registers.eflags;
    }
}
