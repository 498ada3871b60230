//! Pictures and labels in IDX files, as those of MNIST: four bytes that say what follows, the dimensions, the numbers.

use std::collections::BTreeMap;

use seedhouse_core::dataset::{DatasetDeclaration, DatasetKind, ImageDataset};
use seedhouse_core::{Error, Result};

use crate::declaration::check_without_columns;
use crate::images::Shape;
use crate::limits::{Budget, MOST_IMAGES, MOST_PIXEL_BYTES, MOST_SIDE, within};
use crate::source::Source;
use crate::split::{Examples, test_files};

/// The code of unsigned bytes, the only numbers that pictures and labels have.
const UNSIGNED_BYTES: u8 = 8;

/// A file of pictures and the file of their labels.
struct Pair<'s, 'f> {
    images: &'s Source<'f>,
    labels: &'s Source<'f>,
}

/// What all files together may have.
struct Limits {
    pictures: Budget,
    pixels: Budget,
    labels: Budget,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            pictures: Budget::new(MOST_IMAGES as u64, "pictures"),
            pixels: Budget::new(MOST_PIXEL_BYTES, "bytes of pixels"),
            labels: Budget::new(MOST_IMAGES as u64, "labels"),
        }
    }
}

/// Reads all pairs.
pub(crate) fn read(sources: &[&Source<'_>], declaration: &DatasetDeclaration) -> Result<ImageDataset> {
    check_without_columns(declaration, DatasetKind::Images)?;
    let pairs = pairs(sources)?;
    let is_test_pair = test_pairs(&pairs, declaration)?;
    let limits = Limits::default();
    let mut shape: Option<(Shape, &str)> = None;
    let (mut pixels, mut labels, mut is_test) = (Vec::new(), Vec::new(), Vec::new());
    for (pair, is_test_pair) in pairs.iter().zip(&is_test_pair) {
        let (found, found_pixels) = read_images(pair.images, &limits)?;
        let expected = *shape.get_or_insert((found, pair.images.name));
        if expected.0 != found {
            return Err(Error::malformed(
                format!("`{}`", pair.images.name),
                format!("its pictures are {}, but those of `{}` are {}", found.shown(), expected.1, expected.0.shown()),
            ));
        }
        let count = found_pixels.len() / found.size();
        labels.extend(read_labels(pair, count, &declaration.class_names, &limits)?);
        pixels.extend(found_pixels);
        is_test.resize(labels.len(), *is_test_pair);
    }
    let Some((shape, _)) = shape else {
        return Err(Error::malformed("the dataset", "it has no pictures"));
    };
    let split = &declaration.split;
    let parts = Examples {
        split,
        is_test: is_test.contains(&true).then_some(&is_test),
        classes: split.stratify.then_some(&labels),
        count: labels.len(),
    }
    .parts();
    let classes = class_names(&labels, &declaration.class_names);
    Ok(ImageDataset {
        height: shape.height,
        width: shape.width,
        channels: shape.channels,
        pixels,
        labels,
        classes,
        parts,
    })
}

/// Returns the declared names, or the numbers up to the greatest label.
fn class_names(labels: &[u32], declared: &[String]) -> Vec<String> {
    if !declared.is_empty() {
        return declared.to_vec();
    }
    (0..=labels.iter().max().copied().unwrap_or_default()).map(|label| label.to_string()).collect()
}

/// Finds the labels of each file of pictures: the file of the same name with `labels` instead of `images`, or the only one.
fn pairs<'s, 'f>(sources: &[&'s Source<'f>]) -> Result<Vec<Pair<'s, 'f>>> {
    let (mut images, mut labels) = (BTreeMap::new(), BTreeMap::new());
    for source in sources.iter().copied() {
        let head = source.head(4)?;
        let found = match head.as_slice() {
            [0, 0, UNSIGNED_BYTES, 3] => &mut images,
            [0, 0, UNSIGNED_BYTES, 1] => &mut labels,
            _ => {
                let shown: Vec<String> = head.iter().map(|byte| format!("{byte:#04x}")).collect();
                return Err(Error::unsupported(
                    format!("IDX file `{}`, which begins with {},", source.name, shown.join(" ")),
                    "pictures begin with 0x00 0x00 0x08 0x03, labels with 0x00 0x00 0x08 0x01",
                ));
            }
        };
        if let Some(other) = found.insert(key(source), source) {
            let reason =
                format!("it is of the same kind as `{}`; one must have pictures, the other labels", other.name);
            return Err(Error::malformed(format!("`{}`", source.name), reason));
        }
    }
    if let (1, 1, Some(images), Some(labels)) =
        (images.len(), labels.len(), images.values().next(), labels.values().next())
    {
        return Ok(vec![Pair { images, labels }]);
    }
    let mut pairs = Vec::with_capacity(images.len());
    for (key, images) in images {
        let Some(labels) = labels.remove(&key) else {
            return Err(Error::malformed(format!("`{}`", images.name), "no file of labels goes with it"));
        };
        pairs.push(Pair { images, labels });
    }
    match labels.values().next() {
        Some(alone) => Err(Error::malformed(format!("`{}`", alone.name), "no file of pictures goes with it")),
        None => Ok(pairs),
    }
}

fn key(source: &Source<'_>) -> String {
    let name = source.plain_name();
    [("images", "*"), ("labels", "*"), ("idx3", "*"), ("idx1", "*")]
        .into_iter()
        .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// Returns which pairs are the test part: those that the user names, else those whose names begin with `t10k` or `test`.
fn test_pairs(pairs: &[Pair<'_, '_>], declaration: &DatasetDeclaration) -> Result<Vec<bool>> {
    let names: Vec<&str> = pairs.iter().flat_map(|pair| [pair.images.name, pair.labels.name]).collect();
    if let Some(is_test) = test_files(&declaration.split, &names)? {
        return Ok(is_test.chunks(2).map(|pair| pair.contains(&true)).collect());
    }
    let is_test = |pair: &Pair<'_, '_>| {
        let name = pair.images.name.rsplit('/').next().unwrap_or_default();
        name.starts_with("t10k") || name.starts_with("test")
    };
    let found: Vec<bool> = pairs.iter().map(is_test).collect();
    // Where all are, nothing would be left to learn from.
    Ok(if found.contains(&false) { found } else { vec![false; pairs.len()] })
}

fn read_images(source: &Source<'_>, limits: &Limits) -> Result<(Shape, Vec<u8>)> {
    let [count, height, width] = dimensions::<3>(source)?;
    limits.pictures.take(format!("the dataset up to `{}`", source.name), u64::from(count))?;
    within(format!("the height of pictures in `{}`", source.name), u64::from(height), u64::from(MOST_SIDE), "pixels")?;
    within(format!("the width of pictures in `{}`", source.name), u64::from(width), u64::from(MOST_SIDE), "pixels")?;
    let pixels = numbers(source, &[count, height, width], &limits.pixels)?;
    Ok((Shape { height: height as usize, width: width as usize, channels: 1 }, pixels))
}

fn read_labels(pair: &Pair<'_, '_>, pictures: usize, class_names: &[String], limits: &Limits) -> Result<Vec<u32>> {
    let source = pair.labels;
    let [count] = dimensions::<1>(source)?;
    if count as usize != pictures {
        let reason = format!("it has {count} labels, but `{}` has {pictures} pictures", pair.images.name);
        return Err(Error::malformed(format!("`{}`", source.name), reason));
    }
    let labels: Vec<u32> = numbers(source, &[count], &limits.labels)?.into_iter().map(u32::from).collect();
    if let Some(record) =
        labels.iter().position(|label| !class_names.is_empty() && *label as usize >= class_names.len())
    {
        return Err(Error::malformed(
            format!("record {} of `{}`", record + 1, source.name),
            format!(
                "its label is {}, but {} classes are named, so labels go up to {}",
                labels[record],
                class_names.len(),
                class_names.len() - 1
            ),
        ));
    }
    Ok(labels)
}

/// Reads the dimensions, none of which may be nothing.
fn dimensions<const COUNT: usize>(source: &Source<'_>) -> Result<[u32; COUNT]> {
    let head = source.head(4 + 4 * COUNT as u64)?;
    let mut dimensions = [0; COUNT];
    for (place, dimension) in dimensions.iter_mut().enumerate() {
        let Some(bytes) = head.get(4 + 4 * place..8 + 4 * place) else {
            let reason = format!("it ends within its header of {} bytes", 4 + 4 * COUNT);
            return Err(Error::malformed(format!("`{}`", source.name), reason));
        };
        *dimension = bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    }
    if dimensions.contains(&0) {
        return Err(Error::malformed(
            format!("`{}`", source.name),
            format!("its dimensions are {dimensions:?}: it has nothing"),
        ));
    }
    Ok(dimensions)
}

/// Reads as many numbers as the dimensions say, and refuses a file that has fewer or more. No more is unpacked than they say.
fn numbers(source: &Source<'_>, dimensions: &[u32], budget: &Budget) -> Result<Vec<u8>> {
    let header = 4 + 4 * dimensions.len() as u64;
    let promised = dimensions.iter().try_fold(1_u64, |size, dimension| size.checked_mul(u64::from(*dimension)));
    let Some(promised) = promised else {
        let reason = format!("its dimensions {dimensions:?} are more than any file has");
        return Err(Error::malformed(format!("`{}`", source.name), reason));
    };
    budget.take(format!("the dataset up to `{}`", source.name), promised)?;
    // One byte more than promised shows that there are more.
    let mut bytes = source.head(header + promised + 1)?;
    let found = bytes.len() as u64;
    if found != header + promised {
        let found =
            if found > header + promised { "more".to_owned() } else { (found.saturating_sub(header)).to_string() };
        let reason = format!("its header says {promised} numbers ({dimensions:?}), but it has {found}");
        return Err(Error::malformed(format!("`{}`", source.name), reason));
    }
    bytes.drain(..header as usize);
    Ok(bytes)
}
