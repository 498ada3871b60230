//! A graph that ONNX Runtime computes.

use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use ort::ep;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session as OrtSession, SessionInputValue};
use ort::value::{DynValue, PrimitiveTensorElementType, TensorRef};
use seedhouse_core::runtime::{Tensor, TensorData, TensorModel, TensorSpec, TensorType, check_inputs};
use seedhouse_core::{Error, ManifestPath, Result};

use crate::guarded::guarded;
use crate::library::Library;
use crate::library::resident::anonymous_bytes;
use crate::ports::Ports;

/// The longest message of its format that the library reads.
const MOST_BYTES: usize = i32::MAX as usize;

/// A loaded graph. Calls are computed one after the other, each by all threads: the library's bookkeeping is not made for more.
pub(crate) struct Session {
    session: Mutex<OrtSession>,
    ports: Ports,
    computed_by: String,
    bytes: u64,
}

impl Session {
    /// Hands a clean graph to the library.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with the words of the library.
    pub(crate) fn load(library: &Arc<Library>, path: &ManifestPath, clean: Vec<u8>, ports: Ports) -> Result<Session> {
        let computed_by = library.name();
        let refused = |reason: String| {
            Error::unsupported(format!("file `{path}`"), format!("{computed_by} does not load it: {reason}"))
        };
        let graph_bytes = clean.len();
        if graph_bytes > MOST_BYTES {
            return Err(refused(format!("it has {graph_bytes} bytes, and {MOST_BYTES} are the most")));
        }
        let before = anonymous_bytes();
        let session = guarded(|| session(library, &clean)).map_err(&refused)?.map_err(&refused)?;
        drop(clean);
        let bytes = bytes_of_session(graph_bytes as u64, before, anonymous_bytes());
        Ok(Session { session: Mutex::new(session), ports, computed_by, bytes })
    }
}

fn session(library: &Library, clean: &[u8]) -> Result<OrtSession, String> {
    let say = |error: &dyn std::fmt::Display| first_line(&error.to_string());
    let builder = OrtSession::builder(&library.environment).map_err(|error| say(&error))?;
    options(builder).map_err(|error| say(&error))?.commit_from_memory(clean).map_err(|error| say(&error))
}

/// Without the library's own store of freed memory: a model holds its weights between calls and nothing else, and takes as long.
#[expect(clippy::result_large_err, reason = "the library hands the builder back inside its error")]
fn options(builder: SessionBuilder) -> ort::session::builder::BuilderResult {
    builder
        .with_execution_providers([ep::CPU::default().with_arena_allocator(false).build()])?
        .with_optimization_level(GraphOptimizationLevel::All)
}

/// Returns what a session takes. The library does not say; it keeps the weights, some of them in another layout or precision, so what the
/// process grew by is the figure. Whatever else grew meanwhile is in it, up to a bound that no graph of ours reached.
fn bytes_of_session(graph: u64, before: Option<u64>, after: Option<u64>) -> u64 {
    const MOST_TIMES: u64 = 8;
    const MOST_BESIDE: u64 = 64 << 20;
    // The graph as it was handed over was counted before, and is gone after.
    let grown = before.zip(after).map(|(before, after)| (after + graph).saturating_sub(before));
    grown.unwrap_or_default().clamp(graph, graph.saturating_mul(MOST_TIMES).saturating_add(MOST_BESIDE))
}

impl TensorModel for Session {
    fn inputs(&self) -> &[TensorSpec] {
        &self.ports.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.ports.outputs
    }

    fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    fn computed_by(&self) -> Option<&str> {
        Some(&self.computed_by)
    }

    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let tensors = check_inputs(&self.ports.inputs, inputs)?;
        let shapes = || self.ports.shapes_of(&tensors);
        let named = self.ports.inputs.iter().zip(&tensors);
        let values: ort::Result<Vec<(&str, SessionInputValue<'_>)>> =
            named.map(|(spec, tensor)| Ok((spec.name.as_str(), value_of(tensor)?))).collect();
        let values = values.map_err(|error| Error::Internal(format!("inputs {}: {error}", shapes())))?;
        // A call that panicked left nothing of the session half done: it belongs to the library.
        let mut locked = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let session = &mut *locked;
        let outputs = guarded(move || session.run(values))
            .map_err(|panic| Error::Internal(format!("the graph stopped with inputs {}: {panic}", shapes())))?
            .map_err(|error| {
                let reason = first_line(&error.to_string());
                Error::invalid("inputs", shapes(), format!("the graph cannot compute with them: {reason}"))
            })?;
        let output = |spec: &TensorSpec| {
            let value = outputs.get(&spec.name);
            tensor(spec, value.ok_or_else(|| Error::Internal(format!("the output `{}` is missing", spec.name)))?)
        };
        self.ports.outputs.iter().map(output).collect()
    }
}

fn value_of(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    let shape = tensor.shape.as_slice();
    Ok(match &tensor.data {
        TensorData::F32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::F16(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::I64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::I32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::I8(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::U8(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::Bool(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
    })
}

fn tensor(spec: &TensorSpec, value: &DynValue) -> Result<Tensor> {
    match spec.tensor_type {
        TensorType::F32 => taken::<f32>(spec, value, TensorData::F32),
        TensorType::F16 => taken::<f16>(spec, value, TensorData::F16),
        TensorType::I64 => taken::<i64>(spec, value, TensorData::I64),
        TensorType::I32 => taken::<i32>(spec, value, TensorData::I32),
        TensorType::I8 => taken::<i8>(spec, value, TensorData::I8),
        TensorType::U8 => taken::<u8>(spec, value, TensorData::U8),
        TensorType::Bool => taken::<bool>(spec, value, TensorData::Bool),
    }
}

fn taken<T: PrimitiveTensorElementType + Clone>(
    spec: &TensorSpec,
    value: &DynValue,
    data: impl FnOnce(Vec<T>) -> TensorData,
) -> Result<Tensor> {
    let of_another_kind = |error: ort::Error| Error::Internal(format!("the output `{}`: {error}", spec.name));
    let (shape, values) = value.try_extract_tensor::<T>().map_err(of_another_kind)?;
    // The library counts with signed numbers; a size is never negative.
    let shape = shape.iter().map(|size| size.unsigned_abs() as usize).collect();
    Ok(Tensor { shape, data: data(values.to_vec()) })
}

/// Its messages go on with the places of its source.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_process_grew_by_within_bounds() {
        const MIB: u64 = 1 << 20;
        let of = |before, after| bytes_of_session(10 * MIB, Some(before * MIB), Some(after * MIB)) / MIB;
        assert_eq!(of(100, 115), 25);
        // Somebody else freed more.
        assert_eq!(of(100, 50), 10);
        // Somebody else took more.
        assert_eq!(of(100, 5_000), 144);
        assert_eq!(bytes_of_session(10 * MIB, None, None), 10 * MIB);
    }
}
