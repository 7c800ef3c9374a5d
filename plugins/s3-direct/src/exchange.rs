//! One request and its answer, over `wasi:http`. Nothing is repeated here: Obnam does that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Error;
use crate::failures;
use crate::location;
use crate::settings::Settings;
use crate::signing::{self, Payload, Unsigned};
use crate::wasi::clocks::wall_clock;
use crate::wasi::http::outgoing_handler;
use crate::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    Scheme, http_error_code,
};
use crate::wasi::io::streams::{InputStream, OutputStream, StreamError};

/// The longest text that is read: a listing of 1,000 keys of 1 KiB, and some room.
const LONGEST_TEXT: usize = 8 << 20;

/// What is sent.
pub enum Body<'a> {
    /// Nothing.
    Nothing,
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// The rest of a stream, which must be `size` bytes with this SHA-256 (in hexadecimal).
    Stream { content: &'a InputStream, size: u64, sha256: &'a str },
}

/// A request.
pub struct Request<'a> {
    /// The right that it takes, as policies of AWS name it: `s3:GetObject`.
    pub action: &'static str,
    /// GET, HEAD, PUT or DELETE.
    pub method: Method,
    /// The key below the prefix; none for the bucket itself.
    pub key: Option<&'a str>,
    /// The query.
    pub query: &'a [(&'a str, &'a str)],
    /// Headers beside those of length and signature.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body<'a>,
}

impl<'a> Request<'a> {
    /// A request without a body.
    pub fn new(action: &'static str, method: Method, key: Option<&'a str>) -> Self {
        Request { action, method, key, query: &[], headers: Vec::new(), body: Body::Nothing }
    }
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

    /// The body as a text, read to its end, so that the connection can be used again.
    pub fn text(&mut self, doing: &str) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes(doing)?).into_owned())
    }

    /// The body as bytes.
    pub fn bytes(&mut self, doing: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let Some(stream) = &self.stream else { return Ok(bytes) };
        loop {
            match stream.blocking_read(1 << 20) {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(StreamError::Closed) => return Ok(bytes),
                Err(StreamError::LastOperationFailed(error)) => {
                    let code = http_error_code(&error).unwrap_or(ErrorCode::HttpResponseIncomplete);
                    return Err(failures::transport(&code, doing, ""));
                }
            }
            if bytes.len() > LONGEST_TEXT {
                return Err(Error::Other(format!("could not {doing}: the store answers with more than it was asked")));
            }
        }
    }

    /// The body as a stream. The answer has to be kept until that is dropped.
    pub fn take_stream(&mut self) -> Option<InputStream> {
        self.stream.take()
    }
}

/// The time of this computer.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(wall_clock::now().seconds)
}

/// Sends a request and waits for the head of the answer, whatever its status. `doing` says what for.
pub fn send(settings: &Settings, request: &Request, doing: &str) -> Result<Answer, Error> {
    let (head, method) = head(settings, request, doing)?;
    let defect = |what: &str| Error::Other(format!("could not {doing}: {what}"));
    let outgoing = OutgoingRequest::new(head);
    let scheme = if settings.place.tls { Scheme::Https } else { Scheme::Http };
    let path = target(settings, request);
    outgoing
        .set_method(&method)
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(&settings.place.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&path)))
        .map_err(|()| defect("the request is not accepted by the sandbox"))?;
    // A body that is taken and left empty would be announced as chunks, and keep the connection from being used again.
    let body = match &request.body {
        Body::Nothing => None,
        _ => Some(outgoing.body().map_err(|()| defect("the request has no body"))?),
    };
    let authority = &settings.place.authority;
    let answer =
        outgoing_handler::handle(outgoing, None).map_err(|code| failures::transport(&code, doing, authority))?;
    let sent = body.map_or(Ok(()), |body| send_body(&request.body, body, doing));
    if let Err(NotSent::Wrong(error)) = sent {
        return Err(error);
    }
    let response = wait(&answer, doing).and_then(|answer| {
        let answer = answer.map_err(|code| failures::transport(&code, doing, authority));
        answer.and_then(|response| received(&response, &method, doing))
    });
    match (response, sent) {
        // A store may refuse before it has read everything.
        (Ok(answer), _) => Ok(answer),
        (Err(_), Err(NotSent::Broken(code))) => Err(failures::transport(&code, doing, authority)),
        (Err(error), _) => Err(error),
    }
}

/// The path and query of a request, as they are signed and sent.
fn target(settings: &Settings, request: &Request) -> String {
    let path = settings.place.path(request.key);
    match location::query(request.query) {
        query if query.is_empty() => path,
        query => format!("{path}?{query}"),
    }
}

/// All headers, and the method.
fn head(settings: &Settings, request: &Request, doing: &str) -> Result<(Fields, Method), Error> {
    let defect = |what: String| Error::Other(format!("could not {doing}: the request cannot be signed: {what}"));
    let mut headers = request.headers.clone();
    let (payload, length) = match &request.body {
        Body::Nothing => (Payload::Bytes(b""), None),
        Body::Bytes(bytes) => (Payload::Bytes(bytes), Some(bytes.len() as u64)),
        Body::Stream { size, sha256, .. } => (Payload::Sha256(sha256), Some(*size)),
    };
    headers.extend(length.map(|length| ("content-length", length.to_string())));
    let (name, method) = match request.method {
        Method::Head => ("HEAD", Method::Head),
        Method::Put => ("PUT", Method::Put),
        Method::Delete => ("DELETE", Method::Delete),
        _ => ("GET", Method::Get),
    };
    let path = settings.place.path(request.key);
    let query = location::query(request.query);
    let unsigned = Unsigned { method: name, path: &path, query: &query, headers: &headers, payload };
    let signature = signing::headers(&unsigned, settings, now()).map_err(defect)?;
    let fields = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let fields = fields.chain(signature.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let fields: Vec<_> = fields.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
    let fields = Fields::from_list(&fields).map_err(|error| defect(format!("{error:?}")))?;
    Ok((fields, method))
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

/// Moves exactly `size` bytes; the last one only when the content ends behind it, so that contents that are too long are
/// never stored.
fn splice(output: &OutputStream, content: &InputStream, size: u64, doing: &str) -> Result<(), NotSent> {
    let wrong = |message: String| Err(NotSent::Wrong(Error::Invalid(format!("could not {doing}: {message}"))));
    let mut moved = 0;
    while moved + 1 < size {
        match output.blocking_splice(content, size - 1 - moved) {
            Ok(more) => moved += more,
            // It does not say which of the two streams has ended.
            Err(StreamError::Closed) => match content.blocking_read(1) {
                Err(StreamError::Closed) => {
                    return wrong(format!("there are {moved} bytes of content instead of {size}"));
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

fn received(response: &IncomingResponse, method: &Method, doing: &str) -> Result<Answer, Error> {
    let defect = || Error::Other(format!("could not {doing}: the answer has no body"));
    let headers = response.headers().entries().into_iter();
    let headers = headers.map(|(name, value)| (name.to_lowercase(), String::from_utf8_lossy(&value).into_owned()));
    let headers = headers.collect();
    let status = response.status();
    let body = response.consume().map_err(|()| defect())?;
    let stream = if matches!(method, Method::Head) { None } else { Some(body.stream().map_err(|()| defect())?) };
    Ok(Answer { stream, _body: body, status, headers })
}
