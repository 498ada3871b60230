//! Rotary positions as numbers: the speed at which each pair of a head turns, with every known scaling already in it.

use std::f64::consts::TAU;

/// Far wider than any head; it keeps the table of a hostile file small.
const MOST_DIMENSIONS: usize = 1 << 16;

/// The rotation of queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotary {
    /// How many numbers of a head turn, from the first on.
    pub(crate) dimensions: usize,
    /// Which numbers are pairs.
    pub(crate) style: RotaryStyle,
    /// Radians per position, one for each pair. The angle is best computed in f64: an f32 angle of some thousand radians
    /// has an error that can be seen in the logits.
    pub(crate) frequencies: Vec<f64>,
    /// Factor of cosine and sine; 1 but for YaRN.
    pub(crate) attention_factor: f32,
}

/// Which numbers of a head are pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RotaryStyle {
    /// Neighbours: `2i` and `2i + 1`.
    Interleaved,
    /// The two halves of what turns: `i` and `i + dimensions / 2`.
    Halves,
}

/// How positions beyond those of the training are reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scaling {
    /// Not at all.
    None,
    /// Every pair turns slower by a factor (Chen et al. 2023).
    Linear { factor: f64 },
    /// Slow pairs turn slower, with a smooth passage (`llama3` of the transformers library).
    Llama3 { factor: f64, low: f64, high: f64, original_context: f64 },
    /// The same by the number of turns, and louder attention (Peng et al. 2023).
    Yarn(Yarn),
}

/// Parameters of YaRN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Yarn {
    pub(super) factor: f64,
    pub(super) original_context: f64,
    pub(super) beta_fast: f64,
    pub(super) beta_slow: f64,
    /// Whether the bounds between fast and slow are whole numbers of pairs.
    pub(super) truncate: bool,
    /// `None` for the factor of the paper.
    pub(super) attention_factor: Option<f64>,
}

impl Yarn {
    pub(super) const BETA_FAST: f64 = 32.0;
    pub(super) const BETA_SLOW: f64 = 1.0;

    /// The paper's factor of attention, which grows with the stretching.
    pub(super) fn loudness(factor: f64, scale: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
    }
}

impl Rotary {
    /// Computes the speeds for heads of `head_width` numbers.
    ///
    /// # Errors
    /// A text that says what is wrong with the numbers.
    pub(super) fn new(
        head_width: usize,
        dimensions: usize,
        style: RotaryStyle,
        base: f64,
        scaling: Scaling,
    ) -> Result<Rotary, String> {
        if dimensions == 0 || dimensions > head_width.min(MOST_DIMENSIONS) || !dimensions.is_multiple_of(2) {
            let rule = format!("must be even and at most the width of a head, which is {head_width}");
            return Err(format!("the number of its rotated dimensions is {dimensions}, but {rule}"));
        }
        let plain = |pair: usize| base.powf(-2.0 * pair as f64 / dimensions as f64);
        let frequencies = (0..dimensions / 2).map(|pair| match scaling {
            Scaling::None => plain(pair),
            Scaling::Linear { factor } => plain(pair) / factor,
            Scaling::Llama3 { factor, low, high, original_context } => {
                let turns = original_context * plain(pair) / TAU;
                let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                plain(pair) * ((1.0 - smooth) / factor + smooth)
            }
            Scaling::Yarn(yarn) => {
                let kept = yarn_kept(&yarn, dimensions, base, pair);
                plain(pair) * ((1.0 - kept) / yarn.factor + kept)
            }
        });
        let attention_factor = match scaling {
            Scaling::Yarn(yarn) => yarn.attention_factor.unwrap_or_else(|| Yarn::loudness(yarn.factor, 1.0)),
            Scaling::None | Scaling::Linear { .. } | Scaling::Llama3 { .. } => 1.0,
        };
        Rotary { dimensions, style, frequencies: frequencies.collect(), attention_factor: attention_factor as f32 }
            .checked()
    }

    /// Divides each speed by the factor that a file names for its pair (`rope_freqs.weight` of GGUF).
    ///
    /// # Errors
    /// A text that names the pair whose factor is impossible.
    pub(super) fn divided_by(mut self, factors: &[f32]) -> Result<Rotary, String> {
        if let Some(pair) = factors.iter().position(|factor| !(factor.is_finite() && *factor > 0.0)) {
            return Err(format!("the factor of pair {pair} is {}, but must be finite and above 0", factors[pair]));
        }
        for (speed, factor) in self.frequencies.iter_mut().zip(factors) {
            *speed /= f64::from(*factor);
        }
        self.checked()
    }

    fn checked(self) -> Result<Rotary, String> {
        if let Some(pair) = self.frequencies.iter().position(|speed| !(speed.is_finite() && *speed >= 0.0)) {
            let speed = self.frequencies[pair];
            return Err(format!("pair {pair} turns by {speed} per position, but must turn by a finite angle"));
        }
        match self.attention_factor.is_finite() && self.attention_factor > 0.0 {
            true => Ok(self),
            false => Err(format!("its attention factor is {}, but must be finite and above 0", self.attention_factor)),
        }
    }
}

