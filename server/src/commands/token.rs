//! `obnam-server token`: makes, lists and revokes tokens.

use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Failure, Output, bytes, time};
use crate::config::Span;
use crate::rights::{Labels, Preset, Rights, Verb};
use crate::state::{NewToken, State, TokenRecord};
use crate::tenant::TenantName;
use crate::token::{Token, TokenError, TokenId};

/// What to do with tokens.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token and show it, this once
    Create(Box<Create>),
    /// List tokens
    List {
        /// Only those of this tenant
        #[arg(long)]
        tenant: Option<TenantName>,
    },
    /// Show what is known of a token
    Show {
        /// The token's id
        id: TokenId,
    },
    /// Revoke a token: it stops at the next request, URLs that were signed with it live on until they expire
    Revoke {
        /// The token's id
        id: TokenId,
        /// Also the tokens that were made with it, and with those
        #[arg(long)]
        with_made: bool,
    },
    /// Make a token with the same rights and show it, this once; the old one ends
    Rotate {
        /// The old token's id
        id: TokenId,
        /// How long the old one goes on, such as 1d
        #[arg(long, default_value = "0s")]
        overlap: Span,
    },
}

/// What a new token is to be.
#[derive(Args)]
pub struct Create {
    /// Whose chunks it opens
    #[arg(long)]
    tenant: TenantName,
    /// A name for people, such as that of the computer
    #[arg(long)]
    name: String,
    /// The usual rights
    #[arg(long, required_unless_present = "right")]
    preset: Option<Preset>,
    /// A right more: VERB=LABELS with find, read, create, delete or admin, and a label, a text that ends in a dot (all
    /// labels that begin with it), or *
    #[arg(long, value_parser = right)]
    right: Vec<(Verb, Labels)>,
    /// How long it lives, such as 365d
    #[arg(long)]
    expires: Option<Span>,
    /// From where it may be used, such as 192.0.2.0/24
    #[arg(long)]
    network: Vec<IpNet>,
    /// For how many bytes URLs to store may be signed on one day (UTC), such as 100G
    #[arg(long, value_parser = bytes)]
    daily_bytes: Option<u64>,
}

fn right(text: &str) -> Result<(Verb, Labels), String> {
    let (verb, labels) = text.split_once('=').ok_or("write VERB=LABELS, such as read=snapshot.")?;
    let verb = serde_json::from_value(Value::String(verb.to_owned()))
        .map_err(|_| format!("{verb:?} is no verb; there are find, read, create, delete and admin"))?;
    Ok((verb, labels.parse().map_err(|error: crate::rights::LabelsError| error.to_string())?))
}

/// Runs the command.
pub async fn run(state: &State, command: TokenCommand, output: &Output) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(create) => {
            let what = what(*create);
            make(state, &what, output).await
        }
        TokenCommand::List { tenant } => {
            let tokens = state.tokens(tenant.as_ref()).await?;
            let lines: Vec<String> = tokens.iter().map(line).collect();
            let json = json!({ "tokens": tokens.iter().map(document).collect::<Vec<_>>() });
            output.print(if lines.is_empty() { "no tokens".to_owned() } else { lines.join("\n") }.as_str(), &json)
        }
        TokenCommand::Show { id } => {
            let token = find(state, &id).await?;
            output.print(&format!("{:#}", document(&token)), &document(&token))
        }
        TokenCommand::Revoke { id, with_made } => revoke(state, &id, with_made, output).await,
        TokenCommand::Rotate { id, overlap } => {
            let old = find(state, &id).await?;
            if old.revoked.is_some() {
                return Err(Failure::Input(format!("token {id} was revoked; make a new one with: token create")));
            }
            make(state, &old.what, output).await?;
            if overlap.seconds() == 0 {
                state.revoke_token(&id, crate::now()).await?;
            } else {
                state.expire_token(&id, crate::now() + overlap.seconds()).await?;
            }
            Ok(())
        }
    }
}

fn what(create: Create) -> NewToken {
    let mut rights = create.preset.map_or_else(Rights::default, Preset::rights);
    for (verb, labels) in create.right {
        rights.grant(verb, labels);
    }
    NewToken {
        tenant: create.tenant,
        name: create.name,
        rights,
        expires: create.expires.map(|span| crate::now() + span.seconds()),
        networks: create.network,
        daily_bytes: create.daily_bytes,
        made_by: None,
    }
}

async fn make(state: &State, what: &NewToken, output: &Output) -> Result<(), Failure> {
    let token = Token::generate().map_err(|error: TokenError| Failure::Input(error.to_string()))?;
    if !state.create_token(&token, what, crate::now()).await? {
        let tenant = &what.tenant;
        return Err(Failure::Input(format!(
            "there is no tenant {tenant}; make it with: obnam-server tenant create {tenant}"
        )));
    }
    let json = json!({ "id": token.id().as_str(), "token": token.reveal(), "tenant": what.tenant.as_str() });
    output.print(token.reveal(), &json)?;
    if !output.json {
        eprintln!("Keep this token now: it is not kept here, and cannot be shown again.");
    }
    Ok(())
}

/// Revokes a token first, so that it makes no more while those that it made are looked for.
async fn revoke(state: &State, id: &TokenId, with_made: bool, output: &Output) -> Result<(), Failure> {
    let tenant = find(state, id).await?.what.tenant;
    let revoked = state.revoke_token(id, crate::now()).await?;
    let mut lines = vec![format!("token {id} {}", if revoked { "revoked" } else { "was revoked before" })];
    let mut makers = vec![id.clone()];
    let mut next = with_made.then_some(0);
    while let Some(maker) = next.and_then(|at| makers.get(at).cloned()) {
        for token in state.tokens(Some(&tenant)).await? {
            if token.what.made_by.as_ref() == Some(&maker) {
                if state.revoke_token(&token.id, crate::now()).await? {
                    lines.push(format!("token {} revoked", token.id));
                }
                makers.push(token.id);
            }
        }
        next = next.map(|at| at + 1);
    }
    let made: Vec<&str> = makers[1..].iter().map(TokenId::as_str).collect();
    output.print(&lines.join("\n"), &json!({ "id": id.as_str(), "revoked": true, "made": made }))
}

async fn find(state: &State, id: &TokenId) -> Result<TokenRecord, Failure> {
    let found = state.token(id).await?;
    found.ok_or_else(|| Failure::Input(format!("there is no token {id}; see: obnam-server token list")))
}

fn line(token: &TokenRecord) -> String {
    let used = token.last_used.map_or_else(|| "never used".to_owned(), |used| format!("last used {}", time(used)));
    let end = match (token.revoked, token.what.expires) {
        (Some(revoked), _) => format!(", revoked {}", time(revoked)),
        (None, Some(expires)) => format!(", expires {}", time(expires)),
        (None, None) => String::new(),
    };
    format!("{}  {}  {}  {used}{end}", token.id, token.what.tenant, token.what.name)
}

fn document(token: &TokenRecord) -> Value {
    json!({
        "id": token.id.as_str(),
        "tenant": token.what.tenant.as_str(),
        "name": token.what.name,
        "rights": token.what.rights,
        "created": token.created,
        "expires": token.what.expires,
        "revoked": token.revoked,
        "last-used": token.last_used,
        "networks": token.what.networks,
        "daily-bytes": token.what.daily_bytes,
        "made-by": token.what.made_by.as_ref().map(TokenId::as_str),
    })
}
