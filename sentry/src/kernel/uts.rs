//! UTS namespaces: host name and domain name (`uts_namespaces(7)`, `uname(2)`, `sethostname(2)`).

use super::UserNamespace;
use crate::sync::{LockClass, Mutex};

/// The names that a UTS namespace gives the system.
#[derive(Debug)]
pub struct UtsNames {
    identity: u32,
    owner: UserNamespace,
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

    /// The number of the initial namespace (`PROC_UTS_INIT_INO`).
    const INITIAL: u32 = 0xefff_fffe;

    /// The initial namespace: `hostname`, cut to what fits, and no domain.
    pub fn new(mut hostname: Vec<u8>) -> Self {
        hostname.truncate(Self::NAME_MAX);
        let names = (hostname, b"(none)".to_vec());
        Self {
            identity: Self::INITIAL,
            owner: UserNamespace::default(),
            names: Mutex::new(LockClass::Table, names),
        }
    }

    /// Another namespace, with the number `identity` and for a start the same names, in `owner` (`CLONE_NEWUTS`).
    pub fn duplicate(&self, identity: u32, owner: UserNamespace) -> Self {
        let names = self.names.lock().clone();
        Self { identity, owner, names: Mutex::new(LockClass::Table, names) }
    }

    /// The number that `/proc/[pid]/ns/uts` shows.
    pub fn identity(&self) -> u32 {
        self.identity
    }

    /// The user namespace whose administrators may change it.
    pub fn owner(&self) -> &UserNamespace {
        &self.owner
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
