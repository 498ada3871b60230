//! Declared problems: the parameters of a request become the values that a problem wants, and what was found gets its names back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::{
    ConstraintInfo, ConstraintValue, DeclaredProblem, ParameterInfo, ProblemInfo, Solution, SolveLimits, VariableInfo,
    VariableKind, VariableValue,
};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value, json};

use crate::tensors::{Numbers, Values};

/// What to solve a problem for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SolveRequest {
    /// Values of parameters by name; the others keep their own.
    pub parameters: Vec<(String, f64)>,
    /// How long it may take; [`SolveRequest::DEFAULT_TIMEOUT`] without it.
    pub timeout: Option<Duration>,
}

impl SolveRequest {
    /// How long a problem is worked on where nobody says.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
    /// The longest time that may be asked for.
    pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

    /// Checks the time that is asked for; every way of solving a problem passes here.
    ///
    /// # Errors
    /// [`Error::Invalid`] when more than [`LONGEST_TIMEOUT`](Self::LONGEST_TIMEOUT) is asked for.
    fn timeout(&self) -> Result<Duration> {
        let timeout = self.timeout.unwrap_or(SolveRequest::DEFAULT_TIMEOUT);
        if timeout > SolveRequest::LONGEST_TIMEOUT {
            let rule = format!("must be at most {} s", SolveRequest::LONGEST_TIMEOUT.as_secs());
            return Err(Error::invalid("timeout_seconds", timeout.as_secs_f64(), rule));
        }
        Ok(timeout)
    }

    /// Returns when the time is up that begins now.
    ///
    /// # Errors
    /// [`Error::Invalid`] when more than [`LONGEST_TIMEOUT`](Self::LONGEST_TIMEOUT) is asked for.
    pub fn deadline(&self) -> Result<Instant> {
        Ok(Instant::now() + self.timeout()?)
    }

    /// Returns the request for parameters that came as numbers of a tensor request.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not one number.
    pub fn of_numbers(inputs: &[(String, Numbers)]) -> Result<SolveRequest> {
        let parameter = |(name, numbers): &(String, Numbers)| {
            let value = match (&numbers.values, &numbers.shape[..]) {
                (Values::Whole(values), []) => values.first().map(|value| *value as f64),
                (Values::Fractional(values), []) => values.first().copied(),
                _ => None,
            };
            let rule = || Error::invalid(format!("parameters.{name}"), written(numbers), "must be one number");
            Ok((name.clone(), value.ok_or_else(rule)?))
        };
        Ok(SolveRequest { parameters: inputs.iter().map(parameter).collect::<Result<_>>()?, timeout: None })
    }
}

/// What was found, and of what.
#[derive(Debug, Clone, PartialEq)]
pub struct Solved {
    /// What the problem is made of.
    pub info: Arc<ProblemInfo>,
    /// The value of each parameter, in the problem's order.
    pub parameters: Vec<f64>,
    /// What was found.
    pub solution: Solution,
    /// How long it took.
    pub seconds: f64,
}

impl Solved {
    /// Returns the variables with their values; nothing where there is no assignment.
    pub fn variables(&self) -> impl Iterator<Item = (&VariableInfo, &VariableValue)> {
        self.info.variables.iter().zip(&self.solution.variables)
    }

    /// Returns the value of a variable; `None` where there is no such variable, or no assignment.
    pub fn value(&self, variable: &str) -> Option<f64> {
        self.variables().find(|(info, _)| info.name == variable).map(|(_, value)| value.value)
    }

    /// Returns the constraints with both sides; nothing where there is no assignment.
    pub fn constraints(&self) -> impl Iterator<Item = (&ConstraintInfo, &ConstraintValue)> {
        self.info.constraints.iter().zip(&self.solution.constraints)
    }

    /// Returns the constraints of an infeasible problem that would have to give way, and by how much.
    pub fn conflicts(&self) -> impl Iterator<Item = (&ConstraintInfo, f64)> {
        let constraint = |place: usize| &self.info.constraints[place];
        self.solution.conflicts.iter().map(move |conflict| (constraint(conflict.constraint), conflict.missing))
    }

