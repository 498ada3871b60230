//! Tensors into a safetensors file, block by block, by several threads: no more of them is in memory than those are at work on.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use half::f16;
use seedhouse_core::{Error, Progress, QuantizationType, Result};

use super::KEY;
use super::document::{Document, TensorNote};
use super::layout::{Layout, scale_name};
use super::recipe::{Form, Item, Numbers};
use super::rounding::{self, Losses};
use crate::huggingface::safetensors::{self, NewTensor};
use crate::torch::checkpoint::DataType;

/// Bytes of f32 numbers that a thread takes at once.
const BLOCK_BYTES: usize = 4 << 20;

/// More threads than keep a disk busy.
const MOST_THREADS: usize = 8;

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The names of all tensors, scales among them.
    pub(super) tensors: Vec<String>,
    /// The bytes of them.
    pub(super) data_bytes: u64,
    pub(super) quantized: u64,
    pub(super) kept: u64,
    pub(super) losses: Losses,
}

/// Returns how many bytes of tensors a file of these items will have.
pub(super) fn data_bytes(items: &[Item<'_>]) -> u64 {
    new_tensors(&items.iter().collect::<Vec<_>>()).iter().map(|tensor| tensor.bytes).sum()
}

/// Writes a file.
///
/// # Errors
/// [`Error::Malformed`] for numbers that are not finite or that the new type does not hold, [`Error::Io`], [`Error::Cancelled`].
pub(super) fn write(
    target: &Path,
    (subject, items): (&str, &[&Item<'_>]),
    texts: &HashMap<String, String>,
    precision: QuantizationType,
    (progress, after_each): (&dyn Progress, &dyn Fn()),
) -> Result<Written> {
    let tensors = new_tensors(items);
    let header = safetensors::header(&tensors, &texts_of(items, texts, precision)?)?;
    let file = File::create_new(target).map_err(Error::io("create", target))?;
    let mut written = Written { data_bytes: tensors.iter().map(|tensor| tensor.bytes).sum(), ..Written::default() };
    let length = header.len() as u64 + written.data_bytes;
    file.set_len(length).and_then(|()| file.write_all_at(&header, 0)).map_err(Error::io("write", target))?;
    let starts = starts(&tensors, header.len() as u64);
    for item in items {
        let start = |name: &str| starts.get(name).copied().unwrap_or_default();
        let places = [start(&item.name), start(&scale_name(&item.name))];
        let work = Work { item, subject, places, file: &file, target, progress, computed: computed(item)? };
        written.losses.add(work.run()?);
        match item.form {
            Form::Kept(_) => written.kept += 1,
            Form::Half(_) | Form::Integers(_) => written.quantized += 1,
        }
        after_each();
    }
    written.tensors = tensors.into_iter().map(|tensor| tensor.name).collect();
    Ok(written)
}

/// Returns where each tensor begins in a file with a header of this length.
fn starts(tensors: &[NewTensor], header_bytes: u64) -> HashMap<&str, u64> {
    let mut starts = HashMap::with_capacity(tensors.len());
    let mut end = header_bytes;
    for tensor in tensors {
        starts.insert(tensor.name.as_str(), end);
        end += tensor.bytes;
    }
    starts
}

/// Returns the tensors in the order of the file, those of long numbers first, so that every number stands at a multiple of its length.
fn new_tensors(items: &[&Item<'_>]) -> Vec<NewTensor> {
    let mut tensors = Vec::new();
    for Item { name, shape, form, .. } in items {
        match form {
            Form::Kept(data_type) | Form::Half(data_type) => {
                tensors.push(new_tensor(name.clone(), data_type.as_str(), shape.clone(), data_type.size_bytes()));
            }
            Form::Integers(layout) => tensors.extend(integers_and_scales(name, layout)),
        }
    }
    let length = |tensor: &NewTensor| DataType::of_name(tensor.dtype).map_or(1, DataType::size_bytes);
    tensors.sort_by_key(|tensor| std::cmp::Reverse(length(tensor)));
    tensors
}

fn integers_and_scales(name: &str, layout: &Layout) -> [NewTensor; 2] {
    let integers = NewTensor {
        name: name.to_owned(),
        dtype: layout.dtype(),
        shape: layout.stored_shape(),
        bytes: layout.stored_bytes() as u64,
    };
    let scale_bytes = if layout.has_groups() { 2 } else { 4 };
    [integers, new_tensor(scale_name(name), layout.scale_dtype(), layout.scale_shape(), scale_bytes)]
}

fn new_tensor(name: String, dtype: &'static str, shape: Vec<usize>, number_bytes: usize) -> NewTensor {
    let bytes = (shape.iter().product::<usize>() * number_bytes) as u64;
    NewTensor { name, dtype, shape, bytes }
}

/// Returns what the file had among its metadata, and what is said of the new one.
fn texts_of(
    items: &[&Item<'_>],
    texts: &HashMap<String, String>,
    precision: QuantizationType,
) -> Result<BTreeMap<String, String>> {
    let note = |item: &Item<'_>| match &item.form {
        Form::Integers(layout) => {
            let (kind, shape, axis) = (layout.kind(), layout.shape().to_vec(), layout.axis());
            Some((item.name.clone(), TensorNote { kind, shape, axis }))
        }
        Form::Kept(_) | Form::Half(_) => None,
    };
    let document = Document::new(precision, items.iter().copied().filter_map(note).collect());
    let mut texts: BTreeMap<String, String> = texts.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
    texts.insert(KEY.to_owned(), document.to_text()?);
    Ok(texts)
}

fn computed(item: &Item<'_>) -> Result<Option<Vec<f32>>> {
    match &item.numbers {
        Numbers::Stored(_) => Ok(None),
        Numbers::Computed(compute) => compute().map(Some),
    }
}

/// A tensor on its way into the file.
struct Work<'w> {
    item: &'w Item<'w>,
    /// What errors call the file that it comes from.
    subject: &'w str,
    /// Where it stands, and where its scales stand.
    places: [u64; 2],
    file: &'w File,
    target: &'w Path,
    progress: &'w dyn Progress,
    computed: Option<Vec<f32>>,
}

impl Work<'_> {
    /// Lets threads take block after block.
    fn run(&self) -> Result<Losses> {
        let rows = self.item.shape.first().copied().unwrap_or(1);
        let numbers: usize = self.item.shape.iter().product();
        if numbers == 0 {
            return Ok(Losses::default());
        }
        if matches!(&self.item.form, Form::Integers(layout) if layout.axis() > 0) {
            return self.write_across().map(|()| Losses::default());
        }
        let block = (BLOCK_BYTES / (numbers / rows * size_of::<f32>())).max(1);
        let blocks = rows.div_ceil(block);
        let (next, outcome) = (AtomicUsize::new(0), Mutex::new(Ok(Losses::default())));
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= blocks {
                    return;
                }
                let done = self.write_rows(number * block..rows.min((number + 1) * block));
                let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                match (&mut *outcome, done) {
                    (Ok(losses), Ok(further)) => losses.add(further),
                    (Ok(_), Err(error)) => {
                        *outcome = Err(error);
                        next.store(blocks, Ordering::Relaxed);
                    }
                    (Err(_), _) => {}
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(blocks);
        thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes some rows along the first dimension.
    fn write_rows(&self, rows: Range<usize>) -> Result<Losses> {
        self.progress.check()?;
        let mut bytes = Vec::new();
        let mut losses = Losses::default();
        match &self.item.form {
            Form::Kept(_) => bytes = self.kept(&rows),
            Form::Half(data_type) => {
                let numbers = self.finite(&rows)?;
                bytes.reserve_exact(numbers.len() * 2);
                losses = rounding::halves(*data_type, &numbers, &mut bytes)
                    .map_err(|place| self.too_great(numbers[place], data_type.as_str()))?;
            }
            Form::Integers(layout) => {
                let mut scales = Vec::with_capacity(rows.len() * layout.groups());
                bytes = self.integers(layout, &self.finite(&rows)?, &mut scales)?;
                self.write_scales(layout, rows.start, &scales)?;
            }
        }
        let offset = bytes.len() / rows.len() * rows.start;
        self.write_at(&bytes, self.places[0] + offset as u64)?;
        Ok(losses)
    }

    /// Writes a tensor whose outputs are not its rows.
    fn write_across(&self) -> Result<()> {
        self.progress.check()?;
        let Form::Integers(layout) = &self.item.form else { return Ok(()) };
        let numbers = match (&self.item.numbers, &self.computed) {
            (Numbers::Stored(view), _) => view.transposed().to_f32().ok_or_else(|| self.no_numbers())?,
            (Numbers::Computed(_), computed) => by_output(layout, computed.as_deref().unwrap_or_default()),
        };
        self.check_finite(&numbers, (0, layout.inputs()))?;
        let mut scales = Vec::with_capacity(layout.outputs() * layout.groups());
        let bytes = self.integers(layout, &numbers, &mut scales)?;
        self.write_scales(layout, 0, &scales)?;
        self.write_at(&bytes, self.places[0])
    }

    /// Rounds the numbers of outputs that follow each other. Returns the stored integers.
    fn integers(&self, layout: &Layout, numbers: &[f32], scales: &mut Vec<f32>) -> Result<Vec<u8>> {
        let outputs = numbers.len() / layout.inputs();
        let stored_bytes = match outputs == layout.outputs() {
            true => layout.stored_bytes(),
            false => layout.stored_bytes() / layout.outputs() * outputs,
        };
        let mut stored = vec![0; stored_bytes];
        let (mut row, mut of_row) = (vec![0; layout.inputs()], vec![0.0; layout.groups()]);
        for (output, numbers) in numbers.chunks_exact(layout.inputs()).enumerate() {
            rounding::integers(layout, numbers, &mut row, &mut of_row)
                .map_err(|magnitude| self.too_great(magnitude, layout.kind().as_str()))?;
            layout.put_integers(&mut stored, output, &row);
            scales.extend_from_slice(&of_row);
        }
        Ok(stored)
    }

    fn write_scales(&self, layout: &Layout, first_output: usize, scales: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = match layout.has_groups() {
            true => scales.iter().flat_map(|scale| f16::from_f32(*scale).to_le_bytes()).collect(),
            false => scales.iter().flat_map(|scale| scale.to_le_bytes()).collect(),
        };
        let of_output = layout.groups() * if layout.has_groups() { 2 } else { 4 };
        self.write_at(&bytes, self.places[1] + (first_output * of_output) as u64)
    }

    fn kept(&self, rows: &Range<usize>) -> Vec<u8> {
        match (&self.item.numbers, &self.computed) {
            (Numbers::Stored(view), _) if view.shape.is_empty() => view.to_bytes(),
            (Numbers::Stored(view), _) => view.rows(rows.clone()).to_bytes(),
            (Numbers::Computed(_), computed) => {
                let numbers = self.slice(computed.as_deref().unwrap_or_default(), rows);
                numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
            }
        }
    }

    /// Returns the numbers of some rows, all of them finite.
    fn finite(&self, rows: &Range<usize>) -> Result<Cow<'_, [f32]>> {
        let numbers = match (&self.item.numbers, &self.computed) {
            (Numbers::Stored(view), _) => {
                Cow::Owned(view.rows(rows.clone()).to_f32().ok_or_else(|| self.no_numbers())?)
            }
            (Numbers::Computed(_), computed) => {
                Cow::Borrowed(self.slice(computed.as_deref().unwrap_or_default(), rows))
            }
        };
        self.check_finite(&numbers, (rows.start, numbers.len() / rows.len()))?;
        Ok(numbers)
    }

    fn slice<'n>(&self, numbers: &'n [f32], rows: &Range<usize>) -> &'n [f32] {
        let of_row = numbers.len() / self.item.shape[0];
        &numbers[rows.start * of_row..rows.end * of_row]
    }

    fn check_finite(&self, numbers: &[f32], (first_row, of_row): (usize, usize)) -> Result<()> {
        // As whole numbers, because those compare many at a time: infinity is the smallest of all that are not finite.
        let most = numbers.iter().fold(0, |most, number| most.max(number.to_bits() & (u32::MAX >> 1)));
        if most < f32::INFINITY.to_bits() {
            return Ok(());
        }
        let found = numbers.iter().position(|number| !number.is_finite()).unwrap_or_default();
        let (name, row, value) = (self.item.name.escape_debug(), first_row + found / of_row, numbers[found]);
        let reason = format!("row {row} of tensor `{name}` has the value {value}, which is not finite");
        Err(Error::malformed(self.subject, reason))
    }

    fn no_numbers(&self) -> Error {
        let reason = "F32, F16 and BF16 are quantised";
        Error::unsupported(format!("the type of tensor `{}`", self.item.name.escape_debug()), reason)
    }

    fn too_great(&self, number: f32, kind: &str) -> Error {
        let reason = format!("it has the value {number}, which is beyond what `{kind}` holds");
        Error::unsupported(format!("quantising tensor `{}`", self.item.name.escape_debug()), reason)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(Error::io("write", self.target))?;
        self.progress.advance(bytes.len() as u64);
        Ok(())
    }
}

/// Returns numbers in the order of a tensor with the outputs in its second dimension output by output.
fn by_output(layout: &Layout, numbers: &[f32]) -> Vec<f32> {
    let (inputs, outputs) = (layout.shape()[0], layout.shape()[1]);
    let together = layout.inputs() / inputs;
    let run = |output: usize, input: usize| &numbers[(input * outputs + output) * together..][..together];
    (0..outputs).flat_map(|output| (0..inputs).flat_map(move |input| run(output, input))).copied().collect()
}
