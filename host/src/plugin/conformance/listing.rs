//! Listings: what is in them, in which order, page by page, and while chunks come.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;

use super::contents::store;
use super::subject::{Instance, Subject, id, noise};
use super::{Broken, Clause};

pub(super) const CLAUSES: &[Clause] = &[
    Clause {
        name: "list-filters",
        promise: "a filter is empty, a label, or a beginning that ends in a dot",
        check: filters,
        vital: false,
    },
    Clause {
        name: "list-order",
        promise: "chunks are listed by label, then by id, each once, with its size",
        check: order,
        vital: false,
    },
    Clause {
        name: "list-pages",
        promise: "pages of any size, continued on any instance, make up the whole listing",
        check: pages,
        vital: false,
    },
    Clause {
        name: "list-while-writing",
        promise: "chunks that come meanwhile shift no other one off the listing",
        check: while_writing,
        vital: false,
    },
    Clause { name: "ten-thousand", promise: "10,000 chunks are listed, each once", check: ten_thousand, vital: false },
];

/// A chunk in a listing: label, id, size.
type Listed = (String, String, u64);

/// Everything that passes a filter, in pages of `limit`; a new instance for each page with `hop`.
fn list(subject: &Subject, filter: &str, limit: u32, hop: bool) -> Result<Vec<Listed>, Broken> {
    let (mut instance, mut all, mut after) = (subject.instance(), Vec::new(), None);
    loop {
        let doing = format!("list {filter:?}");
        let page = instance.page(filter, after.as_deref(), limit);
        let page = page.map_err(|failure| Broken::failed(&doing, &failure))?;
        if page.chunks.len() > limit as usize {
            return Err(Broken::new(format!("a page of {limit} has {} chunks", page.chunks.len())));
        }
        if page.chunks.is_empty() && page.next.is_some() {
            return Err(Broken::new("a page without chunks says that there is a next one"));
        }
        for chunk in page.chunks {
            let listed = (chunk.label, chunk.id, chunk.size);
            if all.last().is_some_and(|(label, id, _): &Listed| (label, id) >= (&listed.0, &listed.1)) {
                return Err(Broken::new(format!("{}/{} is out of order, or there twice", listed.0, listed.1)));
            }
            all.push(listed);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
        if hop {
            instance = subject.instance();
        }
    }
}

/// Stores chunks, and gives what a listing has to have of them.
fn fill(instance: &Instance<'_>, label: &str, seed: u64, count: u64) -> Result<BTreeSet<Listed>, Broken> {
    let mut stored = BTreeSet::new();
    for number in 0..count {
        let bytes = noise(seed + number, usize::try_from(number % 50).unwrap_or(0) + 8);
        store(instance, label, &bytes)?;
        stored.insert((label.to_owned(), id(&bytes), bytes.len() as u64));
    }
    Ok(stored)
}

/// Fails unless a listing is exactly this.
fn same(what: &str, listed: Vec<Listed>, wanted: &BTreeSet<Listed>) -> Result<(), Broken> {
    let listed: BTreeSet<Listed> = listed.into_iter().collect();
    if let Some((label, id, size)) = wanted.difference(&listed).next() {
        return Err(Broken::new(format!("{what}: {label}/{id} of {size} bytes is missing")));
    }
    match listed.difference(wanted).next() {
        Some((label, id, size)) => {
            Err(Broken::new(format!("{what}: {label}/{id} of {size} bytes does not belong there")))
        }
        None => Ok(()),
    }
}

fn filters(subject: &Subject) -> Result<(), Broken> {
    let instance = subject.instance();
    let plain = fill(&instance, "filter", 1_000, 3)?;
    let dotted: BTreeSet<Listed> = [fill(&instance, "filter.a", 1_100, 3)?, fill(&instance, "filter.b-c", 1_200, 3)?]
        .into_iter()
        .flatten()
        .collect();
    fill(&instance, "filters", 1_300, 2)?;
    same("the label filter", list(subject, "filter", 1000, false)?, &plain)?;
    same("the beginning filter.", list(subject, "filter.", 1000, false)?, &dotted)?;
    same("a label that nothing has", list(subject, "filte", 1000, false)?, &BTreeSet::new())?;
    same("a beginning that nothing has", list(subject, "filte.", 1000, false)?, &BTreeSet::new())?;
    let all: BTreeSet<Listed> = list(subject, "", 1000, false)?.into_iter().collect();
    match plain.union(&dotted).find(|chunk| !all.contains(*chunk)) {
        Some((label, id, _)) => Err(Broken::new(format!("the listing of everything lacks {label}/{id}"))),
        None => Ok(()),
    }
}

fn order(subject: &Subject) -> Result<(), Broken> {
    let instance = subject.instance();
    // In the order of texts `order.x/...` comes before `order/...`.
    let wanted: Vec<_> = ["order", "order-a", "order.x", "order0"]
        .into_iter()
        .zip([2_000, 2_100, 2_200, 2_300])
        .map(|(label, seed)| fill(&instance, label, seed, 4))
        .collect::<Result<_, _>>()?;
    let wanted: BTreeSet<Listed> = wanted.into_iter().flatten().collect();
    let mut all = list(subject, "", 1000, false)?;
    all.retain(|(label, _, _)| label.starts_with("order"));
    same("the listing of everything", all, &wanted)
}

fn pages(subject: &Subject) -> Result<(), Broken> {
    let instance = subject.instance();
    let wanted: BTreeSet<Listed> =
        [fill(&instance, "page.a", 3_000, 12)?, fill(&instance, "page.b", 3_100, 11)?].into_iter().flatten().collect();
    for limit in [1, 2, 7, 23, 24, 1000] {
        same(&format!("pages of {limit}"), list(subject, "page.", limit, limit == 7)?, &wanted)?;
    }
    Ok(())
}

fn while_writing(subject: &Subject) -> Result<(), Broken> {
    let before = fill(&subject.instance(), "busy", 4_000, 60)?;
    let writer = subject.instance();
    let over = AtomicBool::new(false);
    let listed = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut number = 4_100;
            while !over.load(Ordering::Relaxed) && number < 6_000 {
                if writer.put("busy", &noise(number, 30)).is_err() {
                    return;
                }
                number += 1;
            }
        });
        let listed = (0..3).map(|_| list(subject, "busy", 10, false)).collect::<Result<Vec<_>, _>>();
        over.store(true, Ordering::Relaxed);
        let _ = writing.join();
        listed
    })?;
    for listed in listed {
        let listed: BTreeSet<Listed> = listed.into_iter().collect();
        if let Some((label, id, _)) = before.difference(&listed).next() {
            return Err(Broken::new(format!("{label}/{id}, which was there before, is missing")));
        }
    }
    Ok(())
}

fn ten_thousand(subject: &Subject) -> Result<(), Broken> {
    /// So many instances store them.
    const WRITERS: u64 = 8;
    let count = subject.many;
    let chunk = |number: u64| Bytes::from(format!("chunk {number} of many"));
    let failures: Vec<_> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let instance = subject.instance();
                scope.spawn(move || {
                    let mut own = (writer..count).step_by(usize::try_from(WRITERS).unwrap_or(1));
                    own.try_for_each(|number| instance.put("many", &chunk(number)).map(drop))
                })
            })
            .collect();
        writers.into_iter().filter_map(|writer| writer.join().ok()?.err()).collect()
    });
    if let Some(failure) = failures.first() {
        return Err(Broken::failed(&format!("store {count} chunks"), failure));
    }
    let wanted = (0..count).map(chunk).map(|bytes| ("many".to_owned(), id(&bytes), bytes.len() as u64)).collect();
    same(&format!("{count} chunks"), list(subject, "many", 1000, false)?, &wanted)
}
