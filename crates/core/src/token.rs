//! Tokens: who may come in, as what, and until when. The secret itself is never kept.

use crate::{Digest, Role, Timestamp, TokenName};

/// What is known about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who holds it; the history names it as the actor.
    pub name: TokenName,
    /// What it allows.
    pub role: Role,
    /// The digest of the secret, by which the token is found.
    pub digest: Digest,
    /// The last characters of the secret, so that people can tell which of their secrets it is.
    pub ending: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused; never when absent.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused because somebody said so.
    pub revoked_at: Option<Timestamp>,
}

/// Whether a token lets its holder in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// It does.
    Active,
    /// Its time is over since then.
    Expired(Timestamp),
    /// It was revoked then.
    Revoked(Timestamp),
}

impl Token {
    /// Returns whether the token lets its holder in at this time. A token that was revoked stays so whenever it would expire.
    pub fn state(&self, now: Timestamp) -> TokenState {
        match (self.revoked_at, self.expires_at) {
            (Some(revoked_at), _) => TokenState::Revoked(revoked_at),
            (None, Some(expires_at)) if expires_at <= now => TokenState::Expired(expires_at),
            (None, _) => TokenState::Active,
        }
    }
}

impl TokenState {
    /// Returns the name used on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenState::Active => "active",
            TokenState::Expired(_) => "expired",
            TokenState::Revoked(_) => "revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_ends_at_the_moment_it_names_and_revocation_outweighs_it() {
        let time = |text: &str| Timestamp::parse(text).unwrap().0;
        let [before, end] = ["2026-03-01T11:59:59.999999Z", "2026-03-01T12:00:00Z"].map(time);
        let mut token = Token {
            name: "ci".parse().unwrap(),
            role: Role::Reader,
            digest: Digest::of("secret"),
            ending: "cret".into(),
            created_at: before,
            expires_at: Some(end),
            revoked_at: None,
        };
        assert_eq!(token.state(before), TokenState::Active);
        assert_eq!(token.state(end), TokenState::Expired(end));
        token.revoked_at = Some(before);
        assert_eq!(token.state(end), TokenState::Revoked(before));
        token = Token { expires_at: None, revoked_at: None, ..token };
        assert_eq!(token.state(time("9999-01-01T00:00:00Z")), TokenState::Active);
    }
}
