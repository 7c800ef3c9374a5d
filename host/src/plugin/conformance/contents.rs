//! Storing chunks and reading them back.

use std::thread;

use bytes::Bytes;

use super::subject::{Instance, LABEL, Subject, id, must_answer, noise};
use super::{Broken, Clause};
use crate::chunk::MAX_CHUNK_SIZE;
use crate::plugin::failure::Failure;
use crate::store::StoreErrorKind;

pub(super) const CLAUSES: &[Clause] = &[
    Clause { name: "put-get", promise: "what was stored is read back, byte for byte", check: put_get, vital: true },
    Clause { name: "empty-chunk", promise: "a chunk may have 0 bytes", check: empty, vital: false },
    Clause { name: "largest-chunk", promise: "a chunk may have 64 MiB", check: largest, vital: false },
    Clause {
        name: "labels",
        promise: "labels have up to 64 characters, dots and hyphens among them",
        check: labels,
        vital: false,
    },
    Clause { name: "stat", promise: "stat knows label, id and size", check: stat, vital: false },
    Clause {
        name: "durable",
        promise: "what was stored is there for every other instance",
        check: durable,
        vital: false,
    },
    Clause {
        name: "put-again",
        promise: "storing a chunk again works, and changes nothing",
        check: again,
        vital: false,
    },
    Clause {
        name: "put-never-replaces",
        promise: "bytes that are there are never replaced: another size is an error",
        check: never_replaces,
        vital: false,
    },
    Clause {
        name: "put-wrong-size",
        promise: "bytes missing from or beyond the announced size are an error, and nothing is stored",
        check: wrong_size,
        vital: false,
    },
    Clause {
        name: "put-concurrent",
        promise: "several instances may store one chunk at the same time; all succeed",
        check: concurrent,
        vital: false,
    },
    Clause {
        name: "absent-chunk",
        promise: "get and stat of a chunk that is not there are not-found",
        check: absent,
        vital: false,
    },
];

/// Stores a chunk.
pub(super) fn store(instance: &Instance<'_>, label: &str, bytes: &Bytes) -> Result<(), Broken> {
    let stored = instance.put(label, bytes);
    stored.map(drop).map_err(|failure| Broken::failed(&format!("store {} bytes", bytes.len()), &failure))
}

/// Reads a chunk, which must be these bytes.
pub(super) fn read_back(instance: &Instance<'_>, label: &str, bytes: &Bytes) -> Result<(), Broken> {
    let read = instance.get(label, &id(bytes), None);
    let read = read.map_err(|failure| Broken::failed(&format!("read {} bytes back", bytes.len()), &failure))?;
    if read == *bytes {
        return Ok(());
    }
    Err(Broken::new(match read.iter().zip(bytes).position(|(one, other)| one != other) {
        Some(at) => format!("of {} bytes the one at {at} has become another", bytes.len()),
        None => format!("of {} bytes {} come back", bytes.len(), read.len()),
    }))
}

fn round(subject: &Subject, label: &str, bytes: &Bytes) -> Result<(), Broken> {
    let instance = subject.instance();
    store(&instance, label, bytes)?;
    read_back(&instance, label, bytes)
}

fn put_get(subject: &Subject) -> Result<(), Broken> {
    for (seed, length) in [1, 2, 4095, 4096, 65_537, 1 << 20, (3 << 20) + 1].into_iter().enumerate() {
        round(subject, LABEL, &noise(seed as u64, length))?;
    }
    // What is easily taken for text, or for an end.
    for bytes in [&b"\r\n"[..], b"\0", b"\xff\xfe", b"0\r\n\r\n", b"a\nb\r\nc\0"] {
        round(subject, LABEL, &Bytes::from_static(bytes))?;
    }
    Ok(())
}

fn empty(subject: &Subject) -> Result<(), Broken> {
    round(subject, LABEL, &Bytes::new())
}

fn largest(subject: &Subject) -> Result<(), Broken> {
    round(subject, LABEL, &noise(20, usize::try_from(MAX_CHUNK_SIZE).unwrap_or(usize::MAX)))
}

fn labels(subject: &Subject) -> Result<(), Broken> {
    let longest = "l".repeat(64);
    let bytes = noise(21, 100);
    let odd = ["0", "a", "a.b", "a-b", "a..b", "a.-", longest.as_str(), "con.aux", "obnam-chunk-store"];
    for label in odd {
        round(subject, label, &bytes).map_err(|Broken(why)| Broken::new(format!("under the label {label}: {why}")))?;
    }
    Ok(())
}

