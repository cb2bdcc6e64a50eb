//! Loading as a whole: good programs, hostile ones, and the host's verdict on the same files.

mod fixture;
mod hostile;
mod programs;
