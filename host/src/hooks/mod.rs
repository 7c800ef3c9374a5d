//! Commands that a profile wants around a backup. What comes before one can stop it; all else that goes wrong is told and
//! changes nothing.
//!
//! What always holds: a command ends within its time limit, and with it what it has started, as far as that has stayed in its
//! process group.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::credential::passphrase;

/// How often is looked whether a command has ended.
const POLL: Duration = Duration::from_millis(20);
/// How long a command has to end by itself after it was asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// When a command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before anything else.
    Before,
    /// After a backup that made a snapshot.
    After,
    /// After one that did not.
    Failed,
}

impl When {
    /// Its name: a key of the profile.
    pub fn name(self) -> &'static str {
        match self {
            When::Before => "before",
            When::After => "after",
            When::Failed => "failed",
        }
    }
}

/// What a command is told of the backup: environment variables.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The profile.
    pub profile: String,
    /// Where the repository is.
    pub location: String,
    /// The exit code of the backup, after it.
    pub exit_code: Option<u8>,
    /// Why there is no snapshot.
    pub error: Option<String>,
}

/// A command with its arguments; no shell is asked.
pub struct Hook<'h> {
    /// When it is run.
    pub when: When,
    /// Program and arguments.
    pub words: &'h [String],
    /// How long it may take.
    pub limit: Duration,
    /// What it is told.
    pub told: Told,
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// There is no such program, or it is none.
    #[error("the command {program:?} of {when:?} in the profile cannot be run: {source}")]
    Run {
        /// The program.
        program: String,
        /// The key.
        when: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It says so.
    #[error("the command {program:?} of {when:?} in the profile has failed: {status}")]
    Failed {
        /// The program.
        program: String,
        /// The key.
        when: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// It was stopped.
    #[error("the command {program:?} of {when:?} in the profile was stopped: it took longer than {} s (hook-limit)", limit.as_secs())]
    TooLong {
        /// The program.
        program: String,
        /// The key.
        when: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// The user does not want to wait for it.
    #[error("interrupted")]
    Interrupted,
}

/// How a command has ended.
enum End {
    ByItself(ExitStatus),
    TooLong,
    Interrupted,
}

/// The variables that hold a secret themselves. Where one can be had from a file or a command is none.
const SECRETS: [&str; 3] = [passphrase::VARIABLES[0], passphrase::NEW_VARIABLES[0], passphrase::TARGET_VARIABLES[0]];

/// The longest error that a command is told, in characters. It may hold words of a store, and an environment has an end.
const LONGEST_ERROR: usize = 2000;

impl Hook<'_> {
    /// Runs the command to its end. What it prints goes to standard error. `stop`: whether the user has asked to stop.
    pub fn run(&self, stop: &dyn Fn() -> bool) -> Result<(), HookError> {
        let Some((program, arguments)) = self.words.split_first() else { return Ok(()) };
        tracing::info!("running the command {program:?} of {:?}", self.when.name());
        let (program, when) = (program.clone(), self.when.name());
        match self.start(&program, arguments).and_then(|child| self.wait(child, stop)) {
            Ok(End::ByItself(status)) if status.success() => Ok(()),
            Ok(End::ByItself(status)) => Err(HookError::Failed { program, when, status }),
            Ok(End::TooLong) => Err(HookError::TooLong { program, when, limit: self.limit }),
            Ok(End::Interrupted) => Err(HookError::Interrupted),
            Err(source) => Err(HookError::Run { program, when, source }),
        }
    }

    fn start(&self, program: &str, arguments: &[String]) -> io::Result<Child> {
        let mut command = Command::new(program);
        // A group of its own, so that it can be stopped with what it has started.
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        command.stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
        for secret in SECRETS {
            command.env_remove(secret);
        }
        let told = &self.told;
        let variables = [
            ("OBNAM_HOOK", Some(self.when.name().to_owned())),
            ("OBNAM_HOOK_PROFILE", Some(plain(&told.profile))),
            ("OBNAM_HOOK_LOCATION", Some(plain(&told.location))),
            ("OBNAM_HOOK_EXIT_CODE", told.exit_code.map(|code| code.to_string())),
            ("OBNAM_HOOK_ERROR", told.error.as_deref().map(plain)),
        ];
        for (name, value) in variables {
            match value {
                Some(value) => command.env(name, value),
                // Of a backup that runs this one as its own hook.
                None => command.env_remove(name),
            };
        }
        command.spawn()
    }

    fn wait(&self, mut child: Child, stop: &dyn Fn() -> bool) -> io::Result<End> {
        let begun = Instant::now();
        let end = loop {
            if let Some(status) = child.try_wait()? {
                return Ok(End::ByItself(status));
            }
            if stop() {
                break End::Interrupted;
            }
            if begun.elapsed() >= self.limit {
                break End::TooLong;
            }
            std::thread::sleep(POLL);
        };
        let group = Pid::from_child(&child);
        let _ = kill_process_group(group, Signal::TERM);
        let asked = Instant::now();
        while !has_ended(group) && asked.elapsed() < PATIENCE {
            std::thread::sleep(POLL);
        }
        // What it has started may still run.
        let _ = kill_process_group(group, Signal::KILL);
        child.wait()?;
        Ok(end)
    }
}

/// Whether a child has ended. It stays a zombie, so that its number is not given to a group of strangers.
fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(child), options), Ok(None))
}

