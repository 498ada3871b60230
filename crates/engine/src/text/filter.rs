//! Filters: each narrows or reshapes the candidates for the next token, and knows nothing of the others.

use std::cmp::Ordering;

/// A token id and its logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) id: u32,
    pub(crate) logit: f64,
}

/// What may still be drawn.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Candidates {
    /// In no order.
    pub(crate) kept: Vec<Candidate>,
    /// The weight, relative to that of the best, of all candidates that were left out because no filter of the chain would
    /// keep them. They still count where a share of all is meant.
    pub(crate) rest: f64,
}

/// One step between logits and the draw. Every filter keeps at least the best candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Filter {
    /// Divides the distances to the best logit: below 1 sharper, above 1 flatter. Must be positive.
    Temperature(f32),
    /// Keeps this many of the best candidates, at least one.
    TopK(usize),
    /// Keeps the smallest set of best candidates with at least this probability together (nucleus, Holtzman et al. 2020).
    TopP(f32),
    /// Keeps candidates with at least this share of the best one's probability (Nguyen et al. 2024).
    MinP(f32),
}

impl Filter {
    /// Changes `candidates`, whose logits are finite or negative infinity and not all the latter.
    pub(crate) fn apply(self, candidates: &mut Candidates) {
        match self {
            Filter::Temperature(temperature) => divide_distances(&mut candidates.kept, f64::from(temperature)),
            Filter::TopK(count) => keep_best(candidates, count.max(1)),
            Filter::TopP(share) => keep_nucleus(candidates, f64::from(share)),
            Filter::MinP(share) => keep_likely(&mut candidates.kept, f64::from(share)),
        }
    }
}

/// Orders candidates from best to worst; equal logits by id, so that the order is total.
pub(crate) fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Returns the largest logit.
pub(crate) fn best_logit(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| candidate.logit).fold(f64::NEG_INFINITY, f64::max)
}

fn divide_distances(candidates: &mut [Candidate], temperature: f64) {
    // Distances instead of values: a tiny temperature sends the others to minus infinity, never the best to plus infinity.
    let best = best_logit(candidates);
    for candidate in candidates {
        candidate.logit = (candidate.logit - best) / temperature;
    }
}

fn keep_best(candidates: &mut Candidates, count: usize) {
    let kept = &mut candidates.kept;
    if count < kept.len() {
        kept.select_nth_unstable_by(count - 1, best_first);
        kept.truncate(count);
    }
    kept.sort_unstable_by(best_first);
    candidates.rest = 0.0;
}

fn keep_nucleus(candidates: &mut Candidates, share: f64) {
    let kept = &mut candidates.kept;
    let best = best_logit(kept);
    let weight = |candidate: &Candidate| (candidate.logit - best).exp();
    let wanted = share * (kept.iter().map(weight).sum::<f64>() + candidates.rest);
    candidates.rest = 0.0;
    let (mut sorted, mut reached) = (0, 0.0);
    // The nucleus is mostly small, so a growing head is sorted instead of everything.
    let mut head = 64;
    while sorted < kept.len() {
        let end = head.min(kept.len());
        if end < kept.len() {
            kept[sorted..].select_nth_unstable_by(end - sorted - 1, best_first);
        }
        kept[sorted..end].sort_unstable_by(best_first);
        for index in sorted..end {
            reached += weight(&kept[index]);
            if reached >= wanted {
                kept.truncate(index + 1);
                return;
            }
        }
        sorted = end;
        head *= 8;
    }
}

