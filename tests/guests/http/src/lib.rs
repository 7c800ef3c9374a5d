//! A storage plugin for tests: keeps each chunk on a web server, at `LOCATION/LABEL/ID`, and does odd things with
//! HTTP as its option `do` says.

mod request;

use std::cell::RefCell;

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package obnam:web;
        world web {
            include obnam:chunk-store/plugin@0.1.0;
            import wasi:http/outgoing-handler@0.2.12;
        }
    ",
    world: "obnam:web/web",
    generate_all,
});

use exports::obnam::chunk_store::chunk_store::{
    Bodies, ByteRange, ChunkInfo, Content, Description, Error, Finding, Grants, Guest, GuestStore, OptionHelp, Page,
    PutOutcome, RemoveOutcome, Severity, Store, UnavailableError,
};
use request::{Request, Response};
use wasi::http::types::ErrorCode;

struct Web;

/// A place on a web server.
struct Server {
    options: Vec<(String, String)>,
    base: String,
    /// The answer that the last `get` handed out a stream of.
    open: RefCell<Option<Response>>,
}

fn option(options: &[(String, String)], name: &str) -> String {
    let value = options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_default();
    value.trim_start_matches('!').to_owned()
}

/// `scheme://host:port` of a URL.
fn origin(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find('/').map_or(url, |end| &url[..start + end]).to_owned()
}

impl Guest for Web {
    type Store = Server;

    fn describe() -> Description {
        let help = |name: &str| OptionHelp {
            name: name.into(),
            help: "See the source.".into(),
            required: false,
            secret: false,
            environment: None,
        };
        Description {
            name: "web".into(),
            version: "0".into(),
            summary: "Keeps chunks on a web server.".into(),
            schemes: vec!["http".into(), "https".into(), "web".into()],
            options: ["do", "wish", "target", "timeout-ms"].map(help).into(),
            bodies: Bodies::Stream,
        }
    }

    fn plan(location: String, options: Vec<(String, String)>) -> Result<Grants, Error> {
        let wish = option(&options, "wish");
        let url = location.strip_prefix("web:").unwrap_or(&location);
        let origins = vec![if wish.is_empty() { origin(url) } else { wish }];
        Ok(Grants { directories: Vec::new(), origins })
    }
}

/// What an error of HTTP means here.
fn failed(code: ErrorCode) -> Error {
    let message = format!("{code:?}");
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Error::Denied(message),
        ErrorCode::TlsCertificateError | ErrorCode::HttpResponseBodySize(_) => Error::Other(message),
        _ => Error::Unavailable(UnavailableError { message, delay_ms: None }),
    }
}

fn unexpected(status: u16) -> Error {
    match status {
        404 => Error::NotFound("no such chunk".into()),
        500.. => Error::Unavailable(UnavailableError { message: format!("status {status}"), delay_ms: None }),
        _ => Error::Other(format!("status {status}")),
    }
}

impl Server {
    fn new(location: &str, options: Vec<(String, String)>) -> Self {
        let base = location.strip_prefix("web:").unwrap_or(location).trim_end_matches('/').to_owned();
        Server { options, base, open: RefCell::default() }
    }

    fn request(&self, path: &str) -> Request {
        let timeout = option(&self.options, "timeout-ms").parse().ok();
        Request { url: format!("{}{path}", self.base), headers: Vec::new(), timeout_ms: timeout }
    }

    /// What the option `do` asks for before a chunk is read.
    fn be_odd(&self, path: &str) -> Result<(), Error> {
        match option(&self.options, "do").as_str() {
            // Answers that are dropped before they were read, or half-way.
            "abandon" => {
                drop(self.request(path).get().map_err(failed)?);
                let response = self.request(path).get().map_err(failed)?;
                let _ = response.stream().blocking_read(100);
            }
            // Answers, and requests without an answer, whose handles are never dropped.
            "forget" => {
                std::mem::forget(self.request(path).get().map_err(failed)?);
                let response = self.request(path).get().map_err(failed)?;
                let stream = response.stream();
                let _ = stream.blocking_read(100);
                std::mem::forget((response, stream));
                std::mem::forget(self.request(path).begin(None).map_err(failed)?);
            }
            "elsewhere" => {
                let mut request = self.request(path);
                request.url = option(&self.options, "target");
                request.get().map_err(failed)?;
            }
            // More answers at the same time than there may be.
            "hoard" => {
                let mut hoard = Vec::new();
                for _ in 0..64 {
                    hoard.push(self.request(path).get().map_err(failed)?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl GuestStore for Server {
    fn init(location: String, options: Vec<(String, String)>) -> Result<Store, Error> {
        Ok(Store::new(Server::new(&location, options)))
    }

    fn open(location: String, options: Vec<(String, String)>) -> Result<Store, Error> {
        Ok(Store::new(Server::new(&location, options)))
    }

    fn put(&self, label: String, id: String, size: u64, content: Content) -> Result<PutOutcome, Error> {
        let Content::Stream(stream) = content else { return Err(Error::Other("not a stream".into())) };
        let mut request = self.request(&format!("/{label}/{id}"));
        request.headers.push(("content-length".into(), size.to_string()));
        let response = request.put(stream).map_err(failed)?;
        match response.status() {
            200..300 => Ok(PutOutcome::Stored),
            status => Err(unexpected(status)),
        }
    }

    fn get(&self, label: String, id: String, range: Option<ByteRange>) -> Result<Content, Error> {
        self.open.take();
        let path = format!("/{label}/{id}");
        self.be_odd(&path)?;
        let mut request = self.request(&path);
        // Servers that know no ranges send all of it; a range from the start is then right.
        if let Some(range) = range {
            let last = (range.offset + range.length).saturating_sub(1);
            request.headers.push(("range".into(), format!("bytes={}-{last}", range.offset)));
        }
        let response = request.get().map_err(failed)?;
        if !(200..300).contains(&response.status()) {
            return Err(unexpected(response.status()));
        }
        let stream = response.stream();
        self.open.replace(Some(response));
        Ok(Content::Stream(stream))
    }

    fn stat(&self, label: String, id: String) -> Result<ChunkInfo, Error> {
        let response = self.request(&format!("/{label}/{id}")).head().map_err(failed)?;
        let size = response.header("content-length").and_then(|size| size.parse().ok());
        match (response.status(), size) {
            (200, Some(size)) => Ok(ChunkInfo { label, id, size, stored: None }),
            (200, None) => Err(Error::Other("no length".into())),
            (status, _) => Err(unexpected(status)),
        }
    }

    fn list(&self, _: String, _: Option<String>, _: u32) -> Result<Page, Error> {
        Err(Error::Unsupported("it lists nothing".into()))
    }

    fn remove(&self, _: String, _: String) -> Result<RemoveOutcome, Error> {
        Err(Error::Unsupported("it removes nothing".into()))
    }

    /// Reads what the option `target` names, and tells what came of it.
    fn check(&self) -> Result<Vec<Finding>, Error> {
        let mut request = self.request("");
        request.url = option(&self.options, "target");
        let message = match request.get() {
            Ok(response) => format!("status {}, then {}", response.status(), response.read()),
            Err(code) => format!("{code:?}"),
        };
        Ok(vec![Finding { severity: Severity::Info, code: "target".into(), message }])
    }
}

export!(Web);
