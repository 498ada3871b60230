//! What a model's answers are worth: figures over examples whose right answer is known.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Answers of a classifier beside the right ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    classes: Vec<String>,
    /// For each right class how often each class was answered.
    confusion: Vec<Vec<u64>>,
}

/// How well a class is recognised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    /// The class.
    pub class: String,
    /// How many examples belong to it.
    pub examples: u64,
    /// The share of them that was recognised; `None` without examples.
    pub recall: Option<f64>,
    /// The share of the examples answered with it that belong to it; `None` where it was never answered.
    pub precision: Option<f64>,
    /// The harmonic mean of both.
    pub f1: Option<f64>,
}

impl ClassCounts {
    /// Returns counts of nothing, for these classes.
    pub fn new(classes: Vec<String>) -> ClassCounts {
        let confusion = vec![vec![0; classes.len()]; classes.len()];
        ClassCounts { classes, confusion }
    }

    /// Counts an example.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a class out of range, with both values.
    pub fn add(&mut self, right: usize, answered: usize) -> Result<()> {
        let count = self.classes.len();
        let out_of_range = |class: usize| Error::invalid("class", class, format!("must be below {count}"));
        let row = self.confusion.get_mut(right).ok_or_else(|| out_of_range(right))?;
        *row.get_mut(answered).ok_or_else(|| out_of_range(answered))? += 1;
        Ok(())
    }

    /// Returns how many examples were counted.
    pub fn examples(&self) -> u64 {
        self.confusion.iter().flatten().sum()
    }

    /// Returns the share of right answers; `None` without examples.
    pub fn accuracy(&self) -> Option<f64> {
        let right: u64 = self.confusion.iter().enumerate().map(|(class, row)| row[class]).sum();
        share(right, self.examples())
    }

    /// Returns the mean F1 of the classes that have examples; `None` without any.
    pub fn macro_f1(&self) -> Option<f64> {
        let scores: Vec<f64> = self
            .per_class()
            .into_iter()
            .filter(|class| class.examples > 0)
            .map(|class| class.f1.unwrap_or(0.0))
            .collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }

    /// Returns the figures of every class.
    pub fn per_class(&self) -> Vec<ClassFigures> {
        let figures = |(class, name): (usize, &String)| {
            let right = self.confusion[class][class];
            let examples = self.confusion[class].iter().sum();
            let answered: u64 = self.confusion.iter().map(|row| row[class]).sum();
            let (recall, precision) = (share(right, examples), share(right, answered));
            let f1 = share(2 * right, examples + answered);
            ClassFigures { class: name.clone(), examples, recall, precision, f1 }
        };
        self.classes.iter().enumerate().map(figures).collect()
    }

    /// Returns for each right class how often each class was answered.
    pub fn confusion(&self) -> &[Vec<u64>] {
        &self.confusion
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Numbers that a model gave beside the right ones, added up so that no list of them is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RegressionSums {
    examples: u64,
    squared: f64,
    absolute: f64,
    /// Mean and sum of squares about it of the right numbers (Welford 1962).
    mean: f64,
    about_mean: f64,
}

impl RegressionSums {
    /// Counts an example.
    pub fn add(&mut self, right: f64, answered: f64) {
        self.examples += 1;
        let error = answered - right;
        self.squared += error * error;
        self.absolute += error.abs();
        let before = right - self.mean;
        self.mean += before / self.examples as f64;
        self.about_mean += before * (right - self.mean);
    }

    /// Returns how many examples were counted.
    pub fn examples(&self) -> u64 {
        self.examples
    }

    /// Returns the root of the mean squared error; `None` without examples.
    pub fn rmse(&self) -> Option<f64> {
        (self.examples > 0).then(|| (self.squared / self.examples as f64).sqrt())
    }

    /// Returns the mean absolute error; `None` without examples.
    pub fn mae(&self) -> Option<f64> {
        (self.examples > 0).then(|| self.absolute / self.examples as f64)
    }

    /// Returns the share of the variance that is explained; `None` where the right numbers are all the same.
    pub fn r2(&self) -> Option<f64> {
        (self.about_mean > 0.0).then(|| 1.0 - self.squared / self.about_mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_counted_as_scikit_learn_counts_them() {
        // sklearn.metrics.classification_report([0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 2, 1], ...) of scikit-learn 1.9.
        let mut counts = ClassCounts::new(["a", "b", "c", "never"].map(str::to_owned).to_vec());
        for (right, answered) in [(0, 0), (0, 1), (1, 1), (1, 1), (1, 2), (2, 1)] {
            counts.add(right, answered).unwrap();
        }
        assert_eq!((counts.examples(), counts.accuracy()), (6, Some(0.5)));
        let figures = counts.per_class();
        assert_eq!((figures[0].recall, figures[0].precision), (Some(0.5), Some(1.0)));
        assert_eq!((figures[1].recall, figures[1].precision), (Some(2.0 / 3.0), Some(0.5)));
        assert_eq!((figures[2].recall, figures[2].precision, figures[2].f1), (Some(0.0), Some(0.0), Some(0.0)));
        assert_eq!((figures[3].recall, figures[3].precision, figures[3].f1), (None, None, None));
        let expected = (2.0 / 3.0 + 4.0 / 7.0 + 0.0) / 3.0;
        assert!((counts.macro_f1().unwrap() - expected).abs() < 1e-12);
        assert_eq!(counts.add(4, 0).unwrap_err().field(), Some("class"));
    }

    #[test]
    fn nothing_counted_has_no_figures() {
        let counts = ClassCounts::new(vec!["a".into()]);
        assert_eq!((counts.accuracy(), counts.macro_f1()), (None, None));
        let sums = RegressionSums::default();
        assert_eq!((sums.rmse(), sums.mae(), sums.r2()), (None, None, None));
    }

    #[test]
    fn regression_figures_are_those_of_their_definitions() {
        let pairs = [(3.0, 2.5), (-0.5, 0.0), (2.0, 2.0), (7.0, 8.0)];
        let mut sums = RegressionSums::default();
        pairs.iter().for_each(|(right, answered)| sums.add(*right, *answered));
        // r2_score and mean_squared_error of scikit-learn's documentation for these numbers.
        assert!((sums.r2().unwrap() - 0.948_608_137_045_2).abs() < 1e-12);
        assert!((sums.rmse().unwrap() - 0.375_f64.sqrt()).abs() < 1e-12);
        assert!((sums.mae().unwrap() - 0.5).abs() < 1e-12);
        let mut constant = RegressionSums::default();
        constant.add(1.0, 1.0);
        constant.add(1.0, 2.0);
        assert_eq!(constant.r2(), None);
    }
}
