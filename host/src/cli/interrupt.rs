//! Interrupts: the first asks the command to end well, the second ends it at once. Both are harmless: nothing counts
//! until a snapshot is stored.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use super::output::complain;
use crate::plugin;

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
static LISTENING: AtomicBool = AtomicBool::new(false);

/// Exit code after an interrupt.
const INTERRUPTED: i32 = 130;

/// Handles SIGINT, SIGTERM and SIGHUP from now on.
pub fn install() {
    LazyLock::force(&STOP);
    let handled = ctrlc::set_handler(|| {
        let again = STOP.swap(true, Ordering::Relaxed);
        if again || !LISTENING.load(Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
        plugin::give_up();
        complain("obnam: ending; interrupt again to end at once");
    });
    if let Err(error) = handled {
        tracing::info!("interrupts end the program at once: {error}");
    }
}

/// Whether there was an interrupt.
pub fn is_asked_for() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// The flag that an interrupt sets. Whoever takes it promises to look at it.
pub fn flag() -> Arc<AtomicBool> {
    LISTENING.store(true, Ordering::Relaxed);
    STOP.clone()
}
