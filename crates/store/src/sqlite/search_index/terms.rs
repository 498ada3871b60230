//! The tokens of the texts of one block, spread over buckets, so that a look-up reads one small row.
//!
//! ```text
//! count of tokens                         4 bytes
//! tokens, ascending                       8 bytes each
//! where the rows of each token end        4 bytes each
//! rows of each token                      see `Rows::write`
//! ```

use super::rows::Rows;
use crate::search_tokens::Token;

/// How many buckets a block has: of some 9,000 tokens about 70 meet in one, which makes a row of about one page.
pub(in crate::sqlite) const BUCKETS: usize = 128;

/// Stands for a text that was cut off, beside the tokens of what is left; no characters make it.
pub(in crate::sqlite) const CUT_OFF: Token = Token::MAX;

/// Returns the bucket of a token.
pub(in crate::sqlite) fn bucket_of(token: Token) -> usize {
    // Fibonacci hashing: neighbouring characters go far apart.
    usize::try_from(token.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57).expect("seven bits")
}

/// Writes the buckets of all tokens with their places.
pub(super) fn write_buckets(mut tokens: Vec<(Token, u16)>) -> Vec<Vec<u8>> {
    tokens.sort_unstable();
    let mut buckets: Vec<Vec<(Token, Rows)>> = vec![Vec::new(); BUCKETS];
    for of_one_token in tokens.chunk_by(|(left, _), (right, _)| left == right) {
        let token = of_one_token[0].0;
        let rows = of_one_token.iter().map(|(_, place)| place).collect();
        buckets[bucket_of(token)].push((token, rows));
    }
    buckets.iter().map(|bucket| write_bucket(bucket)).collect()
}

fn write_bucket(tokens: &[(Token, Rows)]) -> Vec<u8> {
    let count = |count: usize| u32::try_from(count).expect("2,048 texts of 16 KiB").to_le_bytes();
    let mut bytes = count(tokens.len()).to_vec();
    tokens.iter().for_each(|(token, _)| bytes.extend(token.to_le_bytes()));
    let mut all_rows = Vec::new();
    for (_, rows) in tokens {
        rows.write(&mut all_rows);
        bytes.extend(count(all_rows.len()));
    }
    bytes.extend(all_rows);
    bytes
}

/// Returns the rows of a token, read from its bucket; `None` if the bucket is damaged.
pub(in crate::sqlite) fn rows_of(token: Token, bucket: &[u8]) -> Option<Rows> {
    let (count, bytes) = bucket.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*count) as usize;
    let (tokens, bytes) = bytes.split_at_checked(count.checked_mul(8)?)?;
    let (ends, rows) = bytes.split_at_checked(count.checked_mul(4)?)?;
    let Ok(found) = tokens.as_chunks::<8>().0.binary_search_by_key(&token, |bytes| Token::from_le_bytes(*bytes)) else {
        return Some(Rows::none());
    };
    let ends = ends.as_chunks::<4>().0;
    let end = |number: usize| u32::from_le_bytes(ends[number]) as usize;
    let begin = if found == 0 { 0 } else { end(found - 1) };
    Rows::read(rows.get(begin..end(found))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_found_with_its_rows_and_damage_is_no_panic() {
        let tokens: Vec<(Token, u16)> =
            (0..5000u64).map(|number| (number % 700 * 7, u16::try_from(number % 2048).unwrap())).collect();
        let buckets = write_buckets(tokens.clone());
        for token in [0, 7, 699 * 7, 3, CUT_OFF] {
            let expected: Rows = tokens.iter().filter(|(found, _)| *found == token).map(|(_, place)| place).collect();
            assert_eq!(rows_of(token, &buckets[bucket_of(token)]), Some(expected), "{token}");
        }
        let bucket = &buckets[bucket_of(7)];
        for length in 0..bucket.len() {
            rows_of(7, &bucket[..length]);
        }
        for index in 0..bucket.len() {
            let mut damaged = bucket.clone();
            damaged[index] ^= 0xff;
            rows_of(7, &damaged);
        }
    }
}
