//! Tokens in memory, for tests and for registries that end with the process.

use std::sync::{Mutex, PoisonError};

use seedhouse_core::{Error, Kind, Result, Timestamp, Token, TokenName, TokenStore};

/// A token store without a file. It keeps every promise of the port but durability.
#[derive(Default)]
pub struct MemoryTokens {
    /// Oldest first. Every change is one step, so a panic elsewhere cannot leave half of one.
    tokens: Mutex<Vec<Token>>,
}

impl MemoryTokens {
    /// Returns an empty store.
    pub fn new() -> MemoryTokens {
        MemoryTokens::default()
    }
}

impl TokenStore for MemoryTokens {
    fn create(&self, token: Token) -> Result<()> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = tokens.iter().find(|taken| taken.name == token.name) {
            let name = taken.name.to_string();
            return Err(Error::AlreadyExists { kind: Kind::Token, name, since: taken.created_at });
        }
        if tokens.iter().any(|taken| taken.digest == token.digest) {
            return Err(Error::Internal("two tokens have the same secret".into()));
        }
        tokens.push(token);
        Ok(())
    }

    fn revoke(&self, name: &TokenName, at: Timestamp) -> Result<Token> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.iter_mut().find(|token| token.name == *name);
        let token = token.ok_or_else(|| Error::not_found(Kind::Token, name))?;
        token.revoked_at.get_or_insert(at);
        Ok(token.clone())
    }

    fn tokens(&self) -> Result<Vec<Token>> {
        Ok(self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
