//! Whether two loaded versions compute the same: both are given the same made-up inputs.
//!
//! The second one may be a graph of tensors that somebody made of a model of another kind. Its inputs are then in the order in which
//! this registry writes them: tokens; image, timestep, class; tokens, mask, types; raw features.

use seedhouse_core::runtime::{
    Denoiser, Embedder, LoadedModel, StepPart, Tensor, TensorData, TensorModel, TensorType, TextModel, Wanted,
};
use seedhouse_core::{Error, Result};

use crate::Slot;
use crate::diffusion::noise::Noise;

/// Tokens of a made-up text.
const TOKENS: usize = 9;

/// Images, and rows of made-up tensors.
const ROWS: usize = 2;

/// Rows and columns of made-up images whose size is free: networks that halve them five times take it.
const SIDE: usize = 64;

/// Begins the made-up numbers.
const SEED: u64 = 7;

/// Returns the greatest difference between outputs of the two, as a share of the greatest output of the first.
///
/// # Errors
/// [`Error::Invalid`] when the second one does not take or give what the first one does; those of computing.
pub fn difference(own: &Slot, other: &Slot) -> Result<f64> {
    let (expected, found) = match (own.model(), other.model()) {
        (LoadedModel::Text(one), LoadedModel::Text(other)) => (of_text(one.as_ref())?, of_text(other.as_ref())?),
        (LoadedModel::Text(one), LoadedModel::Tensor(graph)) => {
            let ids: Vec<i64> = tokens(one.info().vocab_size).into_iter().map(i64::from).collect();
            let logits = run(graph.as_ref(), vec![integers(vec![1, TOKENS], ids)])?;
            // The graph gives logits after each token.
            let last = logits.len().saturating_sub(one.info().vocab_size);
            (of_text(one.as_ref())?, logits[last..].to_vec())
        }
        (LoadedModel::Diffusion(one), LoadedModel::Diffusion(other)) => {
            (of_denoiser(one.as_ref())?, of_denoiser(other.as_ref())?)
        }
        (LoadedModel::Diffusion(one), LoadedModel::Tensor(graph)) => {
            (of_denoiser(one.as_ref())?, denoised_by(graph.as_ref(), one.as_ref())?)
        }
        (LoadedModel::Embedding(one), LoadedModel::Embedding(other)) => {
            (of_embedder(one.as_ref())?, of_embedder(other.as_ref())?)
        }
        (LoadedModel::Embedding(one), LoadedModel::Tensor(graph)) => {
            let ids: Vec<i64> = embedded_tokens(one.as_ref()).into_iter().map(i64::from).collect();
            let count = ids.len();
            let of = |values: Vec<i64>| integers(vec![1, count], values);
            let inputs = vec![of(ids), of(vec![1; count]), of(vec![0; count])];
            (of_embedder(one.as_ref())?, run(graph.as_ref(), inputs)?)
        }
        (LoadedModel::Tensor(one), LoadedModel::Tensor(other)) => match own.tabular_example()? {
            Some(example) if !other.declared().contains_key("features") => {
                let row = Tensor::new(vec![1, example.row.len()], example.row);
                (example.results, run(other.as_ref(), vec![row])?)
            }
            Some(example) => {
                let row = || Tensor::new(vec![1, example.row.len()], example.row.clone());
                (run(one.as_ref(), vec![row()])?, run(other.as_ref(), vec![row()])?)
            }
            None => (run(one.as_ref(), made_up(one.as_ref()))?, run(other.as_ref(), made_up(one.as_ref()))?),
        },
        _ => {
            let rule = format!("must be a model of the kind of `{}`", own.model_id());
            return Err(Error::invalid("model", other.model_id(), rule));
        }
    };
    compare(other, &expected, &found)
}

fn compare(other: &Slot, expected: &[f32], found: &[f32]) -> Result<f64> {
    if expected.len() != found.len() {
        let rule = format!("`{}` must give {} numbers for the same input", other.model_id(), expected.len());
        return Err(Error::invalid("outputs", found.len(), rule));
    }
    let greatest = |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(0.0_f64, f64::max);
    let difference = greatest(&mut expected.iter().zip(found).map(|(one, other)| f64::from((one - other).abs())));
    let scale = greatest(&mut expected.iter().map(|number| f64::from(number.abs())));
    let finite = expected.iter().chain(found).all(|number| number.is_finite());
    match finite {
        true => Ok(difference / scale.max(f64::MIN_POSITIVE)),
        false => Ok(f64::INFINITY),
    }
}

fn tokens(vocabulary: usize) -> Vec<u32> {
    // Numbers spread over the vocabulary; it has at least one token.
    (0..TOKENS).map(|place| (place * 7919 % vocabulary.max(1)) as u32).collect()
}

