//! The best of many logits, without sorting them.

use super::filter::{Candidate, best_first};

/// Logits are looked at in groups; a group without anything good enough costs one comparison per logit.
const GROUP: usize = 32;

/// Returns the `count` largest logits with their ids, best first; of equal logits the lower id is better.
pub(crate) fn best_of(logits: &[f32], count: usize) -> Vec<Candidate> {
    let count = count.min(logits.len());
    if count == 0 {
        return Vec::new();
    }
    // Twice as many as wanted are collected before the worse half goes, so that each logit is moved a few times at most.
    let most = count.saturating_mul(2).max(64);
    let mut kept = Vec::with_capacity(most.min(logits.len()));
    let mut least = f32::NEG_INFINITY;
    let mut is_full = false;
    for (group, first) in logits.chunks(GROUP).zip((0..).step_by(GROUP)) {
        // An equal logit further on has a higher id, so that it is not better.
        if is_full && !has_more_than(group, least) {
            continue;
        }
        for (logit, id) in group.iter().zip(first..) {
            if !is_full || *logit > least {
                kept.push(Candidate { id, logit: f64::from(*logit) });
                if kept.len() == most {
                    keep_best(&mut kept, count);
                    (least, is_full) = (kept[count - 1].logit as f32, true);
                }
            }
        }
    }
    keep_best(&mut kept, count);
    kept.sort_unstable_by(best_first);
    kept
}

/// Returns the logits that are at least `limit`, by id.
pub(crate) fn at_least(logits: &[f32], limit: f32) -> Vec<Candidate> {
    let mut kept = Vec::new();
    for (group, first) in logits.chunks(GROUP).zip((0..).step_by(GROUP)) {
        if group.iter().fold(false, |any, logit| any | (*logit >= limit)) {
            let good = group.iter().zip(first..).filter(|(logit, _)| **logit >= limit);
            kept.extend(good.map(|(logit, id)| Candidate { id, logit: f64::from(*logit) }));
        }
    }
    kept
}

fn has_more_than(group: &[f32], least: f32) -> bool {
    // Without an early end this is a few vector comparisons.
    group.iter().fold(false, |any, logit| any | (*logit > least))
}

/// Moves the best to the front, the worst of them last, and drops the others.
fn keep_best(candidates: &mut Vec<Candidate>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, best_first);
        candidates.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logits() -> impl Strategy<Value = Vec<f32>> {
        let logit = prop_oneof![-20.0..20.0f32, (-3..3i8).prop_map(f32::from), Just(f32::NEG_INFINITY)];
        prop::collection::vec(logit, 1..700)
    }

    proptest! {
        #[test]
        fn selection_is_the_head_of_the_sorted_list(logits in logits(), count in 0..800usize) {
            let mut expected: Vec<Candidate> =
                (0..).zip(&logits).map(|(id, logit)| Candidate { id, logit: f64::from(*logit) }).collect();
            expected.sort_by(best_first);
            expected.truncate(count);
            prop_assert_eq!(best_of(&logits, count), expected);
        }

        #[test]
        fn limit_keeps_what_reaches_it(logits in logits(), limit in -20.0..20.0f32) {
            let kept: Vec<u32> = at_least(&logits, limit).iter().map(|candidate| candidate.id).collect();
            let expected: Vec<u32> = (0..).zip(&logits).filter(|(_, logit)| **logit >= limit).map(|(id, _)| id).collect();
            prop_assert_eq!(kept, expected);
        }
    }
}
