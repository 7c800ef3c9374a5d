//! Who asks: the token of a request, checked before anything else is looked at.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::audit::Line;
use crate::problem::{Code, Problem};
use crate::rights::Verb;
use crate::server::Server;
use crate::state::TokenRecord;
use crate::tenant::TenantName;
use crate::token::{Token, TokenId};

/// Whoever holds a token that is good, for the tenant of the path.
pub struct Caller {
    /// The token.
    pub token: TokenRecord,
    /// From where.
    pub address: IpAddr,
}

impl Caller {
    /// Whose chunks.
    pub fn tenant(&self) -> &TenantName {
        &self.token.what.tenant
    }

    /// Whether the token has this right.
    pub fn may(&self, verb: Verb, label: &obnam_chunk::Label) -> bool {
        self.token.what.rights.allow(verb, label)
    }

    /// Writes to the audit log what was done.
    pub fn audit(&self, server: &Server, action: &str, count: u64, bytes: u64, problem: Option<&Problem>) {
        server.audit.write(self.line(action, count, bytes, problem));
    }

    /// Writes to the audit log what was done to a token.
    pub fn audit_token(&self, server: &Server, action: &str, subject: Option<&TokenId>, problem: Option<&Problem>) {
        let subject = subject.map(TokenId::as_str);
        server.audit.write(Line { subject, ..self.line(action, 0, 0, problem) });
    }

    fn line<'a>(&'a self, action: &'a str, count: u64, bytes: u64, problem: Option<&Problem>) -> Line<'a> {
        Line {
            token: Some(self.token.id.as_str()),
            tenant: Some(self.tenant().as_str()),
            address: Some(self.address),
            action,
            count,
            bytes,
            outcome: problem.map_or("ok", |problem| problem.code.parts().0),
            ..Line::default()
        }
    }
}

impl Caller {
    /// Writes to the audit log what became of one chunk, and answers it.
    pub fn answer_one<T>(&self, server: &Server, action: &str, result: Result<T, Problem>) -> Result<Json<T>, Problem> {
        self.audit(server, action, 1, 0, result.as_ref().err());
        result.map(Json)
    }

    /// The same for a page of so many.
    pub fn answer_page<T>(
        &self,
        server: &Server,
        action: &str,
        result: Result<T, Problem>,
        count: impl FnOnce(&T) -> usize,
    ) -> Result<Json<T>, Problem> {
        let found = result.as_ref().map_or(0, |page| count(page) as u64);
        self.audit(server, action, found, 0, result.as_ref().err());
        result.map(Json)
    }
}

impl FromRequestParts<Arc<Server>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Problem> {
        let ConnectInfo(peer) = ConnectInfo::<SocketAddr>::from_request_parts(parts, server)
            .await
            .map_err(|_| Problem::new(Code::Internal, "the address of the client is not known"))?;
        let address = server.client_address(peer.ip(), &parts.headers);
        server.limits.address(address)?;
        let presented = bearer(parts)?;
        let token = match good_token(server, &presented, address).await {
            Ok(token) => token,
            Err(problem) => {
                let id = presented.id().as_str();
                let outcome = problem.code.parts().0;
                server.audit.write(Line {
                    token: Some(id),
                    address: Some(address),
                    action: "authenticate",
                    outcome,
                    ..Line::default()
                });
                return Err(problem);
            }
        };
        server.limits.token(&token.id)?;
        // Whether there is a tenant of another name is not to be known.
        let path = RawPathParams::from_request_parts(parts, server).await.map_err(|_| Problem::not_found())?;
        if !path.iter().any(|(name, value)| name == "tenant" && value == token.what.tenant.as_str()) {
            return Err(Problem::not_found());
        }
        server.state.note_use(&token, crate::now()).await?;
        Ok(Caller { token, address })
    }
}

fn bad_token(detail: &str) -> Problem {
    Problem::new(Code::BadToken, detail)
}

fn bearer(parts: &Parts) -> Result<Token, Problem> {
    let value = parts
        .headers
        .get(AUTHORIZATION)
        .ok_or_else(|| bad_token("there is no token; send it in a header: Authorization: Bearer obn1_…"))?;
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    let token = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    token.unwrap_or_default().parse().map_err(|error: crate::token::TokenError| bad_token(&error.to_string()))
}

/// The token as the database has it, if it is good here and now.
async fn good_token(server: &Server, presented: &Token, address: IpAddr) -> Result<TokenRecord, Problem> {
    let unknown = || bad_token("this token is unknown, revoked, expired or not for this address");
    let token = server.state.token(presented.id()).await?.ok_or_else(unknown)?;
    let networks = &token.what.networks;
    // First of all the secret: nobody else shall learn anything about the token.
    let good = presented.digest().is(&token.digest)
        && token.revoked.is_none()
        && token.what.expires.is_none_or(|expires| crate::now() < expires)
        && (networks.is_empty() || networks.iter().any(|network| network.contains(&address)));
    if good { Ok(token) } else { Err(unknown()) }
}
