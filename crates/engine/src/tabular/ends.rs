//! Which input and which output of a tensor model are those of a table.

use seedhouse_core::runtime::{TensorModel, TensorSpec, TensorType};

/// The place of rows among the tensors of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    /// Numbers of a row, as far as the model says.
    pub(super) inputs: Option<usize>,
    /// Which output has a row of results for each row.
    pub(super) output: usize,
    /// Numbers of a row of results, as far as the model says; nothing also where rows have no dimension of their own.
    pub(super) outputs: Option<usize>,
    /// Whether several rows fit into the input.
    pub(super) takes_batches: bool,
}

impl Ends {
    /// Finds them, or says why there are none. `wanted` is the name of the output, where somebody said it.
    pub(super) fn of_model(model: &dyn TensorModel, wanted: Option<&str>) -> Result<Ends, String> {
        let [input] = model.inputs() else {
            return Err(format!("it takes {}, but one tensor [n, features] is needed", all(model.inputs())));
        };
        let (TensorType::F32, &[rows, inputs]) = (input.tensor_type, &input.shape[..]) else {
            return Err(format!("it takes {}, but float32 [n, features] is needed", one(input)));
        };
        if rows.is_some_and(|rows| rows != 1) {
            return Err(format!("it takes {}, but any number of rows, or one, is needed", one(input)));
        }
        let is_result = |spec: &TensorSpec| {
            let is_wanted = wanted.is_none_or(|name| spec.name == name);
            is_wanted && spec.tensor_type == TensorType::F32 && matches!(spec.shape.len(), 1 | 2)
        };
        let results: Vec<usize> =
            (0..model.outputs().len()).filter(|place| is_result(&model.outputs()[*place])).collect();
        let &[output] = &results[..] else {
            let said = wanted.map(|name| format!(" called `{name}`")).unwrap_or_default();
            let found = all(model.outputs());
            return Err(match results.is_empty() {
                true => format!("it gives {found}, but float32 [n, results]{said} is needed"),
                false => format!("it gives {found}: `metadata.output` must name the one with results"),
            });
        };
        let shape = &model.outputs()[output].shape;
        let outputs = shape.get(1).copied().unwrap_or(Some(1));
        let takes_batches = rows.is_none() && shape[0].is_none();
        Ok(Ends { inputs, output, outputs, takes_batches })
    }
}

fn one(spec: &TensorSpec) -> String {
    format!("`{}` {} {}", spec.name, spec.tensor_type, spec.shape_text())
}

fn all(specs: &[TensorSpec]) -> String {
    match specs {
        [] => "nothing".into(),
        specs => specs.iter().map(one).collect::<Vec<_>>().join(" and "),
    }
}
