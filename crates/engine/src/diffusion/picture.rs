//! From numbers to pixels, and to PNG files.

use std::io::Cursor;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use seedhouse_core::{Error, Result};

/// An image that was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawnImage {
    height: usize,
    width: usize,
    channels: usize,
    /// Pixels row by row, the channels of a pixel side by side.
    pixels: Vec<u8>,
}

impl DrawnImage {
    /// Returns rows of pixels, each number from 0 to 255.
    pub fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = &[u8]> + Clone> {
        self.pixels.chunks_exact((self.width * self.channels).max(1)).map(move |row| row.chunks_exact(self.channels))
    }

    /// Returns height and width.
    pub fn sides(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Returns the bytes of a PNG file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for images that are neither grey nor red, green and blue.
    pub fn png(&self) -> Result<Vec<u8>> {
        let colours = match self.channels {
            1 => ExtendedColorType::L8,
            3 => ExtendedColorType::Rgb8,
            other => {
                let what = format!("a PNG file of {other} channels");
                return Err(Error::unsupported(what, "images of 1 channel (grey) and of 3 are written"));
            }
        };
        let mut file = Cursor::new(Vec::new());
        // Sides of images are checked when a model is loaded, and a grid has at most 64 of them.
        let [height, width] = self.sides().map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        PngEncoder::new(&mut file)
            .write_image(&self.pixels, width, height, colours)
            .map_err(|error| Error::Internal(format!("a PNG file could not be written: {error}")))?;
        Ok(file.into_inner())
    }

    /// Returns images of one size side by side, in as many rows as columns or one fewer; places without an image are black.
    ///
    /// # Panics
    /// When there are none, or they differ in size.
    pub fn grid(images: &[DrawnImage]) -> DrawnImage {
        let DrawnImage { height, width, channels, .. } = images[0];
        let columns = (1..).find(|side| side * side >= images.len()).unwrap_or(1);
        let rows = images.len().div_ceil(columns);
        let mut pixels = vec![0; rows * height * columns * width * channels];
        let line = width * channels;
        for (place, image) in images.iter().enumerate() {
            assert!(image.sides() == [height, width] && image.channels == channels, "images of a grid have one size");
            for (y, row) in image.pixels.chunks_exact(line.max(1)).enumerate() {
                let start = ((place / columns * height + y) * columns + place % columns) * line;
                pixels[start..start + line].copy_from_slice(row);
            }
        }
        DrawnImage { height: rows * height, width: columns * width, channels, pixels }
    }
}

/// Returns the images of numbers from -1 to 1, so many for each image; what lies beyond is black or white.
pub(super) fn images(numbers: &[f32], [height, width]: [usize; 2], length: usize) -> Vec<DrawnImage> {
    let pixel = |number: &f32| ((number.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
    let channels = length / (height * width).max(1);
    let image = |numbers: &[f32]| DrawnImage { height, width, channels, pixels: numbers.iter().map(pixel).collect() };
    numbers.chunks_exact(length.max(1)).map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_pixels_and_pixels_a_file_that_others_read() {
        let numbers: Vec<f32> = vec![-1.0, 0.0, 1.0, -3.0, 0.5, 2.0, 0.25, -0.25, -0.998, 0.1, 0.2, 0.3];
        let found = images(&numbers, [2, 2], 12);
        let expected = [0, 128, 255, 0, 191, 255, 159, 96, 0, 140, 153, 166];
        assert_eq!(found[0].rows().flatten().flatten().copied().collect::<Vec<u8>>(), expected);
        let read = image::load_from_memory(&found[0].png().unwrap()).unwrap();
        assert_eq!((read.width(), read.height(), read.to_rgb8().into_raw()), (2, 2, expected.to_vec()));
        let grey = image::load_from_memory(&images(&numbers, [3, 4], 12)[0].png().unwrap()).unwrap();
        assert_eq!((grey.color(), grey.width(), grey.height()), (image::ColorType::L8, 4, 3));
        let error = images(&numbers, [2, 3], 12)[0].png().unwrap_err();
        assert!(error.to_string().contains("2 channels"), "{error}");
    }

    #[test]
    fn grid_has_every_image_in_its_place() {
        let image = |value: u8| DrawnImage { height: 2, width: 3, channels: 1, pixels: vec![value; 6] };
        for (count, sides) in [(1, [2, 3]), (2, [2, 6]), (4, [4, 6]), (5, [4, 9]), (9, [6, 9])] {
            let images: Vec<DrawnImage> = (1..=count).map(image).collect();
            let grid = DrawnImage::grid(&images);
            assert_eq!(grid.sides(), sides, "{count}");
            let columns = sides[1] / 3;
            for (y, row) in grid.rows().enumerate() {
                for (x, pixel) in row.enumerate() {
                    let place = y / 2 * columns + x / 3;
                    let expected = if place < usize::from(count) { place + 1 } else { 0 };
                    assert_eq!(usize::from(pixel[0]), expected, "{count}: {y} {x}");
                }
            }
        }
    }
}