    /// Returns the answer as every front end shows it to machines.
    pub fn to_json(&self) -> Value {
        let Solution { outcome, objective, best_bound, no_prices_because, .. } = &self.solution;
        let variable = |(info, value): (&VariableInfo, &VariableValue)| json!({ "name": info.name, "unit": info.unit, "value": number(value.value, info.kind), "reduced_cost": value.reduced_cost });
        let constraint = |(info, value): (&ConstraintInfo, &ConstraintValue)| {
            json!({
                "name": info.name, "unit": info.unit, "left_side": value.left_side, "relation": info.relation,
                "right_side": value.right_side, "slack": value.slack, "shadow_price": value.shadow_price,
            })
        };
        let conflict = |(info, missing): (&ConstraintInfo, f64)| json!({ "constraint": info.name, "unit": info.unit, "missing": missing });
        let parameters: Map<String, Value> = self
            .info
            .parameters
            .iter()
            .zip(&self.parameters)
            .map(|(info, value)| (info.name.clone(), json!(value)))
            .collect();
        json!({
            "outcome": outcome,
            "direction": self.info.direction,
            "objective": objective,
            "objective_unit": self.info.objective_unit,
            "best_bound": best_bound,
            "variables": self.variables().map(variable).collect::<Vec<_>>(),
            "constraints": self.constraints().map(constraint).collect::<Vec<_>>(),
            "parameters": parameters,
            "no_prices_because": no_prices_because,
            "conflicts": self.conflicts().map(conflict).collect::<Vec<_>>(),
        })
    }
}

/// Returns what was given instead of one number.
fn written(numbers: &Numbers) -> String {
    match (&numbers.values, &numbers.shape[..]) {
        (Values::Bool(values), []) => values.first().map_or_else(String::new, bool::to_string),
        (_, shape) => format!("numbers of shape {shape:?}"),
    }
}

/// Whole numbers are written as such.
fn number(value: f64, kind: VariableKind) -> Value {
    match kind {
        VariableKind::Continuous => json!(value),
        // They lie within 32 bits.
        VariableKind::Integer | VariableKind::Binary => json!(value as i64),
    }
}

/// Solves a problem for the parameters of a request.
pub(crate) fn solve(problem: &dyn DeclaredProblem, request: &SolveRequest, limits: &SolveLimits<'_>) -> Result<Solved> {
    let started = Instant::now();
    request.timeout()?;
    // Whoever solves several problems in one request may have more time for them together.
    let deadline = limits.deadline.min(started + SolveRequest::LONGEST_TIMEOUT);
    let limits = &SolveLimits { deadline, ..*limits };
    let info = Arc::clone(problem.info());
    let parameters = values(&info.parameters, &request.parameters)?;
    let solution = problem.solve(&parameters, limits)?;
    Ok(Solved { info, parameters, solution, seconds: started.elapsed().as_secs_f64() })
}

/// Shows that a problem can be worked on. That it takes long, or has no solution, is no fault of it.
pub(crate) fn warm_up(problem: &dyn DeclaredProblem) -> Result<()> {
    const LONGEST: Duration = Duration::from_secs(1);
    let limits = SolveLimits { deadline: Instant::now() + LONGEST, is_cancelled: &|| false };
    match solve(problem, &SolveRequest::default(), &limits) {
        Ok(_) | Err(Error::DeadlineExceeded { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns a value for each parameter.
fn values(parameters: &[ParameterInfo], given: &[(String, f64)]) -> Result<Vec<f64>> {
    let mut values: Vec<Option<f64>> = vec![None; parameters.len()];
    for (name, value) in given {
        let field = format!("parameters.{name}");
        let Some(place) = parameters.iter().position(|parameter| parameter.name == *name) else {
            return Err(Error::invalid(field, value, format!("the problem has {}", names(parameters))));
        };
        let ParameterInfo { lowest, highest, unit, .. } = &parameters[place];
        if !value.is_finite() {
            return Err(Error::invalid(field, value, "must be a finite number"));
        }
        let bounds = [
            lowest.map(|lowest| (lowest, *value < lowest, "least")),
            highest.map(|highest| (highest, *value > highest, "most")),
        ];
        if let Some((bound, _, side)) = bounds.into_iter().flatten().find(|(_, is_beyond, _)| *is_beyond) {
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            return Err(Error::invalid(field, value, format!("must be at {side} {bound}{unit}")));
        }
        if values[place].replace(*value).is_some() {
            return Err(Error::invalid(field, value, "is given twice"));
        }
    }
    Ok(values.into_iter().zip(parameters).map(|(value, parameter)| value.unwrap_or(parameter.default)).collect())
}

fn names(parameters: &[ParameterInfo]) -> String {
    if parameters.is_empty() {
        return "no parameters".into();
    }
    let names: Vec<String> = parameters.iter().map(|parameter| format!("`{}`", parameter.name)).collect();
    format!("the parameters {}", names.join(", "))
}

#[cfg(test)]
mod tests;
