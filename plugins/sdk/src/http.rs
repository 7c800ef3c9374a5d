//! One request and its answer, over `wasi:http`. Nothing is repeated here: Obnam does that.
//!
//! Solved in here, so that no plugin meets it: bodies are announced with their length (else they go out in chunks,
//! which object stores refuse), contents that are too long or too short are noticed before the server has all of them,
//! nothing is flushed behind the last byte, streams are dropped before what they are read from, answers are read to
//! their end so that connections are used again, and what a server makes of a range is checked.
//!
//! `doing` is what the plugin is at, in the infinitive, as it stands in messages behind "could not": `read chunk
//! data/00ab from h`.
//!
//! ```no_run
//! use obnam_plugin::http::{Body, Method, Request, send};
//! use obnam_plugin::url::Host;
//! # use obnam_plugin::Error;
//!
//! # fn remove(host: &Host, path: &str) -> Result<(), Error> {
//! let doing = format!("remove {path} from {host}");
//! let request = Request { host, method: Method::Delete, target: path, headers: &[], body: Body::Nothing };
//! let mut answer = send(&request, &doing)?;
//! let text = answer.text(&doing)?;
//! match answer.status {
//!     200 | 204 | 404 => Ok(()),
//!     status => Err(Error::Other(format!("could not {doing}: it answers with status {status}: {text}"))),
//! }
//! # }
//! ```

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use crate::content::beyond;
use crate::content::wrong_length;
use crate::error;
use crate::url::Host;
use crate::wasi::clocks::wall_clock;
use crate::wasi::http::outgoing_handler;
use crate::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method as WasiMethod, OutgoingBody,
    OutgoingRequest, Scheme, http_error_code,
};
use crate::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::{ByteRange, Content, Error};

/// The longest text that is read, in bytes: a listing of 1,000 keys of 1 KiB, and some room.
const LONGEST_TEXT: usize = 8 << 20;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // They are those of HTTP.
pub enum Method {
    Get,
    Head,
    Put,
    Post,
    Delete,
    /// A method that HTTP itself does not define, such as `PROPFIND`.
    Other(&'static str),
}

impl Method {
    /// As it stands in a request.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
            Method::Other(name) => name,
        }
    }
}

/// What is sent.
#[derive(Clone)]
pub enum Body<'a> {
    /// Nothing.
    Nothing,
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// The rest of a stream, which must be `size` bytes. They go from the one to the other outside of the sandbox.
    Stream {
        /// The stream.
        content: &'a InputStream,
        /// How many bytes it yields.
        size: u64,
    },
}

impl<'a> Body<'a> {
    /// The content that `put` was handed as the body of a request. [`Error::Invalid`] when it is another number of
    /// bytes than `size`; of a stream that shows in [`send`].
    pub fn of(content: &'a Content, size: u64, doing: &str) -> Result<Self, Error> {
        match content {
            Content::Stream(stream) => Ok(Body::Stream { content: stream, size }),
            Content::Bytes(bytes) if bytes.len() as u64 == size => Ok(Body::Bytes(bytes)),
            Content::Bytes(bytes) => Err(wrong_length(bytes.len() as u64, size, doing)),
        }
    }
}

/// A request.
pub struct Request<'a> {
    /// Whom to ask.
    pub host: &'a Host,
    /// What is to be done.
    pub method: Method,
    /// Path and query, percent-encoded.
    pub target: &'a str,
    /// Headers, without `host`; without `content-length` too, which follows from the body.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: Body<'a>,
}

/// An answer. The fields are dropped in this order: a stream is a child of its body.
pub struct Answer {
    stream: Option<InputStream>,
    _body: IncomingBody,
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl Answer {
    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A header that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.trim().parse().ok()
    }

    /// The whole body as a text, read to its end, so that the connection can be used again. Bytes that are not UTF-8
    /// become `\u{fffd}`. At most 8 MiB: for answers, not for chunks.
    pub fn text(&mut self, doing: &str) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes(doing)?).into_owned())
    }

    /// The whole body as bytes, likewise.
    pub fn bytes(&mut self, doing: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let Some(stream) = &self.stream else { return Ok(bytes) };
        loop {
            match stream.blocking_read(1 << 20) {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(StreamError::Closed) => return Ok(bytes),
                Err(StreamError::LastOperationFailed(error)) => {
                    let code = http_error_code(&error).unwrap_or(ErrorCode::HttpResponseIncomplete);
                    return Err(error::transport(&code, doing, ""));
                }
            }
            if bytes.len() > LONGEST_TEXT {
                return Err(Error::Other(format!("could not {doing}: the answer is longer than any that is right")));
            }
        }
    }

    /// The body as a stream. The answer has to be kept until that is dropped.
    pub fn take_stream(&mut self) -> Option<InputStream> {
        self.stream.take()
    }
}

/// The answer whose body Obnam reads as the content of a chunk. A stream must not outlive what it is read from, so a
/// plugin keeps one of these in its `Self`, and ends it in [`begin`](crate::Plugin::begin).
#[derive(Default)]
pub struct Reading(RefCell<Option<Answer>>);

