//! Measuring a loaded version on a part of a dataset, by the same ways in which requests are answered.

use std::collections::BTreeMap;
use std::time::Instant;

use seedhouse_core::dataset::{Column, ColumnValues, Dataset, ImageDataset, SplitPart, TableDataset, TextDataset};
use seedhouse_core::evaluation::{ClassCounts, RegressionSums};
use seedhouse_core::{Error, Progress, ProgressUnit, Result};
use seedhouse_engine::scoring::{DenoisingExamples, TextScore};
use seedhouse_engine::{
    Cell, ImageInput, OutOfRange, Patience, PixelImage, PixelRows, Row, RowAnswer, RowOutcome, Slot, TabularPolicies,
    TabularRequest, Takes, UnknownCategory, UnknownFeature,
};
use serde_json::{Value, json};

use super::evaluate::with_details;

/// Rows and pictures that are computed together.
const ROWS_TOGETHER: usize = 1024;
const PICTURES_TOGETHER: usize = 32;

/// What held-out rows have beyond what was learned from is what they are held out for.
pub(crate) const POLICIES: TabularPolicies = TabularPolicies {
    out_of_range: OutOfRange::Flag,
    unknown_category: UnknownCategory::Missing,
    unknown_feature: UnknownFeature::Refuse,
};

/// Begins the noise of every measurement of a diffusion model.
const DENOISING_SEED: u64 = 0;

/// Examples of one part of a dataset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Examples<'d> {
    pub(crate) dataset: &'d Dataset,
    pub(crate) part: SplitPart,
    pub(crate) limit: Option<u64>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    pub(crate) examples: u64,
    /// The same for the same bytes, examples and instructions.
    pub(crate) quality: BTreeMap<String, f64>,
    /// Other figures: classes, targets.
    pub(crate) details: Value,
    pub(crate) seconds: f64,
}

impl Measured {
    /// Returns what scores of so many texts are as a measurement.
    pub(crate) fn of_texts(score: &TextScore, examples: usize, seconds: f64) -> Measured {
        let (quality, details) = of_score(score);
        Measured { examples: examples as u64, quality, details, seconds }
    }