fn stat(subject: &Subject) -> Result<(), Broken> {
    let instance = subject.instance();
    for length in [0, 1, 70_000] {
        let bytes = noise(22, length);
        store(&instance, LABEL, &bytes)?;
        let info = instance.stat(LABEL, &id(&bytes)).map_err(|failure| Broken::failed("look at a chunk", &failure))?;
        if (info.label.as_str(), info.id.as_str(), info.size) != (LABEL, id(&bytes).as_str(), length as u64) {
            let (label, size) = (&info.label, info.size);
            let why = format!("of {length} bytes under {LABEL} it says: {size} bytes under {label}, id {}", info.id);
            return Err(Broken::new(why));
        }
    }
    Ok(())
}

fn durable(subject: &Subject) -> Result<(), Broken> {
    let bytes = noise(23, 50_000);
    store(&subject.instance(), LABEL, &bytes)?;
    read_back(&subject.instance(), LABEL, &bytes)
}

fn again(subject: &Subject) -> Result<(), Broken> {
    let (instance, bytes) = (subject.instance(), noise(24, 10_000));
    store(&instance, LABEL, &bytes)?;
    store(&instance, LABEL, &bytes)?;
    store(&subject.instance(), LABEL, &bytes)?;
    read_back(&instance, LABEL, &bytes)
}

fn never_replaces(subject: &Subject) -> Result<(), Broken> {
    let (instance, bytes) = (subject.instance(), noise(25, 5_000));
    store(&instance, LABEL, &bytes)?;
    for length in [0, 4_999, 5_001] {
        let other = noise(26, length);
        let put = instance.put_as(LABEL, &id(&bytes), length as u64, &other);
        // A place that checks the bytes themselves may say so in another way.
        if put.is_ok() {
            return Err(Broken::new(format!("it takes {length} bytes for a chunk that is there with 5000")));
        }
        read_back(&instance, LABEL, &bytes)?;
    }
    Ok(())
}

fn wrong_size(subject: &Subject) -> Result<(), Broken> {
    // A label of its own: the same bytes may be there under another one.
    let (instance, label) = (subject.instance(), "conformance.sizes");
    for (seed, length, announced) in [(27, 999_u64, 1000_u64), (28, 1001, 1000), (29, 0, 1), (30, 1, 0)] {
        let bytes = noise(seed, usize::try_from(length).unwrap_or(0));
        let name = id(&bytes);
        if instance.put_as(label, &name, announced, &bytes).is_ok() {
            return Err(Broken::new(format!("it takes {length} bytes where {announced} are announced")));
        }
        let left = subject.instance().get(label, &name, None);
        let what = format!("get, after {length} bytes were refused where {announced} are announced,");
        must_answer(left, StoreErrorKind::NotFound, &what)?;
    }
    Ok(())
}

fn concurrent(subject: &Subject) -> Result<(), Broken> {
    /// So many instances store each chunk.
    const AT_ONCE: usize = 4;
    for seed in 31..34 {
        let bytes = noise(seed, 300_000);
        let instances: Vec<_> = (0..AT_ONCE).map(|_| subject.instance()).collect();
        let failures: Vec<Failure> = thread::scope(|scope| {
            let calls: Vec<_> = instances.iter().map(|instance| scope.spawn(|| instance.put(LABEL, &bytes))).collect();
            calls.into_iter().filter_map(|call| call.join().ok()?.err()).collect()
        });
        if let Some(failure) = failures.into_iter().next() {
            return Err(Broken::failed("store one chunk on four instances at the same time", &failure));
        }
        read_back(&subject.instance(), LABEL, &bytes)?;
    }
    Ok(())
}

fn absent(subject: &Subject) -> Result<(), Broken> {
    let (instance, name) = (subject.instance(), id(b"nobody has stored this"));
    for label in [LABEL, "no-such-label"] {
        must_answer(instance.get(label, &name, None), StoreErrorKind::NotFound, "get of an absent chunk")?;
        let range = Some(crate::plugin::bindings::contract::ByteRange { offset: 0, length: 1 });
        must_answer(instance.get(label, &name, range), StoreErrorKind::NotFound, "get of a part of an absent chunk")?;
        must_answer(instance.stat(label, &name), StoreErrorKind::NotFound, "stat of an absent chunk")?;
    }
    // It is the label that makes a chunk, too.
    let bytes = noise(35, 10);
    store(&instance, LABEL, &bytes)?;
    let elsewhere = instance.get("conformance.other", &id(&bytes), None);
    must_answer(elsewhere, StoreErrorKind::NotFound, "get of a chunk under another label")
}
