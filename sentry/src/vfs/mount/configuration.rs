//! File systems in the making, or being changed, parameter by parameter (`fsopen(2)`, `fspick(2)`, `fsconfig(2)`).
//!
//! The state is under one lock (class `Table`), which is not held while a file system is made or changed: its phase says that this
//! goes on.

use std::collections::VecDeque;
use std::sync::Arc;

use bartizan_abi::Errno;

use crate::sync::{LockClass, Mutex, MutexGuard};
use crate::vfs::{
    DataSink, File, FileOps, Filesystem, FilesystemRoot, FsStr, FsString, MakeFilesystem, Parameters,
};

/// How many messages are kept; the oldest go first.
const MOST_MESSAGES: usize = 8;

/// How many bytes all parameters may have together.
const MOST_BYTES: usize = 64 << 10;

/// What a parameter is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterValue<'a> {
    /// That it is there.
    Flag,
    /// A string.
    Text(&'a FsStr),
    /// What no file system takes here: bytes, a place, a file.
    Other,
}

/// Where a configuration stands (`enum fs_context_phase`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Parameters of a new instance are set.
    Parameters,
    /// It is being made or changed.
    Busy,
    /// It is made and to be mounted.
    Made,
    /// It is made; parameters to be changed are set.
    Changes,
    /// It could not be made.
    Failed,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// As `mount(2)` takes them.
    options: FsString,
    source: Option<FsString>,
    read_only: Option<bool>,
    /// What was made and is not mounted yet.
    made: Option<FilesystemRoot>,
    /// What can be changed.
    filesystem: Option<Arc<Filesystem>>,
    messages: VecDeque<FsString>,
}

/// A file system in the making, or being changed: the file that `fsopen(2)` and `fspick(2)` open.
pub struct FsConfiguration {
    type_name: FsString,
    make: Option<Arc<MakeFilesystem>>,
    parameters: Option<Arc<Parameters>>,
    state: Mutex<State>,
}

impl std::fmt::Debug for FsConfiguration {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = String::from_utf8_lossy(&self.type_name);
        formatter.debug_struct("FsConfiguration").field("type_name", &name).finish_non_exhaustive()
    }
}

/// What a new instance is made with.
#[derive(Debug)]
pub struct Order {
    /// Its options, as `mount(2)` takes them.
    pub options: FsString,
    /// Whether nothing in it shall be changed; as it is, if that was not said.
    pub read_only: Option<bool>,
}

impl FsConfiguration {
    /// A new instance of type `type_name`, which `make` makes (`fsopen`).
    pub fn new(type_name: &FsStr, make: Arc<MakeFilesystem>, parameters: Option<Arc<Parameters>>) -> Self {
        Self::with(type_name, Some(make), parameters, Phase::Parameters, None)
    }

    /// Changes of `filesystem` (`fspick`).
    pub fn of(filesystem: &Arc<Filesystem>, parameters: Option<Arc<Parameters>>) -> Self {
        let name = filesystem.ops().type_name().as_bytes();
        Self::with(name, None, parameters, Phase::Changes, Some(Arc::clone(filesystem)))
    }

    fn with(
        type_name: &FsStr,
        make: Option<Arc<MakeFilesystem>>,
        parameters: Option<Arc<Parameters>>,
        phase: Phase,
        filesystem: Option<Arc<Filesystem>>,
    ) -> Self {
        let state = State {
            phase,
            options: FsString::new(),
            source: None,
            read_only: None,
            made: None,
            filesystem,
            messages: VecDeque::new(),
        };
        Self { type_name: type_name.to_vec(), make, parameters, state: Mutex::new(LockClass::Table, state) }
    }

