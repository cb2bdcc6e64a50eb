//! Comparing what a scene does on the host with what it does in a sandbox.

use std::fmt::Write;

use anyhow::{Result, ensure};

use crate::{Outcome, Scene};

/// Lines that a report shows of a long output.
const SHOWN_LINES: usize = 25;

/// What must be equal beside the standard output and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Nothing else.
    Output,
    /// The standard error too.
    OutputAndError,
}

/// Runs `scene` on the host and on `platform` in a sandbox, and fails with a report where they differ.
pub fn compare(scene: &Scene, platform: &str, check: Check) -> Result<()> {
    let native = scene.native()?;
    ensure!(!native.timed_out, "the scene takes too long on the host itself:\n{}", show(&native));
    let sandboxed = scene.sandboxed(platform)?;
    let mut report = String::new();
    if sandboxed.timed_out {
        writeln!(report, "no end after {:?}", scene.limit())?;
    }
    if native.code != sandboxed.code {
        writeln!(report, "exit code: {} on the host, {} in the sandbox", native.code, sandboxed.code)?;
    }
    describe_difference(&mut report, "standard output", &native.stdout, &sandboxed.stdout);
    if check == Check::OutputAndError {
        describe_difference(&mut report, "standard error", &native.stderr, &sandboxed.stderr);
    }
    ensure!(
        report.is_empty(),
        "{report}standard error in the sandbox:\n{}",
        shorten(&String::from_utf8_lossy(&sandboxed.stderr))
    );
    Ok(())
}

fn show(outcome: &Outcome) -> String {
    format!(
        "standard output:\n{}\nstandard error:\n{}",
        shorten(&String::from_utf8_lossy(&outcome.stdout)),
        shorten(&String::from_utf8_lossy(&outcome.stderr))
    )
}

/// The last lines of `text`.
fn shorten(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let hidden = lines.len().saturating_sub(SHOWN_LINES);
    let head = if hidden > 0 { format!("  … {hidden} lines before\n") } else { String::new() };
    lines.iter().skip(hidden).fold(head, |mut out, line| {
        let _infallible = writeln!(out, "  {line}");
        out
    })
}

/// Appends the lines that only one side has. Lines are matched by a longest common subsequence where they are few.
fn describe_difference(report: &mut String, what: &str, native: &[u8], sandboxed: &[u8]) {
    if native == sandboxed {
        return;
    }
    let native = String::from_utf8_lossy(native);
    let sandboxed = String::from_utf8_lossy(sandboxed);
    let left: Vec<&str> = native.lines().collect();
    let right: Vec<&str> = sandboxed.lines().collect();
    let equal_start = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
    let left = left.get(equal_start..).unwrap_or_default();
    let right = right.get(equal_start..).unwrap_or_default();
    let _infallible =
        writeln!(report, "{what} differs from line {} on (- host, + sandbox):", equal_start + 1);
    for line in difference(left, right).iter().take(2 * SHOWN_LINES) {
        let _infallible = writeln!(report, "  {line}");
    }
}

/// The lines of `left` that are missing in `right` (`-`) and the other way round (`+`), in order.
fn difference(left: &[&str], right: &[&str]) -> Vec<String> {
    const MOST: usize = 1000;
    let left = left.get(..left.len().min(MOST)).unwrap_or_default();
    let right = right.get(..right.len().min(MOST)).unwrap_or_default();
    let width = right.len() + 1;
    let mut common = vec![0_u32; (left.len() + 1) * width];
    for (i, a) in left.iter().enumerate().rev() {
        for (j, b) in right.iter().enumerate().rev() {
            common[i * width + j] = if a == b {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && left[i] == right[j] {
            i += 1;
            j += 1;
        } else if j >= right.len()
            || (i < left.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            lines.push(format!("-{}", left[i]));
            i += 1;
        } else {
            lines.push(format!("+{}", right[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn a_difference_names_the_lines_that_only_one_side_has() {
        assert_eq!(difference(&["a", "b", "c"], &["a", "x", "c", "d"]), ["-b", "+x", "+d"]);
        assert_eq!(difference(&["a"], &["a"]), [""; 0]);
        assert_eq!(difference(&[], &["n"]), ["+n"]);
        assert_eq!(difference(&["n"], &[]), ["-n"]);
    }
}
