//! Waiting for and controlling open files: `poll(2)`, `epoll(7)`, pipes, `ioctl(2)`, terminals.

pub mod ioctl;
mod poll;
pub mod termios;

pub use poll::{
    EpollCreateFlags, EpollEvent, EpollOperation, EventfdFlags, FD_SETSIZE, PipeFlags, PollEvents, PollFd,
    SpliceFlags,
};
pub use termios::{Termio, Termios, Termios2, Winsize};
