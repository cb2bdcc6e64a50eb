//! Tasks and what they share: processes, signals, credentials, time.

mod clock;
mod credentials;
mod current;
#[expect(clippy::module_inception, reason = "the type that the module is named after has a file of its own")]
mod kernel;
mod parker;
mod statistics;
mod task;
mod wait_queue;

pub use clock::{deadline_after, realtime, timespec};
pub use credentials::Credentials;
pub use current::CurrentTask;
pub use kernel::Kernel;
pub use parker::Parker;
pub use statistics::Statistics;
pub use task::Task;
pub use wait_queue::{WaitKey, WaitQueue, Wake};
