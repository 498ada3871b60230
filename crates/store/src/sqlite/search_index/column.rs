//! The values of one field in one block: every value once, in ascending order, each with the rows that have it.
//!
//! ```text
//! count of values, count of rows, width of a key or 0      2 bytes each
//! where the rows of each value end                         2 bytes per value
//! rows, in order of value and then of place                2 bytes per row
//! where each key ends, if their widths differ              4 bytes per value
//! keys                                                     see `sort_key`
//! ```
//!
//! A range of values is a range of rows, and a walk in order of the field begins anywhere at the cost of a binary search.

use std::ops::Range;

use seedhouse_core::query::{Comparison, Test};

use super::rows::{BLOCK_ROWS, Rows};
use super::sort_key::{kind_of, sort_key, text_of};

/// A column, read and checked.
pub(in crate::sqlite) struct Column {
    /// Where the rows of each value end.
    row_ends: Vec<u16>,
    rows: Vec<u16>,
    /// Where each key ends; empty if all are `width` bytes long.
    key_ends: Vec<u32>,
    width: usize,
    keys: Vec<u8>,
}

/// Writes a column of keys and places; two values of one place must not occur.
pub(super) fn write_column(mut values: Vec<(Vec<u8>, u16)>) -> Vec<u8> {
    values.sort_unstable();
    let width = values.first().map_or(0, |(key, _)| key.len());
    let width = if values.iter().all(|(key, _)| key.len() == width) { width } else { 0 };
    let (mut row_ends, mut rows, mut key_ends, mut keys) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for of_one_value in values.chunk_by(|(left, _), (right, _)| left == right) {
        rows.extend(of_one_value.iter().flat_map(|(_, place)| place.to_le_bytes()));
        row_ends.extend(two_bytes(rows.len() / 2));
        keys.extend(&of_one_value[0].0);
        key_ends.extend(u32::try_from(keys.len()).expect("a scalar has at most a few kilobytes").to_le_bytes());
    }
    if width > 0 {
        key_ends.clear();
    }
    let width = u16::try_from(width).unwrap_or_default();
    let head = [two_bytes(row_ends.len() / 2), two_bytes(rows.len() / 2), width.to_le_bytes()].concat();
    [head, row_ends, rows, key_ends, keys].concat()
}

fn two_bytes(count: usize) -> [u8; 2] {
    u16::try_from(count).expect("a block has 2,048 rows").to_le_bytes()
}

impl Column {
    /// Reads what [`write_column`] wrote; `None` if it is damaged.
    pub(in crate::sqlite) fn read(bytes: &[u8]) -> Option<Column> {
        let (head, bytes) = bytes.split_first_chunk::<6>()?;
        let number = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
        let (values, count, width) = (number(0), number(2), number(4));
        let (row_ends, bytes) = bytes.split_at_checked(values * 2)?;
        let (rows, bytes) = bytes.split_at_checked(count * 2)?;
        let (key_ends, keys) = bytes.split_at_checked(if width == 0 { values * 4 } else { 0 })?;
        let two = |bytes: &[u8]| bytes.as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two)).collect();
        let column = Column {
            row_ends: two(row_ends),
            rows: two(rows),
            key_ends: key_ends.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect(),
            width,
            keys: keys.to_vec(),
        };
        column.is_intact(count).then_some(column)
    }

    fn is_intact(&self, count: usize) -> bool {
        let keys_end = match self.key_ends.last() {
            Some(end) => *end as usize,
            None => self.width * self.values(),
        };
        self.row_ends.is_sorted()
            && self.row_ends.last().map_or(0, |end| usize::from(*end)) == count
            && self.rows.iter().all(|place| usize::from(*place) < BLOCK_ROWS)
            && self.key_ends.is_sorted()
            && keys_end == self.keys.len()
    }

    /// Returns the memory that the column takes.
    pub(in crate::sqlite) fn bytes(&self) -> usize {
        (self.row_ends.len() + self.rows.len()) * 2 + self.key_ends.len() * 4 + self.keys.len()
    }

    /// Returns the number of different values.
    pub(in crate::sqlite) fn values(&self) -> usize {
        self.row_ends.len()
    }

    /// Returns the key of a value by its number.
    pub(in crate::sqlite) fn key(&self, value: usize) -> &[u8] {
        let end = |value: usize| match self.width {
            0 => self.key_ends[value] as usize,
            width => (value + 1) * width,
        };
        let begin = if value == 0 { 0 } else { end(value - 1) };
        &self.keys[begin..end(value)]
    }

    /// Returns the places that have one of some values, in order of value and then of place.
    pub(in crate::sqlite) fn places(&self, values: Range<usize>) -> &[u16] {
        let end = |values: usize| if values == 0 { 0 } else { usize::from(self.row_ends[values - 1]) };
        &self.rows[end(values.start)..end(values.end.max(values.start))]
    }

    /// Returns all rows that have a value.
    pub(in crate::sqlite) fn all(&self) -> Rows {
        self.rows.iter().collect()
    }

    /// Returns the number of the first value that is not less than the key.
    pub(in crate::sqlite) fn first_from(&self, key: &[u8]) -> usize {
        self.partition(|value| value < key)
    }

    /// Returns the number of the first value that is greater than the key.
    pub(in crate::sqlite) fn first_behind(&self, key: &[u8]) -> usize {
        self.partition(|value| value <= key)
    }

    fn partition(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut from, mut to) = (0, self.values());
        while from < to {
            let middle = from.midpoint(to);
            if is_before(self.key(middle)) { from = middle + 1 } else { to = middle }
        }
        from
    }

    /// Returns the rows with a value for which a test holds, of `among` at least.
    pub(in crate::sqlite) fn matching(&self, test: &Test, among: &Rows) -> Rows {
        let of = |values: Range<usize>| self.places(values).iter().collect::<Rows>();
        match test {
            Test::Compare(Comparison::NotEqual, value) => {
                let mut rows = self.all();
                rows.subtract(&of(self.range(Comparison::Equal, &sort_key(value))));
                rows
            }
            Test::Compare(comparison, value) => of(self.range(*comparison, &sort_key(value))),
            Test::In(wanted) => {
                let mut rows = Rows::none();
                for value in wanted {
                    rows.add(&of(self.range(Comparison::Equal, &sort_key(value))));
                }
                rows
            }
            Test::Like(pattern) => {
                let asked = |value: &usize| self.places(*value..*value + 1).iter().any(|place| among.contains(*place));
                let fits = |value: &usize| text_of(self.key(*value)).is_some_and(|text| pattern.matches(text));
                let values = (0..self.values()).filter(asked).filter(fits);
                values.flat_map(|value| self.places(value..value + 1)).collect()
            }
            Test::IsNotNull => self.all(),
            // Who lacks the field does not stand in its column; the caller knows who there is.
            Test::IsNull => Rows::none(),
        }
    }

    /// Returns the values that compare so with a key; only values of its kind are less or greater.
    fn range(&self, comparison: Comparison, key: &[u8]) -> Range<usize> {
        let kind = kind_of(key);
        match comparison {
            Comparison::Equal => self.first_from(key)..self.first_behind(key),
            Comparison::Less => self.first_from(&kind.start)..self.first_from(key),
            Comparison::AtMost => self.first_from(&kind.start)..self.first_behind(key),
            Comparison::Greater => self.first_behind(key)..self.first_from(&kind.end),
            Comparison::AtLeast => self.first_from(key)..self.first_from(&kind.end),
            Comparison::NotEqual => 0..self.values(),
        }
    }
}

