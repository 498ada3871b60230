//! The token port: who may come in.

use crate::{Result, Timestamp, Token, TokenName};

/// Keeps tokens. Calls block; implementations are shared between threads, and may share their data with other processes.
///
/// Every adapter runs the behaviour suite in `seedhouse-testkit`.
pub trait TokenStore: Send + Sync {
    /// Adds a token durably.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) when the name is taken, also by a token that was revoked: the
    /// history names it.
    fn create(&self, token: Token) -> Result<()>;

    /// Revokes a token durably and returns it. One that is revoked already keeps its time.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    fn revoke(&self, name: &TokenName, at: Timestamp) -> Result<Token>;

    /// Returns all tokens, oldest first, also those that expired or were revoked.
    fn tokens(&self) -> Result<Vec<Token>>;
}
