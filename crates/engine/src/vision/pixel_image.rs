//! Images sent as nested arrays of pixel values.

use image::{ImageBuffer, Rgb, Rgb32FImage, RgbImage};
use seedhouse_core::{Error, Result};

use super::picture::{LONGEST_SIDE, MOST_PIXELS, Picture};

/// An RGB image with values from 0 to 255.
#[derive(Debug, Clone)]
pub struct PixelImage(Picture);

impl PixelImage {
    /// Checks values in the order height, width, channel.
    ///
    /// # Errors
    /// Those of [`PixelRows`].
    pub fn new(rows: &[Vec<Vec<f32>>]) -> Result<PixelImage> {
        let mut image = PixelRows::default();
        for row in rows {
            row.iter().try_for_each(|pixel| image.push(pixel))?;
            image.end_row()?;
        }
        image.finish()
    }

    /// Returns the bytes that its pixels take.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Picture::Whole(picture) => picture.as_raw().len(),
            Picture::Fractional(picture) => picture.as_raw().len() * size_of::<f32>(),
        }
    }

    pub(crate) fn picture(&self) -> &Picture {
        &self.0
    }
}

/// An image that is put together pixel by pixel, row after row; each is checked when it comes.
#[derive(Debug, Default)]
pub struct PixelRows {
    values: Vec<f32>,
    height: usize,
    /// Of the first row.
    width: usize,
    in_row: usize,
}

impl PixelRows {
    /// Adds a pixel to the row.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the position and the value when the pixel has other than three channels or one, or a value is not
    /// a number from 0 to 255; [`Error::TooLarge`] for more pixels than a file may have.
    pub fn push(&mut self, pixel: &[f32]) -> Result<()> {
        let pixel = checked_pixel(self.height, self.in_row, pixel)?;
        self.in_row += 1;
        checked_sides(self.height + 1, self.in_row)?;
        if self.height == 0 || self.in_row <= self.width {
            self.values.extend_from_slice(&pixel);
        }
        Ok(())
    }

    /// Ends the row.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a row of another length than the first one, [`Error::TooLarge`].
    pub fn end_row(&mut self) -> Result<()> {
        let pixels = std::mem::take(&mut self.in_row);
        if self.height == 0 {
            self.width = pixels;
        } else if pixels != self.width {
            let rule = format!("must have {} pixels, as the first row has", self.width);
            return Err(Error::invalid(format!("image_data[{}]", self.height), format!("{pixels} pixels"), rule));
        }
        self.height += 1;
        checked_sides(self.height, self.width).map(|_| ())
    }

    /// Returns the image.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it has no pixel.
    pub fn finish(self) -> Result<PixelImage> {
        if self.values.is_empty() {
            let size = format!("[{}][{}]", self.height, self.width);
            return Err(Error::invalid("image_data", size, "must have at least one pixel"));
        }
        let (height, width) = checked_sides(self.height, self.width)?;
        Ok(PixelImage(picture(width, height, self.values)))
    }
}

fn checked_sides(height: usize, width: usize) -> Result<(u32, u32)> {
    let sides = (u32::try_from(height), u32::try_from(width));
    match sides {
        (Ok(height), Ok(width))
            if height.max(width) <= LONGEST_SIDE && u64::from(height) * u64::from(width) <= MOST_PIXELS =>
        {
            Ok((height, width))
        }
        _ => Err(Error::TooLarge {
            what: "the image".into(),
            size: format!("{width} x {height} pixels"),
            limit: format!("{MOST_PIXELS} pixels and {LONGEST_SIDE} per side"),
        }),
    }
}

/// Returns red, green and blue; grey is as much of each.
fn checked_pixel(y: usize, x: usize, pixel: &[f32]) -> Result<[f32; 3]> {
    let colours = match *pixel {
        [red, green, blue] => [red, green, blue],
        [grey] => [grey; 3],
        _ => {
            let rule = "must have 3 channels, red, green and blue, or 1, grey";
            return Err(Error::invalid(format!("image_data[{y}][{x}]"), format!("{} channels", pixel.len()), rule));
        }
    };
    match pixel.iter().position(|value| !(0.0..=255.0).contains(value)) {
        Some(channel) => {
            let field = format!("image_data[{y}][{x}][{channel}]");
            Err(Error::invalid(field, pixel[channel], "must be a number from 0 to 255"))
        }
        None => Ok(colours),
    }
}

/// Whole numbers take the way of a decoded file, so that both give the same tensor.
fn picture(width: u32, height: u32, values: Vec<f32>) -> Picture {
    const PROOF: &str = "every row has `width` pixels of three values";
    if values.iter().all(|value| value.fract() == 0.0) {
        let bytes = values.iter().map(|value| *value as u8).collect();
        return Picture::Whole(RgbImage::from_raw(width, height, bytes).expect(PROOF));
    }
    let shares = values.iter().map(|value| value / 255.0).collect();
    let image: Rgb32FImage = ImageBuffer::<Rgb<f32>, _>::from_raw(width, height, shares).expect(PROOF);
    Picture::Fractional(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_arrays_are_refused_with_position_and_value() {
        let good = vec![1.0, 2.0, 3.0];
        let cases = [
            (vec![], "`[0][0]`"),
            (vec![vec![]], "`[1][0]`"),
            (vec![vec![good.clone(); 2], vec![good.clone()]], "`image_data[1]` is `1 pixels`"),
            (vec![vec![good.clone(), vec![1.0; 2]]], "`image_data[0][1]` is `2 channels`"),
            (vec![vec![good.clone(), vec![1.0, f32::NAN, 2.0]]], "`image_data[0][1][1]` is `NaN`"),
            (vec![vec![vec![1.0, 2.0, 255.5]]], "`image_data[0][0][2]` is `255.5`"),
            (vec![vec![vec![-1.0, 2.0, 3.0]]], "`image_data[0][0][0]` is `-1`"),
            (vec![vec![vec![f32::INFINITY, 2.0, 3.0]]], "`inf`"),
        ];
        for (rows, expected) in cases {
            let error = PixelImage::new(&rows).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn overlong_row_is_too_large_with_both_values() {
        let error = PixelImage::new(&[vec![vec![0.0; 3]; 30_001]]).unwrap_err().to_string();
        assert!(error.contains("30001 x 1") && error.contains("30000"), "{error}");
    }
}
