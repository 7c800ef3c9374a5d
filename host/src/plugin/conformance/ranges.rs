//! Reading parts of chunks.

use super::contents::store;
use super::subject::{LABEL, Subject, id, must_answer, noise};
use super::{Broken, Clause};
use crate::plugin::bindings::contract::ByteRange;
use crate::store::StoreErrorKind;

pub(super) const CLAUSES: &[Clause] = &[
    Clause { name: "ranges", promise: "get reads exactly the bytes of a range", check: ranges, vital: false },
    Clause {
        name: "range-of-nothing",
        promise: "a range of 0 bytes is fine, up to the end of the chunk",
        check: nothing,
        vital: false,
    },
    Clause {
        name: "range-too-far",
        promise: "a range that runs past the end of the chunk is invalid",
        check: too_far,
        vital: false,
    },
];

const LENGTH: u64 = 100_000;

fn ranges(subject: &Subject) -> Result<(), Broken> {
    let (instance, bytes) = (subject.instance(), noise(40, 100_000));
    store(&instance, LABEL, &bytes)?;
    for (offset, length) in
        [(0, LENGTH), (0, 1), (LENGTH - 1, 1), (1, 99_998), (65_535, 2), (4_096, 4_096), (LENGTH / 2, LENGTH / 2)]
    {
        let range = ByteRange { offset, length };
        let read = instance.get(LABEL, &id(&bytes), Some(range));
        let doing = format!("read {length} bytes at {offset} of {LENGTH}");
        let read = read.map_err(|failure| Broken::failed(&doing, &failure))?;
        let wanted = usize::try_from(offset).unwrap_or(0)..usize::try_from(offset + length).unwrap_or(0);
        if read != bytes.slice(wanted) {
            return Err(Broken::new(format!("asked to {doing}, it answers with other bytes")));
        }
    }
    Ok(())
}

fn nothing(subject: &Subject) -> Result<(), Broken> {
    let instance = subject.instance();
    for size in [0, 1000] {
        let bytes = noise(41, size);
        store(&instance, LABEL, &bytes)?;
        for offset in [0, size as u64] {
            let read = instance.get(LABEL, &id(&bytes), Some(ByteRange { offset, length: 0 }));
            let doing = format!("read 0 bytes at {offset} of {size}");
            let read = read.map_err(|failure| Broken::failed(&doing, &failure))?;
            if !read.is_empty() {
                return Err(Broken::new(format!("asked to {doing}, it answers with {} bytes", read.len())));
            }
        }
    }
    Ok(())
}

fn too_far(subject: &Subject) -> Result<(), Broken> {
    let (instance, bytes) = (subject.instance(), noise(42, 100_000));
    store(&instance, LABEL, &bytes)?;
    for (offset, length) in
        [(0, LENGTH + 1), (LENGTH, 1), (LENGTH - 1, 2), (LENGTH + 1, 0), (1 << 40, 1), (u64::MAX, 1)]
    {
        let read = instance.get(LABEL, &id(&bytes), Some(ByteRange { offset, length }));
        must_answer(read, StoreErrorKind::Invalid, &format!("get of {length} bytes at {offset} of {LENGTH}"))?;
    }
    Ok(())
}