/// Returns how much of a pair's own speed is kept: all of it for pairs that turn often within the original context.
fn yarn_kept(yarn: &Yarn, dimensions: usize, base: f64, pair: usize) -> f64 {
    let pairs_with_turns =
        |turns: f64| dimensions as f64 * (yarn.original_context / (turns * TAU)).ln() / (2.0 * base.ln());
    let (low, high) = (pairs_with_turns(yarn.beta_fast), pairs_with_turns(yarn.beta_slow));
    let (low, high) = if yarn.truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(dimensions as f64 - 1.0));
    // Where both bounds are one number, the transformers library moves the upper one by this much.
    let width = if low == high { 0.001 } else { high - low };
    1.0 - ((pair as f64 - low) / width).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: Scaling) -> Vec<f64> {
        Rotary::new(8, 8, RotaryStyle::Halves, 10_000.0, scaling).unwrap().frequencies
    }

    fn loudness(yarn: Yarn) -> f32 {
        Rotary::new(8, 8, RotaryStyle::Halves, 10_000.0, Scaling::Yarn(yarn)).unwrap().attention_factor
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn scalings_slow_pairs_down_as_their_definitions_say() {
        assert_close(&frequencies(Scaling::None), &[1.0, 0.1, 0.01, 0.001]);
        assert_close(&frequencies(Scaling::Linear { factor: 4.0 }), &[0.25, 0.025, 0.0025, 0.00025]);
        // Turns within 1000 positions: 159, 15.9, 1.59, 0.159; kept from 4 on, slowed fully up to 1.
        let llama3 = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 1000.0 };
        let smooth = (1000.0 * 0.01 / TAU - 1.0) / 3.0;
        assert_close(&frequencies(llama3), &[1.0, 0.1, 0.01 * ((1.0 - smooth) / 8.0 + smooth), 0.001 / 8.0]);
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_slows_slow_ones() {
        let mut yarn = Yarn {
            factor: 4.0,
            original_context: 1000.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            attention_factor: None,
        };
        // Pair 8 ln(1000 / 64 pi) / (2 ln 10000) = 0.697 turns 32 times, pair 2.203 once: from 0 to 3.
        let kept = [1.0, 2.0 / 3.0, 1.0 / 3.0, 0.0];
        let expected: Vec<f64> =
            kept.iter().zip([1.0, 0.1, 0.01, 0.001]).map(|(kept, speed)| speed * ((1.0 - kept) / 4.0 + kept)).collect();
        assert_close(&frequencies(Scaling::Yarn(yarn)), &expected);
        let louder = loudness(yarn);
        assert!((louder - 1.138_629_4).abs() < 1e-6, "{louder}");
        yarn.attention_factor = Some(1.5);
        assert_eq!(loudness(yarn), 1.5);
    }

    #[test]
    fn impossible_rotations_are_named() {
        let cases = [
            (10, 1e4, Scaling::None, "is 10, but must be even and at most the width of a head, which is 8"),
            (7, 1e4, Scaling::None, "is 7, but must be even"),
            (0, 1e4, Scaling::None, "is 0, but must be even"),
            (8, 0.0, Scaling::None, "pair 1 turns by inf"),
            (8, 1e4, Scaling::Linear { factor: 0.0 }, "pair 0 turns by inf"),
            (8, 1e4, Scaling::Linear { factor: f64::NAN }, "pair 0 turns by NaN"),
            (8, 1e4, Scaling::Linear { factor: -1.0 }, "pair 0 turns by -1"),
        ];
        for (dimensions, base, scaling, expected) in cases {
            let error = Rotary::new(8, dimensions, RotaryStyle::Halves, base, scaling).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let wide = Rotary::new(usize::MAX, 1 << 40, RotaryStyle::Halves, 1e4, Scaling::None);
        assert!(wide.is_err(), "a table of a terabyte");
    }

    #[test]
    fn factors_of_a_file_divide_speeds() {
        let plain = || Rotary::new(4, 4, RotaryStyle::Interleaved, 100.0, Scaling::None).unwrap();
        assert_close(&plain().divided_by(&[1.0, 8.0]).unwrap().frequencies, &[1.0, 0.1 / 8.0]);
        for factor in [0.0, -0.0, -2.0, f32::NAN, f32::INFINITY] {
            let error = plain().divided_by(&[1.0, factor]).unwrap_err();
            assert_eq!(error, format!("the factor of pair 1 is {factor}, but must be finite and above 0"));
        }
        // Finite, and the speed is not.
        let steep = Rotary::new(64, 64, RotaryStyle::Interleaved, 1e-300, Scaling::None).unwrap();
        let mut factors = [1.0; 32];
        factors[31] = 1e-40;
        assert!(steep.divided_by(&factors).unwrap_err().contains("pair 31 turns by inf"));
    }
}
