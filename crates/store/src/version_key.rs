//! Sort keys of versions: bytes that compare as the versions do, so that a database can order them without knowing the rules.
//!
//! ```text
//! major minor patch (8 bytes each, big endian) · pre-release identifiers or 0xff · build identifiers · scheme
//! identifier   1, length without leading zeros, digits, whole length   (numeric)
//!              2, characters, 0                                        (anything else; later than every number)
//! end of list  0
//! ```

use seedhouse_core::Version;

const END: u8 = 0;
const NUMERIC: u8 = 1;
const ALPHANUMERIC: u8 = 2;
/// A release is later than each of its pre-releases.
const RELEASE: u8 = 0xff;

/// Returns bytes that compare as `version` does.
pub(crate) fn version_key(version: &Version) -> Vec<u8> {
    match version {
        Version::Integer(number) => key_of(&semver::Version::new(*number, 0, 0), 0),
        Version::Semantic(semantic) => key_of(semantic, 1),
    }
}

fn key_of(version: &semver::Version, rank_of_scheme: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(48);
    for number in [version.major, version.minor, version.patch] {
        key.extend_from_slice(&number.to_be_bytes());
    }
    if version.pre.is_empty() {
        key.push(RELEASE);
    } else {
        push_identifiers(&mut key, version.pre.as_str());
    }
    push_identifiers(&mut key, version.build.as_str());
    key.push(rank_of_scheme);
    key
}

/// Numbers may be longer than any integer type, so their length is compared before their digits.
fn push_identifiers(key: &mut Vec<u8>, list: &str) {
    for identifier in list.split('.') {
        if identifier.bytes().all(|byte| byte.is_ascii_digit()) {
            let digits = identifier.trim_start_matches('0');
            key.push(NUMERIC);
            key.extend_from_slice(&(digits.len() as u64).to_be_bytes());
            key.extend_from_slice(digits.as_bytes());
            key.extend_from_slice(&(identifier.len() as u64).to_be_bytes());
        } else {
            key.push(ALPHANUMERIC);
            key.extend_from_slice(identifier.as_bytes());
            key.push(END);
        }
    }
    key.push(END);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_version() -> impl Strategy<Value = Version> {
        // Small alphabets, so that two versions often share a beginning.
        let semantic =
            r"[0-2]\.[0-2]\.[01](-(0|1|2|10|a|ab|a-|1a)(\.(0|7|b|rc)){0,2})?(\+(0|00|1|01|10|a|ab)(\.(0|b)){0,2})?";
        prop_oneof![
            any::<u64>().prop_map(Version::Integer),
            (0..3_u64).prop_map(Version::Integer),
            semantic.prop_map(|text| text.parse().unwrap()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn keys_compare_as_the_versions_do(a in any_version(), b in any_version()) {
            prop_assert_eq!(version_key(&a).cmp(&version_key(&b)), a.cmp(&b), "{} and {}", a, b);
        }
    }

    #[test]
    fn a_long_chain_of_versions_has_a_long_chain_of_keys() {
        let ordered =
            ["1", "1.0.0", "1.0.3-1", "1.0.3-a", "1.0.3-a.1", "1.0.3-a.b", "1.0.3-ab", "1.0.3", "1.0.3+1", "2"];
        for pair in ordered.windows(2) {
            let [earlier, later] = [pair[0], pair[1]].map(|text| version_key(&text.parse().unwrap()));
            assert!(earlier < later, "{} < {}", pair[0], pair[1]);
        }
    }
}
