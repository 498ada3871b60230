//! How SentencePiece vocabularies write bytes: as text, with a sign for spaces and names for single bytes.

/// The sign for a space.
const SPACE: &str = "▁";

/// Returns the bytes of a token's text.
pub(crate) fn bytes_of_token(text: &str) -> Vec<u8> {
    let single = text
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'))
        .filter(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    match single.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => vec![byte],
        None => text.replace(SPACE, " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_single_bytes_are_written_by_name() {
        for (text, bytes) in [("▁the▁", &b" the "[..]), ("<0x0A>", b"\n"), ("<0xE9>", &[0xE9]), ("<0x+1>", b"<0x+1>")]
        {
            assert_eq!(bytes_of_token(text), bytes, "{text}");
        }
        assert_eq!(bytes_of_token("<0x123>"), b"<0x123>");
    }
}
