//! One problem with all its numbers.

use seedhouse_core::runtime::Relation;

/// What an assignment may miss a constraint by, as a share of the greatest of 1, the right side and the terms of the left side: sums
/// of such numbers are not computed more exactly, and the solver's own tolerance lies below.
pub(super) const TOLERANCE: f64 = 1e-6;

/// A linear problem.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    pub(super) maximise: bool,
    pub(super) costs: Vec<f64>,
    pub(super) constant: f64,
    pub(super) lower: Vec<f64>,
    pub(super) upper: Vec<f64>,
    pub(super) is_whole: Vec<bool>,
    pub(super) rows: Vec<Row>,
}

/// A constraint.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Places of variables, each once, and their coefficients.
    pub(super) terms: Vec<(usize, f64)>,
    pub(super) relation: Relation,
    pub(super) right_side: f64,
}

impl Row {
    /// Returns the left side at an assignment.
    pub(super) fn left_side(&self, values: &[f64]) -> f64 {
        self.terms.iter().map(|(column, coefficient)| coefficient * values[*column]).sum()
    }

    /// Returns by how much a left side meets the constraint; below 0 it does not. For an equation it is the right side less the left.
    pub(super) fn slack(&self, left_side: f64) -> f64 {
        match self.relation {
            Relation::AtMost | Relation::Equal => self.right_side - left_side,
            Relation::AtLeast => left_side - self.right_side,
        }
    }

    /// Returns by how much an assignment misses the constraint; 0 where it meets it.
    pub(super) fn missing(&self, values: &[f64]) -> f64 {
        let slack = self.slack(self.left_side(values));
        match self.relation {
            Relation::AtMost | Relation::AtLeast => (-slack).max(0.0),
            Relation::Equal => slack.abs(),
        }
    }

    /// Returns what an assignment may miss the constraint by.
    pub(super) fn tolerance(&self, values: &[f64]) -> f64 {
        let terms = self.terms.iter().map(|(column, coefficient)| (coefficient * values[*column]).abs());
        TOLERANCE * terms.fold(self.right_side.abs().max(1.0), f64::max)
    }
}

/// What an assignment breaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Broken {
    /// The bounds of the variable of this place, by so much.
    Bound(usize, f64),
    /// The constraint of this place, by so much.
    Row(usize, f64),
    /// The variable of this place is not whole.
    Whole(usize, f64),
}

impl Linear {
    /// Returns the objective at an assignment.
    pub(super) fn objective(&self, values: &[f64]) -> f64 {
        self.constant + self.costs.iter().zip(values).map(|(cost, value)| cost * value).sum::<f64>()
    }

    /// Returns whether some variables take whole numbers only.
    pub(super) fn is_mixed_integer(&self) -> bool {
        self.is_whole.contains(&true)
    }

    /// Holds an assignment against the problem as it was declared.
    pub(super) fn check(&self, values: &[f64]) -> Result<(), Broken> {
        for (place, value) in values.iter().enumerate() {
            let (lower, upper) = (self.lower[place], self.upper[place]);
            let missing = (lower - value).max(value - upper);
            if !value.is_finite() || missing > TOLERANCE * value.abs().max(1.0) {
                return Err(Broken::Bound(place, missing));
            }
            if self.is_whole[place] && value.fract() != 0.0 {
                return Err(Broken::Whole(place, *value));
            }
        }
        for (place, row) in self.rows.iter().enumerate() {
            let missing = row.missing(values);
            // Finite values may have terms that are not.
            if !missing.is_finite() || missing > row.tolerance(values) {
                return Err(Broken::Row(place, missing));
            }
        }
        Ok(())
    }

    /// Puts values that miss or lie at a bound by no more than rounding onto it, and whole ones onto whole numbers.
    pub(super) fn tidy(&self, values: &mut [f64]) {
        const ROUNDING: f64 = 1e-9;
        for (place, value) in values.iter_mut().enumerate() {
            if self.is_whole[place] {
                *value = value.round();
            }
            for bound in [self.lower[place], self.upper[place]] {
                if bound.is_finite() && (*value - bound).abs() <= ROUNDING * bound.abs().max(1.0) {
                    *value = bound;
                }
            }
            // No `-0` in answers.
            *value += 0.0;
        }
    }
}
