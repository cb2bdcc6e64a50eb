//! IPC objects of one kind by id and by key.
//!
//! An id is an index and a sequence number, so that the id of a removed object does not soon name another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_abi::ipc::{IPC_PRIVATE, IpcFlags};

use super::Permissions;
use crate::kernel::{Credentials, UserNamespace};
use crate::sync::{LockClass, Mutex};

/// Bits of the index in an id (`ipcmni_seq_shift`).
const INDEX_BITS: u32 = 15;
/// How many indices there are.
const INDICES: i32 = 1 << INDEX_BITS;
/// How many sequence numbers there are.
const SEQUENCES: i32 = i32::MAX >> INDEX_BITS;
/// So many indices are used in turn even if there are few objects.
const SHORTEST_CYCLE: i32 = 64;

/// What `semget(2)`, `msgget(2)` and `shmget(2)` have in common.
#[derive(Debug, Clone, Copy)]
pub struct GetRequest<'a> {
    /// Which object; [`IPC_PRIVATE`] for a new one.
    pub key: i32,
    /// Whether it may be made, and its permissions.
    pub flags: IpcFlags,
    /// Who asks.
    pub credentials: &'a Credentials,
    /// How many objects there may be.
    pub limit: u64,
}

/// An object with an id.
pub trait Identified {
    /// Its id.
    fn id(&self) -> i32;
    /// Its owner and permissions, as they are now.
    fn permissions(&self) -> Permissions;
}

/// The objects of one kind.
#[derive(Debug)]
pub struct Registry<T> {
    names: Mutex<Names<T>>,
    owner: UserNamespace,
}

#[derive(Debug)]
struct Names<T> {
    /// By index, each with its key.
    objects: BTreeMap<i32, (Arc<T>, i32)>,
    /// Index by key.
    keys: BTreeMap<i32, i32>,
    /// The index at which the search for a free one starts.
    next: i32,
    /// The index that was given out last.
    last: i32,
    sequence: i32,
}

impl<T> Names<T> {
    /// A free index, and the sequence number that goes with it (`ipc_idr_alloc`).
    fn allocate(&mut self) -> Option<(i32, i32)> {
        let used = i32::try_from(self.objects.len()).ok()?;
        let end = (used.saturating_mul(3) / 2).clamp(SHORTEST_CYCLE, INDICES);
        let free = |from: i32| (from..end).find(|index| !self.objects.contains_key(index));
        let index = free(self.next).or_else(|| free(0))?;
        if index <= self.last {
            self.sequence = (self.sequence + 1) % SEQUENCES;
        }
        self.last = index;
        self.next = index + 1;
        Some((index, self.sequence))
    }
}

impl<T: Identified> Registry<T> {
    /// Without objects; privileges in `owner` count over them.
    pub fn new(owner: UserNamespace) -> Self {
        let names = Names { objects: BTreeMap::new(), keys: BTreeMap::new(), next: 0, last: -1, sequence: 0 };
        Self { names: Mutex::new(LockClass::IpcNames, names), owner }
    }

    /// The id of the object with the key of `request`, which `check` accepts; or of a new one, which `make` makes of its
    /// id and its permissions.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `EACCES`, `ENOSPC` at the limit; those of `check` and `make`.
    pub fn get(
        &self,
        request: &GetRequest<'_>,
        check: impl FnOnce(&T) -> Result<(), Errno>,
        make: impl FnOnce(i32, Permissions) -> Result<Arc<T>, Errno>,
    ) -> Result<i32, Errno> {
        let mut names = self.names.lock();
        if request.key != IPC_PRIVATE {
            let known = names.keys.get(&request.key).and_then(|index| names.objects.get(index));
            if let Some((object, _)) = known {
                if request.flags.contains(IpcFlags::IPC_CREAT | IpcFlags::IPC_EXCL) {
                    return Err(Errno::EEXIST);
                }
                check(object)?;
                object.permissions().check(request.credentials, request.flags.bits())?;
                return Ok(object.id());
            }
            if !request.flags.contains(IpcFlags::IPC_CREAT) {
                return Err(Errno::ENOENT);
            }
        }
        if names.objects.len() as u64 >= request.limit {
            return Err(Errno::ENOSPC);
        }
        let before = (names.next, names.last, names.sequence);
        let (index, sequence) = names.allocate().ok_or(Errno::ENOSPC)?;
        let id = (sequence << INDEX_BITS) | index;
        let mode = request.flags.bits();
        let sequence = sequence.try_into().unwrap_or(0);
        let permissions = Permissions::new(request.key, mode, sequence, request.credentials, &self.owner);
        match make(id, permissions) {
            Ok(object) => {
                names.objects.insert(index, (object, request.key));
                if request.key != IPC_PRIVATE {
                    names.keys.insert(request.key, index);
                }
                Ok(id)
            }
            Err(errno) => {
                // As Linux, which numbers an object after it has made it.
                (names.next, names.last, names.sequence) = before;
                Err(errno)
            }
        }
    }

