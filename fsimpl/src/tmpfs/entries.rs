//! The entries of a directory, by name and by cookie.
//!
//! An entry keeps its cookie for as long as it lives, and cookies are given in ascending order and never twice; so a
//! listing that goes on behind a cookie neither repeats nor leaves out an entry that was there all the time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The first cookie: 0 and 1 are `.` and `..`.
const FIRST_COOKIE: u64 = 2;

/// Names that lead to values, with a position for each.
#[derive(Debug)]
pub struct Entries<T> {
    names: HashMap<Arc<[u8]>, u64>,
    order: BTreeMap<u64, Entry<T>>,
    next_cookie: u64,
}

/// One entry.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// Its name.
    pub name: Arc<[u8]>,
    /// What it leads to.
    pub value: T,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { names: HashMap::new(), order: BTreeMap::new(), next_cookie: FIRST_COOKIE }
    }
}

impl<T> Entries<T> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// What `name` leads to.
    pub fn get(&self, name: &[u8]) -> Option<&T> {
        let cookie = self.names.get(name)?;
        self.order.get(cookie).map(|entry| &entry.value)
    }

    /// Makes `name` lead to `value`. If it led to something else, the entry keeps its cookie, and what it led to is returned.
    pub fn set(&mut self, name: &[u8], value: T) -> Option<T> {
        if let Some(cookie) = self.names.get(name)
            && let Some(entry) = self.order.get_mut(cookie)
        {
            return Some(std::mem::replace(&mut entry.value, value));
        }
        let name: Arc<[u8]> = name.into();
        self.names.insert(Arc::clone(&name), self.next_cookie);
        self.order.insert(self.next_cookie, Entry { name, value });
        self.next_cookie += 1;
        None
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &[u8]) -> Option<T> {
        let cookie = self.names.remove(name)?;
        self.order.remove(&cookie).map(|entry| entry.value)
    }

    /// The entries whose cookie is at least `cookie`, in order.
    pub fn from(&self, cookie: u64) -> impl Iterator<Item = (u64, &Entry<T>)> {
        self.order.range(cookie..).map(|(&cookie, entry)| (cookie, entry))
    }

    /// Removes all entries.
    pub fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.names = HashMap::new();
        std::mem::take(&mut self.order).into_values().map(|entry| entry.value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replaced_entry_keeps_its_place() {
        let mut entries = Entries::default();
        entries.set(b"a", 1);
        entries.set(b"b", 2);
        assert_eq!(entries.set(b"a", 3), Some(1));
        let listed: Vec<_> = entries.from(0).map(|(cookie, entry)| (cookie, entry.value)).collect();
        assert_eq!(listed, [(2, 3), (3, 2)]);
    }

    proptest! {
        #[test]
        fn listing_during_changes_gives_each_lasting_entry_once(
            chunk in 1..5usize,
            changes in prop::collection::vec((any::<bool>(), 0..40u8), 0..100),
        ) {
            let mut entries = Entries::default();
            for name in 0..40u8 {
                entries.set(&[name], name);
            }
            let touched: std::collections::BTreeSet<u8> = changes.iter().map(|&(_, name)| name).collect();
            let mut changes = changes.into_iter();
            let (mut position, mut seen) = (0, Vec::new());
            loop {
                let part: Vec<_> = entries.from(position).take(chunk).map(|(cookie, e)| (cookie, e.value)).collect();
                let Some(&(last, _)) = part.last() else { break };
                seen.extend(part.iter().map(|&(_, name)| name));
                position = last + 1;
                // Each round removes more than it adds at the end, so that the listing ends.
                for (add, name) in changes.by_ref().take(3) {
                    if add { entries.set(&[name], name); } else { entries.remove(&[name]); }
                }
            }
            for name in (0..40u8).filter(|name| !touched.contains(name)) {
                prop_assert_eq!(seen.iter().filter(|&&other| other == name).count(), 1);
            }
        }
    }
}
