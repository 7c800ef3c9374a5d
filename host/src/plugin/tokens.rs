//! Tokens of the place behind a plugin: the one in a credential takes the place of a bootstrap token, and plugins with the
//! interface `tokens` make and revoke others.

use super::bindings;
use super::instance::{Answer, Call};
use super::opening::redaction_of;
use super::pool::Pool;
use super::store::PluginStore;
use super::{failure::Failure, retry};
use crate::store::{MadeToken, StoreError, StoreErrorKind, TokenWish, Tokens};
use zeroize::Zeroizing;

/// The option that a token is given in. It has to be a secret one.
const TOKEN: &str = "token";

impl PluginStore {
    /// Goes on with the token of a credential, unless the user gave one, or the plugin knows no tokens.
    pub(super) fn take_token(&self, token: &str) {
        let is_known = self.info().options.iter().any(|option| option.secret && option.name == TOKEN);
        let pool = self.pool();
        let is_given = pool.blueprint.options.iter().any(|(name, value)| name == TOKEN && !value.is_empty());
        if is_known && !is_given {
            tracing::debug!(plugin = %self.info().name, "going on with the token in the credential");
            self.go_on_with(self.with_token(&pool, token), true);
        }
    }

    fn with_token(&self, pool: &Pool, token: &str) -> Pool {
        let mut options = pool.blueprint.options.clone();
        options.retain(|(name, _)| name != TOKEN);
        options.push((TOKEN.to_owned(), token.to_owned()));
        let redaction = redaction_of(self.info(), &options);
        pool.with(options, redaction)
    }

    fn ask<T>(
        &self,
        pool: &Pool,
        doing: &str,
        call: &Call,
        sort: impl Fn(Answer) -> Option<T>,
    ) -> Result<T, StoreError> {
        let limits = pool.blueprint.limits.first_contact();
        let answer = retry::repeat(&limits, doing, || pool.call(call.clone()));
        let answer = answer.map_err(|failure: Failure| failure.into_error(&self.info().name, doing))?;
        sort(answer).ok_or_else(|| {
            let message = format!("could not {doing}: plugin {} answered another question", self.info().name);
            StoreError::new(StoreErrorKind::Plugin, message)
        })
    }
}

impl Tokens for PluginStore {
    fn id_of(&self, token: &str) -> Result<String, StoreError> {
        let call = Call::TokenId { token: token.to_owned() };
        // With the token as an option nothing that the plugin says can hold it.
        let pool = self.with_token(&self.pool(), token);
        self.ask(&pool, "read the id of the token", &call, |answer| match answer {
            Answer::TokenId(id) => Some(pool.blueprint.redaction.clean(&id)),
            _ => None,
        })
    }

    fn create(&self, wish: &TokenWish) -> Result<MadeToken, StoreError> {
        let TokenWish { name, preset, expires } = wish.clone();
        let call = Call::CreateToken { wish: bindings::TokenWish { name, preset, expires } };
        let pool = self.pool();
        self.ask(&pool, "make a token", &call, |answer| match answer {
            Answer::Token(made) => Some(MadeToken {
                id: pool.blueprint.redaction.clean(&made.id),
                token: Zeroizing::new(made.token),
                expires: made.expires,
            }),
            _ => None,
        })
    }

    fn give_up(&self, token: &str) -> Result<(), StoreError> {
        let id = self.id_of(token)?;
        let doing = format!("revoke the token {id}");
        let pool = self.with_token(&self.pool(), token);
        self.ask(&pool, &doing, &Call::RevokeToken { id }, |answer| matches!(answer, Answer::Done).then_some(()))
    }
}
