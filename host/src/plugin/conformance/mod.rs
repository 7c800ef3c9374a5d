//! The conformance suite: tries, promise by promise, whether a plugin keeps the contract (`wit/chunk-store.wit`).
//!
//! It needs a place that was never prepared, and uses instances of its own, one call at a time, without the
//! repetitions and checks that stand between a plugin and the rest of the program. Only what the contract promises is
//! tried. The clauses run in this order, since the first ones need an empty place: [`lifecycle`], [`contents`],
//! [`ranges`], [`listing`], [`removal`].

mod contents;
mod lifecycle;
mod listing;
mod ranges;
mod removal;
mod subject;

use std::panic::Location;

use super::{Candidate, Component, PluginInfo, StoreSpec, failure::Failure};
use crate::store::StoreError;
use subject::Subject;

/// How many chunks the clause `ten-thousand` stores.
pub const MANY: u64 = 10_000;

/// What was found of one promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept.
    Kept,
    /// It is not, and this was seen.
    Broken(String),
    /// It could not be tried.
    Untried(String),
}

/// One promise of the contract and what was found of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// A stable name, `[a-z0-9-]+`.
    pub clause: &'static str,
    /// What the contract promises, in a few words.
    pub promise: &'static str,
    /// What was found.
    pub verdict: Verdict,
}

/// A promise, and how it is tried.
struct Clause {
    name: &'static str,
    promise: &'static str,
    check: fn(&Subject) -> Result<(), Broken>,
    /// Without this one nothing that follows can be tried.
    vital: bool,
}

/// What is wrong.
struct Broken(String);

impl Broken {
    /// A promise that is not kept.
    fn new(why: impl Into<String>) -> Self {
        Broken(why.into())
    }

    /// A call that had to work, and did not.
    #[track_caller]
    fn failed(doing: &str, failure: &Failure) -> Self {
        tracing::debug!("at {}", Location::caller());
        Broken(format!("could not {doing}: {}", subject::shown(failure)))
    }
}

/// All promises, in the order in which they are tried.
fn clauses() -> impl Iterator<Item = &'static Clause> {
    [lifecycle::FIRST, contents::CLAUSES, ranges::CLAUSES, listing::CLAUSES, lifecycle::LATER, removal::CLAUSES]
        .into_iter()
        .flatten()
}

/// The names of all clauses and what they promise.
pub fn promises() -> Vec<(&'static str, &'static str)> {
    clauses().map(|clause| (clause.name, clause.promise)).collect()
}

/// Tries a plugin at a place that was never prepared. The clause `ten-thousand` stores `many` chunks: 10,000, unless that takes
/// too long. Each outcome is told as soon as it is known.
pub fn run(
    spec: &StoreSpec,
    many: u64,
    told: &mut dyn FnMut(&Outcome),
) -> Result<(PluginInfo, Vec<Outcome>), StoreError> {
    let prepared = Candidate::new(&Component::read(&spec.source)?, spec)?.prepare(&[])?;
    let subject = Subject::new(prepared.pool, prepared.info.clone(), many, spec.create_dir)?;
    let mut outcomes = Vec::new();
    let mut ended = None;
    for clause in clauses() {
        let verdict = match ended {
            Some(name) => Verdict::Untried(format!("{name} has to be kept first")),
            None => match (clause.check)(&subject) {
                Ok(()) => Verdict::Kept,
                Err(Broken(why)) => {
                    ended = clause.vital.then_some(clause.name);
                    Verdict::Broken(why)
                }
            },
        };
        let outcome = Outcome { clause: clause.name, promise: clause.promise, verdict };
        told(&outcome);
        outcomes.push(outcome);
    }
    subject.clean_up();
    Ok((prepared.info, outcomes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_have_names_of_their_own() {
        let mut names: Vec<&str> = clauses().map(|clause| clause.name).collect();
        let count = names.len();
        assert!(
            names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
