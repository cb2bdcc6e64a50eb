//! How a `/proc` is mounted (`proc(5)`): `hidepid`, `gid`, `subset`. What others see of processes can be changed later.

use std::sync::Arc;

use bartizan_abi::{Errno, FsMagic};
use bartizan_sentry::kernel::CurrentTask;
use bartizan_sentry::sync::{LockClass, Mutex};
use bartizan_sentry::vfs::{Admission, CachePolicy, FilesystemOps, FilesystemStatistics};

use super::process::Subject;
use crate::pseudo::statistics;

/// What of `/proc` there is (`subset=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subset {
    /// Everything.
    All,
    /// What is about processes (`pid`).
    Processes,
}

/// What is hidden of processes that one may not look into (`hidepid=`), with the values of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hiding {
    /// Nothing.
    Off = 0,
    /// What is in their directories.
    NoAccess = 1,
    /// Their directories too.
    Invisible = 2,
    /// The same, of processes that one may not trace, whatever one's groups.
    Ptraceable = 4,
}

impl Hiding {
    /// The value of the option.
    fn parse(value: &str) -> Result<Self, Errno> {
        match value {
            "0" | "off" => Ok(Self::Off),
            "1" | "noaccess" => Ok(Self::NoAccess),
            "2" | "invisible" => Ok(Self::Invisible),
            "4" | "ptraceable" => Ok(Self::Ptraceable),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Its name.
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::NoAccess => "noaccess",
            Self::Invisible => "invisible",
            Self::Ptraceable => "ptraceable",
        }
    }
}

/// The options of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// From whom processes are hidden.
    pub hiding: Hiding,
    /// The group that sees all of them nevertheless.
    pub gid: u32,
    /// What there is.
    pub subset: Subset,
}

impl Default for Options {
    fn default() -> Self {
        Self { hiding: Hiding::Off, gid: 0, subset: Subset::All }
    }
}

impl Options {
    /// These with what `text` says, as the data argument of `mount(2)` has it.
    ///
    /// # Errors
    /// `EINVAL` for what Linux does not know or take.
    pub fn changed(self, text: &[u8]) -> Result<Self, Errno> {
        let mut options = self;
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("hidepid", value)) => options.hiding = Hiding::parse(value)?,
                Some(("gid", value)) => options.gid = value.parse().map_err(|_| Errno::EINVAL)?,
                Some(("subset", "pid")) => options.subset = Subset::Processes,
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    /// The options as `/proc/mounts` shows them.
    fn show(&self) -> String {
        let mut parts = Vec::new();
        if self.gid != 0 {
            parts.push(format!("gid={}", self.gid));
        }
        if self.hiding != Hiding::Off {
            parts.push(format!("hidepid={}", self.hiding.name()));
        }
        if self.subset == Subset::Processes {
            parts.push("subset=pid".into());
        }
        parts.join(",")
    }
}

/// One `/proc` as it is mounted now. Its lock is class `Table`.
#[derive(Debug)]
pub struct ProcMount(Mutex<Options>);

impl ProcMount {
    /// One with `options`.
    pub fn new(options: Options) -> Arc<Self> {
        Arc::new(Self(Mutex::new(LockClass::Table, options)))
    }

    fn options(&self) -> Options {
        *self.0.lock()
    }

    /// Whether listings leave processes out.
    pub fn hides(&self) -> bool {
        self.options().hiding >= Hiding::Invisible
    }

    /// Whether `task` may do with `subject` what is hidden from `least` on.
    pub fn admits(&self, task: &CurrentTask, subject: &Subject, least: Hiding) -> bool {
        let options = self.options();
        match options.hiding {
            Hiding::Ptraceable => subject.is_open_to(task),
            hiding if hiding < least => true,
            _ => task.credentials().in_group(options.gid) || subject.is_open_to(task),
        }
    }

    /// Whether `task` gets to see the directory of `subject`.
    ///
    /// # Errors
    /// `ENOENT` where it is not there for `task`, `EPERM` where that cannot look inside.
    pub fn admit(&self, task: &CurrentTask, subject: &Subject, admission: Admission) -> Result<(), Errno> {
        let least = match admission {
            Admission::Tell => Hiding::Invisible,
            Admission::Use(_) => Hiding::NoAccess,
        };
        if self.admits(task, subject, least) {
            return Ok(());
        }
        let unseen = admission == Admission::Tell || self.options().hiding == Hiding::Invisible;
        Err(if unseen { Errno::ENOENT } else { Errno::EPERM })
    }
}

/// The file system as the VFS knows it.
#[derive(Debug)]
pub struct ProcFilesystem(pub Arc<ProcMount>);

impl FilesystemOps for ProcFilesystem {
    fn type_name(&self) -> &'static str {
        "proc"
    }

    fn options(&self) -> String {
        self.0.options().show()
    }

    /// What there is cannot be changed.
    fn reconfigure(&self, options: &[u8]) -> Result<(), Errno> {
        let mut current = self.0.0.lock();
        let new = current.changed(options)?;
        if new.subset != current.subset {
            return Err(Errno::EINVAL);
        }
        *current = new;
        Ok(())
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Revalidate
    }

    fn is_guarded(&self) -> bool {
        true
    }

    fn statistics(&self) -> Result<FilesystemStatistics, Errno> {
        Ok(statistics(FsMagic::PROC))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_and_shown_as_linux_does() {
        let show = |text: &str| Options::default().changed(text.as_bytes()).map(|options| options.show());
        assert_eq!(show("hidepid=2,gid=7,subset=pid"), Ok("gid=7,hidepid=invisible,subset=pid".into()));
        assert_eq!(show("hidepid=ptraceable,hidepid=noaccess"), Ok("hidepid=noaccess".into()));
        assert_eq!(show("hidepid=off,gid=0"), Ok(String::new()));
        for wrong in ["hidepid=3", "hidepid", "hidepid=", "gid=x", "gid=-1", "subset=all", "size=1"] {
            assert_eq!(show(wrong), Err(Errno::EINVAL), "{wrong}");
        }
    }
}
