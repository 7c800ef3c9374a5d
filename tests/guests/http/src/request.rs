//! Requests, in the plainest words that WASI 0.2 has for them.

use crate::wasi::http::outgoing_handler;
use crate::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use crate::wasi::io::streams::{InputStream, StreamError};

/// A request that is not sent yet.
pub struct Request {
    /// The URL. `SCHEME:/PATH` has no authority.
    pub url: String,
    /// Fields.
    pub headers: Vec<(String, String)>,
    /// Every timeout that there is.
    pub timeout_ms: Option<u64>,
}

/// An answer. What is dropped first is declared first.
pub struct Response {
    body: IncomingBody,
    response: IncomingResponse,
}

impl Request {
    fn make(&self, method: &Method) -> Result<OutgoingRequest, ErrorCode> {
        let fields = Fields::new();
        for (name, value) in &self.headers {
            fields.append(name, value.as_bytes()).map_err(|_| ErrorCode::ConfigurationError)?;
        }
        let request = OutgoingRequest::new(fields);
        let (scheme, rest) = self.url.split_once(':').unwrap_or_default();
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        let authority = (!authority.is_empty()).then_some(authority);
        let set = request.set_method(method).is_ok()
            && request.set_scheme(Some(&scheme)).is_ok()
            && request.set_authority(authority).is_ok()
            && request.set_path_with_query(Some(path)).is_ok();
        if set { Ok(request) } else { Err(ErrorCode::HttpRequestUriInvalid) }
    }

    fn options(&self) -> Option<RequestOptions> {
        let nanos = self.timeout_ms? * 1_000_000;
        let options = RequestOptions::new();
        let _ = options.set_connect_timeout(Some(nanos));
        let _ = options.set_first_byte_timeout(Some(nanos));
        let _ = options.set_between_bytes_timeout(Some(nanos));
        Some(options)
    }

    /// Sends it and does not wait.
    pub fn begin(&self, request: Option<OutgoingRequest>) -> Result<FutureIncomingResponse, ErrorCode> {
        let request = request.map_or_else(|| self.make(&Method::Get), Ok)?;
        outgoing_handler::handle(request, self.options())
    }

    /// Sends it without a body.
    pub fn get(&self) -> Result<Response, ErrorCode> {
        Response::wait(self.begin(None)?)
    }

    /// Asks for the head only.
    pub fn head(&self) -> Result<Response, ErrorCode> {
        Response::wait(self.begin(Some(self.make(&Method::Head)?))?)
    }

    /// Sends it with the bytes of a stream, which stay in the host.
    pub fn put(&self, content: InputStream) -> Result<Response, ErrorCode> {
        let request = self.make(&Method::Put)?;
        let body = request.body().map_err(|()| ErrorCode::ConfigurationError)?;
        let answer = self.begin(Some(request))?;
        let sink = body.write().map_err(|()| ErrorCode::ConfigurationError)?;
        loop {
            match sink.blocking_splice(&content, 1 << 20) {
                Ok(_) => {}
                Err(StreamError::Closed) => break,
                // The answer says more.
                Err(StreamError::LastOperationFailed(_)) => break,
            }
        }
        drop(sink);
        let finished = OutgoingBody::finish(body, None);
        let response = Response::wait(answer)?;
        finished.map(|()| response)
    }
}

impl Response {
    fn wait(answer: FutureIncomingResponse) -> Result<Self, ErrorCode> {
        answer.subscribe().block();
        let response = match answer.get() {
            Some(Ok(response)) => response?,
            _ => return Err(ErrorCode::InternalError(Some("no answer".into()))),
        };
        let body = response.consume().map_err(|()| ErrorCode::InternalError(Some("no body".into())))?;
        Ok(Response { body, response })
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.response.status()
    }

    /// A field of the head.
    pub fn header(&self, name: &str) -> Option<String> {
        self.response.headers().get(name).pop().and_then(|value| String::from_utf8(value).ok())
    }

    /// The body; may be asked for once.
    pub fn stream(&self) -> InputStream {
        self.body.stream().expect("the body was not taken before")
    }

    /// Reads the body and tells how that ended.
    pub fn read(&self) -> String {
        let stream = self.stream();
        let mut count = 0;
        loop {
            match stream.blocking_read(1 << 20) {
                Ok(bytes) => count += bytes.len(),
                Err(StreamError::Closed) => return format!("{count} bytes"),
                Err(StreamError::LastOperationFailed(error)) => {
                    return format!("{count} bytes, then {}", error.to_debug_string());
                }
            }
        }
    }
}