fn keep_likely(candidates: &mut Vec<Candidate>, share: f64) {
    let least = best_logit(candidates) + share.ln();
    candidates.retain(|candidate| candidate.logit >= least);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(logits: &[f64]) -> Vec<Candidate> {
        (0..).zip(logits).map(|(id, &logit)| Candidate { id, logit }).collect()
    }

    fn filtered(filter: Filter, logits: &[f64]) -> Vec<Candidate> {
        let mut candidates = Candidates { kept: candidates(logits), rest: 0.0 };
        filter.apply(&mut candidates);
        candidates.kept
    }

    fn probabilities(candidates: &[Candidate]) -> Vec<f64> {
        let best = best_logit(candidates);
        let weights: Vec<f64> = candidates.iter().map(|candidate| (candidate.logit - best).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    #[test]
    fn tiny_temperature_leaves_only_the_best_and_a_high_one_levels() {
        let cold = probabilities(&filtered(Filter::Temperature(1e-40), &[1.0, 3.0, 2.0]));
        assert_eq!(cold, [0.0, 1.0, 0.0]);
        let hot = probabilities(&filtered(Filter::Temperature(100.0), &[1.0, 3.0, 2.0]));
        assert!(hot.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.01), "{hot:?}");
        let one = probabilities(&filtered(Filter::Temperature(1.0), &[1.0, 3.0, 2.0]));
        for (share, expected) in one.iter().zip(probabilities(&candidates(&[1.0, 3.0, 2.0]))) {
            assert!((share - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn impossible_candidates_stay_impossible() {
        for filter in [Filter::Temperature(0.5), Filter::TopK(3), Filter::TopP(1.0), Filter::MinP(0.5)] {
            let kept = filtered(filter, &[f64::NEG_INFINITY, 0.0, f64::NEG_INFINITY]);
            let shares = probabilities(&kept);
            assert!(shares.iter().all(|share| *share == 0.0 || *share == 1.0), "{filter:?} gives {shares:?}");
        }
    }

    #[test]
    fn what_was_left_out_counts_towards_the_nucleus() {
        // Of 1 + 0.5 + 0.5 the best alone is half; with 1 more left out it is a third.
        let kept = candidates(&[0.0, 0.5f64.ln(), 0.5f64.ln()]);
        for (rest, expected) in [(0.0, 1), (1.0, 2), (100.0, 3)] {
            let mut candidates = Candidates { kept: kept.clone(), rest };
            Filter::TopP(0.5).apply(&mut candidates);
            assert_eq!(candidates.kept.len(), expected, "{rest}");
        }
    }

    fn logits() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(prop_oneof![-20.0..20.0f64, (-3..3i8).prop_map(f64::from)], 1..700)
    }

    proptest! {
        #[test]
        fn top_k_keeps_the_best(logits in logits(), count in 1..700usize) {
            let kept = filtered(Filter::TopK(count), &logits);
            let mut expected = candidates(&logits);
            expected.sort_by(best_first);
            expected.truncate(count);
            prop_assert_eq!(kept, expected);
        }

        #[test]
        fn top_p_keeps_the_smallest_set_that_suffices(logits in logits(), share in 0.01..0.999f32) {
            let kept = filtered(Filter::TopP(share), &logits);
            let mut all = candidates(&logits);
            all.sort_by(best_first);
            prop_assert_eq!(&kept[..], &all[..kept.len()]);
            let shares = probabilities(&all);
            let reached: f64 = shares[..kept.len()].iter().sum();
            let one_less: f64 = shares[..kept.len() - 1].iter().sum();
            let tolerance = 1e-9;
            prop_assert!(reached >= f64::from(share) - tolerance, "{reached} < {share}");
            prop_assert!(one_less < f64::from(share) + tolerance, "{one_less} >= {share}");
        }

        #[test]
        fn min_p_keeps_what_is_likely_enough(logits in logits(), share in 0.001..1.0f32) {
            let kept = filtered(Filter::MinP(share), &logits);
            let all = candidates(&logits);
            let likely = |candidate: &&Candidate| candidate.logit - best_logit(&all) >= f64::from(share).ln();
            prop_assert_eq!(kept, all.iter().filter(likely).copied().collect::<Vec<_>>());
        }

        #[test]
        fn temperature_keeps_the_order(logits in logits(), temperature in 0.01..100.0f32) {
            let changed = filtered(Filter::Temperature(temperature), &logits);
            for (a, b) in changed.windows(2).map(|pair| (pair[0], pair[1])) {
                let before = logits[a.id as usize].total_cmp(&logits[b.id as usize]);
                prop_assert!(a.logit.total_cmp(&b.logit) == before || a.logit == b.logit);
            }
        }
    }
}
