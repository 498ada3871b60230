//! Image files: decoded to RGB within limits that are checked before anything is decoded.

use std::io::Cursor;

use image::error::ImageError;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb32FImage, RgbImage};
use seedhouse_core::{Error, Result};

use super::jpeg_end::is_complete_jpeg;

/// The most pixels an image may have.
pub(crate) const MOST_PIXELS: u64 = 100_000_000;
/// The most pixels in a row or column.
pub(crate) const LONGEST_SIDE: u32 = 30_000;
/// Enough for the most pixels in 8-bit RGBA.
const MOST_DECODED_BYTES: u64 = 4 * MOST_PIXELS;

const WHAT: &str = "the image";

/// An RGB image.
#[derive(Debug, Clone)]
pub(crate) enum Picture {
    /// Bytes from 0 to 255.
    Whole(RgbImage),
    /// Shares from 0 to 1.
    Fractional(Rgb32FImage),
}

/// Decodes a PNG or JPEG file. Grey becomes RGB, 16 bits become 8, alpha is dropped.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Invalid`] for other formats, [`Error::TooLarge`] with size and limit.
pub(crate) fn decode(bytes: &[u8]) -> Result<RgbImage> {
    let format = format_of(bytes)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    // Sides are checked below, where the error can name both values.
    limits.max_alloc = Some(MOST_DECODED_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(explain)?;
    check_size(&decoder)?;
    // The JPEG decoder fills what is missing with grey instead of failing.
    if format == ImageFormat::Jpeg && !is_complete_jpeg(bytes) {
        return Err(Error::malformed(WHAT, format!("the JPEG ends within its pixels, after {} bytes", bytes.len())));
    }
    Ok(DynamicImage::from_decoder(decoder).map_err(explain)?.into_rgb8())
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat> {
    match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => Ok(format),
        Ok(other) => Err(Error::invalid("image", other.to_mime_type(), "must be a PNG or JPEG file")),
        Err(_) => {
            let head: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            let reason =
                format!("its {} bytes start with [{}], which is neither PNG nor JPEG", bytes.len(), head.join(" "));
            Err(Error::malformed(WHAT, reason))
        }
    }
}

fn check_size(decoder: &impl ImageDecoder) -> Result<()> {
    let (width, height) = decoder.dimensions();
    let too_large = |size: String, limit: String| Err(Error::TooLarge { what: WHAT.into(), size, limit });
    if width == 0 || height == 0 {
        return Err(Error::malformed(WHAT, format!("it says it has {width} x {height} pixels")));
    }
    if width.max(height) > LONGEST_SIDE || u64::from(width) * u64::from(height) > MOST_PIXELS {
        let limit = format!("{MOST_PIXELS} pixels and {LONGEST_SIDE} per side");
        return too_large(format!("{width} x {height} pixels"), limit);
    }
    if decoder.total_bytes() > MOST_DECODED_BYTES {
        return too_large(format!("{} bytes decoded", decoder.total_bytes()), format!("{MOST_DECODED_BYTES} bytes"));
    }
    Ok(())
}

fn explain(error: ImageError) -> Error {
    match error {
        ImageError::Limits(error) => Error::TooLarge {
            what: "memory to decode the image".into(),
            size: error.to_string(),
            limit: format!("{MOST_DECODED_BYTES} bytes"),
        },
        ImageError::Unsupported(error) => Error::unsupported("a feature of the image", error.to_string()),
        other => Error::malformed(WHAT, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayAlphaImage, ImageBuffer, Luma, LumaA, Rgba, RgbaImage};
    use seedhouse_core::Code;

    use super::*;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient() -> RgbImage {
        RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, (x * y) as u8]))
    }

    #[test]
    fn other_pixel_kinds_become_rgb_and_alpha_is_dropped() {
        let deep: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(2, 1, Luma([0x8080]));
        let cases = [
            (encoded(RgbaImage::from_pixel(2, 1, Rgba([1, 2, 3, 0])), ImageFormat::Png), [1, 2, 3]),
            (encoded(GrayAlphaImage::from_pixel(2, 1, LumaA([9, 5])), ImageFormat::Png), [9, 9, 9]),
            (encoded(deep, ImageFormat::Png), [128, 128, 128]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(decode(&bytes).unwrap().get_pixel(1, 0).0, expected);
        }
    }

    #[test]
    fn truncated_files_are_refused_wherever_they_end() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let whole = encoded(gradient(), format);
            assert_eq!(decode(&whole).unwrap().dimensions(), (40, 30));
            // The last chunk of a PNG is empty and only marks the end.
            let needed = if format == ImageFormat::Png { whole.len() - 12 } else { whole.len() };
            for length in 0..needed {
                let error = decode(&whole[..length]).expect_err("a part of an image is no image");
                assert_eq!(error.code(), Code::Invalid, "{format:?} cut at {length}: {error}");
            }
        }
    }

    #[test]
    fn changed_bytes_never_panic() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let whole = encoded(gradient(), format);
            for position in 0..whole.len() {
                for change in [0x01, 0x80, 0xFF] {
                    let mut changed = whole.clone();
                    changed[position] ^= change;
                    // Either outcome is right; a panic is not.
                    let _outcome = decode(&changed);
                }
            }
        }
    }

    #[test]
    fn what_is_no_png_or_jpeg_is_named() {
        let gif = decode(b"GIF89a\x01\x00\x01\x00").unwrap_err();
        assert_eq!(gif.code(), Code::Invalid);
        assert!(gif.to_string().contains("image/gif"), "{gif}");
        for bytes in [&b""[..], b"hello", b"\x80\x04\x95"] {
            assert!(decode(bytes).unwrap_err().to_string().starts_with("the image is malformed"), "{bytes:?}");
        }
    }

    /// A PNG header that claims a size, with the checksum it needs to be believed.
    fn png_claiming(width: u32, height: u32) -> Vec<u8> {
        let mut chunk = b"IHDR".to_vec();
        chunk.extend(width.to_be_bytes());
        chunk.extend(height.to_be_bytes());
        chunk.extend([8, 2, 0, 0, 0]);
        let checksum = chunk.iter().fold(u32::MAX, |checksum, byte| {
            (0..8).fold(checksum ^ u32::from(*byte), |bits, _| (bits >> 1) ^ (0xEDB8_8320 * (bits & 1)))
        });
        let mut bytes = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d".to_vec();
        bytes.extend(chunk);
        bytes.extend((!checksum).to_be_bytes());
        bytes.extend(b"\x00\x00\x00\x08IDAT");
        bytes
    }

    #[test]
    fn claimed_size_is_checked_before_decoding() {
        for (width, height) in [(30_001, 1), (1, 30_001), (10_001, 10_000), (2_000_000_000, 2_000_000_000)] {
            let error = decode(&png_claiming(width, height)).unwrap_err();
            assert_eq!(error.code(), Code::TooLarge, "{error}");
        }
        let error = decode(&png_claiming(30_001, 1)).unwrap_err().to_string();
        assert!(error.contains("30001 x 1") && error.contains("30000"), "{error}");
    }
}
