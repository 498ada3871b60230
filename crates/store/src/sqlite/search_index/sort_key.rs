//! Values as bytes that compare as the values do, so that one kind of column holds them all.
//!
//! ```text
//! rank of the kind (1 byte) · number, whole number, time: 8 bytes, big endian · version: its sort key · text: itself
//! ```

use std::ops::Range;

use seedhouse_core::query::Value;

use crate::version_key::version_key;

const NUMBER: u8 = 0;
const WHOLE: u8 = 1;
const TIME: u8 = 2;
const VERSION: u8 = 3;
const TEXT: u8 = 4;

/// Returns bytes that compare as the value does.
pub(in crate::sqlite) fn sort_key(value: &Value) -> Vec<u8> {
    const SIGN: u64 = 1 << 63;
    let bytes = |rank: u8, number: u64| {
        let mut key = Vec::with_capacity(9);
        key.push(rank);
        key.extend(number.to_be_bytes());
        key
    };
    match value {
        Value::Number(number) => {
            let bits = number.to_bits();
            // Negative numbers are the greater the smaller their bits are.
            bytes(NUMBER, if bits & SIGN == 0 { bits | SIGN } else { !bits })
        }
        Value::Whole(number) => bytes(WHOLE, *number),
        Value::Time(time) => bytes(TIME, time.as_microseconds().cast_unsigned() ^ SIGN),
        Value::Version(version) => [&[VERSION][..], &version_key(version)].concat(),
        Value::Text(text) => [&[TEXT][..], text.as_bytes()].concat(),
    }
}

/// Returns the keys, from and to, between which all values of one kind stand.
pub(in crate::sqlite) fn kind_of(key: &[u8]) -> Range<[u8; 1]> {
    let rank = key.first().copied().unwrap_or_default();
    [rank]..[rank.saturating_add(1)]
}

/// Returns the text whose key this is.
pub(in crate::sqlite) fn text_of(key: &[u8]) -> Option<&str> {
    match key.split_first()? {
        (&TEXT, text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_as_the_values_do() {
        let mut values: Vec<Value> =
            [-1e300, -2.5, -1.0, 0.0, 1e-300, 1.0, 2.5, 1e300].into_iter().map(Value::number).collect();
        values.extend([0, 7, u64::MAX].map(Value::Whole));
        values.extend(
            ["1900-01-01", "2026-03-01"].map(|day| Value::Time(format!("{day}T00:00:00Z").try_into().unwrap())),
        );
        values.extend(["1.0.9", "1.0.10"].map(|version| Value::Version(version.parse().unwrap())));
        values.extend(["", "a", "小麦"].map(|text| Value::Text(text.into())));
        assert!(values.is_sorted(), "the cases themselves");
        let keys: Vec<Vec<u8>> = values.iter().map(sort_key).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(text_of(&keys[keys.len() - 1]), Some("小麦"));
        assert_eq!(text_of(&keys[0]), None);
        assert_eq!(sort_key(&Value::number(-0.0)), sort_key(&Value::number(0.0)));
    }
}