/// As a variable can hold it: no control characters, not too long.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    const HOUR: Duration = Duration::from_secs(3600);

    fn run(words: &[&str], limit: Duration, stop: &dyn Fn() -> bool) -> Result<(), HookError> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let told = Told { exit_code: Some(13), error: Some("a\0b\nc".repeat(1000)), ..Told::default() };
        Hook { when: When::Failed, words: &words, limit, told }.run(stop)
    }

    #[test]
    fn commands_end_in_one_way_or_another() {
        let never = || false;
        let test = "test \"$OBNAM_HOOK $OBNAM_HOOK_EXIT_CODE ${OBNAM_HOOK_ERROR%%c*}\" = \"failed 13 a b \"";
        run(&["sh", "-c", test], HOUR, &never).expect("it is told what happened");
        run(&[], HOUR, &never).expect("nothing is nothing");
        assert!(matches!(run(&["false"], HOUR, &never), Err(HookError::Failed { when: "failed", .. })));
        assert!(matches!(run(&["/nowhere/x"], HOUR, &never), Err(HookError::Run { .. })));
        assert!(matches!(run(&["a\0b"], HOUR, &never), Err(HookError::Run { .. })));
        assert!(matches!(run(&["sleep", "1000"], HOUR, &|| true), Err(HookError::Interrupted)));
        let late = run(&["sleep", "1000"], Duration::ZERO, &never).expect_err("takes too long");
        assert!(late.to_string().contains("hook-limit"), "{late}");
    }

    /// Whether a process is there, and no zombie.
    fn lives(pid: &str) -> bool {
        let status = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
        !matches!(status.rsplit(") ").next().and_then(|rest| rest.chars().next()), None | Some('Z' | 'X'))
    }

    /// Whether a process ends; one that was killed may be there for a moment.
    fn ends(pid: &str) -> bool {
        (0..6000).any(|_| {
            let ended = !lives(pid);
            if !ended {
                std::thread::sleep(Duration::from_millis(10));
            }
            ended
        })
    }

    #[test]
    fn what_a_command_has_started_ends_with_it() {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("pids");
        // One that hears of nothing, in the background of a shell that hears of nothing either.
        let script = format!(
            "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' > {0}.new & \
             while ! test -s {0}.new; do sleep 0.01; done; mv {0}.new {0}; wait",
            file.display()
        );
        let pid = || fs::read_to_string(&file).unwrap_or_default();
        // By an interrupt as soon as it is there, and by the limit, which a slow machine may need more of.
        let ended = run(&["sh", "-c", &script], HOUR, &|| file.exists());
        assert!(matches!(ended, Err(HookError::Interrupted)), "{ended:?}");
        assert!(!pid().is_empty() && ends(&pid()), "{:?}", pid());
        fs::remove_file(&file).expect("removes");
        for seconds in [1, 4, 16, 64] {
            let ended = run(&["sh", "-c", &script], Duration::from_secs(seconds), &|| false);
            assert!(matches!(ended, Err(HookError::TooLong { .. })), "{ended:?}");
            if file.exists() {
                break;
            }
        }
        assert!(!pid().is_empty() && ends(&pid()), "{:?}", pid());
    }
}
