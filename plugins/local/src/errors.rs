//! From error codes of the file system to the errors of the contract, in words.

use crate::Error;
use obnam_plugin::error::unavailable;
use obnam_plugin::wasi::filesystem::types::{ErrorCode, filesystem_error_code};
use obnam_plugin::wasi::io::streams::StreamError;

/// The error of an operation on files: `doing` says what could not be done, "write chunk 00ab.. to /srv/backup".
pub fn explain(code: ErrorCode, doing: &str) -> Error {
    match code {
        ErrorCode::NoEntry => Error::NotFound(format!("could not {doing}: there is no such file or directory")),
        ErrorCode::Access => {
            Error::Denied(format!("could not {doing}: permission denied; look at the owner and mode of the directory"))
        }
        ErrorCode::NotPermitted | ErrorCode::ReadOnly => Error::Denied(format!(
            "could not {doing}: not permitted; the file system is mounted read-only, or files are marked immutable"
        )),
        ErrorCode::InsufficientSpace => {
            Error::Quota(format!("could not {doing}: the disk is full; free some space on it"))
        }
        ErrorCode::Quota => Error::Quota(format!("could not {doing}: the disk quota is used up")),
        ErrorCode::FileTooLarge => {
            Error::Quota(format!("could not {doing}: the file system or a limit (ulimit -f) allows no file this large"))
        }
        ErrorCode::Busy | ErrorCode::Interrupted | ErrorCode::WouldBlock => {
            unavailable(format!("could not {doing}: the file system is busy ({code:?})"), None)
        }
        ErrorCode::Io => Error::Other(format!(
            "could not {doing}: input/output error; the disk may be failing or gone, look at the system log"
        )),
        other => Error::Other(format!("could not {doing}: the file system answered {:?}", other)),
    }
}

/// The error of a stream that reads or writes a file.
pub fn explain_stream(error: StreamError, doing: &str) -> Error {
    let StreamError::LastOperationFailed(error) = error else {
        return Error::Other(format!("could not {doing}: the stream was closed"));
    };
    let details = error.to_debug_string();
    match filesystem_error_code(&error) {
        // The host knows no code for a used-up quota (EDQUOT); its text tells.
        Some(ErrorCode::Io) | None if details.contains("QuotaExceeded") => explain(ErrorCode::Quota, doing),
        Some(code) => explain(code, doing),
        None => Error::Other(format!("could not {doing}: {details}")),
    }
}
