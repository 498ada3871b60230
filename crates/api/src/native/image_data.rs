//! The original's nested array of pixels, read one pixel at a time: the nested form never stands in memory.

use std::fmt;

use seedhouse_service::core::{Error, Result};
use seedhouse_service::{PixelImage, PixelRows};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// The image, or the first rule that it breaks: the rest of the body is read over then.
#[derive(Debug)]
pub(crate) struct ImageData(pub(crate) Result<PixelImage>);

impl<'de> Deserialize<'de> for ImageData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ImageData, D::Error> {
        let mut image = Collected::default();
        Level::Rows(&mut image).deserialize(deserializer)?;
        Ok(ImageData(match image.refused {
            Some(error) => Err(error),
            None => image.rows.finish(),
        }))
    }
}

#[derive(Default)]
struct Collected {
    rows: PixelRows,
    refused: Option<Error>,
    pixel: Vec<f32>,
}

/// More channels than any pixel has; what follows is read over.
const MOST_CHANNELS: usize = 16;

impl Collected {
    fn keep(&mut self, step: impl FnOnce(&mut PixelRows, &[f32]) -> Result<()>) {
        if self.refused.is_none() {
            self.refused = step(&mut self.rows, &self.pixel).err();
        }
    }
}

/// How deep in the array a visitor stands.
enum Level<'c> {
    Rows(&'c mut Collected),
    Row(&'c mut Collected),
    Pixel(&'c mut Collected),
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Level::Rows(_) => "an array of rows",
            Level::Row(_) => "an array of pixels",
            Level::Pixel(_) => "an array of red, green and blue",
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        match self {
            Level::Rows(image) => {
                while image.refused.is_none() && items.next_element_seed(Level::Row(image))?.is_some() {}
            }
            Level::Row(image) => {
                while image.refused.is_none() && items.next_element_seed(Level::Pixel(image))?.is_some() {}
                image.keep(|rows, _| rows.end_row());
            }
            Level::Pixel(image) => {
                image.pixel.clear();
                while image.pixel.len() < MOST_CHANNELS
                    && let Some(value) = items.next_element()?
                {
                    image.pixel.push(value);
                }
                image.keep(PixelRows::push);
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
