//! Host name and domain name (`uname(2)`, `sethostname(2)`).

use crate::sync::{LockClass, Mutex};

/// The names that a UTS namespace gives the system.
#[derive(Debug)]
pub struct UtsNames {
    names: Mutex<(Vec<u8>, Vec<u8>)>,
}

impl UtsNames {
    /// What `uname(2)` calls the system.
    pub const SYSNAME: &str = "Linux";
    /// The release of Linux whose behaviour guests get.
    pub const RELEASE: &str = "6.18.0";
    /// How this kernel was built.
    pub const VERSION: &str = "#1 SMP Bartizan";

    /// The longest name, bytes.
    pub const NAME_MAX: usize = 64;

    /// `hostname`, cut to what fits, and no domain.
    pub fn new(mut hostname: Vec<u8>) -> Self {
        hostname.truncate(Self::NAME_MAX);
        Self { names: Mutex::new(LockClass::Table, (hostname, b"(none)".to_vec())) }
    }

    /// The host name.
    pub fn hostname(&self) -> Vec<u8> {
        self.names.lock().0.clone()
    }

    /// The domain name.
    pub fn domainname(&self) -> Vec<u8> {
        self.names.lock().1.clone()
    }

    /// Replaces the host name, which the caller has checked for its length.
    pub fn set_hostname(&self, name: Vec<u8>) {
        self.names.lock().0 = name;
    }

    /// Replaces the domain name, which the caller has checked for its length.
    pub fn set_domainname(&self, name: Vec<u8>) {
        self.names.lock().1 = name;
    }
}
