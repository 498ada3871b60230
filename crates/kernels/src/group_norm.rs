//! Group normalisation (Wu and He 2018): the channels of an image in groups, each brought to one size.
//!
//! Images are read twice. The first time each piece that stays in the first cache gives the mean and the squared deviations of each
//! of its channels, which are joined in f64 (Chan et al. 1979); the second time a number is multiplied with a factor and something
//! is added, both of its channel. Where an image is cut depends on its size alone, so a number depends on its own image alone.

use crate::images::Images;
use crate::lanes::{self, Kernel, LANES, Lanes};
use crate::{Nonlinearity, RowView, Step, rows};

/// Numbers of a piece.
const PIECE_NUMBERS: usize = 4096;

/// Sums that are kept side by side, so that an addition need not wait for the one before it.
const CHAINS: usize = 4;

/// What belongs to a norm.
#[derive(Debug, Clone, Copy)]
pub struct GroupNorm<'a> {
    /// How many groups the channels are cut into.
    pub groups: usize,
    /// What each channel is multiplied with.
    pub weight: &'a [f32],
    /// What is added to it then.
    pub bias: &'a [f32],
    /// What is added to the variance.
    pub epsilon: f32,
    /// What is added to numbers before all that: a row for each image, with a number for each channel.
    pub addend: Option<RowView<'a>>,
    /// What becomes of each number at the end.
    pub then: Option<Nonlinearity>,
}

/// What a norm keeps of the moments of channels. It keeps its memory for the next one.
#[derive(Debug, Default)]
pub struct GroupNormBuffers {
    /// For each piece of each image the means of the channels, then their squared deviations.
    moments: Vec<f32>,
    /// For each image the factors of the channels, then what is added.
    factors: Vec<f32>,
}

impl GroupNormBuffers {
    /// Returns the bytes that they have grown to.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.moments[..]) + size_of_val(&self.factors[..])
    }
}

/// Writes `(x - mean) / sqrt(variance + epsilon) * weight + bias`, with mean and variance of each group of each image.
///
/// # Panics
/// When lengths do not fit together, or the groups do not share the channels evenly.
pub fn group_norm(
    step: &mut Step<'_>,
    images: Images<'_>,
    norm: GroupNorm<'_>,
    buffers: &mut GroupNormBuffers,
    output: &mut [f32],
) {
    let (count, channels, pixels) = (images.count, images.channels, images.height * images.width);
    images.check(output, [images.height, images.width], channels);
    let GroupNorm { groups, weight, bias, addend, .. } = norm;
    assert!(groups > 0 && channels.is_multiple_of(groups), "{groups} groups cannot share {channels} channels");
    assert!(weight.len() == channels && bias.len() == channels, "one weight and one bias for each of {channels}");
    if let Some(addend) = addend {
        addend.check("addends", count, channels);
    }
    if output.is_empty() {
        return;
    }
    let level = step.level();
    let piece = (PIECE_NUMBERS / channels).max(1);
    let pieces = pixels.div_ceil(piece);
    let (moments, factors) = (count * pieces * 2 * channels, count * 2 * channels);
    for (buffer, length) in [(&mut buffers.moments, moments), (&mut buffers.factors, factors)] {
        if buffer.len() < length {
            buffer.resize(length, 0.0);
        }
    }
    let (moments, factors) = (&mut buffers.moments[..moments], &mut buffers.factors[..factors]);
    let of_piece = |index: usize| {
        let (image, first) = (index / pieces, index % pieces * piece);
        let start = image * pixels + first;
        start * channels..(start + piece.min(pixels - first)) * channels
    };
    step.for_each_piece(moments, 2 * channels, &|index, moments| {
        let (means, squares) = moments.split_at_mut(channels);
        lanes::run(level, ChannelMoments { numbers: &images.data[of_piece(index)], means, squares });
    });
    let moments = &*moments;
    step.for_each_piece(factors, 2 * channels, &|image, factors| {
        let image = ImageMoments { moments: &moments[image * pieces * 2 * channels..], pieces, piece, pixels, image };
        image.join(norm, factors);
    });
    let factors = &*factors;
    let (lines, line) = (images.height, images.width * channels);
    step.for_each_piece(output, line, &|index, output| {
        let factors = &factors[index / lines * 2 * channels..][..2 * channels];
        let numbers = &images.data[index * line..][..line];
        lanes::run(level, Apply { numbers, factors, then: norm.then, output });
        if let Some(then @ (Nonlinearity::GeluErf | Nonlinearity::GeluTanh)) = norm.then {
            then.apply(level, output);
        }
    });
}

/// Writes mean and sum of squared deviations of each channel of some pixels.
struct ChannelMoments<'a> {
    numbers: &'a [f32],
    means: &'a mut [f32],
    squares: &'a mut [f32],
}

