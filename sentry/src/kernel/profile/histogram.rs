//! Histograms of times.

/// The upper bounds of the classes but the last, nanoseconds.
pub const BOUNDS: [u64; 11] =
    [500, 1_000, 2_000, 4_000, 8_000, 16_000, 64_000, 256_000, 1_000_000, 16_000_000, 256_000_000];

/// How the classes are called.
pub const NAMES: [&str; BOUNDS.len() + 1] =
    ["<0.5us", "<1us", "<2us", "<4us", "<8us", "<16us", "<64us", "<256us", "<1ms", "<16ms", "<256ms", "more"];

/// How often something took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    pub classes: [u64; BOUNDS.len() + 1],
    pub count: u64,
    /// Nanoseconds in all.
    pub total: u64,
    pub longest: u64,
}

impl Histogram {
    /// Counts one that took `nanoseconds`.
    pub fn add(&mut self, nanoseconds: u64) {
        let class = BOUNDS.partition_point(|&bound| bound <= nanoseconds);
        self.classes[class] += 1;
        self.count += 1;
        self.total = self.total.saturating_add(nanoseconds);
        self.longest = self.longest.max(nanoseconds);
    }

    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.classes.iter_mut().zip(other.classes) {
            *own += other;
        }
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
        self.longest = self.longest.max(other.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_classes() {
        let mut histogram = Histogram::default();
        for nanoseconds in [0, 499, 500, 999, 1_000, 300_000_000] {
            histogram.add(nanoseconds);
        }
        assert_eq!(histogram.classes[..3], [2, 2, 1]);
        assert_eq!(histogram.classes[BOUNDS.len()], 1);
        assert_eq!((histogram.count, histogram.longest), (6, 300_000_000));
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert_eq!((twice.count, twice.total), (12, 2 * histogram.total));
    }
}
