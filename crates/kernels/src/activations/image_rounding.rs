//! Images, rounded once for all windows that go over them.

use super::{ActivationForm, grow, quantise};
use crate::Step;
use crate::disjoint::Disjoint;
use crate::images::Images;

/// Numbers of a part; whole words in every form.
const PART: usize = 16 << 10;

/// Rounded images. It keeps its memory.
#[derive(Debug, Default)]
pub(crate) struct ImageRounding {
    words: Vec<u32>,
    /// Bytes from one image to the next.
    image_bytes: usize,
    number_bytes: usize,
    /// One per image, for integers.
    scales: Vec<f32>,
    /// The bits of the greatest magnitude of each part.
    greatest: Vec<u32>,
}

impl ImageRounding {
    /// Rounds images to bf16, or to 8 bits with a scale per image.
    pub(crate) fn fill(&mut self, step: &mut Step<'_>, form: ActivationForm, images: Images<'_>) {
        let length = images.height * images.width * images.channels;
        self.number_bytes = if form == ActivationForm::Bf16 { 2 } else { 1 };
        let image_words = (length * self.number_bytes).div_ceil(4);
        self.image_bytes = image_words * 4;
        let parts = length.div_ceil(PART);
        grow(&mut self.words, images.count * image_words);
        let of_part = |part: usize| {
            let (image, first) = (part / parts, part % parts * PART);
            &images.data[image * length..][first..length.min(first + PART)]
        };
        let level = step.level();
        if form != ActivationForm::Bf16 {
            grow(&mut self.greatest, images.count * parts);
            step.for_each_piece(&mut self.greatest[..images.count * parts], 1, &|part, greatest| {
                greatest[0] = quantise::greatest(level, of_part(part));
            });
            let of_image = self.greatest.chunks_exact(parts).take(images.count);
            let greatest = of_image.map(|parts| parts.iter().copied().max().unwrap_or(0));
            self.scales.clear();
            self.scales.extend(greatest.map(f32::from_bits));
        }
        let (words, magnitudes) = (Disjoint::new(&mut self.words), &self.scales);
        let numbers_per_word = 4 / self.number_bytes;
        step.run(images.count * parts, &|part| {
            let numbers = of_part(part);
            let first = part / parts * image_words + part % parts * PART / numbers_per_word;
            // SAFETY: parts of an image begin at whole words, and no two parts share one.
            let words = unsafe { words.piece(first..first + numbers.len().div_ceil(numbers_per_word)) };
            match form {
                ActivationForm::Bf16 => quantise::all_bf16(level, numbers, words),
                _ => quantise::all_bytes(level, numbers, magnitudes[part / parts], words),
            }
        });
        self.scales.iter_mut().for_each(|magnitude| *magnitude = quantise::scale(*magnitude));
    }

    /// Returns the rounded numbers, the bytes of an image and those of a number.
    pub(crate) fn parts(&self) -> (&[u8], usize, usize) {
        (quantise::as_bytes(&self.words), self.image_bytes, self.number_bytes)
    }

    /// Returns the scale of an image; 1 where numbers have none.
    pub(crate) fn scale(&self, image: usize) -> f32 {
        if self.number_bytes == 2 { 1.0 } else { self.scales[image] }
    }

    /// Returns the bytes that it has grown to.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.words[..]) + size_of_val(&self.scales[..]) + size_of_val(&self.greatest[..])
    }
}