    /// Returns examples per second.
    pub(crate) fn throughput(&self) -> f64 {
        self.examples as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// Measures a version.
///
/// # Errors
/// [`Error::Invalid`] when the examples are none that the version answers, with both; [`Error::Cancelled`].
pub(crate) fn measure(slot: &Slot, examples: Examples<'_>, progress: &dyn Progress) -> Result<Measured> {
    let places = examples.places()?;
    progress.stage(&format!("measuring `{}`", slot.model_id()), Some(places.len() as u64), ProgressUnit::Items);
    let started = Instant::now();
    let (quality, details) = match (slot.takes(), examples.dataset) {
        (Takes::Rows(_), Dataset::Table(table)) => rows(slot, table, &places, progress)?,
        (Takes::Images(_), Dataset::Images(images)) => pictures(slot, images, &places, progress)?,
        (Takes::Text, Dataset::Text(texts)) => self::texts(slot, texts, &places, progress)?,
        (Takes::Wishes, Dataset::Images(images)) => denoising(slot, images, &places, progress)?,
        (takes, dataset) => return Err(unsuitable(slot, takes, dataset)),
    };
    Ok(Measured { examples: places.len() as u64, quality, details, seconds: started.elapsed().as_secs_f64() })
}

fn unsuitable(slot: &Slot, takes: Takes<'_>, dataset: &Dataset) -> Error {
    let wanted = match takes {
        Takes::Text => "texts",
        Takes::Images(_) | Takes::Wishes => "pictures",
        Takes::Rows(_) => "rows of a table",
        Takes::Tensors(_) | Takes::Parameters | Takes::Sentences => "nothing that can be measured with examples",
    };
    let rule = format!("does not fit `{}`, which takes {wanted}", slot.model_id());
    Error::invalid("dataset", format!("{:?}", dataset.kind()).to_lowercase(), rule)
}

impl<'d> Examples<'d> {
    fn parts(&self) -> &'d [SplitPart] {
        match self.dataset {
            Dataset::Table(table) => &table.parts,
            Dataset::Images(images) => &images.parts,
            Dataset::Text(texts) => &texts.parts,
        }
    }

    /// Returns where the examples are in the dataset.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are none.
    pub(crate) fn places(&self) -> Result<Vec<usize>> {
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let parts = self.parts().iter().enumerate();
        let places: Vec<usize> =
            parts.filter(|(_, part)| **part == self.part).map(|(place, _)| place).take(limit).collect();
        match places.is_empty() {
            true => Err(Error::invalid("split", self.part, "has no examples in this dataset")),
            false => Ok(places),
        }
    }
}

type Figures = (BTreeMap<String, f64>, Value);

fn named(figures: impl IntoIterator<Item = (String, Option<f64>)>) -> BTreeMap<String, f64> {
    figures.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn rows(slot: &Slot, table: &TableDataset, places: &[usize], progress: &dyn Progress) -> Result<Figures> {
    let features = columns(table, &table.features)?;
    let targets = columns(table, &table.targets)?;
    if let [Column { name, values: ColumnValues::Categories { names, codes } }] = &targets[..] {
        return classes_of_rows(slot, &features, (name, names, codes), places, progress);
    }
    let mut sums = vec![RegressionSums::default(); targets.len()];
    let refused = each_row(slot, &features, places, progress, &mut |place, answer| {
        let RowOutcome::Targets(given) = &answer.outcome else { return Err(wrong_outcome(slot, "numbers")) };
        for (column, sums) in targets.iter().zip(&mut sums) {
            let ColumnValues::Numbers(right) = &column.values else { return Err(wrong_outcome(slot, "a class")) };
            let found = given.iter().find(|(name, _)| **name == *column.name);
            let (_, value) = found.ok_or_else(|| no_such_target(slot, &column.name, given))?;
            if !right[place].is_nan() {
                sums.add(right[place], f64::from(*value));
            }
        }
        Ok(())
    })?;
    let of_target = |(column, sums): (&&Column, &RegressionSums)| json!({ "target": column.name, "examples": sums.examples(), "rmse": sums.rmse(), "mae": sums.mae(), "r2": sums.r2() });
    let details: Vec<Value> = targets.iter().zip(&sums).map(of_target).collect();
    let least_r2 = sums.iter().map(RegressionSums::r2).reduce(|one, other| Some(one?.min(other?))).flatten();
    let mut figures = vec![("r2".to_owned(), least_r2)];
    for (column, sums) in targets.iter().zip(&sums) {
        let name =
            |figure: &str| if targets.len() == 1 { figure.to_owned() } else { format!("{figure}.{}", column.name) };
        figures.extend([(name("rmse"), sums.rmse()), (name("mae"), sums.mae())]);
        if targets.len() > 1 {
            figures.push((name("r2"), sums.r2()));
        }
    }
    Ok((named(figures), json!({ "targets": details, "refused_rows": refused })))
}

fn wrong_outcome(slot: &Slot, wanted: &str) -> Error {
    Error::invalid("dataset", "its targets", format!("must be {wanted}, as `{}` answers", slot.model_id()))
}

fn no_such_target(slot: &Slot, name: &str, given: &[(std::sync::Arc<str>, f32)]) -> Error {
    let names: Vec<&str> = given.iter().map(|(name, _)| &**name).collect();
    Error::invalid("target", name, format!("is none of `{}`, which gives {}", slot.model_id(), names.join(", ")))
}

fn columns<'t>(table: &'t TableDataset, names: &[String]) -> Result<Vec<&'t Column>> {
    let find = |name: &String| table.columns.iter().find(|column| column.name == *name);
    let missing = |name: &String| Error::Internal(format!("a dataset has no column `{name}` that it names"));
    names.iter().map(|name| find(name).ok_or_else(|| missing(name))).collect()
}

