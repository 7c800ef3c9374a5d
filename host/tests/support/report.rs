//! What `check` finds.

use obnam::check::{self, Report, Severity};
use obnam::repository::Repository;

/// Checks.
pub fn check(repository: &Repository, read_data: bool) -> Report {
    let options = check::Options { read_data: read_data.then_some(check::Part::All), max_age: None };
    check::run(repository, &options, &check::Watch::default()).unwrap()
}

/// The findings as (severity, code, chunk).
pub fn findings(report: &Report) -> Vec<(Severity, &'static str, String)> {
    let chunk = |chunk: &Option<String>| chunk.clone().unwrap_or_default();
    report.findings.iter().map(|found| (found.severity, found.code, chunk(&found.chunk))).collect()
}

/// Asserts that a check finds nothing.
pub fn assert_clean(repository: &Repository) {
    let report = check(repository, true);
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

/// Asserts that check has this finding, and no errors.
pub fn assert_warned(report: &Report, code: &str, chunk: &str) {
    let found = findings(report);
    assert!(
        found.contains(&(Severity::Warning, code_of(report, code), chunk.to_owned())),
        "no warning {code} of {chunk} in {:#?}",
        report.findings
    );
    assert_eq!(report.errors(), 0, "{:#?}", report.findings);
}

fn code_of(report: &Report, code: &str) -> &'static str {
    let found = report.findings.iter().find(|finding| finding.code == code);
    found.unwrap_or_else(|| panic!("no finding {code} in {:#?}", report.findings)).code
}
