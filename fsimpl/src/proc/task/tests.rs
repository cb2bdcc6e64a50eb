//! A task for the tests of formats.

use std::sync::Arc;

use bartizan_abi::CapabilitySet;
use bartizan_sentry::kernel::{CpuSet, Credentials, Scheduling};

use super::snapshot::{Signals, Snapshot, State, Times};

/// Task 8 of process 7, whose name is a trap for parsers.
pub fn snapshot() -> Snapshot {
    let credentials = Credentials {
        uid: 1,
        euid: 2,
        suid: 3,
        fsuid: 4,
        gid: 5,
        egid: 6,
        sgid: 7,
        fsgid: 8,
        groups: vec![0, 5],
        permitted: CapabilitySet::EMPTY,
        effective: CapabilitySet::EMPTY,
        inheritable: CapabilitySet::EMPTY,
        bounding: CapabilitySet::EMPTY,
        ambient: CapabilitySet::EMPTY,
        securebits: 0,
        no_new_privs: false,
        user_namespace: Default::default(),
    };
    Snapshot {
        name: b"a) b".to_vec(),
        state: State::Sleeping,
        pid: 7,
        tid: 8,
        parent: 1,
        tracer: 0,
        process_group: 7,
        session: 7,
        terminal: None,
        threads: 2,
        exit_code: 0,
        credentials: Arc::new(credentials),
        seccomp: (0, 0),
        umask: Some(0o022),
        descriptors: 64,
        signals: Signals::default(),
        times: Times::default(),
        memory: None,
        scheduling: Scheduling { nice: 5, ..Scheduling::default() },
        processors: CpuSet::from_bytes(&[0b1011, 1]),
        switches: 3,
        resident_limit: u64::MAX,
    }
}
