//! Tasks and what they share: processes, signals, credentials, time.

mod clock;
mod credentials;
mod current;
pub mod epoll;
mod eventfd;
pub mod futex;
#[expect(clippy::module_inception, reason = "the type that the module is named after has a file of its own")]
mod kernel;
mod limits;
mod parker;
pub mod pipe;
pub mod poll;
mod restart;
mod services;
mod statistics;
mod task;
pub mod timer;
mod wait_queue;

pub use clock::{WaitClock, deadline_after, host_time, realtime, timespec};
pub use credentials::Credentials;
pub use current::CurrentTask;
pub use eventfd::{EventMode, Eventfd};
pub use kernel::Kernel;
pub use limits::{LimitPrivilege, Limits};
pub use parker::Parker;
pub use restart::RestartBlock;
pub use statistics::Statistics;
pub use task::Task;
pub use wait_queue::{WaitKey, WaitQueue, Wake};
