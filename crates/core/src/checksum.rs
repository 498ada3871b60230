//! Checksums of parts on their way: what the sender announced, held against what arrived.

use std::fmt;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// How a checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// SHA-1. It proves nothing against forgery; tus demands it of every server, and its Python client sends nothing else.
    Sha1,
}

/// A checksum of bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    bytes: Vec<u8>,
}

/// Computes a checksum piece by piece.
pub struct Checksummer(State);

enum State {
    Sha256(Sha256),
    Sha1(Sha1),
}

impl ChecksumAlgorithm {
    /// Every algorithm, the best first.
    pub const ALL: [ChecksumAlgorithm; 2] = [ChecksumAlgorithm::Sha256, ChecksumAlgorithm::Sha1];

    /// Returns its name in tus.
    pub fn as_str(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Sha256 => "sha256",
            ChecksumAlgorithm::Sha1 => "sha1",
        }
    }

    /// Returns the length of its checksums.
    pub fn length_bytes(self) -> usize {
        match self {
            ChecksumAlgorithm::Sha256 => 32,
            ChecksumAlgorithm::Sha1 => 20,
        }
    }
}

impl Checksum {
    /// Returns a checksum that somebody announced.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming both lengths.
    pub fn new(algorithm: ChecksumAlgorithm, bytes: Vec<u8>) -> Result<Checksum> {
        let (length, expected) = (bytes.len(), algorithm.length_bytes());
        if length != expected {
            let rule = format!("a checksum by {} has {expected} bytes", algorithm.as_str());
            return Err(Error::invalid("checksum", format!("{length} bytes"), rule));
        }
        Ok(Checksum { algorithm, bytes })
    }

    /// Returns how it is computed.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm.as_str(), hex::encode(&self.bytes))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Checksummer {
    /// Starts with no bytes.
    pub fn new(algorithm: ChecksumAlgorithm) -> Checksummer {
        Checksummer(match algorithm {
            ChecksumAlgorithm::Sha256 => State::Sha256(Sha256::new()),
            ChecksumAlgorithm::Sha1 => State::Sha1(Sha1::new()),
        })
    }

    /// Takes in further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
        }
    }

    /// Returns the checksum of everything taken in.
    pub fn finish(self) -> Checksum {
        match self.0 {
            State::Sha256(state) => Checksum { algorithm: ChecksumAlgorithm::Sha256, bytes: state.finalize().to_vec() },
            State::Sha1(state) => Checksum { algorithm: ChecksumAlgorithm::Sha1, bytes: state.finalize().to_vec() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones_for_abc() {
        // FIPS 180-4, examples for the message "abc".
        let cases = [
            (ChecksumAlgorithm::Sha256, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (ChecksumAlgorithm::Sha1, "sha1:a9993e364706816aba3e25717850c26c9cd0d89d"),
        ];
        for (algorithm, expected) in cases {
            let mut checksummer = Checksummer::new(algorithm);
            checksummer.update(b"a");
            checksummer.update(b"bc");
            assert_eq!(checksummer.finish().to_string(), expected);
        }
    }

    #[test]
    fn checksum_of_another_length_is_refused() {
        for algorithm in ChecksumAlgorithm::ALL {
            assert!(Checksum::new(algorithm, vec![0; algorithm.length_bytes()]).is_ok());
            for length in [0, algorithm.length_bytes() - 1, algorithm.length_bytes() + 1] {
                let error = Checksum::new(algorithm, vec![0; length]).unwrap_err().to_string();
                assert!(error.contains(&format!("`{length} bytes`")), "{error}");
            }
        }
    }
}
