//! What a test's closure does as a guest, and how its turns alternate with those of the task's thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use bartizan_abi::signal::{SigAction, SigInfo, Signal};
use bartizan_abi::{Errno, Sysno};
use bartizan_platform::mock::{self, MockPlatform};
use bartizan_platform::{Exit, Fault, Registers, Trap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::sync::{LockClass, Mutex};

/// Where the block of the first task is: scratch memory at its start, the stack at its end.
pub const FIRST_BLOCK: u64 = 0x10_0000_0000;
/// Bytes of a task's block.
pub const BLOCK: u64 = 0x1_0000;
/// Where the stack pointer starts in a block.
pub const STACK_OFFSET: u64 = 0xf000;

/// Where the handler of `signal` is said to be.
pub fn handler_address(signal: Signal) -> u64 {
    0x7000_0000 + u64::try_from(signal.raw()).expect("signals are positive") * 16
}

/// What the closure asks its task to do next.
enum Action {
    Call(u64, [u64; 6]),
    /// Returns from a signal handler: `rt_sigreturn`, with the return address taken off the stack.
    Return,
    Load(u64, usize),
    Store(u64, Vec<u8>),
    Stop(Exit),
    Spin,
}

/// What it gets back.
enum Answer {
    Stopped(Box<Registers>),
    Loaded(Vec<u8>),
}

/// The threads of all closures of a world.
#[derive(Clone)]
pub struct Programs {
    platform: Arc<MockPlatform>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// The task is gone; the closure's thread ends with it.
struct Gone;

impl Programs {
    pub fn new(platform: Arc<MockPlatform>) -> Self {
        Self { platform, threads: Arc::new(Mutex::new(LockClass::Table, Vec::new())) }
    }

    /// Has the next new task run `program`; the result is told when it has started.
    pub fn add(&self, program: impl FnOnce(&Guest) + Send + 'static) -> Receiver<()> {
        let (actions, to_do) = channel();
        let (answers, answered) = channel();
        let (started, has_started) = channel();
        let mut turns = Turns { to_do, answers, pending: None, silent: false };
        self.platform.add_script(move |machine| turns.take(machine));
        let programs = self.clone();
        let thread = std::thread::spawn(move || {
            let Ok(Answer::Stopped(registers)) = answered.recv() else { return };
            let _nobody_waits = started.send(());
            let guest = Guest {
                actions,
                answered,
                registers: Cell::new(*registers),
                handlers: RefCell::default(),
                programs,
                next_block: Cell::new(1),
            };
            program(&guest);
            guest.exit(0);
        });
        self.threads.lock().push(thread);
        has_started
    }

    /// Waits for all closures; one that panicked on its own account fails the test. No task is made any more: what a fork that failed would
    /// have run never starts.
    pub fn join(&self) {
        self.platform.clear_scripts();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if let Err(panic) = thread.join()
                && !panic.is::<Gone>()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// The task's side.
struct Turns {
    to_do: Receiver<Action>,
    answers: Sender<Answer>,
    /// A memory access that has faulted and is tried again.
    pending: Option<Action>,
    /// Whether the next stop is not to be told, because a memory access goes on.
    silent: bool,
}

impl Turns {
    fn take(&mut self, machine: &mut mock::Guest<'_>) -> Exit {
        if !std::mem::take(&mut self.silent) {
            let _gone = self.answers.send(Answer::Stopped(Box::new(*machine.registers)));
        }
        loop {
            let action = match self.pending.take() {
                Some(action) => action,
                None => match self.to_do.recv() {
                    Ok(action) => action,
                    // The closure has panicked.
                    Err(_) => return machine.system_call(Sysno::exit_group as u64, [99, 0, 0, 0, 0, 0]),
                },
            };
            if let Some(exit) = self.perform(machine, action) {
                return exit;
            }
        }
    }

    fn perform(&mut self, machine: &mut mock::Guest<'_>, action: Action) -> Option<Exit> {
        match action {
            Action::Call(number, arguments) => Some(machine.system_call(number, arguments)),
            Action::Return => {
                machine.registers.rsp += 8;
                Some(machine.system_call(Sysno::rt_sigreturn as u64, [0; 6]))
            }
            Action::Stop(exit) => Some(exit),
            Action::Spin => Some(machine.spin()),
            Action::Load(address, length) => {
                let mut data = vec![0; length];
                let result = machine.load(address, &mut data).map(|()| data);
                self.accessed(result, Action::Load(address, length))
            }
            Action::Store(address, data) => {
                let result = machine.store(address, &data).map(|()| Vec::new());
                self.accessed(result, Action::Store(address, data))
            }
        }
    }

    fn accessed(&mut self, result: Result<Vec<u8>, Fault>, again: Action) -> Option<Exit> {
        match result {
            Ok(data) => {
                let _gone = self.answers.send(Answer::Loaded(data));
                None
            }
            Err(fault) => {
                self.pending = Some(again);
                self.silent = true;
                Some(Exit::Fault(fault))
            }
        }
    }
}

type Handler = Rc<dyn Fn(&Guest, SigInfo)>;

/// A task, as the closure that it runs sees it.
pub struct Guest {
    actions: Sender<Action>,
    answered: Receiver<Answer>,
    registers: Cell<Registers>,
    handlers: RefCell<BTreeMap<u64, Handler>>,
    programs: Programs,
    next_block: Cell<u64>,
}

impl Guest {
    fn exchange(&self, action: Action) -> Answer {
        let answer = self.actions.send(action).ok().and_then(|()| self.answered.recv().ok());
        // No message and no failure: the task was killed, as tests want it.
        answer.unwrap_or_else(|| std::panic::resume_unwind(Box::new(Gone)))
    }

    /// Does `action` and runs the handlers of what is delivered after it.
    fn stop(&self, action: Action, arguments: [u64; 6]) -> u64 {
        let start = self.registers.get().rip;
        let is_call = matches!(action, Action::Call(..));
        let mut next = action;
        loop {
            let Answer::Stopped(registers) = self.exchange(next) else { panic!("data without a load") };
            self.registers.set(*registers);
            let handler = self.handlers.borrow().get(&registers.rip).cloned();
            next = match handler {
                Some(handler) => {
                    handler(self, self.load(registers.rsi));
                    self.registers.set(*registers);
                    Action::Return
                }
                // The processor executes the instruction anew.
                None if is_call && registers.rip == start => Action::Call(registers.rax, arguments),
                None => return registers.rax,
            };
        }
    }

    /// Makes a system call.
    pub fn call(&self, number: Sysno, arguments: [u64; 6]) -> Result<u64, Errno> {
        let result = self.stop(Action::Call(number as u64, arguments), arguments).cast_signed();
        match u64::try_from(result) {
            Ok(value) => Ok(value),
            Err(_) => {
                let number = i32::try_from(-result).unwrap_or(i32::MAX);
                Err(Errno::from_raw(number).expect("an error number"))
            }
        }
    }

    /// Makes a system call that has to succeed.
    #[track_caller]
    pub fn must(&self, number: Sysno, arguments: [u64; 6]) -> u64 {
        match self.call(number, arguments) {
            Ok(value) => value,
            Err(errno) => panic!("{} failed: {errno:?}", number.name()),
        }
    }

    /// Executes an instruction that raises a processor exception.
    pub fn trap(&self, trap: Trap) {
        self.stop(Action::Stop(Exit::Trap(trap)), [0; 6]);
    }

    /// Runs until it is interrupted, and all handlers have run.
    pub fn spin(&self) {
        self.stop(Action::Spin, [0; 6]);
    }

    /// The registers when it was last in the kernel.
    pub fn registers(&self) -> Registers {
        self.registers.get()
    }

    /// A value in memory.
    pub fn load<T: FromBytes>(&self, address: u64) -> T {
        match self.exchange(Action::Load(address, size_of::<T>())) {
            Answer::Loaded(data) => T::read_from_bytes(&data).expect("as many bytes as were asked for"),
            Answer::Stopped(_) => panic!("a signal ended the load"),
        }
    }

    /// Puts a value into memory.
    pub fn store<T: IntoBytes + Immutable>(&self, address: u64, value: &T) {
        match self.exchange(Action::Store(address, value.as_bytes().to_vec())) {
            Answer::Loaded(_) => {}
            Answer::Stopped(_) => panic!("a signal ended the store"),
        }
    }

    /// Scratch memory of this task: a page.
    pub fn scratch(&self) -> u64 {
        self.registers.get().rsp & !(BLOCK - 1)
    }

    /// Puts a value into scratch memory, at `offset`, and gives its address.
    pub fn put<T: IntoBytes + Immutable>(&self, offset: u64, value: &T) -> u64 {
        let address = self.scratch() + offset;
        self.store(address, value);
        address
    }

    /// Has `handler` run for `signal`.
    pub fn handle(&self, signal: Signal, flags: u64, handler: impl Fn(&Guest, SigInfo) + 'static) {
        const SA_RESTORER: u64 = 0x0400_0000;
        let address = handler_address(signal);
        self.handlers.borrow_mut().insert(address, Rc::new(handler));
        let action =
            SigAction { handler: address, flags: flags | SA_RESTORER, restorer: 0x6000_0000, mask: 0 };
        self.act(signal, action);
    }

    /// `sigaction`.
    pub fn act(&self, signal: Signal, action: SigAction) {
        let number = u64::from(signal.raw().unsigned_abs());
        let action = self.put(0xf00, &action);
        self.must(Sysno::rt_sigaction, [number, action, 0, 8, 0, 0]);
    }

    /// A child process that runs `program`; its number.
    pub fn fork(&self, program: impl FnOnce(&Guest) + Send + 'static) -> u64 {
        const SIGCHLD: u64 = 17;
        self.clone_task(SIGCHLD, 0, program)
    }

    /// A thread of the same process that runs `program`; its number.
    pub fn thread(&self, program: impl FnOnce(&Guest) + Send + 'static) -> u64 {
        const FLAGS: u64 = 0x0001_0f00;
        let block = FIRST_BLOCK + BLOCK * self.next_block.replace(self.next_block.get() + 1);
        // Private anonymous memory at a fixed place.
        self.must(Sysno::mmap, [block, BLOCK, 3, 0x32, u64::MAX, 0]);
        self.clone_task(FLAGS, block + STACK_OFFSET, program)
    }

    /// `clone(2)`.
    pub fn clone_task(&self, flags: u64, stack: u64, program: impl FnOnce(&Guest) + Send + 'static) -> u64 {
        let started = self.programs.add(program);
        let tid = self.must(Sysno::clone, [flags, stack, 0, 0, 0, 0]);
        // So that the next new task takes the next program. One that is killed at once never tells.
        let _killed = started.recv();
        tid
    }

    /// Ends the process.
    pub fn exit(&self, code: u64) -> ! {
        self.call(Sysno::exit_group, [code, 0, 0, 0, 0, 0]).expect("exit_group succeeds");
        unreachable!("exit_group does not return")
    }

    /// Waits for child `pid`, or any for -1; the number and the status word.
    pub fn wait(&self, pid: i64, options: u64) -> Result<(u64, i32), Errno> {
        let status = self.put(0xe00, &0i32);
        let found = self.call(Sysno::wait4, [pid.cast_unsigned(), status, options, 0, 0, 0])?;
        Ok((found, self.load(status)))
    }

    /// Sends a signal.
    pub fn kill(&self, pid: u64, signal: Signal) -> Result<u64, Errno> {
        let number = u64::from(signal.raw().unsigned_abs());
        self.call(Sysno::kill, [pid, number, 0, 0, 0, 0])
    }

    /// What the first process of a sandbox does.
    pub fn reap_for_ever(&self) {
        self.handle(Signal::SIGCHLD, 0, |_, _| {});
        loop {
            if self.wait(-1, 0).is_err() {
                let _interrupted = self.call(Sysno::pause, [0; 6]);
            }
        }
    }
}