fn of_text(model: &dyn TextModel) -> Result<Vec<f32>> {
    let mut executor = model.executor()?;
    let sequence = executor.open()?;
    let tokens = tokens(model.info().vocab_size);
    let tokens = &tokens[..tokens.len().min(model.info().context_length)];
    let logits = executor.step(&[StepPart { sequence, tokens, wanted: Wanted::Last }])?.row(0).to_vec();
    executor.close(sequence);
    Ok(logits)
}

/// Made-up images, the noisiest of them last.
fn noisy(model: &dyn Denoiser) -> (Vec<f32>, Vec<usize>, Vec<Option<usize>>) {
    let info = model.info();
    let mut images = vec![0.0; ROWS * info.image_length()];
    Noise::new(SEED, 0).fill(&mut images);
    let timesteps = (0..ROWS).map(|row| row * info.num_timesteps().saturating_sub(1)).collect();
    let classes = (0..ROWS).map(|row| info.num_classes.map(|count| row % count.max(1))).collect();
    (images, timesteps, classes)
}

fn of_denoiser(model: &dyn Denoiser) -> Result<Vec<f32>> {
    let (images, timesteps, classes) = noisy(model);
    model.predict(&images, &timesteps, &classes)
}

fn denoised_by(graph: &dyn TensorModel, model: &dyn Denoiser) -> Result<Vec<f32>> {
    let (images, timesteps, classes) = noisy(model);
    let info = model.info();
    let ([height, width], channels) = (info.image_size, info.channels);
    // A graph has the channels before the rows of pixels.
    let mut planes = Vec::with_capacity(images.len());
    for image in images.chunks_exact(info.image_length()) {
        for channel in 0..channels {
            planes.extend(image.iter().skip(channel).step_by(channels));
        }
    }
    let integers_of = |values: &mut dyn Iterator<Item = usize>| {
        integers(vec![ROWS], values.map(|value| i64::try_from(value).unwrap_or(i64::MAX)).collect())
    };
    let mut inputs = vec![Tensor::new(vec![ROWS, channels, height, width], planes)];
    inputs.push(integers_of(&mut timesteps.into_iter()));
    if info.num_classes.is_some() {
        inputs.push(integers_of(&mut classes.into_iter().flatten()));
    }
    let planes = run(graph, inputs)?;
    let mut predicted = Vec::with_capacity(planes.len());
    for image in planes.chunks_exact(info.image_length()) {
        for pixel in 0..height * width {
            predicted.extend((0..channels).map(|channel| image[channel * height * width + pixel]));
        }
    }
    Ok(predicted)
}

fn embedded_tokens(model: &dyn Embedder) -> Vec<u32> {
    // Nobody tells the size of the vocabulary; small numbers are in all of them.
    (0..TOKENS.min(model.info().longest_sequence)).map(|place| place as u32 % 7).collect()
}

fn of_embedder(model: &dyn Embedder) -> Result<Vec<f32>> {
    let tokens = embedded_tokens(model);
    Ok(model.embed(&[&tokens])?.into_iter().flatten().collect())
}

fn integers(shape: Vec<usize>, values: Vec<i64>) -> Tensor {
    Tensor::new(shape, TensorData::I64(values))
}

/// Made-up tensors for a model; a free dimension is the number of rows, or the side of an image.
fn made_up(model: &dyn TensorModel) -> Vec<Tensor> {
    let specs = model.inputs().iter().enumerate();
    let make = |(number, spec): (usize, &seedhouse_core::runtime::TensorSpec)| {
        let is_side = |place: usize| spec.shape.len() == 4 && place >= 2;
        let sizes = spec.shape.iter().enumerate();
        let shape: Vec<usize> =
            sizes.map(|(place, size)| size.unwrap_or(if is_side(place) { SIDE } else { ROWS })).collect();
        let count = shape.iter().product();
        match spec.tensor_type {
            TensorType::F32 => {
                let mut values = vec![0.0; count];
                Noise::new(SEED, number as u64).fill(&mut values);
                Tensor::new(shape, values)
            }
            TensorType::I64 => integers(shape, vec![1; count]),
            TensorType::F16 | TensorType::I32 | TensorType::I8 | TensorType::U8 | TensorType::Bool => {
                crate::tensors::served::zeros(spec.tensor_type, shape)
            }
        }
    };
    specs.map(make).collect()
}

/// Returns the numbers of the first output.
fn run(model: &dyn TensorModel, inputs: Vec<Tensor>) -> Result<Vec<f32>> {
    let names = model.inputs();
    if names.len() != inputs.len() {
        return Err(Error::invalid("inputs", names.len(), format!("must be {}, as the model has", inputs.len())));
    }
    let named: Vec<(&str, &Tensor)> = names.iter().map(|spec| spec.name.as_str()).zip(&inputs).collect();
    let outputs = model.run(&named)?;
    let first = outputs.first().and_then(Tensor::f32s).map(<[f32]>::to_vec);
    first.ok_or_else(|| Error::invalid("outputs", "no numbers", "the first output must be a tensor of float32"))
}
