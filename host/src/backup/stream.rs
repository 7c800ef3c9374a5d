//! A backup of one stream: standard input, or what a command prints.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

/// A stream, and the name of the file that it becomes.
pub struct Stream {
    /// The file's name, below the root of the snapshot.
    pub name: String,
    reader: Mutex<Option<Box<dyn Read + Send>>>,
}

impl Stream {
    /// A stream that becomes a file with this name.
    pub fn new(name: String, reader: impl Read + Send + 'static) -> Self {
        Stream { name, reader: Mutex::new(Some(Box::new(reader))) }
    }

    /// The stream itself; none when it has been read before, which a backup that starts again would need.
    pub(super) fn take(&self) -> Option<Box<dyn Read + Send>> {
        self.reader.lock().expect("no panic while the lock is held").take()
    }
}

/// What a command prints. Its end is an error if the command has failed.
pub struct CommandOutput {
    name: String,
    child: Child,
    output: ChildStdout,
}

impl CommandOutput {
    /// Starts a command.
    pub fn start(words: &[std::ffi::OsString]) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(CommandOutput { name: program.to_string_lossy().into_owned(), child, output })
    }
}

impl Read for CommandOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.output.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            let status = self.child.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("the command {} failed ({status})", self.name)));
            }
        }
        Ok(count)
    }
}

impl Drop for CommandOutput {
    /// A backup that ends early ends the command too.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> io::Result<String> {
        let mut text = String::new();
        CommandOutput::start(&["sh".into(), "-c".into(), script.into()])?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn a_command_must_succeed() {
        assert_eq!(run("echo hello").expect("succeeds"), "hello\n");
        let error = run("echo half; exit 3").expect_err("fails");
        assert!(error.to_string().contains("the command sh failed (exit status: 3)"), "{error}");
        assert!(CommandOutput::start(&["/nowhere/command".into()]).is_err());
    }
}
