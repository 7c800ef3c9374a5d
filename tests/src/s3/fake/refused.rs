//! What S3 answers when it refuses a request: a status and an XML document with a code.

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The code, `NoSuchKey`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// More elements of the document.
    pub details: Vec<(&'static str, String)>,
    /// More headers of the answer.
    pub headers: Vec<(&'static str, String)>,
}

impl Refused {
    /// A refusal without details.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        let (details, headers) = (Vec::new(), Vec::new());
        Refused { status, code: code.to_owned(), message: message.into(), details, headers }
    }

    /// With another element.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// With another header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The document.
    pub fn document(&self, resource: &str) -> String {
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>",
            escape(&self.code),
            escape(&self.message)
        );
        for (name, value) in &self.details {
            text += &format!("<{name}>{}</{name}>", escape(value));
        }
        text + &format!("<Resource>{}</Resource><RequestId>FAKE</RequestId></Error>", escape(resource))
    }

    /// The answer.
    pub fn answer(&self, resource: &str) -> Response<Full<Bytes>> {
        let mut answer = Response::builder().status(self.status).header("content-type", "application/xml");
        for (name, value) in &self.headers {
            answer = answer.header(*name, value);
        }
        answer.body(Full::new(Bytes::from(self.document(resource)))).unwrap()
    }
}

/// `AccessDenied`, as S3 words it.
pub fn denied() -> Refused {
    Refused::new(403, "AccessDenied", "Access Denied")
}

/// Text as it may stand in XML.
pub fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // What XML cannot hold at all; S3 therefore offers `encoding-type=url`.
    text.chars().map(|c| if c < ' ' && !"\t\n\r".contains(c) { '\u{fffd}' } else { c }).collect()
}
