//! Progress on a terminal: a line on standard error that a thread keeps up to date. Silent when piped.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Output;

/// How often the line is written.
const INTERVAL: Duration = Duration::from_millis(150);

/// What the line says.
pub struct State {
    /// How much is done, and of how much where that is known.
    pub bytes: (u64, Option<u64>),
    /// The rest of the line.
    pub text: String,
}

/// Runs `work` while a line on the terminal shows what `look` says.
pub fn shown<R>(output: &Output, look: impl Fn() -> State + Sync, work: impl FnOnce() -> R) -> R {
    if output.json || output.quiet || !std::io::stderr().is_terminal() {
        return work();
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let shower = scope.spawn(|| {
            let bar = ProgressBar::no_length();
            while !over.load(Ordering::Relaxed) {
                let State { bytes: (done, total), text } = look();
                let template = match total {
                    Some(total) => {
                        bar.set_length(total.max(done));
                        "{elapsed_precise} [{bar:24}] {percent:>3}% {bytes_per_sec} {eta} {msg}"
                    }
                    None => "{elapsed_precise} {spinner} {bytes_per_sec} {msg}",
                };
                bar.set_style(ProgressStyle::with_template(template).expect("the templates are good"));
                bar.set_position(done);
                bar.set_message(text);
                bar.tick();
                thread::park_timeout(INTERVAL);
            }
            bar.finish_and_clear();
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        shower.thread().unpark();
        result
    })
}
