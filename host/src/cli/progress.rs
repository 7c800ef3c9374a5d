//! Progress: a line on a terminal that a thread keeps up to date, or JSON lines on standard error. Silent when piped.

use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::output::{Output, Progress, printable};
use crate::plugin;

/// How often the line is written.
const INTERVAL: Duration = Duration::from_millis(150);
/// How often JSON is written.
const JSON_INTERVAL: Duration = Duration::from_secs(1);

/// How wide a terminal is taken for that does not say it.
const USUAL_COLUMNS: usize = 80;

/// The bar that is shown, so that others can write beside it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How far a command is.
#[derive(Debug, Default)]
pub struct State {
    /// How many bytes are done, and of how many where that is known.
    pub bytes: (u64, Option<u64>),
    /// What to say besides.
    pub text: String,
    /// Where the command is; empty where there is nothing to say of it.
    pub path: PathBuf,
    /// The same and more as numbers, for JSON.
    pub numbers: Vec<(&'static str, u64)>,
}

impl State {
    /// The total, unless it has turned out to be wrong.
    fn total(&self) -> Option<u64> {
        let (done, total) = self.bytes;
        total.filter(|&total| total > 0 && done <= total)
    }
}

/// Writes to a terminal without garbling the bar on it.
pub fn beside<R>(write: impl FnOnce() -> R) -> R {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Standard error, beside the bar: for the log.
pub struct Beside;

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        beside(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Whether a person watches.
pub fn is_watched(output: &Output) -> bool {
    output.progress == Progress::Auto && !output.json && !output.quiet && io::stderr().is_terminal()
}

/// Runs `work` while what `look` says is shown.
pub fn shown<R>(output: &Output, look: impl Fn() -> State + Sync, work: impl FnOnce() -> R) -> R {
    if output.progress == Progress::Json {
        let begun = Instant::now();
        let write = |finished| write_json(output.command, &look(), begun, finished);
        return meanwhile(JSON_INTERVAL, || write(false), || write(true), work);
    }
    if !is_watched(output) {
        return work();
    }
    let bar = ProgressBar::no_length();
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
    let end = || {
        *BAR.lock().unwrap_or_else(PoisonError::into_inner) = None;
        bar.finish_and_clear();
    };
    meanwhile(INTERVAL, || draw(&bar, look()), end, work)
}

/// Runs `work`; meanwhile `step` is called again and again, and after it `end`, whatever becomes of `work`.
fn meanwhile<R>(interval: Duration, step: impl Fn() + Sync, end: impl Fn() + Sync, work: impl FnOnce() -> R) -> R {
    struct Over<'a>(&'a AtomicBool, thread::Thread);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            self.1.unpark();
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let shower = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                step();
                thread::park_timeout(interval);
            }
            end();
        });
        let _over = Over(&over, shower.thread().clone());
        work()
    })
}

fn draw(bar: &ProgressBar, state: State) {
    let mut template = match state.total() {
        Some(total) => {
            bar.set_length(total);
            "{elapsed} [{bar:10}] {percent:>3}% {bytes_per_sec} ETA {eta} {wide_msg}"
        }
        None => "{elapsed} {spinner} {bytes_per_sec} {wide_msg}",
    }
    .to_owned();
    if !state.path.as_os_str().is_empty() {
        template += "\n  {prefix}";
        let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let columns = if columns == 0 { USUAL_COLUMNS } else { columns };
        bar.set_prefix(shortened(&printable(state.path.as_os_str().as_bytes()), columns.saturating_sub(4)));
    }
    bar.set_style(ProgressStyle::with_template(&template).expect("the templates are good"));
    bar.set_position(state.bytes.0);
    let waiting = plugin::waiting_for().map(|why| format!("waiting for the store: {why}"));
    bar.set_message(waiting.unwrap_or(state.text));
    bar.tick();
}

/// The end of a text, as far as it fits into so many columns.
fn shortened(text: &str, columns: usize) -> String {
    // What Asia writes takes two columns.
    let width = |c: char| if c < '\u{1100}' { 1 } else { 2 };
    if text.chars().map(width).sum::<usize>() <= columns {
        return text.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let fits = |c: &char| {
        let fits = width(*c) <= room;
        room = if fits { room - width(*c) } else { 0 };
        fits
    };
    let end: Vec<char> = text.chars().rev().take_while(fits).collect();
    std::iter::once('…').chain(end.into_iter().rev()).collect()
}

fn write_json(command: &str, state: &State, begun: Instant, finished: bool) {
    let mut progress = Map::new();
    progress.insert("command".into(), command.into());
    progress.insert("seconds".into(), begun.elapsed().as_secs_f64().into());
    progress.insert("finished".into(), finished.into());
    progress.insert("bytes".into(), state.bytes.0.into());
    progress.insert("total_bytes".into(), state.total().into());
    for (name, number) in &state.numbers {
        progress.insert((*name).into(), (*number).into());
    }
    let line = json!({ "progress": Value::Object(progress) });
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_that_is_passed_is_none() {
        let state = |done, total| State { bytes: (done, total), ..State::default() };
        assert_eq!(state(5, Some(10)).total(), Some(10));
        assert_eq!(state(11, Some(10)).total(), None);
        assert_eq!(state(0, Some(0)).total(), None);
        assert_eq!(state(5, None).total(), None);
    }

    #[test]
    fn long_paths_show_their_end() {
        assert_eq!(shortened("/home/me/letter", 15), "/home/me/letter");
        assert_eq!(shortened("/home/me/letter", 10), "…me/letter");
        assert_eq!(shortened("/home/文書", 10), "/home/文書");
        assert_eq!(shortened("/home/文書", 9), "…ome/文書");
        assert_eq!(shortened("/home/文書", 4), "…書");
        assert_eq!(shortened("/home", 0), "…");
    }

    #[test]
    fn the_end_is_shown_even_after_a_panic() {
        let ended = AtomicBool::new(false);
        let end = || ended.store(true, Ordering::Relaxed);
        let run = std::panic::AssertUnwindSafe(|| meanwhile(INTERVAL, || (), end, || panic!("on purpose")));
        assert!(std::panic::catch_unwind(run).is_err());
        assert!(ended.load(Ordering::Relaxed));
    }
}
