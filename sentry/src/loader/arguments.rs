//! Arguments and environment of a new program, and how much of them there may be: `execve(2)`, "Limits on size of arguments and
//! environment".

use bartizan_abi::Errno;

use crate::vfs::FsString;

/// The longest string, bytes with its NUL.
pub const MAX_ARG_STRLEN: usize = 32 * 4096;
/// What is always allowed, bytes.
const LEAST: u64 = 128 << 10;
/// What is never exceeded, bytes: three quarters of the usual stack.
const MOST: u64 = 6 << 20;
/// Bytes of a pointer to a string.
const POINTER: u64 = 8;

/// Arguments and environment of a new program; strings without NUL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `argv`.
    pub argv: Vec<FsString>,
    /// `envp`.
    pub envp: Vec<FsString>,
}

/// How many bytes of arguments are left. To be asked before each string is copied in, so that a guest cannot make the sentry hold more than
/// it may pass on.
#[derive(Debug, Clone, Copy)]
pub struct ArgumentBudget {
    left: u64,
}

impl ArgumentBudget {
    /// The budget under a soft limit of `stack_limit` bytes (`RLIMIT_STACK`).
    pub fn new(stack_limit: u64) -> Self {
        Self { left: (stack_limit / 4).clamp(LEAST, MOST) }
    }

    /// Takes a string of `length` bytes with its pointer; the NUL is not counted in `length`.
    ///
    /// # Errors
    /// `E2BIG` for a string that is too long, or when nothing is left.
    pub fn take(&mut self, length: usize) -> Result<(), Errno> {
        if length >= MAX_ARG_STRLEN {
            return Err(Errno::E2BIG);
        }
        self.take_bytes(length as u64 + 1 + POINTER)
    }

    fn take_bytes(&mut self, bytes: u64) -> Result<(), Errno> {
        self.left = self.left.checked_sub(bytes).ok_or(Errno::E2BIG)?;
        Ok(())
    }
}

impl Arguments {
    /// Checks that all of it, and the program's name, fit a stack limit of `stack_limit` bytes.
    ///
    /// # Errors
    /// `E2BIG`.
    pub fn check(&self, name: &[u8], stack_limit: u64) -> Result<(), Errno> {
        let mut budget = ArgumentBudget::new(stack_limit);
        budget.take_bytes(name.len() as u64 + 1)?;
        for string in self.argv.iter().chain(&self.envp) {
            budget.take(string.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_a_quarter_of_the_stack_within_bounds() {
        assert_eq!(ArgumentBudget::new(8 << 20).left, 2 << 20);
        assert_eq!(ArgumentBudget::new(0).left, 128 << 10);
        assert_eq!(ArgumentBudget::new(u64::MAX).left, 6 << 20);
    }

    #[test]
    fn too_much_is_e2big() {
        let mut arguments = Arguments { argv: vec![vec![b'a'; MAX_ARG_STRLEN - 1]], envp: Vec::new() };
        assert_eq!(arguments.check(b"/bin/true", 8 << 20), Ok(()));
        assert_eq!(arguments.check(b"/bin/true", 0), Err(Errno::E2BIG));
        arguments.argv[0].push(b'a');
        assert_eq!(arguments.check(b"/bin/true", 8 << 20), Err(Errno::E2BIG));
        let many = Arguments { argv: vec![Vec::new(); 250_000], envp: Vec::new() };
        assert_eq!(many.check(b"/bin/true", 8 << 20), Err(Errno::E2BIG));
    }
}