    /// Sets a parameter.
    ///
    /// # Errors
    /// `EBUSY` when it is too late for that; `EINVAL`, with a message, for one that is not known or a value that it does not take.
    pub fn set(&self, name: &FsStr, value: ParameterValue<'_>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Parameters | Phase::Changes) {
            return Err(Errno::EBUSY);
        }
        match name {
            b"ro" => state.read_only = Some(true),
            b"rw" => state.read_only = Some(false),
            b"sync" | b"async" | b"dirsync" | b"lazytime" | b"nolazytime" | b"mand" | b"nomand" => {}
            b"source" if !self.takes(b"source") => return Self::set_source(&mut state, value),
            _ => return self.add_option(&mut state, name, value),
        }
        Ok(())
    }

    fn takes(&self, name: &FsStr) -> bool {
        self.parameters.as_ref().is_some_and(|parameters| parameters.knows(name))
    }

    fn set_source(state: &mut MutexGuard<'_, State>, value: ParameterValue<'_>) -> Result<(), Errno> {
        let ParameterValue::Text(text) = value else { return Err(state.refuse(b"Non-string source")) };
        if state.source.is_some() {
            return Err(state.refuse(b"Multiple sources"));
        }
        state.source = Some(text.to_vec());
        Ok(())
    }

    fn add_option(
        &self,
        state: &mut MutexGuard<'_, State>,
        name: &FsStr,
        value: ParameterValue<'_>,
    ) -> Result<(), Errno> {
        let mut option = name.to_vec();
        if let ParameterValue::Text(text) = value {
            option.push(b'=');
            // A comma would end the option.
            for &byte in text {
                option.extend_from_slice(if byte == b',' { b"\\," } else { std::slice::from_ref(&byte) });
            }
        }
        let complaint = match &self.parameters {
            Some(parameters) if !parameters.knows(name) => Some("Unknown parameter"),
            Some(parameters) if parameters.is_flag(name) && value != ParameterValue::Flag => {
                Some("Unexpected value for")
            }
            Some(parameters) => parameters.check(&option).err().map(|_| "Bad value for"),
            None => None,
        };
        let unusable = value == ParameterValue::Other;
        if let Some(complaint) = complaint.or(unusable.then_some("Bad value for")) {
            let text = [&*self.type_name, b": ", complaint.as_bytes(), b" '", name, b"'"].concat();
            return Err(state.refuse(&text));
        }
        if state.options.len() + option.len() > MOST_BYTES {
            return Err(Errno::EINVAL);
        }
        if !state.options.is_empty() {
            state.options.push(b',');
        }
        state.options.extend_from_slice(&option);
        Ok(())
    }

    /// Makes the instance: calls `make` with the type's function and what was set.
    ///
    /// # Errors
    /// `EBUSY` when it is made, or could not be; those of `make`.
    pub fn create(
        &self,
        make: impl FnOnce(&Arc<MakeFilesystem>, &Order) -> Result<FilesystemRoot, Errno>,
    ) -> Result<(), Errno> {
        let order = self.begin(Phase::Parameters)?;
        let made = self.make.as_ref().ok_or(Errno::EBUSY).and_then(|function| make(function, &order));
        let mut state = self.state.lock();
        match made {
            Ok(root) => {
                state.phase = Phase::Made;
                state.filesystem = Some(Arc::clone(&root.filesystem));
                state.made = Some(root);
                Ok(())
            }
            Err(errno) => {
                state.phase = Phase::Failed;
                Err(errno)
            }
        }
    }

    /// Changes the instance: calls `change` with it and what was set.
    ///
    /// # Errors
    /// `EBUSY` when there is nothing to change; those of `change`.
    pub fn reconfigure(
        &self,
        change: impl FnOnce(&Arc<Filesystem>, &Order) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let order = self.begin(Phase::Changes)?;
        let filesystem = self.state.lock().filesystem.clone();
        let changed = filesystem.ok_or(Errno::EBUSY).and_then(|filesystem| change(&filesystem, &order));
        self.state.lock().phase = if changed.is_ok() { Phase::Changes } else { Phase::Failed };
        changed
    }

    fn begin(&self, phase: Phase) -> Result<Order, Errno> {
        let mut state = self.state.lock();
        if state.phase != phase {
            return Err(Errno::EBUSY);
        }
        state.phase = Phase::Busy;
        Ok(Order { options: std::mem::take(&mut state.options), read_only: state.read_only.take() })
    }

    /// What was made, to be mounted, and its source; from now on it can be changed (`fsmount`).
    ///
    /// # Errors
    /// `EINVAL` when nothing was made, `EBUSY` when it was mounted already.
    pub fn take(&self) -> Result<(FilesystemRoot, FsString), Errno> {
        let mut state = self.state.lock();
        if state.filesystem.is_none() {
            return Err(Errno::EINVAL);
        }
        let made = state.made.take().ok_or(Errno::EBUSY)?;
        state.phase = Phase::Changes;
        Ok((made, state.source.take().unwrap_or_else(|| b"none".to_vec())))
    }
}

