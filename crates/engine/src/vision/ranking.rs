//! From logits to the most likely classes.

use std::sync::Arc;

use seedhouse_core::{Error, Result};
use serde::{Serialize, Serializer};

/// A class and how likely it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Index of the class in the model's output.
    pub class_id: usize,
    /// Its label, if the version declares labels. Shared: many answers have it.
    #[serde(serialize_with = "name")]
    pub class_name: Option<Arc<str>>,
    /// Its softmax probability among all classes.
    pub confidence: f32,
    /// What the model gave.
    pub logit: f32,
}

fn name<S: Serializer>(name: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_deref().serialize(serializer)
}

/// Returns the `count` most likely classes, best first, equal ones by id.
///
/// # Errors
/// [`Error::Invalid`] when `count` is 0 or above the number of classes, [`Error::Internal`] when a logit is not finite.
pub(crate) fn best_classes(model_id: &str, logits: &[f32], count: usize) -> Result<Vec<Prediction>> {
    if count == 0 || count > logits.len() {
        return Err(Error::invalid("top_k", count, format!("must be 1 to {}, the number of classes", logits.len())));
    }
    if let Some(id) = logits.iter().position(|logit| !logit.is_finite()) {
        return Err(Error::Internal(format!("`{model_id}` gave the logit {} for class {id}", logits[id])));
    }
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - best).exp();
    let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let prediction = |&class_id: &usize| {
        let logit = logits[class_id];
        Prediction { class_id, class_name: None, confidence: (weight(logit) / sum) as f32, logit }
    };
    Ok(order[..count].iter().map(prediction).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_logits_have_known_confidences() {
        let best = best_classes("a", &[0.0, 2.0_f32.ln(), 2.0_f32.ln() - 200.0, 0.0], 3).unwrap();
        let shares: Vec<(usize, f32)> = best.iter().map(|best| (best.class_id, best.confidence)).collect();
        assert_eq!(shares, [(1, 0.5), (0, 0.25), (3, 0.25)]);
    }

    #[test]
    fn broken_logits_name_model_and_class() {
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = best_classes("a_v1", &[0.0, broken], 1).unwrap_err().to_string();
            assert!(error.contains("`a_v1`") && error.contains("class 1"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn confidences_sum_to_one_however_large_the_logits(logits in prop::collection::vec(-1e38..1e38f32, 1..50)) {
            let all = best_classes("a", &logits, logits.len()).unwrap();
            let sum: f32 = all.iter().map(|one| one.confidence).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            prop_assert!(all.windows(2).all(|pair| pair[0].logit >= pair[1].logit));
        }
    }
}
