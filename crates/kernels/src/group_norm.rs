//! Group normalisation (Wu and He 2018): the channels of an image in groups, each brought to one size.

use crate::disjoint::Disjoint;
use crate::images::Images;
use crate::{Nonlinearity, Step};

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
    /// What becomes of each number at the end.
    pub then: Option<Nonlinearity>,
}

/// Writes `(x - mean) / sqrt(variance + epsilon) * weight + bias`, with mean and variance of each group of each image.
///
/// # Panics
/// When lengths do not fit together, or the groups do not share the channels evenly.
pub fn group_norm(step: &mut Step<'_>, images: Images<'_>, norm: GroupNorm<'_>, output: &mut [f32]) {
    let (channels, pixels) = (images.channels, images.height * images.width);
    images.check(output, [images.height, images.width], channels);
    let GroupNorm { groups, weight, bias, .. } = norm;
    assert!(groups > 0 && channels.is_multiple_of(groups), "{groups} groups cannot share {channels} channels");
    assert!(weight.len() == channels && bias.len() == channels, "one weight and one bias for each of {channels}");
    let (level, width) = (step.level(), channels / groups);
    let target = Disjoint::new(output);
    step.run(images.count * groups, &|part| {
        let (image, first) = (part / groups, part % groups * width);
        let places = (image * pixels..(image + 1) * pixels).map(|pixel| pixel * channels + first);
        let [mean, factor] = moments(places.clone().map(|place| &images.data[place..place + width]), norm.epsilon);
        for place in places {
            // SAFETY: the numbers belong to this image and group, and each is in one part.
            let output = unsafe { target.piece(place..place + width) };
            let numbers = images.data[place..].iter().zip(weight[first..].iter().zip(&bias[first..]));
            for (output, (number, (weight, bias))) in output.iter_mut().zip(numbers) {
                *output = (number - mean) * factor * weight + bias;
            }
            if let Some(then) = norm.then {
                then.apply(level, output);
            }
        }
    });
}

/// Returns the mean, and what makes the deviation one; sums are f64, because a group may have a million numbers.
fn moments<'a>(pieces: impl Iterator<Item = &'a [f32]> + Clone, epsilon: f32) -> [f32; 2] {
    let count: usize = pieces.clone().map(<[f32]>::len).sum();
    let sum = |of: &dyn Fn(f64) -> f64| -> f64 {
        pieces.clone().map(|piece| piece.iter().map(|number| of(f64::from(*number))).sum::<f64>()).sum()
    };
    let mean = sum(&|number| number) / count as f64;
    let variance = sum(&|number| (number - mean) * (number - mean)) / count as f64;
    [mean as f32, (1.0 / (variance + f64::from(epsilon)).sqrt()) as f32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images_tests::{for_each_pool, numbers};

    #[test]
    fn norm_is_the_definition() {
        for (channels, groups) in [(6, 3), (32, 8), (40, 1), (5, 5)] {
            let data: Vec<f32> = numbers(2 * 35 * channels, 1).iter().map(|number| number * 3.0 + 5.0).collect();
            let images = Images { data: &data, count: 2, height: 5, width: 7, channels };
            let (weight, bias) = (numbers(channels, 2), numbers(channels, 3));
            let norm = GroupNorm { groups, weight: &weight, bias: &bias, epsilon: 1e-5, then: None };
            for_each_pool(&mut |pool| {
                let mut found = vec![f32::NAN; data.len()];
                pool.step(|step| group_norm(step, images, norm, &mut found));
                for (index, found) in found.iter().enumerate() {
                    let (image, channel) = (index / (35 * channels), index % channels);
                    let group = channel / (channels / groups);
                    let is_in_group = |other: &usize| {
                        other / (35 * channels) == image && other % channels / (channels / groups) == group
                    };
                    let members: Vec<f64> =
                        (0..data.len()).filter(is_in_group).map(|other| f64::from(data[other])).collect();
                    let mean = members.iter().sum::<f64>() / members.len() as f64;
                    let variance = members.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / members.len() as f64;
                    let expected = (f64::from(data[index]) - mean) / (variance + 1e-5).sqrt();
                    let expected = expected * f64::from(weight[channel]) + f64::from(bias[channel]);
                    assert!((f64::from(*found) - expected).abs() < 1e-5, "{channels} {groups} {index}");
                }
                found
            });
        }
    }
}
