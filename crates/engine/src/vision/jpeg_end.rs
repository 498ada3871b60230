//! Whether a JPEG file is all there: the decoder in use fills missing rows with grey and says nothing.

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;

/// Walks the segments of a JPEG (ITU T.81, annex B) and says whether the end-of-image marker follows at least one scan.
///
/// Segments are skipped by their length, so that an embedded thumbnail's end is not taken for the image's.
pub(crate) fn is_complete_jpeg(bytes: &[u8]) -> bool {
    find_end(bytes).unwrap_or(false)
}

/// Returns `None` when the bytes end, or are no segments, before an end was found.
fn find_end(bytes: &[u8]) -> Option<bool> {
    let (mut at, mut scans) = (0, 0);
    loop {
        let marker = next_marker(bytes, &mut at)?;
        match marker {
            END_OF_IMAGE => return Some(scans > 0),
            // Markers without a length: start of image, restarts, and one reserved for private use.
            START_OF_IMAGE | 0x01 | 0xD0..=0xD7 => {}
            _ => {
                let length = u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]);
                at = at.checked_add(usize::from(length.max(2)))?;
                scans += usize::from(marker == START_OF_SCAN);
            }
        }
    }
}

/// Moves behind the next marker and returns it, skipping compressed data, in which `FF` is followed by `00`.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let rest = bytes.get(*at..)?;
        *at += rest.iter().position(|byte| *byte == 0xFF)? + 1;
        let fill = bytes.get(*at..)?.iter().take_while(|byte| **byte == 0xFF).count();
        *at += fill;
        let marker = *bytes.get(*at)?;
        *at += 1;
        if marker != 0x00 {
            return Some(marker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_counts_only_behind_a_scan_and_outside_of_segments() {
        let thumbnail = b"\xFF\xE1\x00\x08\xFF\xDA\xFF\xD9\x00\x00";
        let scan = b"\xFF\xDA\x00\x03\x01pixels\xFF\x00\xFF\xD0more";
        let start = b"\xFF\xD8";
        let cases: [(Vec<&[u8]>, bool); 6] = [
            (vec![start, scan, b"\xFF\xD9"], true),
            (vec![start, thumbnail, scan, b"\xFF\xFF\xD9", b"trailing"], true),
            (vec![start, thumbnail, scan], false),
            (vec![start, thumbnail], false),
            (vec![start, b"\xFF\xD9"], false),
            (vec![], false),
        ];
        for (parts, expected) in cases {
            assert_eq!(is_complete_jpeg(&parts.concat()), expected, "{parts:?}");
        }
    }
}
