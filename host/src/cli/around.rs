//! What a profile wants around a backup: its commands, the health check, metrics.

use std::path::Path;
use std::time::{Duration, Instant};

use super::output::{Output, complain};
use super::{Failure, Global, exit, interrupt};
use crate::config::profile::Profile;
use crate::config::{ConfigError, written_by_others};
use crate::format::Time;
use crate::hooks::{Hook, HookError, Told, When};
use crate::plugin::ping;
use crate::repository::RepositoryError;
use crate::status::metrics::{self, Run};

/// How long a command may take, unless the profile says it.
const USUAL_LIMIT: Duration = Duration::from_secs(600);

/// Makes a backup, with what the profile wants around it.
pub fn run(
    global: &Global,
    output: &mut Output,
    make: impl FnOnce(&mut Output) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    let Some(around) = Around::of(global)? else { return make(output) };
    // What comes after is done for whoever reads nothing, too.
    output.ends_unread = false;
    let made = around.begin().and_then(|()| make(output));
    around.end(&made);
    made
}

struct Around<'g> {
    global: &'g Global,
    profile: &'g Profile,
    begun: Instant,
    started: Time,
}

impl<'g> Around<'g> {
    /// `None` where the profile wants nothing.
    fn of(global: &'g Global) -> Result<Option<Self>, Failure> {
        let Some(profile) = &global.settings.profile else { return Ok(None) };
        let Some(key) = profile.around().next() else { return Ok(None) };
        // What somebody else could have written is not run, and overwrites no file.
        if let Some(why) = global.settings.file.as_deref().and_then(written_by_others) {
            return Err(ConfigError::Exposed { name: profile.name.clone(), key, why }.into());
        }
        // From here on an interrupt ends the backup, and what comes after it is still done.
        interrupt::flag();
        Ok(Some(Around { global, profile, begun: Instant::now(), started: Time::now() }))
    }

    /// Tells the health check of the start, and runs the first command. If that fails, there is no backup.
    fn begin(&self) -> Result<(), Failure> {
        self.ping("/start");
        self.hook(When::Before, None, None).map_err(|error| match error {
            HookError::Interrupted => RepositoryError::Interrupted.into(),
            error => Failure::Hook(error),
        })
    }

    /// Runs the last command, tells the health check, and writes the metrics.
    fn end(&self, made: &Result<u8, Failure>) {
        let (code, error) = match made {
            Ok(code) => (*code, None),
            Err(failure) => (failure.class().0, Some(failure.to_string())),
        };
        let when = if matches!(code, exit::OK | exit::INCOMPLETE) { When::After } else { When::Failed };
        if let Err(why) = self.hook(when, Some(code), error) {
            complain(format_args!("warning: {why}"));
        }
        self.ping(if code == exit::OK { "" } else { "/fail" });
        if let Some(setting) = self.profile.metrics.as_ref().filter(|_| self.global.is_of_profile()) {
            self.write_metrics(&setting.value, code);
        }
    }

    fn hook(&self, when: When, exit_code: Option<u8>, error: Option<String>) -> Result<(), HookError> {
        let command = match when {
            When::Before => &self.profile.before,
            When::After => &self.profile.after,
            When::Failed => &self.profile.failed,
        };
        let Some(command) = command else { return Ok(()) };
        let limit = self.profile.hook_limit.as_ref().map_or(USUAL_LIMIT, |limit| limit.value);
        let location = self.global.repo.clone().unwrap_or_default();
        let told = Told { profile: self.profile.name.clone(), location, exit_code, error };
        // What comes after an interrupt is still run.
        let stop = || when == When::Before && interrupt::is_asked_for();
        Hook { when, words: &command.value, limit, told }.run(&stop)
    }

    fn ping(&self, what: &str) {
        let check = self.profile.health_check.as_ref().filter(|_| self.global.is_of_profile());
        let Some(url) = check.map(|setting| format!("{}{what}", setting.value.trim_end_matches('/'))) else { return };
        let asked = self.global.http_settings().map_err(|error| error.to_string());
        if let Err(why) = asked.and_then(|settings| ping(&url, &settings)) {
            // Without the URL: whoever has it can tell lies there.
            complain(format_args!("warning: the health check was not told: {why}"));
        }
    }

    fn write_metrics(&self, path: &Path, code: u8) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let run = Run { profile: self.profile.name.clone(), started: self.started, seconds, code };
        let before = std::fs::read_to_string(path).unwrap_or_default();
        if let Err(error) = metrics::write(path, &run.text(&before)) {
            complain(format_args!("warning: {error}"));
        }
    }
}