impl State {
    /// Keeps a message about a parameter; the error that goes with it.
    fn refuse(&mut self, message: &FsStr) -> Errno {
        if self.messages.len() == MOST_MESSAGES {
            self.messages.pop_front();
        }
        self.messages.push_back([b"e ", message, b"\n"].concat());
        Errno::EINVAL
    }
}

impl FileOps for FsConfiguration {
    fn seekable(&self) -> bool {
        false
    }

    /// The oldest message, as a whole.
    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        let message = {
            let mut state = self.state.lock();
            let length = state.messages.front().ok_or(Errno::ENODATA)?.len();
            if length > sink.remaining() {
                return Err(Errno::EMSGSIZE);
            }
            state.messages.pop_front().ok_or(Errno::ENODATA)?
        };
        sink.put(&message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration() -> FsConfiguration {
        let parameters = Parameters::new(&["size"], &["noswap"], |option| match option {
            b"size=bad" | b"size=1\\,mode=0" | b"size" => Err(Errno::EINVAL),
            _ => Ok(()),
        });
        FsConfiguration::new(b"testfs", Arc::new(|_| Err(Errno::ENODEV)), Some(Arc::new(parameters)))
    }

    fn last_message(configuration: &FsConfiguration) -> Option<String> {
        let message = configuration.state.lock().messages.pop_back()?;
        Some(String::from_utf8_lossy(&message).into_owned())
    }

    #[test]
    fn refused_parameters_leave_messages() {
        let configuration = configuration();
        let set = |name: &[u8], value| configuration.set(name, value);
        assert_eq!(set(b"other", ParameterValue::Flag), Err(Errno::EINVAL));
        assert_eq!(last_message(&configuration).unwrap(), "e testfs: Unknown parameter 'other'\n");
        assert_eq!(set(b"size", ParameterValue::Text(b"bad")), Err(Errno::EINVAL));
        assert_eq!(last_message(&configuration).unwrap(), "e testfs: Bad value for 'size'\n");
        assert_eq!(set(b"noswap", ParameterValue::Text(b"1")), Err(Errno::EINVAL));
        assert_eq!(last_message(&configuration).unwrap(), "e testfs: Unexpected value for 'noswap'\n");
        assert_eq!(set(b"size", ParameterValue::Text(b"1,mode=0")), Err(Errno::EINVAL));
        assert_eq!(configuration.state.lock().options, b"");
    }

    #[test]
    fn options_are_those_of_mount() {
        let configuration = configuration();
        configuration.set(b"size", ParameterValue::Text(b"1m")).unwrap();
        configuration.set(b"noswap", ParameterValue::Flag).unwrap();
        configuration.set(b"ro", ParameterValue::Flag).unwrap();
        let made = configuration.create(|_, order| {
            assert_eq!((&*order.options, order.read_only), (&b"size=1m,noswap"[..], Some(true)));
            Err(Errno::ENOMEM)
        });
        assert_eq!(made, Err(Errno::ENOMEM));
        assert_eq!(configuration.set(b"noswap", ParameterValue::Flag), Err(Errno::EBUSY));
        assert_eq!(configuration.take().unwrap_err(), Errno::EINVAL);
    }
}
