//! Events: one entry per change in a hash-chained history, so that editing, deleting or swapping one is noticed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, Error, Result, Timestamp};

/// One change, as the history keeps it. Its digest covers the digest of the event before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// 1, 2, 3 … without gaps.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done, e.g. `register`.
    pub action: String,
    /// To which version.
    pub model_id: String,
    /// The record afterwards.
    pub after: Value,
    /// The digest of the event before, or of nothing for the first.
    pub previous: Digest,
    /// The digest of all the above.
    pub digest: Digest,
}

impl Event {
    /// Returns the event that follows `last`.
    pub fn following(
        last: Option<&(u64, Digest)>,
        at: Timestamp,
        actor: String,
        action: &str,
        model_id: String,
        after: Value,
    ) -> Event {
        let (sequence, previous) = match last {
            Some((sequence, digest)) => (sequence + 1, *digest),
            None => (1, Digest::of("")),
        };
        let mut event =
            Event { sequence, at, actor, action: action.to_owned(), model_id, after, previous, digest: previous };
        event.digest = event.computed_digest();
        event
    }

    /// Checks that this event is intact and follows `last`.
    ///
    /// # Errors
    /// [`Error::CorruptState`] naming the event and both values.
    pub fn check(&self, last: Option<&(u64, Digest)>) -> Result<()> {
        let corrupt = |reason| Err(Error::CorruptState { what: format!("event {}", self.sequence), reason });
        let expected_sequence = last.map_or(1, |(sequence, _)| sequence + 1);
        if self.sequence != expected_sequence {
            return corrupt(format!("event {expected_sequence} should stand here"));
        }
        let expected_previous = last.map_or_else(|| Digest::of(""), |(_, digest)| *digest);
        if self.previous != expected_previous {
            return corrupt(format!("it follows {}, but the event before it is {expected_previous}", self.previous));
        }
        let actual = self.computed_digest();
        if self.digest != actual {
            return corrupt(format!("its digest is {}, but its content hashes to {actual}", self.digest));
        }
        Ok(())
    }

    /// Hashes the fields as one JSON array, in which no two different events look alike.
    fn computed_digest(&self) -> Digest {
        let fields = (self.sequence, self.at, &self.actor, &self.action, &self.model_id, &self.after, self.previous);
        Digest::of(serde_json::to_vec(&fields).expect("an event has string keys only"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn edited_deleted_and_swapped_events_are_found() {
        let mut chain: Vec<Event> = Vec::new();
        for number in 0..4 {
            let last = chain.last().map(|event| (event.sequence, event.digest));
            chain.push(Event::following(
                last.as_ref(),
                Timestamp::now(),
                "cli".into(),
                "register",
                format!("m_v{number}"),
                json!({"n": number}),
            ));
        }
        let check = |chain: &[Event]| {
            let mut last = None;
            chain.iter().try_for_each(|event| {
                event.check(last.as_ref())?;
                last = Some((event.sequence, event.digest));
                Ok::<_, Error>(())
            })
        };
        check(&chain).unwrap();

        let mut edited = chain.clone();
        edited[1].after = json!({"n": 7});
        let mut deleted = chain.clone();
        deleted.remove(2);
        let mut swapped = chain.clone();
        swapped.swap(1, 2);
        for (name, broken) in [("edited", edited), ("deleted", deleted), ("swapped", swapped)] {
            assert!(check(&broken).is_err(), "{name}");
        }
    }
}
