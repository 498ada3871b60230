//! The searchable texts themselves, 64 in a row, for words that tokens alone do not prove.
//!
//! ```text
//! where each of the 64 texts ends     4 bytes each
//! texts
//! ```

/// How many texts stand in one row.
pub(in crate::sqlite) const TEXTS: usize = 64;

/// Writes 64 texts, those of versions that are not shown being empty.
pub(super) fn write_texts(texts: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut end = 0u32;
    for place in 0..TEXTS {
        end += texts.get(place).map_or(0, |text| u32::try_from(text.len()).expect("a text has at most 16 KiB"));
        bytes.extend(end.to_le_bytes());
    }
    texts.iter().for_each(|text| bytes.extend(text.as_bytes()));
    bytes
}

/// Returns the text at a place; `None` if the row is damaged.
pub(in crate::sqlite) fn text_at(bytes: &[u8], place: usize) -> Option<&[u8]> {
    let (ends, texts) = bytes.split_at_checked(TEXTS * 4)?;
    let ends = ends.as_chunks::<4>().0;
    let end = |place: usize| Some(u32::from_le_bytes(*ends.get(place)?) as usize);
    let begin = if place == 0 { 0 } else { end(place - 1)? };
    texts.get(begin..end(place)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_at_their_places_and_damage_is_no_panic() {
        let written = write_texts(&["小麦".to_owned(), String::new(), "resnet".to_owned()]);
        let read = |place| text_at(&written, place).map(|text| std::str::from_utf8(text).unwrap());
        assert_eq!(
            [read(0), read(1), read(2), read(63), read(64)],
            [Some("小麦"), Some(""), Some("resnet"), Some(""), None]
        );
        for length in 0..written.len() {
            assert_eq!(text_at(&written[..length], 2), None);
        }
        let mut damaged = written.clone();
        damaged[0] = 0xff;
        assert_eq!([text_at(&damaged, 0), text_at(&damaged, 1)], [None, None]);
    }
}