    /// The object with this id.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn find(&self, id: i32) -> Result<Arc<T>, Errno> {
        let object = self.at_index(id)?;
        if object.id() == id { Ok(object) } else { Err(Errno::EINVAL) }
    }

    /// The object at this index (`SEM_STAT` and its kin).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn at_index(&self, index: i32) -> Result<Arc<T>, Errno> {
        if index < 0 {
            return Err(Errno::EINVAL);
        }
        let names = self.names.lock();
        names.objects.get(&(index % INDICES)).map(|(object, _)| Arc::clone(object)).ok_or(Errno::EINVAL)
    }

    /// Takes an object out. Returns whether it was there.
    pub fn remove(&self, object: &T) -> bool {
        let removed = {
            let mut names = self.names.lock();
            let index = object.id() % INDICES;
            let there = names.objects.get(&index).is_some_and(|(other, _)| other.id() == object.id());
            let removed = if there { names.objects.remove(&index) } else { None };
            if let Some((_, key)) = &removed {
                names.keys.remove(key);
            }
            removed
        };
        removed.is_some()
    }

    /// Takes away the key of an object, so that it is found by its id alone.
    pub fn forget_key(&self, object: &T) {
        let mut names = self.names.lock();
        let index = object.id() % INDICES;
        let key = names.objects.get_mut(&index).map(|(_, key)| std::mem::replace(key, IPC_PRIVATE));
        if let Some(key) = key {
            names.keys.remove(&key);
        }
    }

    /// All objects, by index.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.names.lock().objects.values().map(|(object, _)| Arc::clone(object)).collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.names.lock().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The highest index in use; zero if none is.
    pub fn highest_index(&self) -> i32 {
        self.names.lock().objects.last_key_value().map_or(0, |(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Thing(i32, Permissions);

    impl Identified for Thing {
        fn id(&self) -> i32 {
            self.0
        }
        fn permissions(&self) -> Permissions {
            self.1.clone()
        }
    }

    fn get(registry: &Registry<Thing>, key: i32, flags: u32) -> Result<i32, Errno> {
        let credentials = Credentials::root();
        let flags = IpcFlags::from_bits_retain(flags);
        let request = GetRequest { key, flags, credentials: &credentials, limit: 100 };
        registry.get(&request, |_| Ok(()), |id, permissions| Ok(Arc::new(Thing(id, permissions))))
    }

    #[test]
    fn keys_find_objects_until_they_are_forgotten() {
        let registry = Registry::new(UserNamespace::default());
        assert_eq!(get(&registry, 7, 0), Err(Errno::ENOENT));
        assert_eq!(get(&registry, 7, 0o1600), Ok(0));
        assert_eq!(get(&registry, 7, 0), Ok(0));
        assert_eq!(get(&registry, 7, 0o3600), Err(Errno::EEXIST));
        assert_eq!(get(&registry, IPC_PRIVATE, 0), Ok(1));
        let object = registry.find(0).unwrap();
        registry.forget_key(&object);
        assert_eq!(get(&registry, 7, 0), Err(Errno::ENOENT));
        assert!(registry.remove(&object));
        assert!(!registry.remove(&object));
        assert_eq!(registry.find(0).err(), Some(Errno::EINVAL));
        assert_eq!((registry.len(), registry.highest_index()), (1, 1));
    }

    #[test]
    fn ids_are_not_used_again_soon() {
        let registry = Registry::new(UserNamespace::default());
        let mut seen = std::collections::HashSet::new();
        for _ in 0..500 {
            let id = get(&registry, IPC_PRIVATE, 0).unwrap();
            assert!(seen.insert(id), "{id}");
            assert!(registry.remove(&registry.find(id).unwrap()));
        }
        assert!(seen.contains(&63) && seen.contains(&(1 << 15)));
    }

    #[test]
    fn there_is_a_limit() {
        let registry = Registry::new(UserNamespace::default());
        for _ in 0..100 {
            get(&registry, IPC_PRIVATE, 0).unwrap();
        }
        assert_eq!(get(&registry, IPC_PRIVATE, 0), Err(Errno::ENOSPC));
        assert_eq!(registry.at_index(99 + 32_768).map(|thing| thing.id()), Ok(99));
    }
}