impl Reading {
    /// The body of an answer as the content of a chunk. Whether it is the right one, [`is_wanted`] looks at before.
    pub fn hand_over(&self, mut answer: Answer, doing: &str) -> Result<Content, Error> {
        let stream = answer.take_stream();
        *self.0.borrow_mut() = Some(answer);
        stream.map(Content::Stream).ok_or_else(|| Error::Other(format!("could not {doing}: the answer has no body")))
    }

    /// Obnam has done with it.
    pub fn end(&self) {
        self.0.borrow_mut().take();
    }
}

/// The time of this computer.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(wall_clock::now().seconds)
}

/// The time of this computer, in seconds since 1970.
pub fn now_seconds() -> u64 {
    wall_clock::now().seconds
}

/// A time as HTTP writes it, in seconds since 1970.
pub fn date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// A time for people, from seconds since 1970: `Sat, 21 Nov 2026 20:01:00 GMT`.
pub fn time_text(seconds: u64) -> String {
    // The crate knows years up to 9999.
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799)))
}

/// Sends a request and waits for the head of the answer, whatever its status.
///
/// No answer is [`Error::Unavailable`] where it may come later, [`Error::Denied`] where it never will (no grant, a bad
/// certificate), both in words for people; a body of another length than announced is [`Error::Invalid`].
pub fn send(request: &Request, doing: &str) -> Result<Answer, Error> {
    let defect = |what: &str| Error::Other(format!("could not {doing}: {what}"));
    let outgoing = OutgoingRequest::new(fields(request, doing)?);
    let Host { tls, authority } = request.host;
    let scheme = if *tls { Scheme::Https } else { Scheme::Http };
    let method = match request.method {
        Method::Get => WasiMethod::Get,
        Method::Head => WasiMethod::Head,
        Method::Put => WasiMethod::Put,
        Method::Post => WasiMethod::Post,
        Method::Delete => WasiMethod::Delete,
        Method::Other(name) => WasiMethod::Other(name.into()),
    };
    outgoing
        .set_method(&method)
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(request.target)))
        .map_err(|()| defect("the request is not accepted by the sandbox"))?;
    // A body that is taken and left empty would be announced as chunks, and keep the connection from being used again.
    let body = match &request.body {
        Body::Nothing => None,
        _ => Some(outgoing.body().map_err(|()| defect("the request has no body"))?),
    };
    let answer = outgoing_handler::handle(outgoing, None).map_err(|code| error::transport(&code, doing, authority))?;
    let sent = body.map_or(Ok(()), |body| send_body(&request.body, body, doing));
    if let Err(NotSent::Wrong(error)) = sent {
        return Err(error);
    }
    let response = wait(&answer, doing).and_then(|answer| {
        let answer = answer.map_err(|code| error::transport(&code, doing, authority));
        answer.and_then(|response| received(&response, request.method, doing))
    });
    match (response, sent) {
        // A server may refuse before it has read everything.
        (Ok(answer), _) => Ok(answer),
        (Err(_), Err(NotSent::Broken(code))) => Err(error::transport(&code, doing, authority)),
        (Err(error), _) => Err(error),
    }
}

/// All headers.
fn fields(request: &Request, doing: &str) -> Result<Fields, Error> {
    let length = match &request.body {
        // A POST without a length would be announced as chunks.
        Body::Nothing if matches!(request.method, Method::Put | Method::Post) => Some(0),
        Body::Nothing => None,
        Body::Bytes(bytes) => Some(bytes.len() as u64),
        Body::Stream { size, .. } => Some(*size),
    };
    let length = length.map(|length| length.to_string());
    let length = length.as_deref().map(|length| ("content-length", length));
    let all = request.headers.iter().copied().chain(length);
    let all: Vec<_> = all.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
    let wrong = |why| Error::Other(format!("could not {doing}: the request has a header that is none: {why:?}"));
    Fields::from_list(&all).map_err(wrong)
}

/// Why a body was not sent.
enum NotSent {
    /// The contents are not what was announced.
    Wrong(Error),
    /// The connection does not take it.
    Broken(ErrorCode),
}

impl From<StreamError> for NotSent {
    fn from(error: StreamError) -> Self {
        let code = match &error {
            StreamError::Closed => None,
            StreamError::LastOperationFailed(error) => http_error_code(error),
        };
        NotSent::Broken(code.unwrap_or(ErrorCode::ConnectionTerminated))
    }
}

fn send_body(body: &Body, outgoing: OutgoingBody, doing: &str) -> Result<(), NotSent> {
    let broken = |()| NotSent::Broken(ErrorCode::ConnectionTerminated);
    match body {
        Body::Nothing => {}
        Body::Bytes(bytes) => write(&outgoing.write().map_err(broken)?, bytes)?,
        Body::Stream { content, size, .. } => {
            splice(&outgoing.write().map_err(broken)?, content, *size, doing)?;
        }
    }
    OutgoingBody::finish(outgoing, None).map_err(NotSent::Broken)
}

