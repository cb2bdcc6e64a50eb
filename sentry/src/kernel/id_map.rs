//! Maps between the ids of a user namespace and those of the kernel (`/proc/[pid]/uid_map`, `user_namespaces(7)`).

use bartizan_abi::Errno;

/// Most lines of a map.
const MOST_EXTENTS: usize = 340;
/// A text of this length is too long, bytes.
const TEXT_MAX: usize = 4096;

/// Ids one after the other that mean others one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first id in the namespace.
    pub first: u32,
    /// What it means: in the parent as long as the map is a text, in the kernel afterwards.
    pub lower: u32,
    /// How many there are.
    pub count: u32,
}

/// `id` of the ids from `from`, taken to those from `to`.
fn moved(id: u32, from: u32, to: u32, count: u32) -> Option<u32> {
    let distance = id.checked_sub(from).filter(|&distance| distance < count)?;
    to.checked_add(distance)
}

/// A map, in the order in which it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IdMap(Vec<Extent>);

impl IdMap {
    /// Reads lines of three numbers: first id, what it means in the parent, how many.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn parse(text: &[u8]) -> Result<Self, Errno> {
        if text.len() >= TEXT_MAX {
            return Err(Errno::EINVAL);
        }
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let extents = lines.map(Extent::parse).collect::<Result<Vec<_>, Errno>>()?;
        let overlap = |start: fn(&Extent) -> u32| {
            let mut sorted = extents.clone();
            sorted.sort_unstable_by_key(start);
            sorted.windows(2).any(|pair| start(&pair[1]) - start(&pair[0]) < pair[0].count)
        };
        let wrong =
            extents.len() > MOST_EXTENTS || overlap(|extent| extent.first) || overlap(|extent| extent.lower);
        if wrong { Err(Errno::EINVAL) } else { Ok(Self(extents)) }
    }

    /// A line of the file.
    pub fn line(extent: &Extent) -> String {
        format!("{:10} {:10} {:10}\n", extent.first, extent.lower, extent.count)
    }

    /// Its lines.
    pub fn extents(&self) -> &[Extent] {
        &self.0
    }

    /// Whether one of its ids means `lower`.
    pub fn reaches(&self, lower: u32) -> bool {
        self.up(lower).is_some()
    }

    /// The map with each extent's meaning replaced; `None` if one has none.
    pub fn resolved(self, meaning: impl Fn(&Extent) -> Option<u32>) -> Option<Self> {
        let extents = self.0.into_iter().map(|extent| Some(Extent { lower: meaning(&extent)?, ..extent }));
        extents.collect::<Option<Vec<_>>>().map(Self)
    }

    /// What `id` of the namespace means.
    pub fn down(&self, id: u32) -> Option<u32> {
        self.down_range(id, 1)
    }

    /// What the first of `count` ids means that one extent has all of.
    pub fn down_range(&self, id: u32, count: u32) -> Option<u32> {
        let last = id.checked_add(count.checked_sub(1)?)?;
        self.0.iter().find_map(|extent| {
            moved(last, extent.first, extent.lower, extent.count)?;
            moved(id, extent.first, extent.lower, extent.count)
        })
    }

    /// The id of the namespace that means `lower`.
    pub fn up(&self, lower: u32) -> Option<u32> {
        self.0.iter().find_map(|extent| moved(lower, extent.lower, extent.first, extent.count))
    }
}

impl Extent {
    fn parse(line: &str) -> Result<Self, Errno> {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>());
        let mut next = || numbers.next().and_then(Result::ok).ok_or(Errno::EINVAL);
        let extent = Self { first: next()?, lower: next()?, count: next()? };
        let fits = |start: u32| start != u32::MAX && start.checked_add(extent.count).is_some();
        let right = extent.count > 0 && fits(extent.first) && fits(extent.lower);
        if right && numbers.next().is_none() { Ok(extent) } else { Err(Errno::EINVAL) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_both_ways() {
        let map = IdMap::parse(b"10 200 5\n  0 1000 10\n").unwrap();
        assert_eq!(
            (map.down(0), map.down(9), map.down(12), map.down(15)),
            (Some(1000), Some(1009), Some(202), None)
        );
        assert_eq!((map.up(1009), map.up(204), map.up(1010)), (Some(9), Some(14), None));
        assert_eq!((map.down_range(3, 7), map.down_range(3, 8)), (Some(1003), None));
    }

    #[test]
    fn wrong_texts_are_refused() {
        let wrong: [&[u8]; 9] = [
            b"",
            b"\n",
            b"0 0",
            b"0 0 0",
            b"0 0 1 1",
            b"4294967295 0 1",
            b"1 0 4294967295",
            b"0 0 5\n4 9 1",
            b"0 5 2\n9 6 1",
        ];
        for text in wrong {
            assert_eq!(IdMap::parse(text), Err(Errno::EINVAL), "{:?}", text.escape_ascii().to_string());
        }
        assert!(IdMap::parse(b"0 0 4294967295").is_ok());
    }
}
