//! What a plugin prints: kept up to a bound, shown in the log, cleaned of what must not be shown.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The output of one instance, standard output and standard error alike.
#[derive(Clone)]
pub(super) struct Output {
    kept: Arc<Mutex<Kept>>,
    limit: usize,
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    dropped: u64,
}

impl Output {
    /// Keeps at most `limit` bytes per call; what is beyond is counted and thrown away.
    pub(super) fn new(limit: usize) -> Self {
        Output { kept: Arc::default(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.lock();
        let room = self.limit.saturating_sub(kept.bytes.len()).min(bytes.len());
        kept.bytes.extend_from_slice(&bytes[..room]);
        kept.dropped += (bytes.len() - room) as u64;
    }

    /// Takes what was printed since the last time: lines fit to be shown.
    pub(super) fn take(&self, redaction: &Redaction) -> Vec<String> {
        let kept = mem::take(&mut *self.lock());
        let mut lines: Vec<String> = String::from_utf8_lossy(&kept.bytes)
            .lines()
            .map(|line| redaction.clean(line))
            .filter(|line| !line.is_empty())
            .collect();
        if kept.dropped > 0 {
            lines.push(format!("({} more bytes of output were thrown away)", kept.dropped));
        }
        lines
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

/// What must not be shown of a plugin's texts, whether printed or in an error.
#[derive(Clone, Default)]
pub(super) struct Redaction {
    /// Values of secret options.
    pub(super) secrets: Vec<String>,
}

impl Redaction {
    /// The longest text that is shown, in characters.
    const LONGEST: usize = 2000;

    /// The text without secrets, queries of URLs (where signatures are) and control characters (a plugin does not talk
    /// to the terminal), and not too long.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "[secret]");
        }
        let mut clean: String = text
            .trim()
            .split_inclusive(char::is_whitespace)
            .map(without_query)
            .map(|word| word.replace(char::is_control, " "))
            .collect();
        if let Some((end, _)) = clean.char_indices().nth(Self::LONGEST) {
            clean.truncate(end);
            clean.push_str("...");
        }
        clean
    }
}

/// A word without what follows the question mark, when it is a URL.
fn without_query(word: &str) -> String {
    let query = word.find("://").and_then(|scheme| word[scheme..].find('?').map(|query| scheme + query));
    let Some(query) = query else { return word.to_owned() };
    let end = &word[word.trim_end().len()..];
    format!("{}?[...]{end}", &word[..query])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cleaned() {
        let redaction = Redaction { secrets: vec!["hunter2".into()] };
        assert_eq!(
            redaction.clean("GET https://h/x?X-Amz-Signature=0a failed\u{1b}[31m, password hunter2"),
            "GET https://h/x?[...] failed [31m, password [secret]"
        );
        assert_eq!(redaction.clean("what? https://h/y"), "what? https://h/y");
        assert_eq!(redaction.clean(&"x".repeat(5000)).len(), 2003);
    }

    #[test]
    fn output_is_bounded() {
        let output = Output::new(10);
        output.keep(b"one\ntwo\n");
        output.keep(b"three\n");
        assert_eq!(
            output.take(&Redaction::default()),
            ["one", "two", "th", "(4 more bytes of output were thrown away)"]
        );
        assert!(output.take(&Redaction::default()).is_empty());
    }
}
