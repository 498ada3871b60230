//! How byte-level vocabularies write bytes as printable characters (Radford et al. 2019, GPT-2's `bytes_to_unicode`).
//!
//! Printable bytes stand for themselves; the other 68 are numbered from U+0100 on.

/// Returns the character that stands for `byte`.
pub(crate) fn character_of(byte: u8) -> char {
    let code = match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => u32::from(byte),
        0x00..=b' ' => 0x100 + u32::from(byte),
        0x7F..=0xA0 => 0x100 + 33 + u32::from(byte - 0x7F),
        0xAD => 0x100 + 67,
    };
    char::from_u32(code).expect("codes up to U+0143 are characters")
}

/// Returns the byte that `character` stands for, if it stands for one.
pub(crate) fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// Returns the bytes of a token's text; text that is not byte-level stands for its own bytes.
pub(crate) fn bytes_of_token(text: &str) -> Vec<u8> {
    text.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or_else(|| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let characters: std::collections::BTreeSet<char> = (0..=255).map(character_of).collect();
        assert_eq!(characters.len(), 256);
        for byte in 0..=255 {
            assert_eq!(byte_of(character_of(byte)), Some(byte));
        }
        assert_eq!(characters.last(), Some(&'\u{143}'));
    }

    #[test]
    fn well_known_characters_are_those_of_gpt_2() {
        for (byte, character) in [(b' ', 'Ġ'), (b'\n', 'Ċ'), (b'\t', 'ĉ'), (0xAD, 'Ń'), (0x7F, 'ġ'), (b'A', 'A')] {
            assert_eq!(character_of(byte), character);
        }
    }

    #[test]
    fn text_outside_the_alphabet_stands_for_itself() {
        assert_eq!(bytes_of_token("Ġé"), [b' ', 0xE9]);
        assert_eq!(bytes_of_token("麦"), "麦".as_bytes());
    }
}
