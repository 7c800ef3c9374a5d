//! Signs URLs: for the object store, where clients move chunks themselves, and for this server's own data endpoint.

mod own;
mod s3;

pub use own::{DataUrls, Terms};
pub use s3::{Signer, SigningError};
