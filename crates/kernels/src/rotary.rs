//! Rotary position embedding (Su et al. 2021): pairs of numbers of a head are turned by angles that grow with the position.
//!
//! The angles of a row are the same for all heads and layers of a step, so they are computed once, in f64: an angle of
//! some thousand radians in f32 has an error that can be seen in the logits.

use crate::Level;
use crate::lanes::{self, Kernel, LANES, Lanes};

/// Which numbers of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotaryStyle {
    /// 2i and 2i + 1, as GGUF stores the rows of `llama` models.
    Interleaved,
    /// i and i + (number of pairs), as in Hugging Face files and GPT-NeoX.
    Halves,
}

/// The speeds at which the pairs of a head turn.
#[derive(Debug, Clone)]
pub struct Rotary {
    style: RotaryStyle,
    frequencies: Vec<f64>,
    magnitude: f64,
}

impl Rotary {
    /// Turns as many pairs as there are frequencies, in radians per position; what follows them in a head stays.
    /// The turned numbers are multiplied with `magnitude` (1, or the attention factor of YaRN).
    pub fn new(style: RotaryStyle, frequencies: &[f64], magnitude: f32) -> Rotary {
        Rotary { style, frequencies: frequencies.to_vec(), magnitude: f64::from(magnitude) }
    }

    /// Returns how many numbers the angles of one position take.
    pub fn angles_len(&self) -> usize {
        match self.style {
            RotaryStyle::Interleaved => 4 * self.frequencies.len(),
            RotaryStyle::Halves => 2 * self.frequencies.len(),
        }
    }

    /// Writes the cosines and sines of a position for [`Rotary::rotate`].
    ///
    /// # Panics
    /// When `angles` is not [`Rotary::angles_len`] long.
    pub fn fill_angles(&self, position: usize, angles: &mut [f32]) {
        assert_eq!(angles.len(), self.angles_len(), "angles of one position");
        let (cosines, sines) = angles.split_at_mut(angles.len() / 2);
        for (pair, frequency) in self.frequencies.iter().enumerate() {
            let (sine, cosine) = (frequency * position as f64).sin_cos();
            let (sine, cosine) = ((sine * self.magnitude) as f32, (cosine * self.magnitude) as f32);
            match self.style {
                // As the lanes meet them: x * cosine + neighbour * sine.
                RotaryStyle::Interleaved => {
                    cosines[2 * pair..][..2].fill(cosine);
                    sines[2 * pair..][..2].copy_from_slice(&[-sine, sine]);
                }
                RotaryStyle::Halves => {
                    cosines[pair] = cosine;
                    sines[pair] = sine;
                }
            }
        }
    }

    /// Turns each head of `heads`, which lie one after the other, within 3 units in the last place of the greater
    /// number of a pair.
    ///
    /// # Panics
    /// When `heads` is not a multiple of `head_width`, a head is shorter than its pairs, or `angles` is not
    /// [`Rotary::angles_len`] long.
    pub fn rotate(&self, level: Level, angles: &[f32], head_width: usize, heads: &mut [f32]) {
        assert_eq!(angles.len(), self.angles_len(), "angles of one position");
        let turned = 2 * self.frequencies.len();
        assert!(turned <= head_width, "{turned} numbers are to be turned, but a head has {head_width}");
        assert!(heads.len().is_multiple_of(head_width), "{} numbers are no heads of {head_width}", heads.len());
        let (cosines, sines) = angles.split_at(angles.len() / 2);
        let heads = heads.chunks_exact_mut(head_width).map(|head| &mut head[..turned]);
        match self.style {
            RotaryStyle::Interleaved => {
                lanes::run(level, Interleaved { cosines, sines, heads });
            }
            RotaryStyle::Halves => lanes::run(level, Halves { cosines, sines, heads }),
        }
    }
}

struct Interleaved<'a, H> {
    cosines: &'a [f32],
    sines: &'a [f32],
    heads: H,
}

impl<'h, H: Iterator<Item = &'h mut [f32]>> Kernel for Interleaved<'_, H> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (cosines, cosine_rest) = self.cosines.as_chunks::<LANES>();
        let (sines, sine_rest) = self.sines.as_chunks::<LANES>();
        for head in self.heads {
            let (groups, rest) = head.as_chunks_mut::<LANES>();
            for ((group, cosine), sine) in groups.iter_mut().zip(cosines).zip(sines) {
                let turned = turn(lanes, lanes.load(group), lanes.load(cosine), lanes.load(sine));
                lanes.store(turned, group);
            }
            let (cosine, sine) = (lanes.load_first(cosine_rest), lanes.load_first(sine_rest));
            lanes.store_first(turn(lanes, lanes.load_first(rest), cosine, sine), rest);
        }
    }
}

#[inline(always)]
fn turn<L: Lanes>(lanes: L, pairs: L::F32s, cosine: L::F32s, sine: L::F32s) -> L::F32s {
    lanes.multiply_add(pairs, cosine, lanes.multiply(lanes.swap_neighbours(pairs), sine))
}

struct Halves<'a, H> {
    cosines: &'a [f32],
    sines: &'a [f32],
    heads: H,
}

impl<'h, H: Iterator<Item = &'h mut [f32]>> Kernel for Halves<'_, H> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (cosines, cosine_rest) = self.cosines.as_chunks::<LANES>();
        let (sines, sine_rest) = self.sines.as_chunks::<LANES>();
        for head in self.heads {
            let (first, second) = head.split_at_mut(head.len() / 2);
            let (first, first_rest) = first.as_chunks_mut::<LANES>();
            let (second, second_rest) = second.as_chunks_mut::<LANES>();
            for (((first, second), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                let (a, b) = (lanes.load(first), lanes.load(second));
                let (a, b) = turn_apart(lanes, [a, b], lanes.load(cosine), lanes.load(sine));
                lanes.store(a, first);
                lanes.store(b, second);
            }
            let (a, b) = (lanes.load_first(first_rest), lanes.load_first(second_rest));
            let (cosine, sine) = (lanes.load_first(cosine_rest), lanes.load_first(sine_rest));
            let (a, b) = turn_apart(lanes, [a, b], cosine, sine);
            lanes.store_first(a, first_rest);
            lanes.store_first(b, second_rest);
        }
    }
}

#[inline(always)]
fn turn_apart<L: Lanes>(lanes: L, [a, b]: [L::F32s; 2], cosine: L::F32s, sine: L::F32s) -> (L::F32s, L::F32s) {
    let negative_sine = lanes.subtract(lanes.splat(0.0), sine);
    let first = lanes.multiply_add(a, cosine, lanes.multiply(b, negative_sine));
    (first, lanes.multiply_add(b, cosine, lanes.multiply(a, sine)))
}

#[cfg(test)]
mod tests;
