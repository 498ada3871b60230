//! Events: one entry per change in a hash-chained history, so that editing, deleting or swapping one is noticed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, Error, Result, Timestamp};

/// One change, as the history keeps it. Its digest covers the digest of the event before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// 1, 2, 3 … without gaps.
    pub sequence: u64,
    /// What happened.
    #[serde(flatten)]
    pub happening: Happening,
    /// The digest of the event before, or of nothing for the first.
    pub previous: Digest,
    /// The digest of all the above.
    pub digest: Digest,
}

/// What happened, to what, by whom and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Happening {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done, e.g. `register`.
    pub action: String,
    /// To what: a `model_id`, or `base@alias`.
    pub subject: String,
    /// Why, if somebody said so.
    pub reason: Option<String>,
    /// What stood there before; null if nothing.
    pub before: Value,
    /// What stands there now; null if nothing.
    pub after: Value,
}

impl Happening {
    /// Returns whether an alias points elsewhere since: there is then no record in it, but two ids.
    pub fn points_alias(&self) -> bool {
        matches!(self.action.as_str(), "move_alias" | "remove_alias")
    }
}

impl Event {
    /// Returns the event that follows `last`.
    pub fn following(last: Option<&(u64, Digest)>, happening: Happening) -> Event {
        let (sequence, previous) = match last {
            Some((sequence, digest)) => (sequence + 1, *digest),
            None => (1, Digest::of("")),
        };
        let mut event = Event { sequence, happening, previous, digest: previous };
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
        let fields = (self.sequence, &self.happening, self.previous);
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
            let happening = Happening {
                at: Timestamp::now(),
                actor: "cli".into(),
                action: "register".into(),
                subject: format!("m_v{number}"),
                reason: None,
                before: Value::Null,
                after: json!({"n": number}),
            };
            chain.push(Event::following(last.as_ref(), happening));
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
        edited[1].happening.after = json!({"n": 7});
        let mut deleted = chain.clone();
        deleted.remove(2);
        let mut swapped = chain.clone();
        swapped.swap(1, 2);
        for (name, broken) in [("edited", edited), ("deleted", deleted), ("swapped", swapped)] {
            assert!(check(&broken).is_err(), "{name}");
        }
    }
}
