//! What becomes of each tensor of a family.

use std::collections::BTreeMap;

use seedhouse_core::{Error, QuantizationType, Result};

use super::layout::Layout;
use crate::decoder::{DecoderModel, Role};
use crate::layers::{Expected, ExpectedTensor, Normalised, Part, Tensors, Weights, transposed_of_doubling};
use crate::torch::checkpoint::{DataType, TensorView};

/// A tensor that is to be written.
pub(super) struct Item<'t> {
    pub(super) name: String,
    /// The tensor in whose file it stands.
    pub(super) home: String,
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Numbers<'t>,
    pub(super) form: Form,
}

/// Where the numbers come from.
pub(super) enum Numbers<'t> {
    Stored(&'t TensorView<'t>),
    /// In row-major order, by what computes them.
    Computed(Box<dyn Fn() -> Result<Vec<f32>> + Sync + 't>),
}

/// What they become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// What they are.
    Kept(DataType),
    /// F16 or BF16.
    Half(DataType),
    Integers(Layout),
}

/// How a tensor is rounded.
#[derive(Debug, Clone, Copy)]
enum Rounding {
    None,
    /// To 16 bits where it has more.
    Shortened,
    Half(DataType),
    Integers(QuantizationType),
}

/// Returns the items of a network that is held against what its family has.
///
/// # Errors
/// As [`Weights::check`], and [`Error::Unsupported`] when nothing is left to do.
pub(super) fn of_network<'t>(
    weights: &'t Weights<'t>,
    expected: &'t Expected,
    precision: QuantizationType,
) -> Result<Vec<Item<'t>>> {
    weights.check(expected)?;
    let mut items = Vec::new();
    // The biases of convolutions that become transposed ones take their names.
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    for tensor in expected.plain() {
        let rounding = rounding(tensor.part, precision);
        if tensor.part == Part::Doubling && matches!(rounding, Rounding::Integers(_)) {
            let layer = tensor.name.trim_end_matches(".weight");
            let transposed = match layer.strip_suffix("upsample") {
                Some(level) => format!("{level}transposed"),
                None => return Err(Error::Internal(format!("`{layer}` is no upsampling"))),
            };
            renamed.insert(format!("{layer}.bias"), format!("{transposed}.bias"));
            items.push(doubling(weights, tensor, format!("{transposed}.weight"), rounding)?);
        } else {
            let axis = usize::from(tensor.part == Part::Transposed);
            items.push(stored(weights, &tensor.name, (rounding, axis))?);
        }
    }
    for item in &mut items {
        if let Some(name) = renamed.get(&item.name) {
            item.name = name.clone();
        }
    }
    for normalised in expected.all_normalised() {
        items.extend(folded(weights, normalised, precision)?);
    }
    refuse_no_work(weights.tensors, &items, precision)?;
    Ok(items)
}

/// Returns the items of a decoder.
///
/// # Errors
/// [`Error::Unsupported`] when nothing is left to do.
pub(super) fn of_decoder<'t>(
    weights: &'t Weights<'t>,
    model: &DecoderModel,
    precision: QuantizationType,
) -> Result<Vec<Item<'t>>> {
    let mut matrices = BTreeMap::new();
    for (role, source) in model.tensors.by_role() {
        if role.is_matrix(&model.spec) && role != Role::PositionEmbedding {
            matrices.insert(source.name(), usize::from(source.is_transposed()));
        }
    }
    let known: Vec<&str> = model.tensors.by_role().map(|(_, source)| source.name()).collect();
    let embedding = &weights.stored(model.tensors.model_tensor(Role::TokenEmbedding).name())?.shape;
    let mut items = Vec::new();
    for (name, tensor) in weights.tensors.all() {
        // A tied output that is written out says nothing.
        let is_copy = model.spec.tied_output && !known.contains(&name.as_str()) && tensor.shape == *embedding;
        if is_copy {
            continue;
        }
        let how = match matrices.get(name.as_str()) {
            Some(axis) => (rounding(Part::Matrix, precision), *axis),
            None => (Rounding::None, 0),
        };
        items.push(stored(weights, name, how)?);
    }
    refuse_no_work(weights.tensors, &items, precision)?;
    Ok(items)
}

