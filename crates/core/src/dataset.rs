//! Datasets: examples that models are trained on and measured with.
//!
//! A dataset is a version of type `dataset` in the registry: immutable files with a digest, which receipts name. What its files mean
//! and how its examples are split stands in a [`DatasetDeclaration`]; a [`DatasetReader`] turns files and declaration into a
//! [`Dataset`] in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::runtime::LocalFiles;
use crate::{Error, Result};

/// The `type` of a version that is a dataset.
pub const DATASET_TYPE: &str = "dataset";

/// Turns files into examples.
pub trait DatasetReader: Send + Sync {
    /// Describes files: kind, schema and statistics, all counted, and how many examples each part of the split has.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a file that is not what it seems, naming the line or the record; [`Error::Invalid`] for a declaration
    /// that does not fit, with both values.
    fn describe(&self, files: &LocalFiles, declaration: &DatasetDeclaration) -> Result<DatasetDescription>;

    /// Reads all examples.
    ///
    /// # Errors
    /// As [`describe`](DatasetReader::describe).
    fn read(&self, files: &LocalFiles, declaration: &DatasetDeclaration) -> Result<Dataset>;
}

/// What the user says about the files of a dataset. Stands in the record's `metadata`, under `dataset`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetDeclaration {
    /// Columns that are to be predicted; of text and images there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// Columns that are used; all but the targets where the list is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Columns whose numbers are names, not quantities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categorical: Vec<String>,
    /// Texts that stand for a missing value, beside the empty one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Of tables of text: the column with the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_column: Option<String>,
    /// Names of the classes of labels that are numbers, e.g. of IDX files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// Rows that are left out: a column and the value with which they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub drop_rows: BTreeMap<String, Value>,
    /// How examples are split.
    pub split: SplitDeclaration,
}

/// How examples are split into parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitDeclaration {
    /// The share of the examples with which training is watched.
    pub validation: f64,
    /// The share of the examples that is held out.
    pub test: f64,
    /// Begins the random numbers that choose.
    pub seed: u64,
    /// Examples with the same values in these columns stay together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    /// Numbers of `group_by` columns count as the same within steps of this size, e.g. of degrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_step: Option<f64>,
    /// Each class has its share of every part.
    pub stratify: bool,
    /// A column that says the part by its name; nothing is chosen then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Files, or folders, that are the test part; validation is chosen among the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test_files: Vec<String>,
}

impl Default for SplitDeclaration {
    fn default() -> SplitDeclaration {
        SplitDeclaration {
            validation: 0.1,
            test: 0.1,
            seed: 0,
            group_by: Vec::new(),
            group_step: None,
            stratify: false,
            column: None,
            test_files: Vec::new(),
        }
    }
}

/// A part of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitPart {
    /// What a model learns from.
    Train,
    /// What training is watched with: early stopping, the best checkpoint.
    Validation,
    /// What is held out for measuring.
    Test,
}

impl SplitPart {
    /// Every part.
    pub const ALL: [SplitPart; 3] = [SplitPart::Train, SplitPart::Validation, SplitPart::Test];

    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            SplitPart::Train => "train",
            SplitPart::Validation => "validation",
            SplitPart::Test => "test",
        }
    }
}

impl fmt::Display for SplitPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for SplitPart {
    type Err = Error;

    fn from_str(text: &str) -> Result<SplitPart> {
        SplitPart::ALL.into_iter().find(|part| part.as_str() == text).ok_or_else(|| {
            let names = SplitPart::ALL.map(SplitPart::as_str).join(", ");
            Error::invalid("split", text.escape_debug(), format!("must be one of {names}"))
        })
    }
}

/// What kind of examples there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetKind {
    /// Rows of named values.
    Table,
    /// Pictures of one size, with a class each.
    Images,
    /// Texts.
    Text,
}

/// What was counted in a dataset. Stands in the record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetDescription {
    /// What its examples are.
    pub kind: DatasetKind,
    /// How many examples there are: rows, pictures, texts.
    pub examples: u64,
    /// How many each part has.
    pub parts: BTreeMap<SplitPart, u64>,
    /// The columns, the size of the pictures, the classes.
    pub schema: Value,
    /// Of each column or class: how many, least, greatest, mean …
    pub statistics: Map<String, Value>,
    /// What somebody should know about the data, e.g. a column that is constant.
    pub warnings: Vec<String>,
}

/// The examples of a dataset.
#[derive(Debug, Clone)]
pub enum Dataset {
    /// Rows of named values.
    Table(TableDataset),
    /// Pictures of one size.
    Images(ImageDataset),
    /// Texts.
    Text(TextDataset),
}

impl Dataset {
    /// Returns the kind.
    pub fn kind(&self) -> DatasetKind {
        match self {
            Dataset::Table(_) => DatasetKind::Table,
            Dataset::Images(_) => DatasetKind::Images,
            Dataset::Text(_) => DatasetKind::Text,
        }
    }
}

/// Rows of named values, by column.
#[derive(Debug, Clone)]
pub struct TableDataset {
    /// The features and targets, in the order of the file; other columns are gone.
    pub columns: Vec<Column>,
    /// Names of the features among them.
    pub features: Vec<String>,
    /// Names of the targets among them.
    pub targets: Vec<String>,
    /// The part of each row.
    pub parts: Vec<SplitPart>,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name, as the file writes it.
    pub name: String,
    /// Its values, one for each row.
    pub values: ColumnValues,
}

/// The values of a column.
#[derive(Debug, Clone)]
pub enum ColumnValues {
    /// Numbers, all finite; NaN stands for a missing one.
    Numbers(Vec<f64>),
    /// Categories: places in `names`, which are sorted; `None` for a missing one.
    Categories {
        /// The names that occur, each once.
        names: Vec<String>,
        /// One for each row.
        codes: Vec<Option<u32>>,
    },
}

/// Pictures of one size.
#[derive(Debug, Clone)]
pub struct ImageDataset {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel: 1 (luma) or 3 (RGB).
    pub channels: usize,
    /// `count x height x width x channels` numbers from 0 to 255.
    pub pixels: Vec<u8>,
    /// The class of each picture, below the number of classes.
    pub labels: Vec<u32>,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The part of each picture.
    pub parts: Vec<SplitPart>,
}

/// Texts.
#[derive(Debug, Clone)]
pub struct TextDataset {
    /// The texts, each in one part: lines of a file of JSON lines, rows of a column, or pieces of a plain text.
    pub texts: Vec<String>,
    /// The part of each.
    pub parts: Vec<SplitPart>,
}
