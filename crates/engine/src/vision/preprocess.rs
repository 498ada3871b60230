//! Pre-processing: how a picture becomes the input tensor, as a version's metadata declares it.
//!
//! ```json
//! {"crop": "center_square", "filter": "bicubic", "size": [224, 224], "mean": [127, 127, 127], "std": [128, 128, 128]}
//! ```
//!
//! `shortest_edge` brings the shorter side to so many pixels first; `size` is then cut out of the centre.
//!
//! Values are taken as 0 to 255; the tensor holds `(value - mean) / std` in the order channel, row, column. Filters widen
//! when they shrink a picture, and bicubic has a = -0.5, as in Pillow. A model of one channel is given the luma of ITU-R BT.601, with one
//! number for `mean` and one for `std`.

use image::imageops::{FilterType, crop_imm, resize};
use image::{ImageBuffer, Pixel, Primitive, Rgb};
use seedhouse_core::runtime::Tensor;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use super::picture::{MOST_PIXELS, Picture};

const FIELD: &str = "metadata.preprocess";
/// Larger inputs are unknown among classifiers; the bound keeps a tensor below 200 MB whatever a record says.
const LONGEST_SIDE: usize = 4096;
/// ImageNet's, as torchvision states them (0.485, 0.456, 0.406 and 0.229, 0.224, 0.225) times 255.
const IMAGENET_MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const IMAGENET_STD: [f32; 3] = [58.395, 57.12, 57.375];
/// Shares of red, green and blue in the luma (ITU-R BT.601), as Pillow has them in `convert("L")`.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// A checked declaration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preprocess {
    crop: Crop,
    filter: FilterType,
    /// Height and width.
    size: [u32; 2],
    colours: Colours,
    /// For each channel.
    mean: Vec<f32>,
    std: Vec<f32>,
    /// The field of the metadata that the size comes from.
    size_field: &'static str,
}

/// The channels of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    Rgb,
    Grey,
}

