//! Removing chunks.

use super::contents::{read_back, store};
use super::subject::{LABEL, Subject, id, must_answer, noise};
use super::{Broken, Clause};
use crate::plugin::bindings::contract::RemoveOutcome;
use crate::store::StoreErrorKind;

pub(super) const CLAUSES: &[Clause] = &[
    Clause {
        name: "remove",
        promise: "a chunk that was removed is gone for everybody; one that is pending stays until then",
        check: remove,
        vital: false,
    },
    Clause {
        name: "remove-absent",
        promise: "removing a chunk that is not there is no error",
        check: absent,
        vital: false,
    },
    Clause {
        name: "put-after-remove",
        promise: "a chunk can be stored again after its removal",
        check: again,
        vital: false,
    },
];

fn remove(subject: &Subject) -> Result<(), Broken> {
    let (instance, bytes, other) = (subject.instance(), noise(50, 1000), noise(51, 1000));
    store(&instance, LABEL, &bytes)?;
    store(&instance, LABEL, &other)?;
    let removed = instance.remove(LABEL, &id(&bytes)).map_err(|failure| Broken::failed("remove a chunk", &failure))?;
    match removed {
        RemoveOutcome::Removed => {
            for instance in [instance, subject.instance()] {
                must_answer(
                    instance.get(LABEL, &id(&bytes), None),
                    StoreErrorKind::NotFound,
                    "get of a removed chunk",
                )?;
                must_answer(instance.stat(LABEL, &id(&bytes)), StoreErrorKind::NotFound, "stat of a removed chunk")?;
            }
        }
        RemoveOutcome::Pending(_) => read_back(&instance, LABEL, &bytes)?,
    }
    read_back(&subject.instance(), LABEL, &other)
}

fn absent(subject: &Subject) -> Result<(), Broken> {
    let name = id(b"nobody has stored this either");
    for label in [LABEL, "no-such-label"] {
        let removed = subject.instance().remove(label, &name);
        let removed = removed.map_err(|failure| Broken::failed("remove an absent chunk", &failure))?;
        if let RemoveOutcome::Pending(_) = removed {
            return Err(Broken::new("an absent chunk is said to be removed later"));
        }
    }
    Ok(())
}

fn again(subject: &Subject) -> Result<(), Broken> {
    let (instance, bytes) = (subject.instance(), noise(52, 1000));
    store(&instance, LABEL, &bytes)?;
    instance.remove(LABEL, &id(&bytes)).map_err(|failure| Broken::failed("remove a chunk", &failure))?;
    store(&instance, LABEL, &bytes)?;
    read_back(&subject.instance(), LABEL, &bytes)
}
