//! HTTP for plugins: what is behind `wasi:http`.
//!
//! A guest reaches the origins that were granted to it (`origin`), at addresses that may be reached (`address`), and
//! nothing else: no redirect is followed, no proxy is used unless the user asked for one, no cookie is kept. All
//! instances of an opened store share one [`Client`]; a request has one of its few seats (`seats`), and with it at
//! most one connection (`connect`, `tls`, `proxy`), which is kept for the next request. The connections live on a thread of
//! their own (`background`); bodies pass between it and the guest's thread in large pieces, without being copied
//! (`exchange`, `answer`), and every byte on the wire is noticed, and slowed down where the user wishes it (`wire`,
//! `bandwidth`). The program itself asks for nothing but a health check (`ping`).

mod address;
mod answer;
mod background;
mod bandwidth;
mod client;
mod connect;
mod exchange;
mod fault;
mod hooks;
mod origin;
mod ping;
mod proxy;
mod seats;
mod settings;
mod tls;
mod wire;

pub(super) use client::Client;
pub(super) use hooks::Http;
pub(super) use origin::Origin;
pub use ping::{check_url, ping};
pub use settings::HttpSettings;
