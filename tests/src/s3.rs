//! S3 stores to test against: [`fake`], strict and inside the test process, and real ones.
//!
//! Each of them derefs to its [`Access`]: where it is and what opens it.

pub mod client;
pub mod fake;
pub mod garage;
pub mod moto;
pub mod signature;

/// A store as a client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub endpoint: String,
    /// The region that signatures must name.
    pub region: String,
    /// A bucket that is there.
    pub bucket: String,
    /// The access key's id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
    /// The token that goes with temporary keys.
    pub session_token: Option<String>,
}

impl Access {
    /// Where it is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The region that signatures must name.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// A bucket that is there.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The access key's id.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret access key.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The address behind the scheme: `127.0.0.1:PORT`.
    pub fn authority(&self) -> &str {
        self.endpoint.split("://").nth(1).unwrap()
    }

    /// The bucket as a location of obnam, `s3:ENDPOINT/BUCKET`.
    pub fn location(&self) -> String {
        format!("s3:{}/{}", self.endpoint, self.bucket)
    }

    /// The same store by way of another address, that of a proxy.
    pub fn through(&self, endpoint: &str) -> Access {
        Access { endpoint: endpoint.to_owned(), ..self.clone() }
    }

    /// The environment variables by which AWS's tools, and obnam, are told the keys.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
            ("AWS_REGION", self.region.clone()),
        ];
        variables.extend(self.session_token.iter().map(|token| ("AWS_SESSION_TOKEN", token.clone())));
        variables
    }
}

/// Where a server inside the test process runs.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
