//! What a plugin says of itself, and how a place is prepared and opened.

use super::subject::{Subject, id, must_answer, noise};
use super::{Broken, Clause};
use crate::plugin::failure::Failure;
use crate::store::StoreErrorKind;

/// Those that need a place which was never prepared; afterwards it is.
pub(super) const FIRST: &[Clause] = &[
    Clause {
        name: "describe",
        promise: "describe depends on nothing: it answers the same again",
        check: describe,
        vital: true,
    },
    Clause {
        name: "plan",
        promise: "plan depends on its arguments only: it answers the same again",
        check: plan,
        vital: true,
    },
    Clause {
        name: "plan-refuses",
        promise: "a location or an option that makes no sense is invalid, and no trap",
        check: plan_refuses,
        vital: false,
    },
    Clause {
        name: "open-before-init",
        promise: "a place that was never prepared is not-initialised, and stays so",
        check: open_before_init,
        vital: false,
    },
    Clause { name: "init", promise: "init prepares an empty place and opens it", check: init, vital: true },
    Clause { name: "init-again", promise: "init may be repeated while there are no chunks", check: init, vital: false },
    Clause { name: "open", promise: "open opens a place that was prepared", check: open, vital: true },
];

/// Those that need a place with chunks in it.
pub(super) const LATER: &[Clause] = &[
    Clause {
        name: "init-with-chunks",
        promise: "init on a place with chunks is already-initialised, and changes nothing",
        check: init_with_chunks,
        vital: false,
    },
    Clause { name: "check", promise: "check looks at the place and changes nothing that lasts", check, vital: false },
];

fn describe(subject: &Subject) -> Result<(), Broken> {
    let failed = |failure: Failure| Broken::failed("describe", &failure);
    let instance = subject.instance();
    let shown = |description| format!("{description:?}");
    let first = shown(instance.describe().map_err(failed)?);
    let again = shown(instance.describe().map_err(failed)?);
    let other = shown(subject.instance().describe().map_err(failed)?);
    if first == again && first == other { Ok(()) } else { Err(Broken::new("it describes itself in two ways")) }
}

fn plan(subject: &Subject) -> Result<(), Broken> {
    let failed = |failure: Failure| Broken::failed("plan", &failure);
    let plan = || Ok(format!("{:?}", subject.elsewhere(subject.location(), &[]).plan().map_err(failed)?));
    if plan()? == plan()? { Ok(()) } else { Err(Broken::new("it wishes for two things for the same location")) }
}

fn plan_refuses(subject: &Subject) -> Result<(), Broken> {
    let unknown = subject.elsewhere(subject.location(), &[("no-such-option", "x")]).plan();
    must_answer(unknown, StoreErrorKind::Invalid, "plan with an option that does not exist")?;
    for scheme in &subject.info.schemes {
        // What is odd in one plugin may be fine in another one. No location is a reason to trap.
        for odd in ["", ":", "://", ":?#", ":\u{1}", ":a b", ":ü"] {
            let location = format!("{scheme}{odd}");
            if let Err(failure @ Failure::Stopped(_)) = subject.elsewhere(&location, &[]).plan() {
                return Err(Broken::failed(&format!("plan for the location {location:?}"), &failure));
            }
        }
    }
    Ok(())
}

fn open_before_init(subject: &Subject) -> Result<(), Broken> {
    for doing in ["open before init", "open before init, again"] {
        must_answer(subject.instance().open(), StoreErrorKind::NotInitialised, doing)?;
    }
    Ok(())
}

fn init(subject: &Subject) -> Result<(), Broken> {
    let instance = subject.instance();
    instance.init().map_err(|failure| Broken::failed("prepare the place", &failure))?;
    let page = instance.page("", None, 1000).map_err(|failure| Broken::failed("list behind init", &failure))?;
    if page.chunks.is_empty() { Ok(()) } else { Err(Broken::new("there are chunks in it")) }
}

fn open(subject: &Subject) -> Result<(), Broken> {
    subject.instance().open().map_err(|failure| Broken::failed("open the place", &failure))
}

fn init_with_chunks(subject: &Subject) -> Result<(), Broken> {
    let bytes = noise(100, 1000);
    let failed = |failure: Failure| Broken::failed("store a chunk", &failure);
    subject.instance().put("conformance", &bytes).map_err(failed)?;
    must_answer(subject.instance().init(), StoreErrorKind::AlreadyInitialised, "init on a place with chunks")?;
    match subject.instance().get("conformance", &id(&bytes), None) {
        Ok(read) if read == bytes => Ok(()),
        _ => Err(Broken::new("afterwards the chunk is not there any more")),
    }
}

fn check(subject: &Subject) -> Result<(), Broken> {
    let all = |what: &str| {
        let page = subject.instance().page("", None, 1000);
        page.map(|page| format!("{:?}", page.chunks)).map_err(|failure| Broken::failed(what, &failure))
    };
    let before = all("list before check")?;
    let findings = subject.instance().check().map_err(|failure| Broken::failed("check", &failure))?;
    let is_code = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if let Some(odd) = findings.iter().find(|finding| !is_code(&finding.code)) {
        return Err(Broken::new(format!("the code {:?} of a finding is none", odd.code)));
    }
    if before == all("list behind check")? { Ok(()) } else { Err(Broken::new("afterwards other chunks are listed")) }
}
