//! Keys and values of the tokens seen so far, by layer and head.

use seedhouse_core::{Error, Result};

/// Positions added at a time: short sequences stay small, and long ones are not moved for every token.
const GROWTH: usize = 256;

/// The cache of one sequence.
#[derive(Debug)]
pub(crate) struct KeyValueCache {
    heads: Vec<Head>,
    heads_per_layer: usize,
    head_width: usize,
    position: usize,
}

/// Vectors of one head, one position after the other.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

impl KeyValueCache {
    /// Returns an empty cache.
    pub(crate) fn new(layers: usize, heads_per_layer: usize, head_width: usize) -> KeyValueCache {
        let heads = std::iter::repeat_with(Head::default).take(layers * heads_per_layer).collect();
        KeyValueCache { heads, heads_per_layer, head_width, position: 0 }
    }

    /// Returns how many tokens every layer holds.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Makes room for `tokens` more, so that appending them cannot fail half-way.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is not enough memory.
    pub(crate) fn reserve(&mut self, tokens: usize) -> Result<()> {
        let positions = (self.position + tokens).next_multiple_of(GROWTH);
        for vectors in self.heads.iter_mut().flat_map(|head| [&mut head.keys, &mut head.values]) {
            let wanted = positions * self.head_width;
            vectors.try_reserve_exact(wanted.saturating_sub(vectors.len())).map_err(|error| Error::Unavailable {
                what: format!("a cache of {positions} tokens"),
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// Appends the keys and values of some tokens to a layer; each token has the vectors of all heads.
    pub(crate) fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        let token_width = self.heads_per_layer * self.head_width;
        let heads = &mut self.heads[layer * self.heads_per_layer..][..self.heads_per_layer];
        for (index, head) in heads.iter_mut().enumerate() {
            let part = index * self.head_width..(index + 1) * self.head_width;
            for (key, value) in keys.chunks_exact(token_width).zip(values.chunks_exact(token_width)) {
                head.keys.extend_from_slice(&key[part.clone()]);
                head.values.extend_from_slice(&value[part.clone()]);
            }
        }
    }

    /// Returns the heads of a layer.
    pub(crate) fn layer(&self, layer: usize) -> &[Head] {
        &self.heads[layer * self.heads_per_layer..][..self.heads_per_layer]
    }

    /// Counts tokens that were appended to every layer.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.position += tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_separated_and_positions_stay_in_order() {
        let mut cache = KeyValueCache::new(2, 2, 2);
        cache.reserve(3).unwrap();
        cache.append(1, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[0.0; 8]);
        cache.append(1, &[9.0, 10.0, 11.0, 12.0], &[0.5; 4]);
        assert_eq!(cache.layer(1)[0].keys, [1.0, 2.0, 5.0, 6.0, 9.0, 10.0]);
        assert_eq!(cache.layer(1)[1].keys, [3.0, 4.0, 7.0, 8.0, 11.0, 12.0]);
        assert_eq!(cache.layer(1)[1].values, [0.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
        assert!(cache.layer(0)[0].keys.is_empty());
    }

    #[test]
    fn cache_grows_in_steps() {
        let mut cache = KeyValueCache::new(1, 1, 4);
        let mut capacities = vec![];
        for _ in 0..600 {
            cache.reserve(1).unwrap();
            cache.append(0, &[1.0; 4], &[2.0; 4]);
            cache.advance(1);
            capacities.push(cache.layer(0)[0].keys.capacity() / 4);
        }
        capacities.dedup();
        assert_eq!(capacities, [256, 512, 768]);
        assert_eq!(cache.position(), 600);
    }

    #[test]
    fn a_cache_beyond_memory_is_an_error() {
        let error = KeyValueCache::new(1, 1, 1 << 40).reserve(1 << 20).unwrap_err();
        assert_eq!(error.code(), seedhouse_core::Code::Unavailable);
    }
}
