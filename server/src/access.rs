//! What a client needs to move a chunk itself.

use std::collections::BTreeMap;

use serde::Serialize;

/// One request that the client may make.
#[derive(Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Access {
    /// Where. As good as the right to make the request: not to be logged.
    pub url: String,
    /// `GET` or `PUT`.
    pub method: &'static str,
    /// Exactly these headers have to be sent, and no others whose name begins with `x-amz-`.
    pub headers: BTreeMap<&'static str, String>,
    /// Until when, in seconds since 1970.
    pub expires: u64,
}
