//! Figures of the benchmarks.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};

/// The middle one of some measurements. Errors: there are none.
pub fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("no measurements")
}

/// The memory that a process and all its descendants have resident, in KiB, each shared page counted once in all
/// (`Pss` of proc_pid_smaps_rollup(5)).
///
/// Errors: the process is not there or belongs to another user.
pub fn resident_of_tree(root: u32) -> Result<u64> {
    let parents = parents()?;
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&process) = tree.get(next) {
        tree.extend(parents.iter().filter(|&(_, &parent)| parent == process).map(|(&child, _)| child));
        next += 1;
    }
    let mut total = 0;
    for &process in &tree {
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
        if process != root && rollup.is_err() {
            // It has ended since.
            continue;
        }
        let rollup = rollup.with_context(|| format!("cannot read the memory of process {process}"))?;
        total += field(&rollup, "Pss:")?;
    }
    ensure!(total > 0, "process {root} has no memory");
    Ok(total)
}

/// The parent of every process.
fn parents() -> Result<BTreeMap<u32, u32>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        parents.insert(process, u32::try_from(field(&status, "PPid:")?)?);
    }
    Ok(parents)
}

/// The number after `name` in a file of lines of names and values.
fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let number = line.split_whitespace().next().with_context(|| format!("{name} without value"))?;
    Ok(number.parse()?)
}

#[cfg(test)]
mod tests {
    use super::{median, resident_of_tree};

    #[test]
    fn the_middle_is_found_in_any_order() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).ok(), Some(2.0));
        assert!(median(Vec::new()).is_err());
    }

    #[test]
    fn a_process_has_memory_and_one_that_is_not_there_has_none() {
        assert!(resident_of_tree(std::process::id()).is_ok_and(|size| size > 100));
        assert!(resident_of_tree(u32::MAX).is_err());
    }
}
