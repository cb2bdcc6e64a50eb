//! Choosing how guest code is run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bartizan_platform::Platform;
use bartizan_platform::kvm::KvmPlatform;
use bartizan_platform::ptrace::PtracePlatform;
use bartizan_platform::systrap::{SystrapOptions, SystrapPlatform};

use crate::{Error, Result};

/// How guest code is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PlatformKind {
    /// The fastest that works here: [`Systrap`](Self::Systrap), else [`Ptrace`](Self::Ptrace).
    #[default]
    Auto,
    /// By `ptrace(2)`: works on any Linux.
    Ptrace,
    /// By seccomp's notifications: fast, and needs Linux 6.9.
    Systrap,
    /// In a virtual machine: needs `/dev/kvm`. Never chosen by [`Auto`](Self::Auto): it is new, and slow where there is no hardware for it.
    Kvm,
}

/// What users can ask for by name.
const CHOICES: &str = "auto, ptrace, systrap, kvm";

impl FromStr for PlatformKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "ptrace" => Ok(Self::Ptrace),
            "systrap" => Ok(Self::Systrap),
            "kvm" => Ok(Self::Kvm),
            name => Err(Error::UnknownPlatform { name: name.to_owned(), choices: CHOICES }),
        }
    }
}

impl fmt::Display for PlatformKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Ptrace => "ptrace",
            Self::Systrap => "systrap",
            Self::Kvm => "kvm",
        })
    }
}

/// Makes the platform for one sandbox.
pub(crate) fn create(kind: PlatformKind, systrap: SystrapOptions) -> Result<Arc<dyn Platform>> {
    match kind {
        // What forbids the faster one may allow the other; if not, its reason is the last word.
        PlatformKind::Auto => match SystrapPlatform::with_options(systrap) {
            Ok(platform) => Ok(platform),
            Err(_) => Ok(PtracePlatform::new()?),
        },
        PlatformKind::Ptrace => Ok(PtracePlatform::new()?),
        PlatformKind::Systrap => Ok(SystrapPlatform::with_options(systrap)?),
        PlatformKind::Kvm => Ok(KvmPlatform::new()?),
    }
}