fn rounding(part: Part, precision: QuantizationType) -> Rounding {
    match (part, precision) {
        (Part::Exact, _) => Rounding::None,
        (_, QuantizationType::Float16) => Rounding::Half(DataType::F16),
        (_, QuantizationType::Bfloat16) => Rounding::Half(DataType::Bf16),
        // They are looked up, never multiplied.
        (Part::Table, QuantizationType::Int16) => Rounding::None,
        (Part::Table, _) => Rounding::Shortened,
        // Patches of groups that images do not share are rounded one by one; a scale per output is as good.
        (Part::Filter | Part::Transposed | Part::Doubling, QuantizationType::Int16) => Rounding::Integers(precision),
        (Part::Filter | Part::Transposed | Part::Doubling, _) => Rounding::Integers(QuantizationType::Int8),
        (Part::Matrix, _) => Rounding::Integers(precision),
    }
}

fn form(name: &str, shape: &[usize], (rounding, axis): (Rounding, usize), data_type: DataType) -> Result<Form> {
    Ok(match rounding {
        Rounding::None => Form::Kept(data_type),
        Rounding::Half(half) if half == data_type => Form::Kept(data_type),
        Rounding::Half(half) => Form::Half(half),
        Rounding::Shortened if data_type == DataType::F32 => Form::Half(DataType::Bf16),
        Rounding::Shortened => Form::Kept(data_type),
        Rounding::Integers(kind) => {
            let layout = Layout::new(kind, shape.to_vec(), axis);
            Form::Integers(layout.map_err(|rule| Error::unsupported(format!("quantising tensor `{name}`"), rule))?)
        }
    })
}

fn stored<'t>(weights: &'t Weights<'t>, name: &str, how: (Rounding, usize)) -> Result<Item<'t>> {
    let view = weights.stored(name)?;
    let form = form(name, &view.shape, how, view.data_type)?;
    let (name, shape) = (name.to_owned(), view.shape.clone());
    Ok(Item { home: name.clone(), name, shape, numbers: Numbers::Stored(view), form })
}

/// Makes a transposed convolution of one over doubled pixels: what is summed must not be rounded before.
fn doubling<'t>(
    weights: &'t Weights<'t>,
    tensor: &ExpectedTensor,
    name: String,
    rounding: Rounding,
) -> Result<Item<'t>> {
    let home = tensor.name.clone();
    let (outputs, inputs) = (tensor.shape[0], tensor.shape[1]);
    let shape = vec![inputs, outputs, 4, 4];
    let form = form(&name, &shape, (rounding, 1), DataType::F32)?;
    let of = home.clone();
    let numbers = Numbers::Computed(Box::new(move || Ok(transposed_of_doubling(&weights.values(&of)?, outputs))));
    Ok(Item { name, home, shape, numbers, form })
}

/// Folds batch normalisation into its convolution.
fn folded<'t>(
    weights: &'t Weights<'t>,
    normalised: &'t Normalised,
    precision: QuantizationType,
) -> Result<[Item<'t>; 2]> {
    let Normalised { convolution, norm, shape, epsilon, part } = normalised;
    let home = format!("{convolution}.weight");
    let weight = Item {
        form: form(&home, shape, (rounding(*part, precision), 0), DataType::F32)?,
        name: home.clone(),
        home: home.clone(),
        shape: shape.to_vec(),
        numbers: Numbers::Computed(Box::new(|| Ok(weights.folded(convolution, norm, *epsilon)?.0))),
    };
    let bias = Item {
        name: format!("{convolution}.bias"),
        home,
        shape: vec![shape[0]],
        numbers: Numbers::Computed(Box::new(|| Ok(weights.folded(convolution, norm, *epsilon)?.1))),
        form: Form::Kept(DataType::F32),
    };
    Ok([weight, bias])
}

/// Nothing is left to do where every tensor that could be rounded has the type already.
fn refuse_no_work(tensors: &Tensors<'_>, items: &[Item<'_>], precision: QuantizationType) -> Result<()> {
    if items.iter().any(|item| !matches!(item.form, Form::Kept(_))) {
        return Ok(());
    }
    let reason = "every weight that could be rounded has that type, or one that is as short";
    Err(Error::unsupported(format!("quantising {} to `{precision}`", tensors.subject()), reason))
}