impl Kernel for ChannelMoments<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let channels = self.means.len();
        let count = lanes.splat((self.numbers.len() / channels) as f32);
        let targets = self.means.chunks_mut(LANES).zip(self.squares.chunks_mut(LANES));
        for (group, (means, squares)) in targets.enumerate() {
            let first = group * LANES;
            let width = means.len();
            let sum =
                sum_of(lanes, self.numbers, channels, first..first + width, |numbers, sum| lanes.add(sum, numbers));
            let mean = lanes.divide(sum, count);
            let square = sum_of(lanes, self.numbers, channels, first..first + width, |numbers, sum| {
                let distance = lanes.subtract(numbers, mean);
                lanes.multiply_add(distance, distance, sum)
            });
            lanes.store_first(mean, means);
            lanes.store_first(square, squares);
        }
    }
}

/// Sums up to sixteen channels of pixels.
#[inline(always)]
fn sum_of<L: Lanes>(
    lanes: L,
    numbers: &[f32],
    channels: usize,
    of: std::ops::Range<usize>,
    add: impl Fn(L::F32s, L::F32s) -> L::F32s,
) -> L::F32s {
    let load = |pixel: &[f32]| {
        let numbers = &pixel[of.start..of.end];
        match numbers.first_chunk::<LANES>() {
            Some(numbers) => lanes.load(numbers),
            None => lanes.load_first(numbers),
        }
    };
    let mut sums = [lanes.splat(0.0); CHAINS];
    let mut quads = numbers.chunks_exact(channels * CHAINS);
    for quad in quads.by_ref() {
        for (sum, pixel) in sums.iter_mut().zip(quad.chunks_exact(channels)) {
            *sum = add(load(pixel), *sum);
        }
    }
    for (sum, pixel) in sums.iter_mut().zip(quads.remainder().chunks_exact(channels)) {
        *sum = add(load(pixel), *sum);
    }
    lanes.add(lanes.add(sums[0], sums[1]), lanes.add(sums[2], sums[3]))
}

/// The moments of the pieces of an image.
struct ImageMoments<'a> {
    moments: &'a [f32],
    pieces: usize,
    /// Pixels of a piece; the last may have fewer.
    piece: usize,
    pixels: usize,
    image: usize,
}

impl ImageMoments<'_> {
    /// Writes what numbers of each channel are multiplied with, and what is added then.
    fn join(&self, norm: GroupNorm<'_>, factors: &mut [f32]) {
        let channels = norm.weight.len();
        let addend = norm.addend.map(|addend| addend.row(self.image, channels));
        let addend = |channel: usize| addend.map_or(0.0, |addend| f64::from(addend[channel]));
        let (scales, shifts) = factors.split_at_mut(channels);
        let width = channels / norm.groups;
        for group in 0..norm.groups {
            let group = group * width..(group + 1) * width;
            let members = || (0..self.pieces).flat_map(|piece| group.clone().map(move |channel| (piece, channel)));
            let mean_of = |(piece, channel): (usize, usize)| {
                f64::from(self.moments[piece * 2 * channels + channel]) + addend(channel)
            };
            let count_of = |piece: usize| self.piece.min(self.pixels - piece * self.piece) as f64;
            let count = (self.pixels * width) as f64;
            let mean = members().map(|member| count_of(member.0) * mean_of(member)).sum::<f64>() / count;
            let square_of = |member: (usize, usize)| {
                let (distance, (piece, channel)) = (mean_of(member) - mean, member);
                f64::from(self.moments[(piece * 2 + 1) * channels + channel]) + count_of(piece) * distance * distance
            };
            let variance = members().map(square_of).sum::<f64>() / count;
            let factor = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
            for channel in group.clone() {
                let scale = factor * f64::from(norm.weight[channel]);
                scales[channel] = scale as f32;
                shifts[channel] = (f64::from(norm.bias[channel]) + (addend(channel) - mean) * scale) as f32;
            }
        }
    }
}

/// Multiplies the numbers of pixels with the factors of their channels, and adds.
struct Apply<'a> {
    numbers: &'a [f32],
    factors: &'a [f32],
    then: Option<Nonlinearity>,
    output: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        match self.then {
            Some(Nonlinearity::Silu) => self.each(lanes, |numbers| rows::silu_of(lanes, numbers)),
            then => self.each(lanes, |numbers| Nonlinearity::clamp(then, lanes, numbers)),
        }
    }
}

