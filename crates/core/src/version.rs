//! Version labels: integers (`7`) and semantic versions (`1.0.3`) in one order.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A version label. An integer `n` stands as `n.0.0` in the common order; where both exist the integer comes first.
///
/// A leading `v` is tolerated on input and dropped. Build metadata (`+…`) takes part in the order, so that equal means
/// identical. Pre-releases come before their release ([semver 2.0.0](https://semver.org/spec/v2.0.0.html), section 11).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Version {
    /// A whole number.
    Integer(u64),
    /// A semantic version.
    Semantic(semver::Version),
}

impl Version {
    /// Returns the version that follows: `n + 1`, or the patch plus one.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the number cannot grow any more.
    pub fn successor(&self) -> Result<Version> {
        let overflow = || Error::invalid("version", self, "has no successor within 64 bits");
        match self {
            Version::Integer(number) => number.checked_add(1).map(Version::Integer).ok_or_else(overflow),
            Version::Semantic(semantic) => {
                let patch = semantic.patch.checked_add(1).ok_or_else(overflow)?;
                Ok(Version::Semantic(semver::Version::new(semantic.major, semantic.minor, patch)))
            }
        }
    }

    fn as_semantic(&self) -> semver::Version {
        match self {
            Version::Integer(number) => semver::Version::new(*number, 0, 0),
            Version::Semantic(semantic) => semantic.clone(),
        }
    }

    fn rank_of_scheme(&self) -> u8 {
        match self {
            Version::Integer(_) => 0,
            Version::Semantic(_) => 1,
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        let by_value = self.as_semantic().cmp(&other.as_semantic());
        by_value.then(self.rank_of_scheme().cmp(&other.rank_of_scheme()))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Integer(number) => fmt::Display::fmt(number, formatter),
            Version::Semantic(semantic) => fmt::Display::fmt(semantic, formatter),
        }
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Version> {
        let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
        // `u64::from_str` would take "+7" and "007"; two labels for one version are one too many.
        let integer = !bare.is_empty()
            && bare.bytes().all(|byte| byte.is_ascii_digit())
            && (bare == "0" || !bare.starts_with('0'));
        let parsed = if integer {
            bare.parse().ok().map(Version::Integer)
        } else {
            semver::Version::parse(bare).ok().map(Version::Semantic)
        };
        parsed.ok_or_else(|| {
            Error::invalid("version", text, "must be a whole number like `7` or a semantic version like `1.0.3`")
        })
    }
}

impl TryFrom<String> for Version {
    type Error = Error;

    fn try_from(text: String) -> Result<Version> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn integers_and_semantic_versions_have_one_order() {
        let ordered = ["1", "1.0.0", "1.0.3", "1.0.10", "2.0.0-rc.1", "2", "2.0.0", "2.1.0", "10"];
        for pair in ordered.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn leading_v_is_dropped() {
        assert_eq!(version("v1.0.0"), version("1.0.0"));
        assert_eq!(version("V7").to_string(), "7");
    }

    #[test]
    fn successor_follows_the_scheme() {
        assert_eq!(version("7").successor().unwrap(), version("8"));
        assert_eq!(version("1.0.9").successor().unwrap(), version("1.0.10"));
        assert_eq!(version("2.0.0-rc.1").successor().unwrap(), version("2.0.1"));
        assert!(version(&u64::MAX.to_string()).successor().is_err());
    }

    #[test]
    fn what_is_no_version_is_refused_with_its_text() {
        for text in ["", "v", "1.0", "swin_vit", "it", "-1", "+7", "007", "1.0.0.0", "99999999999999999999999"] {
            let error = text.parse::<Version>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }

    fn any_version() -> impl Strategy<Value = Version> {
        prop_oneof![
            any::<u64>().prop_map(Version::Integer),
            (any::<u64>(), any::<u64>(), 0..u64::MAX)
                .prop_map(|(major, minor, patch)| Version::Semantic(semver::Version::new(major, minor, patch))),
        ]
    }

    proptest! {
        #[test]
        fn text_round_trip(version in any_version()) {
            prop_assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }

        #[test]
        fn order_is_total_and_agrees_with_equality(a in any_version(), b in any_version(), c in any_version()) {
            prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c { prop_assert!(a <= c); }
        }

        #[test]
        fn successor_is_later(version in any_version()) {
            if let Ok(next) = version.successor() { prop_assert!(next > version); }
        }
    }
}