/// Moves exactly `size` bytes; the last one only when the content ends behind it, so that contents that are too long
/// are never stored.
fn splice(output: &OutputStream, content: &InputStream, size: u64, doing: &str) -> Result<(), NotSent> {
    let wrong = |message: String| Err(NotSent::Wrong(Error::Invalid(format!("could not {doing}: {message}"))));
    let mut moved = 0;
    while moved + 1 < size {
        match output.blocking_splice(content, size - 1 - moved) {
            Ok(more) => moved += more,
            // It does not say which of the two streams has ended.
            Err(StreamError::Closed) => match content.blocking_read(1) {
                Err(StreamError::Closed) => {
                    return Err(NotSent::Wrong(wrong_length(moved, size, doing)));
                }
                _ => return Err(NotSent::Broken(ErrorCode::ConnectionTerminated)),
            },
            Err(error) => return Err(error.into()),
        }
    }
    let mut last = Vec::new();
    loop {
        match content.blocking_read(2) {
            Ok(piece) => last.extend_from_slice(&piece),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
        if last.len() > 1 {
            break;
        }
    }
    let rest = size - moved;
    if last.len() as u64 != rest {
        let more = if last.len() as u64 > rest { "more than" } else { "less than" };
        return wrong(format!("there are {more} {size} bytes of content"));
    }
    Ok(write(output, &last)?)
}

/// Writes without a flush at the end: with the last byte the stream is closed.
fn write(output: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = output.check_write()?;
        if room == 0 {
            output.subscribe().block();
            continue;
        }
        let piece = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        output.write(&rest[..piece])?;
        rest = &rest[piece..];
    }
    Ok(())
}

fn wait(future: &FutureIncomingResponse, doing: &str) -> Result<Result<IncomingResponse, ErrorCode>, Error> {
    loop {
        match future.get() {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(())) => return Err(Error::Other(format!("could not {doing}: the answer was taken already"))),
            None => future.subscribe().block(),
        }
    }
}

fn received(response: &IncomingResponse, method: Method, doing: &str) -> Result<Answer, Error> {
    let defect = || Error::Other(format!("could not {doing}: the answer has no body"));
    let headers = response.headers().entries().into_iter();
    let headers = headers.map(|(name, value)| (name.to_lowercase(), String::from_utf8_lossy(&value).into_owned()));
    let headers = headers.collect();
    let status = response.status();
    let body = response.consume().map_err(|()| defect())?;
    let stream = if method == Method::Head { None } else { Some(body.stream().map_err(|()| defect())?) };
    Ok(Answer { stream, _body: body, status, headers })
}

/// The value of the header `range`; `None` where its length is 0, which HTTP cannot say (see
/// [`content::end`](crate::content::end) for those), or its end is beyond all numbers.
pub fn range_header(range: ByteRange) -> Option<String> {
    let last = range.offset.checked_add(range.length.checked_sub(1)?)?;
    Some(format!("bytes={}-{last}", range.offset))
}

/// Whether the answer to a GET is what was asked for: everything, or exactly the range. [`Error::Invalid`] for a range
/// beyond the end, [`Error::Unsupported`] where the server cannot read parts. Other answers than 200, 206 and 416 are
/// for the caller to explain: `false`.
pub fn is_wanted(answer: &mut Answer, range: Option<ByteRange>, doing: &str) -> Result<bool, Error> {
    let length = answer.number("content-length");
    match (answer.status, range) {
        (200, None) => Ok(true),
        (206, Some(range)) => check_part(answer, range, doing).map(|()| true),
        // A server that does not know ranges: good enough where the range is at the beginning.
        (200, Some(ByteRange { offset: 0, length: wanted })) if length >= Some(wanted) => Ok(true),
        (200, Some(range)) => match length {
            Some(size) if size < range.offset.saturating_add(range.length) => Err(beyond(doing, range, Some(size))),
            _ => Err(Error::Unsupported(format!("could not {doing}: the store cannot read parts of objects"))),
        },
        (416, Some(range)) => {
            answer.text(doing)?;
            Err(beyond(doing, range, None))
        }
        _ => Ok(false),
    }
}

/// Checks that a partial answer is the part that was asked for: S3 cuts off ranges that are too long.
fn check_part(answer: &Answer, range: ByteRange, doing: &str) -> Result<(), Error> {
    let said = answer.header("content-range").unwrap_or_default();
    let parsed = said.strip_prefix("bytes ").and_then(|said| {
        let (span, size) = said.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        Some((first, last.checked_sub(first)?, size.parse::<u64>().ok()))
    });
    match parsed {
        Some((first, rest, _)) if first == range.offset && rest.checked_add(1) == Some(range.length) => Ok(()),
        Some((first, _, size)) if first == range.offset => Err(beyond(doing, range, size)),
        _ => Err(error::unavailable(
            format!("could not {doing}: the store answers with another part than was asked for ({said:?})"),
            None,
        )),
    }
}
