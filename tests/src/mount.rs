//! A mount of the program under test.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::Sandbox;

/// Whether this machine can mount with FUSE at all; says so if not.
pub fn is_possible() -> bool {
    let possible = Path::new("/dev/fuse").exists();
    if !possible {
        println!("SKIPPED: there is no /dev/fuse on this machine, so that nothing can be mounted");
    }
    possible
}

/// A running `obnam mount`, which is ended when this is dropped.
pub struct Mount {
    /// Where.
    pub point: PathBuf,
    /// What it said when it was mounted.
    pub said: Value,
    child: Child,
    errors: Option<JoinHandle<String>>,
}

impl Mount {
    /// Mounts, and waits until that is done.
    pub fn new(sandbox: &Sandbox, options: &[&str]) -> Self {
        let point = sandbox.fresh("mounted");
        fs::create_dir(&point).unwrap();
        let mut command = sandbox.command(["--json", "mount"]);
        command.arg(&point).args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut document = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !document.ends_with("\n}\n") {
            if lines.read_line(&mut document).unwrap() == 0 {
                panic!("it was not mounted: {document}{}", errors.join().unwrap());
            }
        }
        Mount { point, said: serde_json::from_str(&document).unwrap(), child, errors: Some(errors) }
    }

    /// What stands in `latest` at the place of an absolute path.
    pub fn latest(&self, path: &Path) -> PathBuf {
        crate::below(&self.point.join("latest"), path)
    }

    /// Ends the program by a signal; its exit code, and what it wrote to standard error.
    pub fn interrupt(mut self) -> (Option<i32>, String) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
        self.ended()
    }

    /// Waits for it to end by itself.
    pub fn ended(&mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        (status.code(), self.errors.take().unwrap().join().unwrap())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.errors.is_some() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = Command::new("umount").arg("--lazy").arg(&self.point).output();
    }
}