impl Colours {
    pub(crate) fn channels(self) -> usize {
        match self {
            Colours::Rgb => 3,
            Colours::Grey => 1,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crop {
    None,
    CenterSquare,
    /// After the shorter side was brought to so many pixels.
    Center(u32),
}

impl Preprocess {
    /// Reads `preprocess`, or makes one from `image_size` or the model's fixed size; `None` when no size is known.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the key and value that is not understood.
    pub(crate) fn of_metadata(
        metadata: &Map<String, Value>,
        colours: Colours,
        fixed: [Option<usize>; 2],
    ) -> Result<Option<Preprocess>> {
        let image_size = match (metadata.get("image_size"), fixed) {
            (Some(value), _) if !value.is_null() => {
                Some((size_of("metadata.image_size", value)?, "metadata.image_size"))
            }
            (_, [Some(height), Some(width)]) => {
                Some((checked_size("the model's input", [height, width])?, "the model's input"))
            }
            _ => None,
        };
        match metadata.get("preprocess") {
            None | Some(Value::Null) => Ok(image_size.map(|(size, size_field)| Preprocess {
                size,
                size_field,
                ..Preprocess::undeclared(colours)
            })),
            Some(Value::Object(declared)) => Preprocess::of_declaration(declared, colours, image_size),
            Some(other) => Err(Error::invalid(FIELD, other, "must be an object")),
        }
    }

    /// Returns what holds where nothing is declared, still without a size: ImageNet's colours, and grey from 0 to 1.
    fn undeclared(colours: Colours) -> Preprocess {
        let (mean, std) = match colours {
            Colours::Rgb => (IMAGENET_MEAN.to_vec(), IMAGENET_STD.to_vec()),
            Colours::Grey => (vec![0.0], vec![255.0]),
        };
        let (crop, filter, size) = (Crop::None, FilterType::Triangle, [0, 0]);
        Preprocess { crop, filter, size, colours, mean, std, size_field: "metadata.image_size" }
    }

    /// Returns how many pixels the input has.
    pub(crate) fn pixels(&self) -> usize {
        self.size[0] as usize * self.size[1] as usize
    }

    /// Returns whether two declarations mean the same, wherever their sizes come from.
    pub(crate) fn is_same_as(&self, other: &Preprocess) -> bool {
        Preprocess { size_field: other.size_field, ..self.clone() } == *other
    }

    fn of_declaration(
        declared: &Map<String, Value>,
        colours: Colours,
        image_size: Option<([u32; 2], &'static str)>,
    ) -> Result<Option<Preprocess>> {
        let mut preprocess = Preprocess::undeclared(colours);
        let (mut size, mut shortest_edge) = (image_size, None);
        for (key, value) in declared {
            let field = format!("{FIELD}.{key}");
            match key.as_str() {
                "crop" => {
                    let crops = [("center_square", Crop::CenterSquare), ("none", Crop::None)];
                    preprocess.crop = one_of(&field, value, &crops)?;
                }
                "filter" => {
                    let filters = [
                        ("bicubic", FilterType::CatmullRom),
                        ("bilinear", FilterType::Triangle),
                        ("nearest", FilterType::Nearest),
                    ];
                    preprocess.filter = one_of(&field, value, &filters)?;
                }
                "shortest_edge" => shortest_edge = Some(size_of(&field, value)?[0]),
                "size" => size = Some((size_of(&field, value)?, "metadata.preprocess.size")),
                "mean" => preprocess.mean = numbers(&field, value, colours)?,
                "std" => preprocess.std = divisors(&field, value, colours)?,
                _ => {
                    return Err(Error::invalid(
                        field,
                        value,
                        "the keys are crop, filter, size, shortest_edge, mean and std",
                    ));
                }
            }
        }
        let Some((size, size_field)) = size else { return Ok(None) };
        if let Some(edge) = shortest_edge {
            preprocess.crop = center(edge, size, preprocess.crop)?;
        }
        Ok(Some(Preprocess { size, size_field, ..preprocess }))
    }

    /// Compares the size with the model's fixed dimensions.
    ///
    /// # Errors
    /// [`Error::Contradiction`] with both sizes.
    pub(crate) fn check_against(&self, fixed: [Option<usize>; 2], input: &str) -> Result<()> {
        let agrees = |(size, fixed): (u32, Option<usize>)| fixed.is_none_or(|fixed| fixed == size as usize);
        if self.size.into_iter().zip(fixed).all(agrees) {
            return Ok(());
        }
        let dimensions = fixed.map(|size| size.map_or("?".into(), |size| size.to_string()));
        Err(Error::Contradiction {
            field: self.size_field.into(),
            claimed: format!("{:?}", self.size),
            found: format!("[{}]", dimensions.join(", ")),
            file: format!("the model's input `{input}`"),
        })
    }

    /// Returns the input tensor `[1, channels, height, width]` of a picture.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the picture is so long and narrow that it would become too large on the way.
    pub(crate) fn tensor(&self, picture: &Picture) -> Result<Tensor> {
        Ok(match picture {
            Picture::Whole(image) => self.normalised(&self.scaled(image)?, f32::from),
            Picture::Fractional(image) => self.normalised(&self.scaled(image)?, |share| share * 255.0),
        })
    }

    fn scaled<S: Primitive + 'static>(&self, image: &ImageBuffer<Rgb<S>, Vec<S>>) -> Result<ImageBuffer<Rgb<S>, Vec<S>>>
    where
        Rgb<S>: Pixel<Subpixel = S>,
    {
        let (width, height) = image.dimensions();
        let [target_height, target_width] = self.size;
        Ok(match self.crop {
            Crop::None => resize(image, target_width, target_height, self.filter),
            Crop::CenterSquare => {
                let side = width.min(height);
                let square = crop_imm(image, (width - side) / 2, (height - side) / 2, side, side);
                resize(&*square, target_width, target_height, self.filter)
            }
            Crop::Center(edge) => {
                let [height, width] = with_shorter_side(edge, [height, width])?;
                let whole = resize(image, width, height, self.filter);
                let (left, top) = ((width - target_width) / 2, (height - target_height) / 2);
                crop_imm(&whole, left, top, target_width, target_height).to_image()
            }
        })
    }

    fn normalised<S: Primitive>(&self, image: &ImageBuffer<Rgb<S>, Vec<S>>, value: impl Fn(S) -> f32) -> Tensor
    where
        Rgb<S>: Pixel<Subpixel = S>,
    {
        let [height, width] = self.size.map(|side| side as usize);
        let channels = self.colours.channels();
        let mut data = Vec::with_capacity(channels * height * width);
        for (channel, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
            let normalised = |number: f32| (number - mean) / std;
            let pixels = image.as_raw().chunks_exact(3);
            match self.colours {
                Colours::Rgb => data.extend(pixels.map(|pixel| normalised(value(pixel[channel])))),
                Colours::Grey => data.extend(pixels.map(|pixel| {
                    let shares = pixel.iter().zip(LUMA);
                    normalised(shares.map(|(raw, share)| value(*raw) * share).sum())
                })),
            }
        }
        Tensor::new(vec![1, channels, height, width], data)
    }
}

/// Returns the crop after the shorter side was brought to `edge` pixels.
fn center(edge: u32, size: [u32; 2], declared: Crop) -> Result<Crop> {
    let field = format!("{FIELD}.shortest_edge");
    if declared != Crop::None {
        return Err(Error::invalid(field, edge, "pictures are cropped either before they are resized or after it"));
    }
    match size.iter().all(|side| *side <= edge) {
        true => Ok(Crop::Center(edge)),
        false => Err(Error::invalid(field, edge, format!("must be at least the sides of the size, {size:?}"))),
    }
}

/// Returns the sides of a picture whose shorter one has `edge` pixels; the longer one is cut to whole pixels.
fn with_shorter_side(edge: u32, sides: [u32; 2]) -> Result<[u32; 2]> {
    let shorter = u64::from(sides[0].min(sides[1]).max(1));
    let scaled = sides.map(|side| u64::from(side) * u64::from(edge) / shorter);
    match scaled.map(u32::try_from) {
        [Ok(height), Ok(width)] if scaled[0] * scaled[1] <= MOST_PIXELS => Ok([height, width]),
        _ => Err(Error::TooLarge {
            what: format!("the image of {} x {} pixels, with a shorter side of {edge}", sides[1], sides[0]),
            size: format!("{} x {} pixels", scaled[1], scaled[0]),
            limit: format!("{MOST_PIXELS} pixels"),
        }),
    }
}

fn one_of<T: Copy>(field: &str, value: &Value, choices: &[(&str, T)]) -> Result<T> {
    let found = choices.iter().find(|(name, _)| value.as_str() == Some(name));
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        Error::invalid(field, value, format!("must be one of {}", names.join(", ")))
    })
}

/// Reads one number for a square, or height and width.
fn size_of(field: &str, value: &Value) -> Result<[u32; 2]> {
    let side = |value: &Value| value.as_u64().and_then(|side| usize::try_from(side).ok());
    let sides = match value {
        Value::Array(sides) => match &sides[..] {
            [height, width] => side(height).zip(side(width)),
            _ => None,
        },
        number => side(number).map(|side| (side, side)),
    };
    let Some((height, width)) = sides else {
        return Err(Error::invalid(field, value, "must be a whole number, or [height, width]"));
    };
    checked_size(field, [height, width])
}

fn checked_size(field: &str, sides: [usize; 2]) -> Result<[u32; 2]> {
    if sides.iter().any(|side| !(1..=LONGEST_SIDE).contains(side)) {
        return Err(Error::invalid(
            field,
            format!("{sides:?}"),
            format!("must be 1 to {LONGEST_SIDE} pixels per side"),
        ));
    }
    Ok(sides.map(|side| u32::try_from(side).expect("at most 4096")))
}

fn numbers(field: &str, value: &Value, colours: Colours) -> Result<Vec<f32>> {
    let number = |value: &Value| value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
    let numbers: Option<Vec<f32>> = value.as_array().and_then(|values| values.iter().map(number).collect());
    numbers
        .filter(|numbers| numbers.len() == colours.channels())
        .ok_or_else(|| Error::invalid(field, value, format!("must be {}", counted(colours, ""))))
}

fn divisors(field: &str, value: &Value, colours: Colours) -> Result<Vec<f32>> {
    let numbers = numbers(field, value, colours)?;
    if numbers.iter().any(|number| *number < f32::MIN_POSITIVE) {
        return Err(Error::invalid(field, value, format!("must be {}", counted(colours, " above 0"))));
    }
    Ok(numbers)
}

fn counted(colours: Colours, which: &str) -> String {
    match colours {
        Colours::Rgb => format!("three numbers{which}, for red, green and blue"),
        Colours::Grey => format!("a list of one number{which}, for grey"),
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use serde_json::json;

    use super::*;

    fn preprocess(metadata: Value) -> Result<Option<Preprocess>> {
        Preprocess::of_metadata(metadata.as_object().unwrap(), Colours::Rgb, [None, None])
    }

    fn declared(declaration: Value) -> Preprocess {
        preprocess(json!({ "preprocess": declaration })).unwrap().unwrap()
    }

    #[test]
    fn size_comes_from_the_first_that_says_one() {
        let metadata = json!({"image_size": 8, "preprocess": {"size": [2, 3]}});
        assert_eq!(preprocess(metadata).unwrap().unwrap().size, [2, 3]);
        assert_eq!(preprocess(json!({"image_size": 8, "preprocess": {}})).unwrap().unwrap().size, [8, 8]);
        let fixed = Preprocess::of_metadata(&Map::new(), Colours::Rgb, [Some(5), Some(6)]).unwrap().unwrap();
        assert_eq!((fixed.size, fixed.mean, fixed.std), ([5, 6], IMAGENET_MEAN.to_vec(), IMAGENET_STD.to_vec()));
        assert_eq!(preprocess(json!({"preprocess": {"crop": "none"}})).unwrap(), None);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let cases = [
            (json!({"preprocess": {"crop": "left"}}), "`metadata.preprocess.crop` is `\"left\"`"),
            (json!({"preprocess": {"filter": "lanczos"}}), "bicubic, bilinear, nearest"),
            (json!({"preprocess": {"colour": "bgr"}}), "`metadata.preprocess.colour`"),
            (json!({"preprocess": {"size": 0}}), "1 to 4096"),
            (json!({"preprocess": {"size": [5000, 1]}}), "[5000, 1]"),
            (json!({"preprocess": {"size": [1, 2, 3]}}), "[height, width]"),
            (json!({"preprocess": {"size": -4}}), "`-4`"),
            (json!({"preprocess": {"mean": [1, 2]}}), "`metadata.preprocess.mean` is `[1,2]`"),
            (json!({"preprocess": {"mean": [1, 2, 1e300]}}), "three numbers"),
            (json!({"preprocess": {"std": [1, 0, 1]}}), "above 0"),
            (json!({"preprocess": [224]}), "must be an object"),
            (json!({"image_size": "large"}), "`metadata.image_size`"),
        ];
        for (metadata, expected) in cases {
            let error = preprocess(metadata).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn shorter_side_is_resized_and_the_centre_cut_out() {
        let image = RgbImage::from_fn(12, 6, |x, _| Rgb([x as u8 * 10; 3]));
        let declaration =
            json!({"shortest_edge": 3, "size": [2, 2], "filter": "nearest", "mean": [0, 0, 0], "std": [1, 1, 1]});
        let tensor = declared(declaration).tensor(&Picture::Whole(image.clone())).unwrap();
        // Of columns 0 to 5, which are 10, 30, 50 and so on, the middle two.
        assert_eq!(tensor.f32s().unwrap()[..4], [50.0, 70.0, 50.0, 70.0]);
        let narrow = RgbImage::new(30_000, 1);
        let declaration = json!({"shortest_edge": 256, "size": 224});
        let error = declared(declaration).tensor(&Picture::Whole(narrow)).unwrap_err().to_string();
        assert!(error.contains("7680000 x 256") && error.contains("30000 x 1"), "{error}");
        for (edge, crop, expected) in [(2, "none", "at least the sides"), (9, "center_square", "either before")] {
            let declaration = json!({"preprocess": {"shortest_edge": edge, "size": 3, "crop": crop}});
            let error = preprocess(declaration).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn tensor_is_channel_major_and_normalised() {
        let mut image = RgbImage::new(2, 1);
        image.put_pixel(0, 0, Rgb([10, 20, 30]));
        image.put_pixel(1, 0, Rgb([40, 50, 60]));
        let declaration = json!({"size": [1, 2], "mean": [10, 10, 10], "std": [1, 2, 10]});
        let tensor = declared(declaration).tensor(&Picture::Whole(image)).unwrap();
        assert_eq!(tensor.shape, [1, 3, 1, 2]);
        assert_eq!(tensor.f32s().unwrap(), [0.0, 30.0, 5.0, 20.0, 2.0, 5.0]);
    }

    #[test]
    fn centre_square_leaves_out_both_sides_alike() {
        let image = RgbImage::from_fn(7, 3, |x, _| Rgb([x as u8; 3]));
        let declaration = json!({"crop": "center_square", "size": 3, "mean": [0, 0, 0], "std": [1, 1, 1]});
        let tensor = declared(declaration).tensor(&Picture::Whole(image)).unwrap();
        assert_eq!(tensor.f32s().unwrap()[..3], [2.0, 3.0, 4.0]);
    }

    #[test]
    fn fractional_values_are_scaled_like_whole_ones() {
        let whole = RgbImage::from_fn(6, 6, |x, y| Rgb([(x * 40) as u8, (y * 40) as u8, 7]));
        let shares = whole.as_raw().iter().map(|value| f32::from(*value) / 255.0).collect();
        let fractional = ImageBuffer::from_raw(6, 6, shares).unwrap();
        for filter in ["bicubic", "bilinear", "nearest"] {
            let declaration = json!({"size": [4, 9], "filter": filter, "mean": [0, 0, 0], "std": [1, 1, 1]});
            let preprocess = declared(declaration);
            let a = preprocess.tensor(&Picture::Whole(whole.clone())).unwrap();
            let b = preprocess.tensor(&Picture::Fractional(fractional.clone())).unwrap();
            // One is rounded to whole numbers, the other is not.
            assert!(a.f32s().unwrap().iter().zip(b.f32s().unwrap()).all(|(a, b)| (a - b).abs() <= 0.5001), "{filter}");
        }
    }

    #[test]
    fn model_of_one_channel_is_given_luma() {
        let metadata = json!({"image_size": [1, 2]});
        let preprocess =
            Preprocess::of_metadata(metadata.as_object().unwrap(), Colours::Grey, [None; 2]).unwrap().unwrap();
        let mut image = RgbImage::new(2, 1);
        image.put_pixel(0, 0, Rgb([255, 0, 0]));
        image.put_pixel(1, 0, Rgb([51; 3]));
        let tensor = preprocess.tensor(&Picture::Whole(image)).unwrap();
        assert_eq!(tensor.shape, [1, 1, 1, 2]);
        let numbers = tensor.f32s().unwrap();
        assert!((numbers[0] - 0.299).abs() < 1e-6 && (numbers[1] - 0.2).abs() < 1e-6, "{numbers:?}");
        let metadata = json!({"preprocess": {"size": 2, "mean": [1, 2, 3]}});
        let error = Preprocess::of_metadata(metadata.as_object().unwrap(), Colours::Grey, [None; 2]).unwrap_err();
        assert!(error.to_string().contains("a list of one number"), "{error}");
    }
}
