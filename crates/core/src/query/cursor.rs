//! Cursors: the place where a page ended, in a form that can stand in an address.
//!
//! A cursor holds the row and the value that the order looks at, so that the next page begins behind them whatever was added
//! meanwhile, and costs what the first one costs.
//!
//! ```text
//! hexadecimal of   layout (1 byte) · check (8) · row (8) · kind of value (1) · value
//! check            the beginning of the SHA-256 of the query and all that follows
//! ```

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::{Query, Value};
use crate::{Error, Result, Timestamp};

const LAYOUT: u8 = 1;
const CHECK_BYTES: usize = 8;
const HEAD_BYTES: usize = 1 + CHECK_BYTES + 8;

/// Where a page ended, for the caller to hand back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

/// The last version of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Its place in the order of registration, as the adapter counts.
    pub row: u64,
    /// Its value of the field that decides the order; `None` if it has none, or if registration decides.
    pub value: Option<Value>,
}

impl Cursor {
    /// Returns the cursor behind a version.
    pub fn new(query: &Query, position: &Position) -> Cursor {
        let content = content_of(position);
        let bytes = [&[LAYOUT], &check(query, &content)[..], &content].concat();
        Cursor(hex::encode(bytes))
    }

    /// Returns the position, if this is a cursor of that query; its limit may differ.
    pub(super) fn position(&self, query: &Query) -> Result<Position> {
        let bytes = hex::decode(&self.0).map_err(|_| self.refused())?;
        if bytes.len() <= HEAD_BYTES || bytes[0] != LAYOUT {
            return Err(self.refused());
        }
        let (found, content) = bytes[1..].split_at(CHECK_BYTES);
        if found != check(query, content) {
            return Err(self.refused());
        }
        position_of(content).ok_or_else(|| self.refused())
    }

    fn refused(&self) -> Error {
        let rule = "it is not a cursor of this query and order: it is damaged, or was given out for another one";
        Error::invalid("cursor", &self.0, rule)
    }
}

fn check(query: &Query, content: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = Sha256::new().chain_update(query.identity()).chain_update([0]).chain_update(content).finalize();
    std::array::from_fn(|index| hash[index])
}

fn content_of(position: &Position) -> Vec<u8> {
    let mut bytes = position.row.to_be_bytes().to_vec();
    let (kind, value) = match &position.value {
        None => (b'-', Vec::new()),
        Some(Value::Number(number)) => (b'n', number.to_be_bytes().to_vec()),
        Some(Value::Whole(number)) => (b'w', number.to_be_bytes().to_vec()),
        Some(Value::Time(time)) => (b't', time.as_microseconds().to_be_bytes().to_vec()),
        Some(Value::Version(version)) => (b'v', version.to_string().into_bytes()),
        Some(Value::Text(text)) => (b's', text.clone().into_bytes()),
    };
    bytes.push(kind);
    bytes.extend(value);
    bytes
}

fn position_of(content: &[u8]) -> Option<Position> {
    let (row, content) = content.split_first_chunk::<8>()?;
    let (kind, value) = content.split_first()?;
    let text = || std::str::from_utf8(value).ok();
    let value = match kind {
        b'-' => None,
        b'n' => Some(Value::Number(f64::from_be_bytes(value.try_into().ok()?))),
        b'w' => Some(Value::Whole(u64::from_be_bytes(value.try_into().ok()?))),
        b't' => Some(Value::Time(Timestamp::from_microseconds(i64::from_be_bytes(value.try_into().ok()?))?)),
        b'v' => Some(Value::Version(text()?.parse().ok()?)),
        b's' => Some(Value::Text(text()?.to_owned())),
        _ => return None,
    };
    Some(Position { row: u64::from_be_bytes(*row), value })
}

/// Any text may be tried; whether it is a cursor shows together with its query.
impl From<String> for Cursor {
    fn from(text: String) -> Cursor {
        Cursor(text)
    }
}

impl FromStr for Cursor {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Cursor, Self::Err> {
        Ok(Cursor(text.to_owned()))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions() -> Vec<Position> {
        let values = [
            None,
            Some(Value::Number(-0.25)),
            Some(Value::Whole(u64::MAX)),
            Some(Value::Time("2026-03-01T12:00:00.000001Z".to_owned().try_into().unwrap())),
            Some(Value::Version("1.0.3-rc.1".parse().unwrap())),
            Some(Value::Text("小麦\0".into())),
            Some(Value::Text(String::new())),
        ];
        values.into_iter().map(|value| Position { row: 1 << 40, value }).collect()
    }

    #[test]
    fn position_survives_in_an_address() {
        for position in positions() {
            let query = Query::default();
            let cursor = Cursor::new(&query, &position);
            assert!(cursor.to_string().chars().all(|character| character.is_ascii_alphanumeric()));
            let cursor: Cursor = cursor.to_string().parse().unwrap();
            assert_eq!(cursor.position(&query).unwrap(), position);
        }
    }

    #[test]
    fn cursor_of_another_query_or_order_is_refused() {
        let query = Query { text: Some("小麦".into()), ..Query::default() };
        let cursor = Cursor::new(&query, &positions()[0]);
        let others = [
            Query::default(),
            Query { order: "name".parse().unwrap(), ..query.clone() },
            Query { filter: "type = vision".parse().unwrap(), ..query.clone() },
        ];
        for other in others {
            let error = cursor.position(&other).unwrap_err();
            assert_eq!(error.field(), Some("cursor"));
            assert!(error.to_string().contains("not a cursor of this query"), "{error}");
        }
        assert!(cursor.position(&Query { limit: Some(7), ..query }).is_ok(), "the size of a page may change");
    }

    #[test]
    fn every_damaged_character_is_found() {
        let query = Query::default();
        let text = Cursor::new(&query, &positions()[5]).to_string();
        for index in 0..text.len() {
            let digit = if &text[index..=index] == "0" { "1" } else { "0" };
            let damaged: Cursor = format!("{}{digit}{}", &text[..index], &text[index + 1..]).parse().unwrap();
            assert!(damaged.position(&query).is_err(), "{damaged}");
            let cut: Cursor = text[..index].parse().unwrap();
            assert!(cut.position(&query).is_err(), "{cut}");
        }
    }
}
