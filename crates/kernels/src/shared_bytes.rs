//! Bytes that several owners share, such as a part of a mapped file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A range of bytes that somebody else may own too. Cloning it copies no bytes.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl SharedBytes {
    /// Shares all bytes of `owner`.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> SharedBytes {
        let range = 0..(*owner).as_ref().len();
        SharedBytes { owner, range }
    }

    /// Returns a part of these bytes, or `None` when the range does not lie within them.
    pub fn part(&self, range: Range<usize>) -> Option<SharedBytes> {
        let start = self.range.start.checked_add(range.start)?;
        let end = self.range.start.checked_add(range.end)?;
        (start <= end && end <= self.range.end)
            .then(|| SharedBytes { owner: Arc::clone(&self.owner), range: start..end })
    }

    /// Returns the bytes.
    ///
    /// # Panics
    /// When the owner has become shorter than it was.
    pub fn bytes(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedBytes").field("range", &self.range).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_outside_is_refused() {
        let all = SharedBytes::new(Arc::new((0..10).collect::<Vec<u8>>()));
        let middle = all.part(2..8).unwrap();
        assert_eq!(middle.bytes(), [2, 3, 4, 5, 6, 7]);
        assert_eq!(middle.part(1..3).unwrap().bytes(), [3, 4]);
        assert!(middle.part(0..7).is_none());
        #[expect(clippy::reversed_empty_ranges, reason = "what a broken file could ask for")]
        let reversed = 3..2;
        assert!(middle.part(reversed).is_none());
        assert!(middle.part(1..usize::MAX).is_none());
    }
}