fn classes_of_rows(
    slot: &Slot,
    features: &[&Column],
    (target, names, codes): (&str, &[String], &[Option<u32>]),
    places: &[usize],
    progress: &dyn Progress,
) -> Result<Figures> {
    let mut counts = None;
    let refused = each_row(slot, features, places, progress, &mut |place, answer| {
        let RowOutcome::Classes(ranked) = &answer.outcome else { return Err(wrong_outcome(slot, "a class")) };
        let Some(code) = codes[place] else { return Ok(()) };
        let counts = counts.get_or_insert_with(|| ClassCounts::new(names_of(ranked)));
        let right = &names[code as usize];
        let of_name = |name: &str| ranked.iter().find(|class| class.class_name.as_deref() == Some(name));
        let right = of_name(right).map(|class| class.class_id);
        let right = right.ok_or_else(|| unknown_class(slot, target, &names[code as usize]))?;
        let best = ranked.first().ok_or_else(|| wrong_outcome(slot, "a class"))?;
        counts.add(right, best.class_id)
    })?;
    let (figures, details) = of_counts(&counts.unwrap_or_else(|| ClassCounts::new(Vec::new())));
    Ok((figures, with_details(details, &[("refused_rows", refused.into())])))
}

fn unknown_class(slot: &Slot, target: &str, name: &str) -> Error {
    Error::invalid(target, name, format!("is no class of `{}`", slot.model_id()))
}

/// Returns the names of classes by their numbers.
fn names_of(ranked: &[seedhouse_engine::Prediction]) -> Vec<String> {
    let mut names = vec![String::new(); ranked.len()];
    for class in ranked {
        if let Some(name) = names.get_mut(class.class_id) {
            *name = class.class_name.as_deref().map_or_else(|| class.class_id.to_string(), str::to_owned);
        }
    }
    names
}

fn of_counts(counts: &ClassCounts) -> Figures {
    let figures = [("accuracy".to_owned(), counts.accuracy()), ("macro_f1".to_owned(), counts.macro_f1())];
    (named(figures), json!({ "classes": counts.per_class(), "confusion": counts.confusion() }))
}

/// Calls `found` with each answer, and returns how many rows the model refused: what it cannot answer at all, such as a category that it
/// does not know where nothing stands for missing ones.
fn each_row(
    slot: &Slot,
    features: &[&Column],
    places: &[usize],
    progress: &dyn Progress,
    found: &mut dyn FnMut(usize, &RowAnswer) -> Result<()>,
) -> Result<u64> {
    let mut refused = Vec::new();
    for together in places.chunks(ROWS_TOGETHER) {
        progress.check()?;
        let rows = together.iter().map(|place| row(features, *place)).collect();
        let answer = slot.predict_rows(&TabularRequest { rows, policies: POLICIES }, &Patience::default())?;
        for (place, answer) in together.iter().zip(answer.rows) {
            match answer {
                Ok(answer) => found(*place, &answer)?,
                Err(error) => refused.push(error),
            }
        }
        progress.advance(together.len() as u64);
    }
    match refused.into_iter().enumerate().last() {
        Some((others, last)) if others + 1 == places.len() => Err(last),
        Some((others, last)) => {
            progress.note(&format!("{} rows were refused and count in no figure: {last}", others + 1));
            Ok(others as u64 + 1)
        }
        None => Ok(0),
    }
}

/// Returns rows of a table as callers write them.
pub(crate) fn dataset_rows(table: &TableDataset, places: &[usize]) -> Result<Vec<Row>> {
    let features = columns(table, &table.features)?;
    Ok(places.iter().map(|place| row(&features, *place)).collect())
}

fn row(features: &[&Column], place: usize) -> Row {
    let cell = |column: &Column| match &column.values {
        ColumnValues::Numbers(numbers) if numbers[place].is_nan() => Cell::Missing,
        ColumnValues::Numbers(numbers) => Cell::Number(numbers[place]),
        ColumnValues::Categories { names, codes } => match codes[place] {
            Some(code) => Cell::Text(names[code as usize].clone()),
            None => Cell::Missing,
        },
    };
    Row(features.iter().map(|column| (column.name.clone(), cell(column))).collect())
}

