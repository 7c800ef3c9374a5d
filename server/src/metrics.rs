//! Numbers for Prometheus.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A call of the API and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// The path with placeholders.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
}

/// A method that URLs were signed for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Method {
    /// `GET` or `PUT`.
    pub method: &'static str,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfTenant {
    /// Its name.
    pub tenant: String,
}

/// All of them.
pub struct Metrics {
    registry: Registry,
    /// Requests, by call and status.
    pub requests: Family<Call, Counter>,
    /// How long requests took.
    pub seconds: Histogram,
    /// URLs that were signed.
    pub signed_urls: Family<Method, Counter>,
    /// Bytes that URLs to store were signed for.
    pub signed_bytes: Counter,
    /// Bytes of chunks that came by way of the server.
    pub received_bytes: Counter,
    /// Chunks that were removed.
    pub removed: Counter,
    /// Removals that are recorded.
    pub pending_removals: Gauge,
    /// The age of each tenant's newest snapshot.
    pub snapshot_age: Family<OfTenant, Gauge<f64, AtomicU64>>,
    /// The bytes that each tenant stores.
    pub stored_bytes: Family<OfTenant, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("obnam_server");
        let metrics = Metrics {
            requests: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            signed_urls: Family::default(),
            signed_bytes: Counter::default(),
            received_bytes: Counter::default(),
            removed: Counter::default(),
            pending_removals: Gauge::default(),
            snapshot_age: Family::default(),
            stored_bytes: Family::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests, by call and status", metrics.requests.clone());
        registry.register_with_unit("request", "How long requests took", Unit::Seconds, metrics.seconds.clone());
        registry.register("signed_urls", "URLs that were signed", metrics.signed_urls.clone());
        registry.register_with_unit(
            "signed",
            "Bytes that URLs to store were signed for",
            Unit::Bytes,
            metrics.signed_bytes.clone(),
        );
        registry.register_with_unit(
            "received",
            "Bytes of chunks that came by way of the server",
            Unit::Bytes,
            metrics.received_bytes.clone(),
        );
        registry.register("removed_chunks", "Chunks that were removed", metrics.removed.clone());
        registry.register("pending_removals", "Removals that are recorded", metrics.pending_removals.clone());
        registry.register_with_unit(
            "newest_snapshot_age",
            "The age of each tenant's newest snapshot when it was last looked for",
            Unit::Seconds,
            metrics.snapshot_age.clone(),
        );
        registry.register_with_unit(
            "stored",
            "The bytes that each tenant stores, by the last listing",
            Unit::Bytes,
            metrics.stored_bytes.clone(),
        );
        Metrics { registry, ..metrics }
    }
}

impl Metrics {
    /// In the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_what_was_counted() {
        let metrics = Metrics::default();
        metrics.signed_bytes.inc_by(7);
        metrics.signed_urls.get_or_create(&Method { method: "PUT" }).inc();
        metrics.snapshot_age.get_or_create(&OfTenant { tenant: "alice".to_owned() }).set(60.0);
        let page = metrics.text();
        assert!(page.contains("obnam_server_signed_bytes_total 7"), "{page}");
        assert!(page.contains("obnam_server_signed_urls_total{method=\"PUT\"} 1"), "{page}");
        assert!(page.contains("obnam_server_newest_snapshot_age_seconds{tenant=\"alice\"} 60"), "{page}");
    }
}
