//! Pictures in folders, one folder for each class.

use std::collections::BTreeSet;
use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};
use seedhouse_core::dataset::{DatasetDeclaration, DatasetKind, ImageDataset};
use seedhouse_core::{Error, Result};

use crate::declaration::{check_without_class_names, check_without_columns};
use crate::guarded::guarded;
use crate::limits::{MOST_IMAGES, MOST_PIXEL_BYTES, MOST_SIDE, within};
use crate::source::Source;
use crate::split::{Examples, test_files};

/// Bytes that decoding one picture may take beside the picture itself.
const MOST_DECODING_BYTES: u64 = 512 << 20;

/// The measures that all pictures must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Shape {
    /// Returns how many numbers a picture has.
    pub(crate) fn size(self) -> usize {
        self.height * self.width * self.channels
    }

    pub(crate) fn shown(self) -> String {
        let kind = if self.channels == 1 { "grey" } else { "colour" };
        format!("{} x {} ({kind})", self.width, self.height)
    }
}

/// Reads the pictures; the class of each is the folder that it lies in.
pub(crate) fn read_folders(sources: &[&Source<'_>], declaration: &DatasetDeclaration) -> Result<ImageDataset> {
    check_without_columns(declaration, DatasetKind::Images)?;
    check_without_class_names(declaration, "the folders name the classes")?;
    within("the dataset", sources.len() as u64, MOST_IMAGES as u64, "pictures")?;
    let names: Vec<&str> = sources.iter().map(|source| source.name).collect();
    let is_test = test_files(&declaration.split, &names)?;
    let folders = names.iter().map(|name| class_of(name)).collect::<Result<Vec<_>>>()?;
    let classes: Vec<&str> = folders.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let labels: Vec<u32> =
        folders.iter().map(|folder| classes.partition_point(|class| class < folder) as u32).collect();
    let (shape, pixels) = read_pictures(sources)?;
    let split = &declaration.split;
    let parts = Examples {
        split,
        is_test: is_test.as_deref(),
        classes: split.stratify.then_some(&labels),
        count: labels.len(),
    }
    .parts();
    Ok(ImageDataset {
        height: shape.height,
        width: shape.width,
        channels: shape.channels,
        pixels,
        labels,
        classes: classes.into_iter().map(str::to_owned).collect(),
        parts,
    })
}

fn class_of(name: &str) -> Result<&str> {
    let folder = name.rsplit('/').nth(1);
    folder.ok_or_else(|| {
        Error::malformed(format!("`{name}`"), "it lies in no folder, but the folder of a picture names its class")
    })
}

fn read_pictures(sources: &[&Source<'_>]) -> Result<(Shape, Vec<u8>)> {
    let mut first: Option<(Shape, &str)> = None;
    let mut pixels = Vec::new();
    for source in sources {
        let bytes = source.bytes()?;
        let shape = guarded(source.name, || shape_of(source.name, &bytes))?;
        match first {
            None => {
                let all = (shape.size() as u64).saturating_mul(sources.len() as u64);
                within("the dataset", all, MOST_PIXEL_BYTES, "bytes of pixels")?;
                first = Some((shape, source.name));
            }
            Some((expected, of)) if expected != shape => {
                return Err(Error::malformed(
                    format!("`{}`", source.name),
                    format!(
                        "it is {}, but `{of}` is {}; all pictures must have one size",
                        shape.shown(),
                        expected.shown()
                    ),
                ));
            }
            Some(_) => {}
        }
        pixels.extend(guarded(source.name, || pixels_of(source.name, &bytes, shape))?);
    }
    let shape = first.map(|(shape, _)| shape);
    shape.map(|shape| (shape, pixels)).ok_or_else(|| Error::malformed("the dataset", "it has no pictures"))
}

fn decoder<'b>(name: &str, bytes: &'b [u8]) -> Result<impl ImageDecoder + 'b> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(Error::io("read", name))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_SIDE);
    limits.max_image_height = Some(MOST_SIDE);
    limits.max_alloc = Some(MOST_DECODING_BYTES);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| broken(name, &error))
}

fn shape_of(name: &str, bytes: &[u8]) -> Result<Shape> {
    let decoder = decoder(name, bytes)?;
    let (width, height) = decoder.dimensions();
    let channels = match decoder.color_type() {
        ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16 => 1,
        _ => 3,
    };
    Ok(Shape { height: height as usize, width: width as usize, channels })
}

fn pixels_of(name: &str, bytes: &[u8], shape: Shape) -> Result<Vec<u8>> {
    let picture = DynamicImage::from_decoder(decoder(name, bytes)?).map_err(|error| broken(name, &error))?;
    if picture.color().has_alpha() && !picture.to_rgba8().pixels().all(|pixel| pixel.0[3] == u8::MAX) {
        let what = format!("transparency, in `{name}`,");
        return Err(Error::unsupported(what, "put the picture on a background first"));
    }
    let pixels = if shape.channels == 1 { picture.into_luma8().into_raw() } else { picture.into_rgb8().into_raw() };
    if pixels.len() != shape.size() {
        let reason = format!("it has {} numbers, but its header says {}", pixels.len(), shape.size());
        return Err(Error::malformed(format!("`{name}`"), reason));
    }
    Ok(pixels)
}

fn broken(name: &str, error: &image::ImageError) -> Error {
    Error::malformed(format!("`{name}`"), error.to_string())
}
