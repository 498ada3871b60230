//! From the bytes of tokens to text that can be shown: whole characters, and nothing that may belong to a stop string.
//!
//! What is released does not depend on how the bytes were cut into tokens.

use seedhouse_core::{Error, Result};

/// More or longer ones serve nobody; the bounds keep the search per token small.
const MOST_STOPS: usize = 16;
const LONGEST_STOP_BYTES: usize = 256;

/// Turns bytes into text piece by piece.
#[derive(Debug, Clone)]
pub(crate) struct TextStream {
    stops: Vec<String>,
    /// The beginning of a character.
    bytes: Vec<u8>,
    /// Whole characters that may be the beginning of a stop string.
    held: String,
    /// Everything released.
    text: String,
    stopped: bool,
}

impl TextStream {
    /// Returns a stream that ends at the first of `stops`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are too many of them, or one is empty or too long.
    pub(crate) fn new(stops: &[String]) -> Result<TextStream> {
        if stops.len() > MOST_STOPS {
            return Err(Error::invalid("stop", stops.len(), format!("must be at most {MOST_STOPS} strings")));
        }
        for (index, stop) in stops.iter().enumerate() {
            if stop.is_empty() || stop.len() > LONGEST_STOP_BYTES {
                let rule = format!("must have 1 to {LONGEST_STOP_BYTES} bytes");
                return Err(Error::invalid(format!("stop[{index}]"), stop, rule));
            }
        }
        let (held, text) = (String::new(), String::new());
        Ok(TextStream { stops: stops.to_vec(), bytes: Vec::new(), held, text, stopped: false })
    }

