//! Tables: what a model of named features takes and gives, and how the value of a feature becomes inputs of a network.
//!
//! A declaration stands in the file of a network of ours, or in the record of a graph whose file cannot say it. Both are read here, so
//! that they mean the same. Between the engine and a model, the value of a feature is one number, its raw number: the value itself, 0 or
//! 1 for false or true, the place of a category among its feature's, NaN for what is missing.

mod read;
#[cfg(test)]
mod tests;

/// What a model takes and gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What it takes, in the order of its inputs. Names are there once.
    pub features: Vec<Feature>,
    /// What it gives.
    pub outcome: Outcome,
}

/// What a model gives for a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The class that it belongs to: one of these names.
    Classes(Vec<String>),
    /// Numbers.
    Targets(Vec<Target>),
}

/// A number that a model gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it is measured in.
    pub unit: Option<String>,
    /// How it was standardised for training.
    pub standard: Standard,
}

/// A value that a model takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// What values it has.
    pub kind: FeatureKind,
    /// What stands for a missing value; without it, the value is required.
    pub missing: Option<Missing>,
}

/// What values a feature has.
#[derive(Debug, Clone, PartialEq)]
pub enum FeatureKind {
    /// Numbers.
    Numeric {
        /// What they are measured in.
        unit: Option<String>,
        /// What the model was made for.
        range: Range,
        /// How they are standardised.
        standard: Standard,
    },
    /// True or false.
    Boolean,
    /// One of a set of words.
    Categorical {
        /// The words, each of them once.
        categories: Vec<String>,
        /// What a network is given.
        encoding: Encoding,
    },
}

/// The numbers from one to another, both included. A side that is not said is open.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Range {
    /// The smallest.
    pub low: Option<f64>,
    /// The greatest.
    pub high: Option<f64>,
}

impl Range {
    /// Returns whether a number is one of these.
    pub fn contains(&self, number: f64) -> bool {
        self.low.is_none_or(|low| number >= low) && self.high.is_none_or(|high| number <= high)
    }

    /// Returns the range for messages, e.g. `3.5 to 9.5`.
    pub fn text(&self) -> String {
        match (self.low, self.high) {
            (Some(low), Some(high)) => format!("{low} to {high}"),
            (Some(low), None) => format!("at least {low}"),
            (None, Some(high)) => format!("at most {high}"),
            (None, None) => "any number".into(),
        }
    }
}

/// How numbers are standardised: what a network sees is `(number - mean) / scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standard {
    /// Is subtracted.
    pub mean: f64,
    /// Is divided by; above 0.
    pub scale: f64,
}

impl Standard {
    /// Leaves numbers as they are.
    pub const NONE: Standard = Standard { mean: 0.0, scale: 1.0 };

    /// Returns what a network sees.
    pub fn apply(&self, number: f32) -> f32 {
        ((f64::from(number) - self.mean) / self.scale) as f32
    }

    /// Returns the number that a network means.
    pub fn undo(&self, number: f32) -> f32 {
        (f64::from(number) * self.scale + self.mean) as f32
    }
}

/// What a network is given for a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The place of the category, from 0.
    Index,
    /// A number for each category: 1 at its place, else 0.
    OneHot,
    /// So many numbers that the network has learned for it.
    Embedding(usize),
}

/// What stands for a missing value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Missing {
    /// The raw number that is taken; without it, the inputs of the feature are 0.
    pub fill: Option<f32>,
    /// Whether a further input is 1 where the value is missing, else 0.
    pub indicator: bool,
}

impl Table {
    /// Returns how many inputs a network has.
    pub fn input_width(&self) -> usize {
        self.features.iter().map(Feature::width).sum()
    }

    /// Returns how many outputs a network has.
    pub fn output_width(&self) -> usize {
        match &self.outcome {
            Outcome::Classes(classes) => classes.len(),
            Outcome::Targets(targets) => targets.len(),
        }
    }
}

impl Feature {
    /// Returns how many inputs of a network it becomes.
    pub fn width(&self) -> usize {
        let indicator = self.missing.is_some_and(|missing| missing.indicator);
        self.value_width() + usize::from(indicator)
    }

    fn value_width(&self) -> usize {
        match &self.kind {
            FeatureKind::Numeric { .. } | FeatureKind::Boolean => 1,
            FeatureKind::Categorical { categories, encoding } => match encoding {
                Encoding::Index => 1,
                Encoding::OneHot => categories.len(),
                Encoding::Embedding(width) => *width,
            },
        }
    }

    /// Checks that a number is a raw one of this feature. Ranges do not count: what is beyond them can be computed with.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check_raw(&self, raw: f32) -> Result<(), String> {
        if raw.is_nan() {
            return match self.missing {
                Some(_) => Ok(()),
                None => Err("must be a number: nothing is declared for missing values".into()),
            };
        }
        if raw.is_infinite() {
            return Err("must be finite".into());
        }
        match &self.kind {
            FeatureKind::Numeric { .. } => Ok(()),
            FeatureKind::Boolean if raw == 0.0 || raw == 1.0 => Ok(()),
            FeatureKind::Boolean => Err("must be 0 or 1".into()),
            FeatureKind::Categorical { categories, .. } => {
                let is_place = raw >= 0.0 && raw.fract() == 0.0 && (raw as usize) < categories.len();
                let last = categories.len() - 1;
                is_place.then_some(()).ok_or_else(|| format!("must be the place of a category, 0 to {last}"))
            }
        }
    }

    /// Writes the inputs of a network for a raw number that [`check_raw`](Feature::check_raw) allows. `embedding` has the numbers of each
    /// category, one category after the other; it is not looked at for other encodings.
    ///
    /// # Panics
    /// When `inputs` are not as many as [`width`](Feature::width) says.
    pub fn encode(&self, raw: f32, embedding: &[f32], inputs: &mut [f32]) {
        let (own, indicator) = inputs.split_at_mut(self.value_width());
        if let [indicator] = indicator {
            *indicator = if raw.is_nan() { 1.0 } else { 0.0 };
        }
        let fill = self.missing.and_then(|missing| missing.fill);
        let Some(value) = (if raw.is_nan() { fill } else { Some(raw) }) else {
            own.fill(0.0);
            return;
        };
        match &self.kind {
            FeatureKind::Numeric { standard, .. } => own[0] = standard.apply(value),
            FeatureKind::Boolean => own[0] = value,
            FeatureKind::Categorical { encoding, .. } => match encoding {
                Encoding::Index => own[0] = value,
                Encoding::OneHot => {
                    own.fill(0.0);
                    own[value as usize] = 1.0;
                }
                Encoding::Embedding(width) => own.copy_from_slice(&embedding[value as usize * width..][..*width]),
            },
        }
    }
}
