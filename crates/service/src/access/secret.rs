//! The secret that a token's holder sends.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use seedhouse_core::{Digest, Error, Result};

/// Lets people and scanners of leaked secrets recognise ours.
const PREFIX: &str = "sdh_";

/// 256 bits: nobody guesses one, and nobody finds one from its SHA-256 by trying. A slow password hash would add nothing.
const RANDOM_BYTES: usize = 32;

/// The prefix, and 32 bytes in base64 without padding.
const LENGTH: usize = PREFIX.len() + 43;

/// How many of the last characters are kept for people; 232 of the 256 bits stay secret.
const ENDING: usize = 4;

/// A secret. It has no `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a new one from the operating system's generator.
    pub(super) fn generate() -> Result<Secret> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| Error::Internal(format!("no random bytes: {error}")))?;
        Ok(Secret(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Takes what a caller sent, whatever it is.
    pub fn presented(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Returns the secret itself, to show it to its holder once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns what is kept in its stead.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// Returns the last characters of a secret of ours.
    pub(super) fn ending(&self) -> &str {
        &self.0[LENGTH - ENDING..]
    }

    /// Returns whether it can be one of ours at all; anything else is not worth hashing.
    pub(super) fn has_our_shape(&self) -> bool {
        self.0.len() == LENGTH && self.0.starts_with(PREFIX) && self.0.is_ascii()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_is_new_has_the_shape_and_does_not_show_itself() {
        let [one, other] = [Secret::generate().unwrap(), Secret::generate().unwrap()];
        assert_ne!(one, other);
        for secret in [one, other] {
            assert!(secret.has_our_shape());
            assert_eq!(secret.reveal().len(), 47);
            let random = secret.reveal().strip_prefix("sdh_").unwrap();
            assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len(), RANDOM_BYTES);
            assert!(random.ends_with(secret.ending()) && secret.ending().len() == 4);
            assert_eq!(format!("{secret:?}"), "Secret(…)");
            assert!(Secret::presented(secret.reveal()).digest() == secret.digest());
        }
    }

    #[test]
    fn what_cannot_be_ours_is_seen_without_hashing() {
        for text in
            ["", "sdh_", &"x".repeat(47), &format!("sdh_{}", "x".repeat(10_000)), &format!("sdh_{}x", "长".repeat(14))]
        {
            assert!(!Secret::presented(text).has_our_shape(), "{text}");
        }
    }
}