impl Apply<'_> {
    #[inline(always)]
    fn each<L: Lanes>(self, lanes: L, then: impl Fn(L::F32s) -> L::F32s) {
        let channels = self.factors.len() / 2;
        let (scales, shifts) = self.factors.split_at(channels);
        let (scales, last_scales) = scales.as_chunks::<LANES>();
        let (shifts, last_shifts) = shifts.as_chunks::<LANES>();
        for (numbers, output) in self.numbers.chunks_exact(channels).zip(self.output.chunks_exact_mut(channels)) {
            let (numbers, last_numbers) = numbers.as_chunks::<LANES>();
            let (output, last_output) = output.as_chunks_mut::<LANES>();
            let factors = scales.iter().zip(shifts);
            for ((numbers, (scale, shift)), output) in numbers.iter().zip(factors).zip(output) {
                let number = lanes.multiply_add(lanes.load(numbers), lanes.load(scale), lanes.load(shift));
                lanes.store(then(number), output);
            }
            if !last_numbers.is_empty() {
                let [numbers, scale, shift] =
                    [last_numbers, last_scales, last_shifts].map(|numbers| lanes.load_first(numbers));
                lanes.store_first(then(lanes.multiply_add(numbers, scale, shift)), last_output);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images_tests::{bits, for_each_pool, numbers};

    /// Returns what the definition gives.
    fn definition(images: Images<'_>, norm: GroupNorm<'_>) -> Vec<f64> {
        let (channels, pixels) = (images.channels, images.height * images.width);
        let width = channels / norm.groups;
        let added = |index: usize| {
            let (image, channel) = (index / (pixels * channels), index % channels);
            let addend = norm.addend.map_or(0.0, |addend| f64::from(addend.row(image, channels)[channel]));
            f64::from(images.data[index]) + addend
        };
        let place = |index: usize| (index / (pixels * channels), index % channels / width);
        let of = |index: usize| {
            let members: Vec<f64> =
                (0..images.data.len()).filter(|other| place(*other) == place(index)).map(added).collect();
            let mean = members.iter().sum::<f64>() / members.len() as f64;
            let variance = members.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / members.len() as f64;
            let found = (added(index) - mean) / (variance + f64::from(norm.epsilon)).sqrt();
            let channel = index % channels;
            let found = found * f64::from(norm.weight[channel]) + f64::from(norm.bias[channel]);
            match norm.then {
                None => found,
                Some(Nonlinearity::Silu) => found / (1.0 + (-found).exp()),
                Some(Nonlinearity::Relu) => found.max(0.0),
                Some(other) => panic!("{other:?} is not tested"),
            }
        };
        (0..images.data.len()).map(of).collect()
    }

    #[test]
    fn norm_is_the_definition_and_the_same_alone() {
        let thens = [None, Some(Nonlinearity::Silu), Some(Nonlinearity::Relu)];
        for (case, (channels, groups, height, width)) in
            [(6, 3, 5, 7), (32, 8, 5, 7), (40, 1, 3, 2), (5, 5, 4, 4), (64, 8, 13, 11), (4097, 17, 1, 2)]
                .into_iter()
                .enumerate()
        {
            let pixels = height * width;
            let data: Vec<f32> = numbers(2 * pixels * channels, 1).iter().map(|number| number * 3.0 + 5.0).collect();
            let images = Images { data: &data, count: 2, height, width, channels };
            let (weight, bias, addends) = (numbers(channels, 2), numbers(channels, 3), numbers(3 * channels, 4));
            // Rows that lie inside wider ones.
            let addend = RowView::new(&addends, 2 * channels);
            let norm = GroupNorm {
                groups,
                weight: &weight,
                bias: &bias,
                epsilon: 1e-5,
                addend: (case % 2 == 0).then_some(addend),
                then: thens[case % 3],
            };
            let expected = if channels < 1000 { definition(images, norm) } else { Vec::new() };
            for_each_pool(&mut |pool| {
                let mut found = vec![f32::NAN; data.len()];
                let mut buffers = GroupNormBuffers::default();
                pool.step(|step| group_norm(step, images, norm, &mut buffers, &mut found));
                for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert!((f64::from(*found) - expected).abs() < 1e-5, "{norm:?} {index}: {found} {expected}");
                }
                let length = pixels * channels;
                for image in 0..2 {
                    let mut alone = vec![f32::NAN; length];
                    let images = Images { data: &data[image * length..][..length], count: 1, ..images };
                    let addend = norm.addend.map(|addend| RowView::from(addend.row(image, channels)));
                    let norm = GroupNorm { addend, ..norm };
                    pool.step(|step| group_norm(step, images, norm, &mut buffers, &mut alone));
                    assert_eq!(bits(&alone), bits(&found[image * length..][..length]), "{channels} {image}");
                }
                found
            });
        }
    }

    #[test]
    fn deviation_that_is_small_beside_the_mean_is_kept() {
        let data: Vec<f32> = numbers(24 * 24 * 8, 7).iter().map(|number| number * 0.01 + 10.0).collect();
        let images = Images { data: &data, count: 1, height: 24, width: 24, channels: 8 };
        let (weight, bias) = ([1.0; 8], [0.0; 8]);
        let norm = GroupNorm { groups: 2, weight: &weight, bias: &bias, epsilon: 1e-9, addend: None, then: None };
        let expected = definition(images, norm);
        for_each_pool(&mut |pool| {
            let mut found = vec![f32::NAN; data.len()];
            pool.step(|step| group_norm(step, images, norm, &mut GroupNormBuffers::default(), &mut found));
            for (found, expected) in found.iter().zip(&expected) {
                // The mean is 2,000 deviations from 0, and f32 keeps 24 bits of it.
                assert!((f64::from(*found) - expected).abs() < 3e-4, "{found} {expected}");
            }
            found
        });
    }
}
