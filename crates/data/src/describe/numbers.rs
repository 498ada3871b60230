//! Figures of numbers.

use serde_json::{Value, json};

/// Counts and measures numbers; NaN stands for a missing one. The standard deviation is that of the numbers themselves, not an estimate
/// for others.
pub(super) fn figures(numbers: &[f64]) -> Value {
    let mut present: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
    let missing = numbers.len() - present.len();
    if present.is_empty() {
        return json!({ "count": 0, "missing": missing });
    }
    let count = present.len() as f64;
    // Scaled, so that no sum of finite numbers overflows.
    let mean: f64 = present.iter().map(|number| number / count).sum();
    let variance: f64 = present.iter().map(|number| (number - mean) / count.sqrt()).map(|part| part * part).sum();
    present.sort_by(f64::total_cmp);
    let distinct = 1 + present.windows(2).filter(|pair| pair[0] != pair[1]).count();
    json!({
        "count": present.len(),
        "missing": missing,
        "min": present[0],
        "max": present[present.len() - 1],
        "mean": mean,
        "standard_deviation": variance.sqrt(),
        "distinct": distinct,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_numbers_that_are_there() {
        let found = figures(&[2.0, f64::NAN, 4.0, 4.0, 6.0]);
        let expected = json!({
            "count": 4, "missing": 1, "min": 2.0, "max": 6.0, "mean": 4.0,
            "standard_deviation": 2.0_f64.sqrt(), "distinct": 3,
        });
        assert_eq!(found, expected);
        assert_eq!(figures(&[f64::NAN]), json!({ "count": 0, "missing": 1 }));
    }

    #[test]
    fn greatest_numbers_have_a_mean() {
        assert_eq!(figures(&[f64::MAX, f64::MAX])["mean"], json!(f64::MAX));
    }
}
