//! Waiting for a store that is away: what the user sees of it, and how it ends at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::failure::Failure;

/// A pause that is worth a word.
const NOTEWORTHY: Duration = Duration::from_secs(3);
/// How often the log gets one.
const REPEATED: Duration = Duration::from_secs(60);

struct State {
    /// How many callers wait for so long that the user should know, and why the last one does.
    waiting: usize,
    why: String,
    last_word: Option<Instant>,
    given_up: bool,
}

static STATE: Mutex<State> = Mutex::new(State { waiting: 0, why: String::new(), last_word: None, given_up: false });
static GIVEN_UP: Condvar = Condvar::new();

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the program waits for, in words, if it waits.
pub fn waiting_for() -> Option<String> {
    let state = state();
    (state.waiting > 0).then(|| state.why.clone())
}

/// Ends all waiting, now and later: the user wants to end. Calls under way are given up on where nothing moves.
pub fn give_up() {
    state().given_up = true;
    GIVEN_UP.notify_all();
}

/// Whether the user wants to end.
pub(super) fn has_given_up() -> bool {
    state().given_up
}

/// Waits before a call is repeated; false when the user wants to end.
pub(super) fn pause(pause: Duration, failure: &Failure) -> bool {
    if pause.is_zero() {
        return !has_given_up();
    }
    let mut state = state();
    let noteworthy = pause >= NOTEWORTHY;
    if noteworthy {
        state.waiting += 1;
        state.why = failure.to_string();
        if state.last_word.is_none_or(|last| last.elapsed() >= REPEATED) {
            state.last_word = Some(Instant::now());
            tracing::warn!(target: "obnam::waiting", "the store does not answer as it should, and is tried again: {failure}");
        }
    }
    let goes_on = |state: &mut State| !state.given_up;
    let (mut state, _) = GIVEN_UP.wait_timeout_while(state, pause, goes_on).unwrap_or_else(PoisonError::into_inner);
    state.waiting -= usize::from(noteworthy);
    !state.given_up
}
