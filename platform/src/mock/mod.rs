//! A platform without guest code, for deterministic tests of the kernel: what the "guest" does is a script.
//!
//! A script is a closure that is called for each switch of one context. It sees the registers and can access the memory that is
//! mapped, as guest code could; what it returns is the exit. Address spaces record what was done to them.
//!
//! ```
//! use bartizan_platform::mock::MockPlatform;
//! use bartizan_platform::{Exit, Platform, Registers};
//!
//! let platform = MockPlatform::new();
//! platform.add_script(|guest| guest.system_call(39, [0; 6]));
//! let space = platform.new_address_space()?;
//! let mut context = platform.new_context()?;
//! let mut registers = Registers::default();
//! assert_eq!(context.switch(&space, &mut registers)?, Exit::Syscall);
//! assert_eq!(registers.orig_rax, 39);
//! # Ok::<(), bartizan_platform::PlatformError>(())
//! ```

mod space;

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

pub use space::{MockAddressSpace, Operation};

use crate::{
    AddressSpace, Capabilities, Context, Exit, Fault, FpuState, Interrupter, Platform, PlatformError,
    Registers,
};

/// What one context does.
type Script = Box<dyn FnMut(&mut Guest<'_>) -> Exit + Send>;

/// Bytes of the extended state, which nothing changes: the legacy region and the header.
const FPU_SIZE: usize = 576;

/// A platform whose contexts follow scripts.
#[derive(Debug, Default)]
pub struct MockPlatform {
    scripts: Mutex<Scripts>,
}

#[derive(Default)]
struct Scripts(VecDeque<Script>);

impl fmt::Debug for Scripts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} scripts", self.0.len())
    }
}

impl MockPlatform {
    /// A platform without scripts.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds what the next context without a script will do: `script` is called for each of its switches.
    pub fn add_script(&self, script: impl FnMut(&mut Guest<'_>) -> Exit + Send + 'static) {
        self.scripts.lock().0.push_back(Box::new(script));
    }

    /// Drops the scripts that no context has taken.
    pub fn clear_scripts(&self) {
        let scripts = std::mem::take(&mut self.scripts.lock().0);
        drop(scripts);
    }

    /// Adds a script of single steps, one for each switch. When none is left, the switch reports the death of the stub.
    pub fn add_steps<Step>(&self, steps: impl IntoIterator<Item = Step>)
    where
        Step: FnOnce(&mut Guest<'_>) -> Exit + Send + 'static,
    {
        let mut steps: VecDeque<Step> = steps.into_iter().collect();
        self.add_script(move |guest| match steps.pop_front() {
            Some(step) => step(guest),
            None => guest.die(),
        });
    }
}

impl Platform for MockPlatform {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::EXACT_ACCESS
    }

    fn user_addresses(&self) -> Range<u64> {
        0x1_0000..0x7fff_ffff_e000
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(MockAddressSpace::new(self.user_addresses())))
    }

    fn new_context(&self) -> Result<Box<dyn Context>, PlatformError> {
        Ok(Box::new(MockContext {
            script: self.scripts.lock().0.pop_front(),
            interrupt: Arc::default(),
            fpu: vec![0; FPU_SIZE].into(),
        }))
    }
}

/// What a script sees of the machine.
#[derive(Debug)]
pub struct Guest<'a> {
    /// The registers, as the sentry loaded them and will see them.
    pub registers: &'a mut Registers,
    /// The memory.
    pub space: &'a MockAddressSpace,
    interrupt: &'a Interrupt,
    died: bool,
}

impl Guest<'_> {
    /// Executes a system call instruction.
    pub fn system_call(&mut self, number: u64, arguments: [u64; 6]) -> Exit {
        const ENOSYS: i64 = 38;
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let rip = self.registers.rip.wrapping_add(2);
        let rax = ENOSYS.wrapping_neg().cast_unsigned();
        *self.registers =
            Registers { orig_rax: number, rax, rdi, rsi, rdx, r10, r8, r9, rip, rcx: rip, ..*self.registers };
        Exit::Syscall
    }

    /// Loads from memory.
    ///
    /// # Errors
    /// The fault that guest code would have had: return it as [`Exit::Fault`], and try again when called again.
    pub fn load(&self, address: u64, data: &mut [u8]) -> Result<(), Fault> {
        self.space.load(address, data)
    }

    /// Stores to memory.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn store(&self, address: u64, data: &[u8]) -> Result<(), Fault> {
        self.space.store(address, data)
    }

    /// Runs until it is interrupted.
    pub fn spin(&mut self) -> Exit {
        self.interrupt.wait();
        Exit::Interrupted
    }

    /// Is killed from outside, whatever the script returns.
    pub fn die(&mut self) -> Exit {
        self.died = true;
        Exit::Interrupted
    }
}

struct MockContext {
    script: Option<Script>,
    interrupt: Arc<Interrupt>,
    fpu: Box<[u8]>,
}

impl fmt::Debug for MockContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MockContext")
            .field("has_script", &self.script.is_some())
            .finish_non_exhaustive()
    }
}

