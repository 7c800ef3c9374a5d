//! The one engine of the process, made when the first plugin is opened, and the clock that interrupts guests.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, Engine};

use super::sandbox::Sandbox;
use crate::store::{StoreError, StoreErrorKind};

/// How often a running guest is looked at.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// What every plugin runs on.
pub(super) struct Runtime {
    pub(super) engine: Engine,
    /// Everything that a component may import.
    pub(super) linker: Linker<Sandbox>,
    /// How many calls into guests are running.
    running: AtomicUsize,
    ticker: Thread,
}

/// The runtime of this process.
pub(super) fn runtime() -> Result<&'static Runtime, StoreError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().map_err(|error| format!("{error:#}"))).as_ref().map_err(|why| {
        StoreError::new(StoreErrorKind::Plugin, format!("cannot start the WebAssembly engine for plugins: {why}"))
    })
}

impl Runtime {
    fn new() -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config)?;
        let linker = Sandbox::linker(&engine)?;
        let ticker = thread::Builder::new().name("plugin-clock".into()).spawn({
            let engine = engine.clone();
            move || tick(&engine)
        })?;
        Ok(Runtime { engine, linker, running: AtomicUsize::new(0), ticker: ticker.thread().clone() })
    }

    /// Keeps the clock ticking until the answer is dropped.
    pub(super) fn begin_call(&self) -> RunningCall<'_> {
        if self.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.ticker.unpark();
        }
        RunningCall(self)
    }
}

/// A call into a guest that is under way.
pub(super) struct RunningCall<'a>(&'a Runtime);

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The clock's thread: ticks while calls run, sleeps otherwise.
fn tick(engine: &Engine) {
    loop {
        match runtime() {
            Ok(runtime) if runtime.running.load(Ordering::SeqCst) == 0 => thread::park(),
            Ok(_) => {
                thread::sleep(TICK);
                engine.increment_epoch();
            }
            Err(_) => return,
        }
    }
}

/// Processor time that this thread has used so far.
pub(super) fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
