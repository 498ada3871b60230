//! Examples that are held out and learnt from too.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use seedhouse_core::dataset::SplitPart;

/// Says how many of the held-out examples also stand among those that are learnt from. `feed` gives the content of an example.
pub(super) fn repeated(what: &str, parts: &[SplitPart], feed: impl Fn(usize, &mut DefaultHasher)) -> Option<String> {
    let digest = |place: usize| {
        let mut hasher = DefaultHasher::new();
        feed(place, &mut hasher);
        hasher.finish()
    };
    let places = |wanted: fn(SplitPart) -> bool| (0..parts.len()).filter(move |place| wanted(parts[*place]));
    let learnt: HashSet<u64> = places(|part| part == SplitPart::Train).map(digest).collect();
    let mut held_out = 0_u64;
    let mut repeated = 0_u64;
    for place in places(|part| part != SplitPart::Train) {
        held_out += 1;
        repeated += u64::from(learnt.contains(&digest(place)));
    }
    (repeated > 0).then(|| format!("{repeated} of {held_out} held-out {what} also stand in train, value for value"))
}

/// Feeds a number so that equal numbers feed alike.
pub(super) fn feed_number(number: f64, hasher: &mut DefaultHasher) {
    let bits = if number.is_nan() { f64::NAN.to_bits() } else { (number + 0.0).to_bits() };
    bits.hash(hasher);
}
