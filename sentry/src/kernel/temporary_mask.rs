//! Signal masks for the time of one call: `ppoll`, `pselect6`, `epoll_pwait`.

use bartizan_abi::{Errno, SigSet};

use super::CurrentTask;
use crate::{SysError, SysResult};

impl CurrentTask {
    /// Makes `call` with `mask` in place of the task's own, if there is one. If a signal interrupts the call, the mask stays until that
    /// has been handled.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn with_temporary_mask<T>(
        &self,
        mask: Option<SigSet>,
        call: impl FnOnce() -> SysResult<T>,
    ) -> SysResult<T> {
        let Some(mask) = mask else { return call() };
        self.replace_mask_until_delivery(mask);
        let result = call();
        let interrupted = matches!(result, Err(SysError::Restart(_)) | Err(SysError::Errno(Errno::EINTR)));
        if !interrupted {
            self.restore_mask();
        }
        result
    }
}