fn pictures(slot: &Slot, images: &ImageDataset, places: &[usize], progress: &dyn Progress) -> Result<Figures> {
    let names = slot.class_names()?.unwrap_or(&images.classes);
    let class_of = class_of(slot, images)?;
    let mut counts = ClassCounts::new(names.to_vec());
    for together in places.chunks(PICTURES_TOGETHER) {
        progress.check()?;
        let inputs = together.iter().map(|place| picture(images, *place).map(ImageInput::Pixels));
        let inputs = inputs.collect::<Result<Vec<ImageInput>>>()?;
        let answers = slot.classify_all(&inputs, Some(1), &Patience::default())?;
        for (place, answer) in together.iter().zip(&answers) {
            let class = class_of(*place)?;
            let best = answer.predictions.first().ok_or_else(|| wrong_outcome(slot, "a class"))?;
            counts.add(class, best.class_id)?;
        }
        progress.advance(together.len() as u64);
    }
    Ok(of_counts(&counts))
}

/// Returns what the model calls the class of an example. Its classes may have another order than those of the dataset.
fn class_of<'m>(slot: &'m Slot, images: &'m ImageDataset) -> Result<impl Fn(usize) -> Result<usize> + 'm> {
    let names = slot.class_names()?.unwrap_or(&images.classes);
    let of_labels = images.classes.iter().map(|class| names.iter().position(|name| name == class));
    let of_labels: Vec<Option<usize>> = of_labels.collect();
    Ok(move |place: usize| {
        let label = images.labels[place] as usize;
        of_labels[label].ok_or_else(|| unknown_class(slot, "label", &images.classes[label]))
    })
}

pub(crate) fn picture(images: &ImageDataset, place: usize) -> Result<PixelImage> {
    let length = images.height * images.width * images.channels;
    let pixels = &images.pixels[place * length..][..length];
    let mut rows = PixelRows::default();
    for row in pixels.chunks_exact(images.width * images.channels) {
        for pixel in row.chunks_exact(images.channels) {
            let pixel: Vec<f32> = pixel.iter().map(|value| f32::from(*value)).collect();
            rows.push(&pixel)?;
        }
        rows.end_row()?;
    }
    rows.finish()
}

fn texts(slot: &Slot, texts: &TextDataset, places: &[usize], progress: &dyn Progress) -> Result<Figures> {
    slot.score_texts(&texts_at(texts, places), progress).map(|score| of_score(&score))
}

fn of_score(score: &TextScore) -> Figures {
    let figures = [("perplexity".to_owned(), score.perplexity()), ("accuracy".to_owned(), score.accuracy())];
    (named(figures), json!({ "tokens": score.tokens }))
}

pub(crate) fn texts_at<'t>(texts: &'t TextDataset, places: &[usize]) -> Vec<&'t str> {
    places.iter().map(|place| texts.texts[*place].as_str()).collect()
}

fn denoising(slot: &Slot, images: &ImageDataset, places: &[usize], progress: &dyn Progress) -> Result<Figures> {
    let length = images.height * images.width * images.channels;
    let pixels: Vec<u8> = places.iter().flat_map(|place| &images.pixels[place * length..][..length]).copied().collect();
    let class_of = class_of(slot, images)?;
    let classes: Vec<usize> = places.iter().map(|place| class_of(*place)).collect::<Result<_>>()?;
    let examples = DenoisingExamples {
        sides: [images.height, images.width],
        channels: images.channels,
        pixels: &pixels,
        classes: &classes,
        seed: DENOISING_SEED,
    };
    let score = slot.score_denoising(&examples, progress)?;
    Ok((named([("denoising_loss".to_owned(), score.loss())]), json!({ "seed": DENOISING_SEED })))
}