#[cfg(test)]
mod tests {
    use seedhouse_core::query::{Pattern, Value};

    use super::*;

    fn column(values: &[Value]) -> Vec<u8> {
        write_column((0..).zip(values).map(|(place, value)| (sort_key(value), place)).collect())
    }

    #[test]
    fn tests_hold_for_the_same_rows_as_value_by_value() {
        let text = |text: &str| Value::Text(text.into());
        let mixed = [3.0, -1.0, 3.0, 0.5].map(Value::number).into_iter().chain(["", "b", "小麦", "b"].map(text));
        let numbers = [2.0, 1.0, 2.0].map(Value::number);
        for values in [mixed.collect::<Vec<Value>>(), numbers.to_vec(), Vec::new()] {
            let read = Column::read(&column(&values)).unwrap();
            let wanted = values.iter().cloned().chain([Value::number(0.0), text("a"), text("z")]);
            let mut tests: Vec<Test> = wanted
                .flat_map(|value| Comparison::ALL.map(|comparison| Test::Compare(comparison, value.clone())))
                .collect();
            tests.extend([
                Test::IsNotNull,
                Test::Like(Pattern::new("%麦")),
                Test::In(vec![text("b"), Value::number(3.0)]),
            ]);
            let everything: Rows = (0..8).collect::<Vec<u16>>().iter().collect();
            for test in tests {
                let expected: Vec<u16> =
                    (0..).zip(&values).filter(|(_, value)| test.holds(Some(value))).map(|(place, _)| place).collect();
                assert_eq!(read.matching(&test, &everything).places(), expected, "{test:?} in {values:?}");
            }
        }
    }

    #[test]
    fn damaged_columns_are_refused_or_read_without_a_panic() {
        let written = column(&[Value::number(1.0), Value::Text("小麦".into()), Value::Text("b".into())]);
        for length in 0..written.len() {
            assert!(Column::read(&written[..length]).is_none(), "cut to {length} bytes");
        }
        for (index, bit) in (0..written.len()).flat_map(|index| (0..8).map(move |bit| (index, bit))) {
            let mut damaged = written.clone();
            damaged[index] ^= 1 << bit;
            if let Some(column) = Column::read(&damaged) {
                let everything = column.all();
                column.matching(&Test::Like(Pattern::new("%")), &everything);
                column.matching(&Test::Compare(Comparison::Less, Value::Text("z".into())), &everything);
            }
        }
    }
}
