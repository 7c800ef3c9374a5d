//! What a store's own check has found, as `init` and `check --store` tell it.

use serde_json::{Value, json};

use crate::store::{Finding, Severity};

/// A line for each finding.
pub fn lines(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| match finding.severity {
        Severity::Info => format!("store: {}", finding.message),
        Severity::Warning => format!("store: warning: {}", finding.message),
        Severity::Error => format!("store: error: {}", finding.message),
    };
    findings.iter().map(line).collect()
}

/// For JSON documents.
pub fn json(findings: &[Finding]) -> Vec<Value> {
    let object = |finding: &Finding| {
        let severity = match finding.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        json!({ "severity": severity, "code": finding.code, "message": finding.message })
    };
    findings.iter().map(object).collect()
}