impl Context for MockContext {
    fn switch(
        &mut self,
        space: &Arc<dyn AddressSpace>,
        registers: &mut Registers,
    ) -> Result<Exit, PlatformError> {
        let any: &dyn Any = &**space;
        let space = any.downcast_ref::<MockAddressSpace>().ok_or_else(|| PlatformError::Host {
            call: "switch to an address space of another platform",
            source: std::io::ErrorKind::InvalidInput.into(),
        })?;
        space.take_effect();
        if self.interrupt.take() {
            return Ok(Exit::Interrupted);
        }
        let script = self.script.as_mut().ok_or_else(|| died("there is no script for it"))?;
        let mut guest = Guest { registers, space, interrupt: &self.interrupt, died: false };
        let exit = script(&mut guest);
        if guest.died {
            return Err(died("its script says so, or has ended"));
        }
        Ok(exit)
    }

    fn interrupter(&self) -> Arc<dyn Interrupter> {
        Arc::clone(&self.interrupt) as Arc<dyn Interrupter>
    }

    fn save_fpu(&mut self) -> Result<FpuState, PlatformError> {
        Ok(FpuState { area: self.fpu.clone() })
    }

    fn load_fpu(&mut self, state: &FpuState) -> Result<(), PlatformError> {
        let length = state.area.len().min(FPU_SIZE);
        self.fpu.fill(0);
        self.fpu[..length].copy_from_slice(&state.area[..length]);
        Ok(())
    }

    fn leave(&mut self, _space: &Arc<dyn AddressSpace>) {}
}

fn died(why: &str) -> PlatformError {
    PlatformError::Died { what: format!("a mock context: {why}") }
}

/// Whether the context was interrupted.
#[derive(Debug, Default)]
struct Interrupt {
    pending: Mutex<bool>,
    changed: Condvar,
}

impl Interrupt {
    fn take(&self) -> bool {
        std::mem::take(&mut *self.pending.lock())
    }

    fn wait(&self) {
        let mut pending = self.pending.lock();
        while !std::mem::take(&mut *pending) {
            self.changed.wait(&mut pending);
        }
    }
}

impl Interrupter for Interrupt {
    fn interrupt(&self) {
        *self.pending.lock() = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryFile, PAGE_SIZE};
    use crate::{Access, BackingFile, Mapping, Populate};

    #[test]
    fn scripts_run_in_order_and_die_at_their_end() {
        let platform = MockPlatform::new();
        platform
            .add_steps([1, 2].map(|number| move |guest: &mut Guest<'_>| guest.system_call(number, [0; 6])));
        let space = platform.new_address_space().unwrap();
        let mut context = platform.new_context().unwrap();
        let mut registers = Registers::default();
        for number in [1, 2] {
            assert_eq!(context.switch(&space, &mut registers).unwrap(), Exit::Syscall);
            assert_eq!(registers.orig_rax, number);
        }
        assert!(matches!(context.switch(&space, &mut registers), Err(PlatformError::Died { .. })));
    }

    #[test]
    fn memory_faults_until_it_is_mapped() {
        const ADDRESS: u64 = 0x40_0000;
        let platform = MockPlatform::new();
        platform.add_script(|guest| match guest.store(ADDRESS + PAGE_SIZE - 2, b"abcd") {
            Ok(()) => guest.system_call(0, [0; 6]),
            Err(fault) => Exit::Fault(fault),
        });
        let memory = MemoryFile::new(1 << 20).unwrap();
        let pages = memory.allocate(2 * PAGE_SIZE).unwrap();
        let space = platform.new_address_space().unwrap();
        let mut context = platform.new_context().unwrap();
        let mut switch = || context.switch(&space, &mut Registers::default()).unwrap();
        let fault = |address, access| Exit::Fault(Fault { address, access, bus_error: false });
        assert_eq!(switch(), fault(ADDRESS + PAGE_SIZE - 2, Access::WRITE));
        for (page, access) in [(0, Access::READ | Access::WRITE), (1, Access::READ)] {
            let start = ADDRESS + page * PAGE_SIZE;
            let mapping = Mapping {
                range: start..start + PAGE_SIZE,
                file: Arc::clone(&memory) as Arc<dyn BackingFile>,
                offset: pages.start + page * PAGE_SIZE,
                access,
                populate: Populate::Lazily,
            };
            space.map(mapping).unwrap();
        }
        assert_eq!(switch(), fault(ADDRESS + PAGE_SIZE, Access::WRITE));
        space.protect(ADDRESS..ADDRESS + 2 * PAGE_SIZE, Access::READ | Access::WRITE).unwrap();
        assert_eq!(switch(), Exit::Syscall);
        let any: &dyn Any = &*space;
        assert_eq!(any.downcast_ref::<MockAddressSpace>().unwrap().operations().len(), 3);
        space.unmap(ADDRESS + PAGE_SIZE..ADDRESS + 2 * PAGE_SIZE).unwrap();
        assert_eq!(switch(), fault(ADDRESS + PAGE_SIZE, Access::WRITE));
        assert!(space.protect(ADDRESS..ADDRESS + 2 * PAGE_SIZE, Access::READ).is_err());
    }

    #[test]
    fn spinning_ends_with_an_interrupt() {
        let platform = MockPlatform::new();
        platform.add_script(|guest| guest.spin());
        let space = platform.new_address_space().unwrap();
        let mut context = platform.new_context().unwrap();
        let interrupter = context.interrupter();
        let other = std::thread::spawn(move || interrupter.interrupt());
        assert_eq!(context.switch(&space, &mut Registers::default()).unwrap(), Exit::Interrupted);
        other.join().unwrap();
    }
}
