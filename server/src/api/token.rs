//! `/token`: makes, lists and revokes tokens of the tenant. A token can only reach those that may do no more than itself,
//! so a stolen one gains nothing here but time: what it made is found by its id (`made-by`).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::input::Body;
use crate::problem::{Code, Problem, ProblemDocument};
use crate::rights::{Preset, Rights, Verb};
use crate::server::Server;
use crate::state::{NewToken, TokenRecord};
use crate::token::{Token, TokenId};

/// A tenant has at most this many tokens that are good; further ones only the operator makes.
const MOST_TOKENS: usize = 1000;

/// A token names at most this many labels, and as many address ranges.
const MOST_PARTS: usize = 100;

/// The longest name of a token, in bytes.
const LONGEST_NAME: usize = 100;

/// What a new token is to be.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Wish {
    /// A name for people, at most 100 bytes.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The usual rights; either these or `rights`.
    preset: Option<Preset>,
    /// For each verb the labels: a label, a text that ends in a dot (all that begin with it), or `*`.
    #[schema(value_type = Option<BTreeMap<String, Vec<String>>>)]
    rights: Option<Rights>,
    /// When it ends, in seconds since 1970; with the asking token, where it is not given.
    expires: Option<u64>,
    /// From where it may be used; from where the asking token may, where it is not given.
    #[schema(value_type = Option<Vec<String>>)]
    networks: Option<Vec<IpNet>>,
    /// For how many bytes URLs to store are signed on one day (UTC); as for the asking token, where it is not given.
    daily_bytes: Option<u64>,
}

/// What is known of a token. Never its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TokenInfo {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// For each verb the labels.
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    rights: BTreeMap<Verb, Vec<String>>,
    /// When it was made, in seconds since 1970.
    created: u64,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    /// When it was last used, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used: Option<u64>,
    /// From where it may be used; empty means everywhere.
    networks: Vec<String>,
    /// For how many bytes URLs to store are signed on one day (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    daily_bytes: Option<u64>,
    /// The id of the token that it was made with; missing if the operator made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    made_by: Option<String>,
}

impl TokenInfo {
    fn new(id: &TokenId, what: &NewToken, created: u64, last_used: Option<u64>) -> Self {
        TokenInfo {
            id: id.to_string(),
            name: what.name.clone(),
            rights: what.rights.as_texts(),
            created,
            expires: what.expires,
            last_used,
            networks: what.networks.iter().map(ToString::to_string).collect(),
            daily_bytes: what.daily_bytes,
            made_by: what.made_by.as_ref().map(ToString::to_string),
        }
    }
}

/// A token that was made. It is shown this once. No `Debug`: it holds a secret.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MadeToken {
    /// The token itself.
    token: String,
    /// What it is.
    #[serde(flatten)]
    info: TokenInfo,
}

/// Tokens.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenList {
    /// In the order in which they were made.
    tokens: Vec<TokenInfo>,
}

/// A token that was revoked.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RevokedToken {
    /// Its id.
    id: String,
    /// `revoked`, also where it was before.
    state: &'static str,
}

/// Makes a token.
#[utoipa::path(post, path = "/v1/{tenant}/token", tag = "tokens", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant")), request_body = Wish,
    responses((status = 200, description = "The token, this once", body = MadeToken),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Body(wish): Body<Wish>,
) -> Result<impl IntoResponse, Problem> {
    let result = make(&server, &caller, wish).await;
    let id = result.as_ref().ok().map(|(id, _)| id);
    caller.audit_token(&server, "token-create", id, result.as_ref().err());
    result.map(|(_, made)| ([(header::CACHE_CONTROL, "no-store")], Json(made)))
}

async fn make(server: &Server, caller: &Caller, wish: Wish) -> Result<(TokenId, MadeToken), Problem> {
    administrator(caller)?;
    let now = crate::now();
    let what = what(caller, wish, now)?;
    if let Some(why) = caller.token.what.withholds(&what) {
        return Err(Problem::new(Code::NotAllowed, format!("this token may not make such a token: {why}")));
    }
    if server.state.good_tokens(caller.tenant(), now).await?.len() >= MOST_TOKENS {
        let detail = format!("the tenant has {MOST_TOKENS} tokens; revoke some that are not needed any more");
        return Err(Problem::new(Code::Quota, detail));
    }
    let token = Token::generate().map_err(|why| Problem::new(Code::Internal, why.to_string()))?;
    if !server.state.create_token(&token, &what, now).await? {
        return Err(Problem::not_found());
    }
    let info = TokenInfo::new(token.id(), &what, now, None);
    Ok((token.id().clone(), MadeToken { token: token.reveal().to_owned(), info }))
}

