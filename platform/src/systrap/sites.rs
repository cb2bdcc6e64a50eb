//! Counting from where a guest makes its system calls, to find sites that are worth patching.

/// After how many trapped calls a site is worth patching: it costs as much as some of them.
const FREQUENT: u32 = 24;
/// How many sites are counted at a time.
const COUNTED: usize = 64;

/// The sites from which calls were trapped lately.
#[derive(Debug)]
pub struct CallSites {
    counts: [Count; COUNTED],
    frequent: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// The address behind the call.
    site: u64,
    calls: u32,
}

impl Default for CallSites {
    fn default() -> Self {
        Self { counts: [Count::default(); COUNTED], frequent: None }
    }
}

impl CallSites {
    /// Counts a trapped call that returns to `site`.
    pub fn count(&mut self, site: u64) {
        let hash = site ^ site >> 6 ^ site >> 12;
        let count = &mut self.counts[hash as usize % COUNTED];
        if count.site != site {
            *count = Count { site, calls: 0 };
        }
        count.calls = count.calls.saturating_add(1);
        // Only powers of two: a site that cannot be patched is asked for less and less.
        if count.calls >= FREQUENT
            && (count.calls / FREQUENT).is_power_of_two()
            && count.calls.is_multiple_of(FREQUENT)
        {
            self.frequent = Some(site);
        }
    }

    /// A site that has become worth patching.
    pub fn take_frequent(&mut self) -> Option<u64> {
        self.frequent.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_told_once_they_are_frequent_and_seldom_again() {
        let mut sites = CallSites::default();
        let told = (1..=20 * FREQUENT).filter(|_| {
            sites.count(0x1234);
            sites.take_frequent() == Some(0x1234)
        });
        assert_eq!(told.collect::<Vec<_>>(), [1, 2, 4, 8, 16].map(|times| times * FREQUENT));
    }
}