    /// Takes the bytes of a token and returns the text that has become certain, perhaps none.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> &str {
        let from = self.text.len();
        if !self.stopped {
            self.bytes.extend_from_slice(bytes);
            self.take_whole_characters();
            self.release();
        }
        &self.text[from..]
    }

    /// Returns what was held back, now that nothing follows. Half a character becomes U+FFFD.
    pub(crate) fn finish(&mut self) -> &str {
        let from = self.text.len();
        if !self.stopped {
            let rest = std::mem::take(&mut self.bytes);
            self.held.push_str(&String::from_utf8_lossy(&rest));
            // U+FFFD may complete a stop string.
            self.release();
            if !self.stopped {
                self.text.push_str(&std::mem::take(&mut self.held));
            }
        }
        &self.text[from..]
    }

    /// Says whether there is a stop string that may come.
    pub(crate) fn can_stop(&self) -> bool {
        !self.stops.is_empty()
    }

    /// Says whether a stop string came. It is no part of the text, nor is what followed it.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Returns everything that was released.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn take_whole_characters(&mut self) {
        let mut taken = 0;
        loop {
            match std::str::from_utf8(&self.bytes[taken..]) {
                Ok(text) => {
                    self.held.push_str(text);
                    taken = self.bytes.len();
                    break;
                }
                Err(error) => {
                    let valid = &self.bytes[taken..taken + error.valid_up_to()];
                    self.held.push_str(std::str::from_utf8(valid).expect("valid up to here"));
                    taken += error.valid_up_to();
                    let Some(invalid) = error.error_len() else { break };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    taken += invalid;
                }
            }
        }
        self.bytes.drain(..taken);
    }

    /// Moves what is certain from `held` to `text`, up to a stop string if one is complete.
    fn release(&mut self) {
        let certain = match self.first_stop() {
            Some(start) => {
                self.stopped = true;
                start
            }
            None => self.held.len() - self.longest_beginning(),
        };
        self.text.push_str(&self.held[..certain]);
        self.held.drain(..certain);
    }

    /// Returns where the stop string starts that is complete first; of those that end together, the longest.
    fn first_stop(&self) -> Option<usize> {
        let found = |stop: &String| self.held.find(stop.as_str()).map(|start| (start + stop.len(), start));
        self.stops.iter().filter_map(found).min().map(|(_, start)| start)
    }

    /// Returns how many bytes at the end of `held` may be the beginning of a stop string.
    fn longest_beginning(&self) -> usize {
        let beginning = |stop: &String| {
            let longest = self.held.len().min(stop.len() - 1);
            let fits = |length: &usize| {
                let prefix = stop.get(..*length);
                prefix.is_some_and(|prefix| self.held.ends_with(prefix))
            };
            (1..=longest).rev().find(fits).unwrap_or(0)
        };
        self.stops.iter().map(beginning).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(stops: &[&str]) -> TextStream {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        TextStream::new(&stops).unwrap()
    }

    #[test]
    fn half_a_character_is_held_back() {
        let mut stream = stream(&[]);
        assert_eq!(stream.push(&[b'a', 0xE9]), "a");
        assert_eq!(stream.push(&[0xBA]), "");
        assert_eq!(stream.push(&[0xA6, 0xF0]), "麦");
        assert_eq!(stream.finish(), "\u{FFFD}");
        assert_eq!(stream.into_text(), "a麦\u{FFFD}");
    }

    #[test]
    fn beginning_of_a_stop_string_is_held_back_until_it_is_certain() {
        let mut stream = stream(&["END", "\n\n"]);
        assert_eq!(stream.push(b"an E"), "an ");
        assert_eq!(stream.push(b"N"), "");
        assert_eq!(stream.push(b"Da"), "");
        assert!(stream.is_stopped());
        assert_eq!(stream.push(b"more"), "");
        assert_eq!(stream.finish(), "");
        assert_eq!(stream.into_text(), "an ");
    }

    #[test]
    fn what_only_looked_like_a_stop_string_is_released() {
        let mut stream = stream(&["END"]);
        assert_eq!(stream.push(b"EN"), "");
        assert_eq!(stream.push(b"EN"), "EN");
        assert_eq!(stream.finish(), "EN");
        assert!(!stream.is_stopped());
    }

    #[test]
    fn unusable_stop_strings_are_refused() {
        let cases = [(vec![String::new()], "stop[0]"), (vec!["a".repeat(300)], "256"), (vec!["a".into(); 17], "16")];
        for (stops, expected) in cases {
            let error = TextStream::new(&stops).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    fn pieces_of(bytes: &[u8], cut: usize, stops: &[String]) -> (Vec<String>, TextStream) {
        let mut stream = TextStream::new(stops).unwrap();
        let mut pieces: Vec<String> = bytes.chunks(cut).map(|chunk| stream.push(chunk).to_owned()).collect();
        pieces.push(stream.finish().to_owned());
        (pieces, stream)
    }

    proptest! {
        #[test]
        fn without_stops_the_text_is_the_lossy_reading_of_the_bytes(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xE9), Just(0xBA), Just(0xA6)], 0..64),
            cut in 1..9usize,
        ) {
            let (pieces, stream) = pieces_of(&bytes, cut, &[]);
            prop_assert_eq!(pieces.concat(), String::from_utf8_lossy(&bytes).into_owned());
            prop_assert_eq!(pieces.concat(), stream.into_text());
        }

        #[test]
        fn text_does_not_depend_on_how_the_bytes_are_cut(
            text in "[ab麦]{0,24}",
            stops in prop::collection::vec("[ab麦]{1,4}", 0..4),
            cut in 1..9usize,
        ) {
            let (pieces, stream) = pieces_of(text.as_bytes(), cut, &stops);
            let (by_byte, bytewise) = pieces_of(text.as_bytes(), 1, &stops);
            prop_assert_eq!(pieces.concat(), by_byte.concat());
            prop_assert_eq!(stream.is_stopped(), bytewise.is_stopped());
            let released = stream.into_text();
            prop_assert_eq!(&pieces.concat(), &released);
            prop_assert!(stops.iter().all(|stop| !released.contains(stop.as_str())));
            prop_assert_eq!(bytewise.is_stopped(), stops.iter().any(|stop| text.contains(stop.as_str())));
        }
    }
}
