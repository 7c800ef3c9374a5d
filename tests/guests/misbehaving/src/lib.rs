//! A storage plugin for tests: keeps chunks in memory, and misbehaves as its option `do` says.
//!
//! It counts its calls of `put` and `get` in files of the granted directory, so that tests can see how often a call was
//! repeated, whichever instance it came to.

mod attack;
mod escape;
mod web;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package obnam:misbehaving;
        world misbehaving {
            include obnam:chunk-store/plugin@0.1.0;
            import wasi:filesystem/preopens@0.2.12;
            import wasi:filesystem/types@0.2.12;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:http/outgoing-handler@0.2.12;
            import wasi:random/random@0.2.12;
            import wasi:random/insecure@0.2.12;
        }
    ",
    world: "obnam:misbehaving/misbehaving",
    generate_all,
});

use exports::obnam::chunk_store::chunk_store::{
    Bodies, ByteRange, ChunkInfo, Content, Description, DirectoryWish, Error, Finding, Grants, Guest, GuestStore,
    OptionHelp, Page, PutOutcome, RemoveOutcome, Severity, Store, UnavailableError,
};
use wasi::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};

struct Misbehaving;

/// More than anybody takes in one answer.
const HUGE: usize = 1_000_000;

/// Chunks in memory, and what to do wrong.
struct Memory {
    manner: String,
    directory: String,
    chunks: RefCell<BTreeMap<(String, String), Vec<u8>>>,
    puts: Cell<u32>,
}

fn option(options: &[(String, String)], name: &str) -> String {
    options.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

impl Guest for Misbehaving {
    type Store = Memory;

    fn describe() -> Description {
        attack::at_describe();
        let help = |name: &str, secret: bool| OptionHelp {
            name: name.into(),
            help: "See the source.".into(),
            required: !secret,
            secret,
            environment: None,
        };
        Description {
            name: "misbehaving".into(),
            version: "0".into(),
            summary: "Misbehaves.".into(),
            schemes: vec!["file".into(), "odd".into()],
            options: vec![help("do", false), help("password", true)],
            bodies: Bodies::Stream,
        }
    }

    fn plan(location: String, options: Vec<(String, String)>) -> Result<Grants, Error> {
        attack::at("plan", &option(&options, "do"));
        let mut grants = Grants { directories: Vec::new(), origins: Vec::new() };
        let path = match option(&options, "do").as_str() {
            "wish-etc" => "/etc".into(),
            "wish-link" => format!("{location}/link"),
            "wish-parent" => format!("{location}/.."),
            "plan:huge" => {
                grants.origins = vec!["https://example.org".into(); HUGE];
                return Ok(grants);
            }
            "wish-host" => {
                grants.origins.push("https://example.org".into());
                return Ok(grants);
            }
            manner if manner.starts_with("wish:") => manner["wish:".len()..].to_owned(),
            "plan-loops" => loop {},
            "plan-looks" => {
                let seen = wasi::filesystem::preopens::get_directories().len() + std::env::vars().count();
                let readable = fs::read_dir("/").is_ok() || fs::read("/etc/passwd").is_ok();
                return Err(Error::Invalid(format!("plan sees {seen} things, reads: {readable}")));
            }
            _ => location,
        };
        grants.directories.push(DirectoryWish { path, read_only: false });
        Ok(grants)
    }
}

impl Memory {
    fn new(location: String, options: &[(String, String)]) -> Self {
        Memory { manner: option(options, "do"), directory: location, chunks: RefCell::default(), puts: Cell::new(0) }
    }

    /// Appends a byte to a file of the granted directory, and tells how many there are.
    fn count(&self, what: &str) -> usize {
        let path = format!("{}/{what}", self.directory);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(b".")).expect("counting");
        fs::read(&path).map_or(0, |bytes| bytes.len())
    }

    /// The granted directory as a descriptor.
    fn granted(&self) -> Descriptor {
        let directories = wasi::filesystem::preopens::get_directories();
        directories.into_iter().find(|(_, name)| *name == self.directory).expect("a granted directory").0
    }

    /// The bytes of a chunk or range, cut out in memory.
    fn bytes(&self, label: String, id: String, range: Option<ByteRange>) -> Result<Vec<u8>, Error> {
        let chunks = self.chunks.borrow();
        let bytes = chunks.get(&(label, id)).ok_or_else(|| Error::NotFound("no such chunk".into()))?;
        let Some(ByteRange { offset, length }) = range else { return Ok(bytes.clone()) };
        let end = (offset + length) as usize;
        bytes.get(offset as usize..end).map(<[u8]>::to_vec).ok_or_else(|| Error::Invalid("beyond the end".into()))
    }
}

