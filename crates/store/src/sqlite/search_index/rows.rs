//! A set of rows of one block.

/// How many rows a block has room for.
pub(in crate::sqlite) const BLOCK_ROWS: usize = 2048;

const WORDS: usize = BLOCK_ROWS / 64;

/// Bytes of a set as it is kept: one bit per row.
const BITS_BYTES: usize = BLOCK_ROWS / 8;

/// A set of places within a block, each below [`BLOCK_ROWS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sqlite) struct Rows([u64; WORDS]);

impl Rows {
    /// Returns the empty set.
    pub(in crate::sqlite) fn none() -> Rows {
        Rows([0; WORDS])
    }

    /// Adds a place; one beyond the block is taken modulo its size.
    pub(in crate::sqlite) fn insert(&mut self, place: u16) {
        let place = usize::from(place) % BLOCK_ROWS;
        self.0[place / 64] |= 1 << (place % 64);
    }

    pub(in crate::sqlite) fn remove(&mut self, place: u16) {
        let place = usize::from(place) % BLOCK_ROWS;
        self.0[place / 64] &= !(1 << (place % 64));
    }

    pub(in crate::sqlite) fn contains(&self, place: u16) -> bool {
        let place = usize::from(place) % BLOCK_ROWS;
        self.0[place / 64] >> (place % 64) & 1 == 1
    }

    pub(in crate::sqlite) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(in crate::sqlite) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Keeps what is in both.
    pub(in crate::sqlite) fn keep(&mut self, other: &Rows) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    /// Adds what is in the other one.
    pub(in crate::sqlite) fn add(&mut self, other: &Rows) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Takes out what is in the other one.
    pub(in crate::sqlite) fn subtract(&mut self, other: &Rows) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    /// Returns the places in ascending order.
    pub(in crate::sqlite) fn places(&self) -> Vec<u16> {
        let mut places = Vec::with_capacity(self.len());
        for (number, word) in (0u16..).zip(&self.0) {
            let mut word = *word;
            while word != 0 {
                let bit = u16::try_from(word.trailing_zeros()).expect("a word has 64 bits");
                places.push(number * 64 + bit);
                word &= word - 1;
            }
        }
        places
    }

    /// Writes the set in the shorter of two forms: places of two bytes, or one bit per row. Their lengths tell them apart.
    pub(in crate::sqlite) fn write(&self, to: &mut Vec<u8>) {
        let places = self.places();
        if places.len() * 2 < BITS_BYTES {
            places.iter().for_each(|place| to.extend(place.to_le_bytes()));
        } else {
            self.0.iter().for_each(|word| to.extend(word.to_le_bytes()));
        }
    }

    /// Reads what [`write`](Rows::write) wrote; `None` if it is damaged.
    pub(in crate::sqlite) fn read(bytes: &[u8]) -> Option<Rows> {
        let mut rows = Rows::none();
        if bytes.len() == BITS_BYTES {
            for (word, bytes) in rows.0.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            return Some(rows);
        }
        let (places, rest) = bytes.as_chunks::<2>();
        if bytes.len() > BITS_BYTES || !rest.is_empty() {
            return None;
        }
        for place in places.iter().map(|place| u16::from_le_bytes(*place)) {
            if usize::from(place) >= BLOCK_ROWS {
                return None;
            }
            rows.insert(place);
        }
        Some(rows)
    }
}

impl<'a> FromIterator<&'a u16> for Rows {
    fn from_iter<I: IntoIterator<Item = &'a u16>>(places: I) -> Rows {
        let mut rows = Rows::none();
        places.into_iter().for_each(|place| rows.insert(*place));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_every_size_survive_being_written() {
        for count in [0, 1, 127, 128, 129, 2048] {
            let rows: Rows = (0..count).collect::<Vec<u16>>().iter().collect();
            let mut bytes = Vec::new();
            rows.write(&mut bytes);
            assert!(bytes.len() <= BITS_BYTES);
            assert_eq!(Rows::read(&bytes), Some(rows), "{count}");
        }
    }

    #[test]
    fn damaged_sets_are_refused() {
        for bytes in [&[1][..], &[0xff, 0xff], &[0; 257], &[0; 258]] {
            assert_eq!(Rows::read(bytes), None, "{bytes:?}");
        }
    }
}