/// What is wished for, completed by what the asking token is.
fn what(caller: &Caller, wish: Wish, now: u64) -> Result<NewToken, Problem> {
    let own = &caller.token.what;
    let name = wish.name.trim();
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!("a name has 1 to {LONGEST_NAME} bytes, and no control characters")));
    }
    let rights = match (wish.preset, wish.rights) {
        (Some(preset), None) => preset.rights(),
        (None, Some(rights)) => rights,
        _ => return Err(Problem::bad_request("give either a preset or rights")),
    };
    let networks = wish.networks.unwrap_or_else(|| own.networks.clone());
    if rights.is_empty() || rights.len() > MOST_PARTS || networks.len() > MOST_PARTS {
        let detail = format!("a token has 1 to {MOST_PARTS} rights and at most {MOST_PARTS} address ranges");
        return Err(Problem::bad_request(detail));
    }
    let expires = wish.expires.or(own.expires);
    if expires.is_some_and(|expires| expires <= now) {
        return Err(Problem::bad_request("expires lies in the past; it is a time in seconds since 1970"));
    }
    if [expires, wish.daily_bytes].iter().flatten().any(|number| i64::try_from(*number).is_err()) {
        return Err(Problem::bad_request("a number is too large"));
    }
    Ok(NewToken {
        tenant: own.tenant.clone(),
        name: name.to_owned(),
        rights,
        expires,
        networks,
        daily_bytes: wish.daily_bytes.or(own.daily_bytes),
        made_by: Some(caller.token.id.clone()),
    })
}

fn administrator(caller: &Caller) -> Result<(), Problem> {
    if caller.token.what.rights.have(Verb::Admin) {
        return Ok(());
    }
    Err(Problem::new(Code::NotAllowed, "this token may not manage tokens: it lacks the right admin"))
}

/// Lists the tokens that are good now, and may do no more than the asking one.
#[utoipa::path(get, path = "/v1/{tenant}/token", tag = "tokens", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant")),
    responses((status = 200, description = "The tokens", body = TokenList),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn list(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<TokenList>, Problem> {
    let result = good(&server, &caller).await;
    caller.audit_token(&server, "token-list", None, result.as_ref().err());
    result.map(Json)
}

async fn good(server: &Server, caller: &Caller) -> Result<TokenList, Problem> {
    administrator(caller)?;
    let tokens = server.state.good_tokens(caller.tenant(), crate::now()).await?;
    let mine = tokens.iter().filter(|token| reaches(caller, token));
    let info = |token: &TokenRecord| TokenInfo::new(&token.id, &token.what, token.created, token.last_used);
    Ok(TokenList { tokens: mine.map(info).collect() })
}

/// Revokes a token. It stops at the next request.
#[utoipa::path(delete, path = "/v1/{tenant}/token/{id}", tag = "tokens", security(("token" = [])),
    params(("tenant" = String, Path, description = "The tenant"), ("id" = String, Path, description = "The token's id")),
    responses((status = 200, description = "It is revoked", body = RevokedToken),
        (status = "default", description = "A problem", body = ProblemDocument)))]
pub async fn revoke(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<RevokedToken>, Problem> {
    let id = id.parse::<TokenId>().map_err(|_| Problem::bad_request("the id of a token has 10 letters and digits"))?;
    let result = end(&server, &caller, &id).await;
    caller.audit_token(&server, "token-revoke", Some(&id), result.as_ref().err());
    result.map(|()| Json(RevokedToken { id: id.to_string(), state: "revoked" }))
}

async fn end(server: &Server, caller: &Caller, id: &TokenId) -> Result<(), Problem> {
    // Whoever holds a token may give it up.
    if *id != caller.token.id {
        administrator(caller)?;
        let found = server.state.token(id).await?;
        let found = found.filter(|token| token.what.tenant == *caller.tenant() && reaches(caller, token));
        if found.is_none() {
            return Err(Problem::new(Code::NotFound, "there is no such token, or it may do more than the asking one"));
        }
    }
    server.state.revoke_token(id, crate::now()).await?;
    Ok(())
}

/// Whether the asking token may know of this one of its tenant.
fn reaches(caller: &Caller, token: &TokenRecord) -> bool {
    caller.token.id == token.id || caller.token.what.withholds(&token.what).is_none()
}
