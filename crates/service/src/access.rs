//! Access: who is calling, and may they?
//!
//! ```text
//! no token yet     everybody who reaches the server over loopback is the administrator `local`; nobody else comes in
//! one or more      every request needs one that is active
//! ```
//!
//! A token that has expired still counts as one: time passing closes doors, it never opens them. Only revoking, which
//! somebody does on purpose, can lead back to a registry without tokens.

mod known_tokens;
mod secret;

use std::sync::Arc;
use std::time::Duration;

use seedhouse_core::{Clock, Error, Permission, Result, Role, Timestamp, Token, TokenName, TokenState, TokenStore};

use known_tokens::{KnownTokens, Snapshot};
pub use secret::Secret;

/// The use cases about tokens. Shared between threads.
pub struct Access {
    tokens: KnownTokens,
    clock: Arc<dyn Clock>,
}

/// A new token and its secret, which is nowhere else.
#[derive(Debug)]
pub struct NewToken {
    /// What the registry keeps.
    pub token: Token,
    /// What the holder sends.
    pub secret: Secret,
}

/// What a request says about its sender.
#[derive(Debug)]
pub enum Credentials {
    /// Nothing.
    None,
    /// One secret, in however many places.
    Secret(Secret),
    /// Something that cannot be read, and why.
    Unreadable(String),
}

/// From where the server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// From this machine only.
    Loopback,
    /// From other machines, too.
    Public,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token, or `local`; the history names it.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
}

impl Caller {
    /// Returns whoever comes to a registry without tokens.
    fn local() -> Caller {
        Caller { name: "local".into(), role: Role::Admin }
    }

    /// Checks that the caller may do this.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] naming token, role and permission.
    pub fn check(&self, permission: Permission) -> Result<()> {
        if self.role.may(permission) {
            return Ok(());
        }
        Err(Error::PermissionDenied { permission, role: self.role, token: self.name.clone() })
    }
}

impl Access {
    /// Returns the use cases over these tokens.
    pub fn new(tokens: Arc<dyn TokenStore>, clock: Arc<dyn Clock>) -> Access {
        Access { tokens: KnownTokens::new(tokens), clock }
    }

    /// Makes a token. Its secret is in the answer and never again.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for a name that is, or was, a token's; [`Error::Invalid`] for a time that is over at once or
    /// beyond the calendar.
    pub fn create_token(&self, name: TokenName, role: Role, expires_in: Option<Duration>) -> Result<NewToken> {
        let created_at = self.clock.now();
        let expires_at = expires_in.map(|duration| expiry(created_at, duration)).transpose()?;
        let secret = Secret::generate()?;
        let digest = secret.digest();
        let ending = secret.ending().to_owned();
        let token = Token { name, role, digest, ending, created_at, expires_at, revoked_at: None };
        self.tokens.change(|store| store.create(token.clone()))?;
        Ok(NewToken { token, secret })
    }

    /// Returns all tokens, oldest first, each with whether it is active.
    ///
    /// # Errors
    /// Those of the token store.
    pub fn list_tokens(&self) -> Result<Vec<(Token, TokenState)>> {
        let now = self.clock.now();
        let tokens = self.tokens.read()?;
        Ok(tokens.into_iter().map(|token| (token.clone(), token.state(now))).collect())
    }

    /// Revokes a token: here it is refused from now on, by other processes on the same registry within a second.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn revoke_token(&self, name: &TokenName) -> Result<Token> {
        let now = self.clock.now();
        self.tokens.change(|store| store.revoke(name, now))
    }

    /// Checks that a server may listen where others reach it.
    ///
    /// # Errors
    /// [`Error::PublicWithoutToken`] when there is no active token.
    pub fn check_reach(&self, reach: Reach, address: impl ToString) -> Result<()> {
        let active = |(_, state): &(Token, TokenState)| *state == TokenState::Active;
        if reach == Reach::Loopback || self.list_tokens()?.iter().any(active) {
            return Ok(());
        }
        Err(Error::PublicWithoutToken { address: address.to_string() })
    }

    /// Says who is calling. May read the tokens again, which blocks.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when a token is needed and none that holds was sent.
    pub fn authenticate(&self, credentials: &Credentials, reach: Reach) -> Result<Caller> {
        self.decide(&*self.tokens.snapshot()?, credentials, reach)
    }

    /// The same from what was read within the last half second, without blocking; `None` when that is too old.
    pub fn authenticate_now(&self, credentials: &Credentials, reach: Reach) -> Option<Result<Caller>> {
        let snapshot = self.tokens.fresh_snapshot()?;
        Some(self.decide(&snapshot, credentials, reach))
    }

    fn decide(&self, known: &Snapshot, credentials: &Credentials, reach: Reach) -> Result<Caller> {
        if known.is_without_tokens() {
            return match reach {
                Reach::Loopback => Ok(Caller::local()),
                Reach::Public => Err(Error::unauthenticated(
                    "the registry has no token left, and without one nobody comes in from other machines",
                )),
            };
        }
        let secret = match credentials {
            Credentials::Secret(secret) => secret,
            Credentials::None => return Err(Error::unauthenticated("the request has no token")),
            Credentials::Unreadable(reason) => return Err(Error::unauthenticated(reason)),
        };
        let token = known.of_secret(secret).ok_or_else(|| Error::unauthenticated("the token is not known here"))?;
        match token.state(self.clock.now()) {
            TokenState::Active => Ok(Caller { name: token.name.to_string(), role: token.role }),
            TokenState::Expired(since) => {
                Err(Error::unauthenticated(format!("token `{}` expired {since}", token.name)))
            }
            TokenState::Revoked(since) => {
                Err(Error::unauthenticated(format!("token `{}` was revoked {since}", token.name)))
            }
        }
    }
}

fn expiry(created_at: Timestamp, duration: Duration) -> Result<Timestamp> {
    let refuse = |rule| Error::invalid("expires_in", format!("{} s", duration.as_secs()), rule);
    if duration.is_zero() {
        return Err(refuse("must be more than nothing"));
    }
    created_at.after(duration).ok_or_else(|| refuse("must end before the year 10000"))
}

#[cfg(test)]
mod tests;
