//! The part of each example.
//!
//! Each example, or group of examples, has a fraction: the SHA-256 of the seed and its key, as a number from 0 to 1. What lies below
//! the share of `test` is tested with, what follows below the share of `validation` is validated with, the rest is learnt from. So the
//! part of an example depends on nothing but seed and key, and other examples that come or go do not move it. The key of a row is its
//! place among all rows of the files, those that are left out included.
//!
//! Where each class must have its share, and of the few pieces of a plain text, the fractions rank the examples, and the first of them are
//! taken.

use std::collections::BTreeMap;

use seedhouse_core::dataset::{SplitDeclaration, SplitPart};
use seedhouse_core::{Error, Result};
use sha2::{Digest as _, Sha256};

/// What of the examples is held out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    validation: f64,
    test: f64,
}

impl Shares {
    /// Returns the declared shares; where files are the test part, no more is taken for it.
    pub(crate) fn of(split: &SplitDeclaration, test_is_given: bool) -> Shares {
        Shares { validation: split.validation, test: if test_is_given { 0.0 } else { split.test } }
    }
}

/// The key of an example by its place.
pub(crate) fn place_key(place: usize) -> Vec<u8> {
    let mut key = b"place ".to_vec();
    key.extend((place as u64).to_le_bytes());
    key
}

/// Returns the fraction of a key, from 0 to below 1.
pub(crate) fn fraction(seed: u64, key: &[u8]) -> f64 {
    let mut hash = Sha256::new();
    hash.update(b"seedhouse split 1\0");
    hash.update(seed.to_le_bytes());
    hash.update(key);
    let digest = hash.finalize();
    let bits = digest[..8].iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    // 53 bits are what a double holds exactly.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns the part of an example on its own.
pub(crate) fn by_fraction(fraction: f64, shares: Shares) -> SplitPart {
    if fraction < shares.test {
        SplitPart::Test
    } else if fraction < shares.test + shares.validation {
        SplitPart::Validation
    } else {
        SplitPart::Train
    }
}

/// Gives the members their parts by rank: as many as the shares say, rounded.
pub(crate) fn by_rank(members: &[usize], fractions: &[f64], shares: Shares, parts: &mut [SplitPart]) {
    let mut ranked = members.to_vec();
    ranked.sort_by(|one, other| fractions[*one].total_cmp(&fractions[*other]).then(one.cmp(other)));
    let count = members.len() as f64;
    let test = (count * shares.test).round() as usize;
    let held_out = ((count * (shares.test + shares.validation)).round() as usize).max(test);
    for (rank, member) in ranked.into_iter().enumerate() {
        parts[member] = if rank < test {
            SplitPart::Test
        } else if rank < held_out {
            SplitPart::Validation
        } else {
            SplitPart::Train
        };
    }
}

/// Splits examples that are told apart by their place alone.
pub(crate) struct Examples<'e> {
    pub(crate) split: &'e SplitDeclaration,
    /// Which examples are the test part, by their files, if any are.
    pub(crate) is_test: Option<&'e [bool]>,
    /// The classes that each have their share of every part, if they have.
    pub(crate) classes: Option<&'e [u32]>,
    pub(crate) count: usize,
}

impl Examples<'_> {
    /// Returns the parts.
    pub(crate) fn parts(&self) -> Vec<SplitPart> {
        self.parts_by_key(place_key)
    }

    /// Returns the parts where each example has a key of its own, or one that it shares with others.
    pub(crate) fn parts_by_key(&self, key: impl Fn(usize) -> Vec<u8>) -> Vec<SplitPart> {
        let shares = Shares::of(self.split, self.is_test.is_some());
        let fractions: Vec<f64> = (0..self.count).map(|place| fraction(self.split.seed, &key(place))).collect();
        let mut parts = match self.classes {
            Some(classes) => self.by_class(classes, &fractions, shares),
            None => fractions.iter().map(|fraction| by_fraction(*fraction, shares)).collect(),
        };
        self.set_test(&mut parts);
        parts
    }

    fn by_class(&self, classes: &[u32], fractions: &[f64], shares: Shares) -> Vec<SplitPart> {
        let mut parts = vec![SplitPart::Train; self.count];
        let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, class) in classes.iter().enumerate() {
            if !self.is_test.is_some_and(|is_test| is_test[place]) {
                members.entry(*class).or_default().push(place);
            }
        }
        for members in members.values() {
            by_rank(members, fractions, shares, &mut parts);
        }
        parts
    }

    fn set_test(&self, parts: &mut [SplitPart]) {
        for (part, is_test) in parts.iter_mut().zip(self.is_test.unwrap_or_default()) {
            if *is_test {
                *part = SplitPart::Test;
            }
        }
    }
}

/// Returns which files are the test part; `None` where none are named.
pub(crate) fn test_files(split: &SplitDeclaration, names: &[&str]) -> Result<Option<Vec<bool>>> {
    if split.test_files.is_empty() {
        return Ok(None);
    }
    let belongs = |name: &str, test: &str| {
        let test = test.trim_end_matches('/');
        name == test || name.strip_prefix(test).is_some_and(|rest| rest.starts_with('/'))
    };
    for test in &split.test_files {
        if !names.iter().any(|name| belongs(name, test)) {
            return Err(Error::invalid(
                "split.test_files",
                test,
                format!("must name a file or folder of the dataset, which has {}", shown(names)),
            ));
        }
    }
    Ok(Some(names.iter().map(|name| split.test_files.iter().any(|test| belongs(name, test))).collect()))
}

/// Shows the first of many names.
pub(crate) fn shown<T: AsRef<str>>(names: &[T]) -> String {
    const MOST_SHOWN: usize = 12;
    let first: Vec<String> = names.iter().take(MOST_SHOWN).map(|name| format!("`{}`", name.as_ref())).collect();
    match names.len().saturating_sub(MOST_SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