fn unavailable(message: &str, delay_ms: Option<u32>) -> Error {
    Error::Unavailable(UnavailableError { message: message.into(), delay_ms })
}

fn read_all(content: Content) -> Vec<u8> {
    match content {
        Content::Bytes(bytes) => bytes,
        Content::Stream(stream) => {
            let mut all = Vec::new();
            while let Ok(piece) = stream.blocking_read(1 << 20) {
                all.extend(piece);
            }
            all
        }
    }
}

impl GuestStore for Memory {
    fn init(location: String, options: Vec<(String, String)>) -> Result<Store, Error> {
        attack::at("init", &option(&options, "do"));
        Ok(Store::new(Memory::new(location, &options)))
    }

    fn open(location: String, options: Vec<(String, String)>) -> Result<Store, Error> {
        attack::at("open", &option(&options, "do"));
        if option(&options, "do") == "leak" {
            let password = option(&options, "password");
            return Err(Error::Denied(format!("\u{1b}[31mlogin of {password} at https://h/p?sig={password} failed")));
        }
        Ok(Store::new(Memory::new(location, &options)))
    }

    fn put(&self, label: String, id: String, size: u64, content: Content) -> Result<PutOutcome, Error> {
        let times = self.count("puts");
        self.puts.set(self.puts.get() + 1);
        attack::at("put", &self.manner);
        match self.manner.as_str() {
            "loop" => loop {},
            "eat" => {
                let mut eaten: Vec<Vec<u8>> = Vec::new();
                loop {
                    eaten.push(vec![1; 1 << 20]);
                }
            }
            "trap" => panic!("deliberate, at https://host/path?signature=1234"),
            "trap-once" if times == 1 => panic!("deliberate, once"),
            "exit" => std::process::exit(3),
            "sleep" => wasi::clocks::monotonic_clock::subscribe_duration(3_600_000_000_000).block(),
            "stall-half-way" => {
                let Content::Stream(stream) = &content else { panic!("contents come as a stream") };
                assert!(!stream.blocking_read(size / 2).unwrap().is_empty());
                wasi::clocks::monotonic_clock::subscribe_duration(3_600_000_000_000).block();
            }
            "sleep-long-in-pieces" => loop {
                wasi::clocks::monotonic_clock::subscribe_duration(1_000_000).block();
            },
            "hang-in-the-host" => {
                // Opening a FIFO for reading waits for a writer.
                let _ = self.granted().open_at(PathFlags::empty(), "fifo", OpenFlags::empty(), DescriptorFlags::READ);
            }
            "unavailable-twice" if self.puts.get() <= 2 => return Err(unavailable("come back later", Some(20))),
            "unavailable" => return Err(unavailable("closed for ever", None)),
            "denied" => return Err(Error::Denied("the key is not good for this".into())),
            "flood" => {
                for line in 0..20_000 {
                    println!("{line} {}", "x".repeat(1000));
                }
            }
            "unread" => return Ok(PutOutcome::Stored),
            "escape" => return Err(Error::Other(escape::attempt(&self.granted()))),
            "http" => return Err(Error::Other(web::attempt())),
            "sockets" => {
                let connected = std::net::TcpStream::connect("127.0.0.1:22").is_ok();
                let looked_up = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 80)).is_ok();
                return Err(Error::Other(format!("connected: {connected}, looked up: {looked_up}")));
            }
            "put:long-error" => return Err(Error::Other("x".repeat(32 << 20))),
            "put:surroundings" => {
                let (arguments, variables) = (std::env::args().count(), std::env::vars().count());
                let mut input = Vec::new();
                let read = std::io::Read::read_to_end(&mut std::io::stdin(), &mut input);
                let read = read.map_or_else(|error| error.kind().to_string(), |count| format!("{count} bytes"));
                return Err(Error::Other(format!("{arguments} arguments, {variables} variables, input: {read}")));
            }
            "put:random" => {
                let mut total = 0_u64;
                loop {
                    total += wasi::random::random::get_random_bytes(1 << 20).len() as u64;
                    wasi::random::insecure::get_insecure_random_u64();
                    assert!(total < 1 << 32, "random bytes without end");
                }
            }
            "put:much-random" => drop(wasi::random::random::get_random_bytes(256 << 20)),
            "handles" => {
                let granted = self.granted();
                let open = || granted.open_at(PathFlags::empty(), ".", OpenFlags::DIRECTORY, DescriptorFlags::READ);
                let all: Vec<_> = (0..1_000_000).map_while(|_| open().ok()).collect();
                return Err(Error::Other(format!("opened {}", all.len())));
            }
            _ => {}
        }
        let bytes = read_all(content);
        if bytes.len() as u64 != size {
            return Err(Error::Invalid(format!("{} bytes instead of {size}", bytes.len())));
        }
        match self.chunks.borrow_mut().insert((label, id), bytes) {
            None => Ok(PutOutcome::Stored),
            Some(_) => Ok(PutOutcome::AlreadyPresent),
        }
    }

    fn get(&self, label: String, id: String, range: Option<ByteRange>) -> Result<Content, Error> {
        let times = self.count("gets");
        attack::at("get", &self.manner);
        let stream_of = |name: &str, flags| {
            let file = self.granted().open_at(PathFlags::empty(), name, OpenFlags::empty(), flags);
            let file = file.expect("the file is there");
            Ok(Content::Stream(file.read_via_stream(0).expect("a stream")))
        };
        let mut bytes = match self.manner.as_str() {
            // Reading a pipe at a position fails.
            "broken-stream" => return stream_of("fifo", DescriptorFlags::READ | DescriptorFlags::WRITE),
            "file-stream" => return stream_of("file", DescriptorFlags::READ),
            "too-large" => return Ok(Content::Bytes(vec![0; 80 << 20])),
            "get:another" => {
                let chunks = self.chunks.borrow();
                chunks.iter().find(|(key, _)| key.1 != id).expect("another chunk").1.clone()
            }
            _ => self.bytes(label, id, range)?,
        };
        match self.manner.as_str() {
            "wrong-bytes" => bytes[0] ^= 1,
            "wrong-bytes-once" if times == 1 => bytes[0] ^= 1,
            "short" => drop(bytes.pop()),
            "long" => bytes.push(0),
            _ => {}
        }
        Ok(Content::Bytes(bytes))
    }

    fn stat(&self, label: String, id: String) -> Result<ChunkInfo, Error> {
        attack::at("stat", &self.manner);
        if self.manner == "stat:large" {
            return Ok(ChunkInfo { label, id, size: u64::MAX, stored: Some(u64::MAX) });
        }
        let size = self.bytes(label.clone(), id.clone(), None)?.len() as u64;
        let label = if self.manner == "stat-of-another" { "another".into() } else { label };
        Ok(ChunkInfo { label, id, size, stored: None })
    }

    fn list(&self, filter: String, after: Option<String>, limit: u32) -> Result<Page, Error> {
        attack::at("list", &self.manner);
        let chunk = |label: &str, byte: u8| ChunkInfo {
            label: label.into(),
            id: format!("{byte:02x}").repeat(32),
            size: 1,
            stored: None,
        };
        let (chunks, next) = match self.manner.as_str() {
            "list-unsorted" => (vec![chunk("data", 2), chunk("data", 1)], None),
            "list-again" => (vec![chunk("data", 1)], Some("on")),
            "list-empty" => (Vec::new(), Some("on")),
            "list-other-label" => (vec![chunk("other", 1)], None),
            "list-no-label" => (vec![chunk("../x", 1)], None),
            "list:huge" => (vec![chunk("data", 1); HUGE], None),
            "list-too-many" => (vec![chunk("data", 1); limit as usize + 1], None),
            "list-endless" => {
                let page: u64 = after.map_or(0, |after| after.parse().unwrap_or(0));
                let ids = (0..10).map(|n| format!("{:064x}", page * 10 + n));
                let chunks = ids.map(|id| ChunkInfo { label: "data".into(), id, size: 1, stored: None }).collect();
                return Ok(Page { chunks, next: Some((page + 1).to_string()) });
            }
            _ => {
                let passes = |label: &str| filter.is_empty() || label == filter;
                let all = self.chunks.borrow();
                let found = all.iter().filter(|((label, _), _)| passes(label));
                let found = found.map(|((label, id), bytes)| ChunkInfo {
                    label: label.clone(),
                    id: id.clone(),
                    size: bytes.len() as u64,
                    stored: None,
                });
                (found.collect(), None)
            }
        };
        Ok(Page { chunks, next: next.map(str::to_owned) })
    }

    fn remove(&self, label: String, id: String) -> Result<RemoveOutcome, Error> {
        attack::at("remove", &self.manner);
        self.chunks.borrow_mut().remove(&(label, id));
        Ok(RemoveOutcome::Pending(1_800_000_000))
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        attack::at("check", &self.manner);
        if self.manner == "check:huge" {
            let finding = Finding { severity: Severity::Info, code: "huge".into(), message: "x".repeat(100) };
            return Ok(vec![finding; HUGE]);
        }
        Err(Error::Unsupported("this plugin has no check".into()))
    }
}

export!(Misbehaving);
