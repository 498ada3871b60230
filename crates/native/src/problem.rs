//! Declared optimisation problems: linear, with whole numbers where they are asked for.
//!
//! ```text
//! document      the file as its writer wrote it (`docs/optimization.md` describes it)
//!   number      a number, a parameter, or a parameter times a number plus a number
//! declaration   the same, checked: every name is known, every limit kept; parameters -> linear
//! linear        one problem with all its numbers, and what an assignment makes of its constraints
//! solver        the simplex and branch-and-bound library, in slices of time
//! prices        shadow prices and reduced costs, from the dual problem
//! conflicts     what keeps an infeasible problem from a solution
//! solve         the above in their order, every result verified
//! ```

mod conflicts;
mod declaration;
mod document;
mod linear;
mod number;
mod prices;
mod solve;
mod solver;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use seedhouse_core::runtime::{DeclaredProblem, Inspection, LoadedModel};
use seedhouse_core::{Error, Framework, ManifestPath, ModelType, Result};
use serde_json::{Map, Value, json};

use self::declaration::Declaration;
use self::solve::LinearProblem;
use crate::description::undescribed;

/// Returns whether bytes are, or are meant to be, a document of this format. Whoever writes `"seedhouse": "optimization/…"` should
/// hear what is wrong with the rest.
pub(crate) fn is_document(bytes: &[u8]) -> bool {
    const FIELD: &[u8] = b"\"seedhouse\"";
    let text = bytes.trim_ascii_start();
    if !text.starts_with(b"{") {
        return false;
    }
    let head = &text[..text.len().min(document::LONGEST_BYTES)];
    let values = head.windows(FIELD.len()).enumerate().filter(|(_, window)| *window == FIELD);
    values.map(|(at, _)| head[at + FIELD.len()..].trim_ascii_start()).any(|rest| {
        rest.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"\"optimization/"))
    })
}

/// Describes a document.
///
/// # Errors
/// [`Error::Malformed`] naming the field that breaks a rule, [`Error::TooLarge`] for a document beyond the limits.
pub(crate) fn inspect(path: &ManifestPath, bytes: &[u8]) -> Result<Inspection> {
    let declaration = Declaration::read(&format!("file `{path}`"), bytes)?;
    Ok(Inspection {
        model_type: ModelType::Optimization,
        architecture: Some(if declaration.is_mixed_integer() { "mixed_integer" } else { "linear" }.into()),
        hyper_parameters: hyper_parameters(&declaration),
        not_servable_because: None,
        ..undescribed(Framework::Seedhouse, String::new())
    })
}

/// What a record says about a problem: how large it is, and what may be asked of it.
fn hyper_parameters(declaration: &Declaration) -> Map<String, Value> {
    let info = declaration.info();
    let parameter = |parameter: &seedhouse_core::runtime::ParameterInfo| {
        let mut fields = Map::new();
        fields.insert("default".into(), json!(parameter.default));
        fields.extend(parameter.lowest.map(|lowest| ("lowest".to_owned(), json!(lowest))));
        fields.extend(parameter.highest.map(|highest| ("highest".to_owned(), json!(highest))));
        if !parameter.unit.is_empty() {
            fields.insert("unit".into(), parameter.unit.clone().into());
        }
        (parameter.name.clone(), Value::Object(fields))
    };
    let mut found = Map::new();
    found.insert("direction".into(), json!(info.direction));
    found.insert("variable_count".into(), info.variables.len().into());
    found.insert("integer_variable_count".into(), declaration.integer_count().into());
    found.insert("constraint_count".into(), info.constraints.len().into());
    found.insert("parameters".into(), Value::Object(info.parameters.iter().map(parameter).collect()));
    found
}

/// Makes a document ready to be solved.
///
/// # Errors
/// As [`inspect`].
pub(crate) fn load(path: &ManifestPath, bytes: &[u8]) -> Result<LoadedModel> {
    let problem = read(&format!("file `{path}`"), bytes)?;
    Ok(LoadedModel::Problem(problem))
}

/// Reads a document; errors call it `what`.
///
/// # Errors
/// As [`inspect`].
pub(crate) fn read(what: &str, bytes: &[u8]) -> Result<Arc<dyn DeclaredProblem>> {
    Ok(Arc::new(LinearProblem::new(Declaration::read(what, bytes)?)))
}

/// A document that broke a rule: where, and which.
#[derive(Debug, Clone, PartialEq)]
struct Mistake {
    place: String,
    rule: String,
}

impl Mistake {
    fn new(place: impl Into<String>, rule: impl Into<String>) -> Mistake {
        Mistake { place: place.into(), rule: rule.into() }
    }

    fn in_document(self, what: &str) -> Error {
        Error::malformed(what, format!("{}: {}", self.place, self.rule))
    }
}
