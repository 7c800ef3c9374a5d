//! API tokens: how they look, and what is kept of them.
//!
//! `obn1_` + id (10 characters) + `_` + secret (43) + checksum (6). All characters but the `_` are of base 62, so that a
//! double click selects the whole. The typed prefix and the checksum (CRC-32 of everything before it) let scanners of
//! leaked secrets, and people who mistyped, recognise a token without asking the server. Only the SHA-256 of a token is
//! kept: 256 random bits need no slow hash.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every token begins with. The digit is the version of its form.
pub const PREFIX: &str = "obn1_";

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID: usize = 10;
/// 62^43 is a little more than 2^256.
const SECRET: usize = 43;
const CHECKSUM: usize = 6;

/// A text that is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not the form.
    #[error("this is not a token: tokens begin with {PREFIX} and have 65 characters")]
    Form,
    /// The form, but the checksum is wrong.
    #[error("this token is mistyped or cut off: its checksum is wrong")]
    Checksum,
    /// The operating system gave no random bytes.
    #[error("cannot make a token: the operating system gives no random bytes")]
    Random,
}

/// The public part of a token: names it in lists and logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(String);

impl TokenId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let ok = text.len() == ID && text.bytes().all(|b| DIGITS.contains(&b));
        if ok { Ok(TokenId(text.to_owned())) } else { Err(TokenError::Form) }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole token. It has no `Debug` and no `Display`: whoever shows it says so with [`Token::reveal`].
pub struct Token {
    text: String,
    id: TokenId,
}

impl Token {
    /// A new one.
    pub fn generate() -> Result<Self, TokenError> {
        let mut text = PREFIX.to_owned();
        random_digits(ID, &mut text)?;
        text.push('_');
        random_digits(SECRET, &mut text)?;
        let checksum = checksum(&text);
        text.push_str(&checksum);
        text.parse()
    }

    /// Its id.
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// The token itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.text.as_bytes()).into())
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest = text.strip_prefix(PREFIX).ok_or(TokenError::Form)?;
        let (id, secret) = rest.split_once('_').ok_or(TokenError::Form)?;
        let ok = secret.len() == SECRET + CHECKSUM && secret.bytes().all(|b| DIGITS.contains(&b));
        if !ok {
            return Err(TokenError::Form);
        }
        let id = id.parse()?;
        let (before, sum) = text.split_at(text.len() - CHECKSUM);
        if checksum(before) != sum {
            return Err(TokenError::Checksum);
        }
        Ok(Token { text: text.to_owned(), id })
    }
}

/// The SHA-256 of a token.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// As it is kept: 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Whether this is the digest with these digits. Takes the same time wherever they differ.
    pub fn is(self, kept: &str) -> bool {
        self.to_hex().as_bytes().ct_eq(kept.as_bytes()).into()
    }
}

fn random_digits(count: usize, text: &mut String) -> Result<(), TokenError> {
    let mut left = count;
    while left > 0 {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).map_err(|_| TokenError::Random)?;
        // 248 is the largest multiple of 62 in a byte: each digit is equally likely.
        for byte in bytes.into_iter().filter(|&byte| byte < 248).take(left) {
            text.push(char::from(DIGITS[usize::from(byte % 62)]));
            left -= 1;
        }
    }
    Ok(())
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text() {
        let token = Token::generate().expect("a token");
        let text = token.reveal();
        assert_eq!(text.len(), 65);
        let again: Token = text.parse().expect("parses");
        assert_eq!(again.id(), token.id());
        assert!(again.digest().is(&token.digest().to_hex()));
        assert!(!again.digest().is(&Token::generate().expect("a token").digest().to_hex()));
        assert!(!again.digest().is(""));
    }

    #[test]
    fn each_changed_character_is_noticed() {
        let token = Token::generate().expect("a token");
        for position in 0..token.reveal().len() {
            let mut bytes = token.reveal().as_bytes().to_vec();
            bytes[position] = if bytes[position] == b'x' { b'y' } else { b'x' };
            let text = String::from_utf8(bytes).expect("text");
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
        for text in ["", "obn1_", "obn1__", &token.reveal()[..64], &format!("{}0", token.reveal())] {
            assert_eq!(text.parse::<Token>().err(), Some(TokenError::Form), "{text}");
        }
    }

    #[test]
    fn the_checksum_is_crc_32_in_base_62() {
        // CRC-32 of "123456789" is 0xCBF43926 = 3421780262, by the catalogue of CRC parametrised models.
        assert_eq!(checksum("123456789"), "3jZRME");
    }
}
