//! A problem whose every name is known and whose every limit is kept.

use std::collections::HashMap;
use std::sync::Arc;

use seedhouse_core::Result;
use seedhouse_core::runtime::{ConstraintInfo, Direction, ParameterInfo, ProblemInfo, VariableInfo, VariableKind};

use super::Mistake;
use super::document::{ConstraintText, Document, ParameterText, VariableText};
use super::linear::{Linear, Row};
use super::number::{Coefficients, NumberText};
use crate::quote::quote;

/// The most variables, and the most constraints.
const MOST: usize = 10_000;
/// The most coefficients of objective and constraints together.
const MOST_COEFFICIENTS: usize = 200_000;
/// The most parameters.
const MOST_PARAMETERS: usize = 256;
/// The longest name, the longest unit and the longest description, in bytes.
const LONGEST: [(&str, usize); 3] = [("name", 128), ("unit", 64), ("description", 4096)];
/// The greatest number of a problem. Beyond it the solver would take a bound for none.
pub(super) const GREATEST: f64 = 1e15;
/// The greatest bound of a variable that takes whole numbers.
const GREATEST_WHOLE: f64 = i32::MAX as f64;

/// A problem with its parameters open.
#[derive(Debug)]
pub(super) struct Declaration {
    info: Arc<ProblemInfo>,
    lower: Vec<Option<Number>>,
    upper: Vec<Option<Number>>,
    costs: Vec<(usize, Number)>,
    constant: Number,
    rows: Vec<(Vec<(usize, Number)>, Number)>,
}

/// A number: a constant, or what the parameter of this place makes of it.
#[derive(Debug, Clone, Copy)]
enum Number {
    Constant(f64),
    Scaled { parameter: usize, times: f64, plus: f64 },
}

impl Number {
    fn value(self, parameters: &[f64], place: impl Fn() -> String) -> Result<f64, Mistake> {
        let value = match self {
            Number::Constant(value) => value,
            Number::Scaled { parameter, times, plus } => parameters[parameter] * times + plus,
        };
        in_range(value, place)
    }
}

fn in_range(value: f64, place: impl Fn() -> String) -> Result<f64, Mistake> {
    // Also false for what is no number.
    match value.abs() <= GREATEST {
        true => Ok(value),
        false => Err(Mistake::new(place(), format!("{value} is beyond ±{GREATEST:e}"))),
    }
}

impl Declaration {
    /// Reads a document; errors call it `what`.
    ///
    /// # Errors
    /// Those of [`Document::read`]; [`Error::Malformed`](seedhouse_core::Error::Malformed) for names that are unknown, empty or there
    /// twice, bounds that leave no room, numbers and sizes beyond the limits.
    pub(super) fn read(what: &str, bytes: &[u8]) -> Result<Declaration> {
        Declaration::new(Document::read(what, bytes)?).map_err(|mistake| mistake.in_document(what))
    }

    fn new(document: Document) -> Result<Declaration, Mistake> {
        check_sizes(&document)?;
        check_texts(&document)?;
        let Document { parameters, variables, objective, constraints, .. } = document;
        let parameter_infos = parameters.iter().enumerate().map(parameter).collect::<Result<Vec<_>, _>>()?;
        let known = Names {
            parameters: index("parameters", parameters.iter().map(|parameter| parameter.name.as_str()))?,
            variables: index("variables", variables.iter().map(|variable| variable.name.as_str()))?,
        };
        index("constraints", constraints.iter().map(|constraint| constraint.name.as_str()))?;
        let bound = |place: usize, side: &str, number: Option<&NumberText>| {
            number.map(|number| known.number(number, &format!("variables[{place}].{side}"))).transpose()
        };
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for (place, variable) in variables.iter().enumerate() {
            let (least, most) = bounds(place, variable)?;
            lower.push(bound(place, "lower", least.as_ref())?);
            upper.push(bound(place, "upper", most.as_ref())?);
        }
        let costs = known.terms(&objective.coefficients, "objective.coefficients")?;
        let constant = objective.constant.unwrap_or(NumberText::Constant(0.0));
        let constant = known.number(&constant, "objective.constant")?;
        let rows = constraints.iter().enumerate().map(|(place, constraint)| {
            let terms = known.terms(&constraint.coefficients, &format!("constraints[{place}].coefficients"))?;
            Ok((terms, known.number(&constraint.right_side, &format!("constraints[{place}].right_side"))?))
        });
        let rows = rows.collect::<Result<Vec<_>, Mistake>>()?;
        let info = ProblemInfo {
            direction: objective.direction,
            objective_unit: objective.unit,
            variables: variables.into_iter().map(variable_info).collect(),
            constraints: constraints.into_iter().map(constraint_info).collect(),
            parameters: parameter_infos,
        };
        let declaration = Declaration { info: Arc::new(info), lower, upper, costs, constant, rows };
        // What a request that chooses nothing would get.
        let defaults: Vec<f64> = declaration.info.parameters.iter().map(|parameter| parameter.default).collect();
        declaration.with(&defaults)?;
        Ok(declaration)
    }

    /// Returns what the problem is made of.
    pub(super) fn info(&self) -> &Arc<ProblemInfo> {
        &self.info
    }

    /// Returns whether some variables take whole numbers only.
    pub(super) fn is_mixed_integer(&self) -> bool {
        self.integer_count() > 0
    }

    /// Returns how many variables take whole numbers only.
    pub(super) fn integer_count(&self) -> usize {
        self.info.variables.iter().filter(|variable| variable.kind != VariableKind::Continuous).count()
    }

    /// Returns about how many bytes it takes.
    pub(super) fn memory_bytes(&self) -> u64 {
        let terms = self.costs.len() + self.rows.iter().map(|(terms, _)| terms.len()).sum::<usize>();
        let names: usize = self.info.variables.iter().map(|variable| variable.name.len() + variable.unit.len()).sum();
        let row_names: usize = self.info.constraints.iter().map(|row| row.name.len() + row.unit.len()).sum();
        let fixed = self.info.variables.len() * (2 * size_of::<Option<Number>>() + size_of::<VariableInfo>())
            + self.rows.len() * (size_of::<(Vec<()>, Number)>() + size_of::<ConstraintInfo>());
        (terms * size_of::<(usize, Number)>() + names + row_names + fixed) as u64
    }

    /// Returns the problem with all its numbers, one value for each parameter.
    ///
    /// # Errors
    /// A [`Mistake`] when bounds leave a variable no room, or a number is too large.
    pub(super) fn with(&self, parameters: &[f64]) -> Result<Linear, Mistake> {
        let variable = |place: usize| format!("variables[{place}] ({})", quote(&self.info.variables[place].name));
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for (place, info) in self.info.variables.iter().enumerate() {
            let bound = |number: Option<Number>, side: &str, open: f64| {
                number.map_or(Ok(open), |number| number.value(parameters, || format!("{}.{side}", variable(place))))
            };
            let least = bound(self.lower[place], "lower", f64::NEG_INFINITY)?;
            let most = bound(self.upper[place], "upper", f64::INFINITY)?;
            check_bounds(info, least, most).map_err(|rule| Mistake::new(variable(place), rule))?;
            lower.push(least);
            upper.push(most);
        }
        let mut costs = vec![0.0; self.info.variables.len()];
        for (place, number) in &self.costs {
            costs[*place] = number.value(parameters, || format!("objective.coefficients of {}", variable(*place)))?;
        }
        let row = |(place, info): (usize, &ConstraintInfo)| {
            let (terms, right_side) = &self.rows[place];
            let at = |what: String| format!("{what} of constraints[{place}] ({})", quote(&info.name));
            let terms = terms.iter().map(|(column, number)| {
                let value = number.value(parameters, || at(format!("the coefficient of {}", variable(*column))))?;
                Ok((*column, value))
            });
            let right_side = right_side.value(parameters, || at("right_side".into()))?;
            Ok(Row { terms: terms.collect::<Result<_, Mistake>>()?, relation: info.relation, right_side })
        };
        let rows = self.info.constraints.iter().enumerate().map(row).collect::<Result<_, Mistake>>()?;
        Ok(Linear {
            maximise: self.info.direction == Direction::Maximise,
            costs,
            constant: self.constant.value(parameters, || "objective.constant".into())?,
            is_whole: self.info.variables.iter().map(|variable| variable.kind != VariableKind::Continuous).collect(),
            lower,
            upper,
            rows,
        })
    }
}

/// Returns the bounds that a variable has, written or not.
fn bounds(place: usize, variable: &VariableText) -> Result<(Option<NumberText>, Option<NumberText>), Mistake> {
    let VariableText { name, kind, lower, upper, .. } = variable;
    match (kind, lower, upper) {
        (VariableKind::Binary, None, None) => Ok((Some(NumberText::Constant(0.0)), Some(NumberText::Constant(1.0)))),
        (VariableKind::Binary, ..) => {
            let rule = format!("{} is binary, so it has no other bounds than 0 and 1", quote(name));
            Err(Mistake::new(format!("variables[{place}]"), rule))
        }
        (_, lower, upper) => Ok((lower.clone().unwrap_or(Some(NumberText::Constant(0.0))), upper.clone())),
    }
}

/// Bounds must leave room, for a whole number where one is asked for.
fn check_bounds(info: &VariableInfo, lower: f64, upper: f64) -> Result<(), String> {
    if lower > upper {
        return Err(format!("its lower bound {lower} is above its upper bound {upper}"));
    }
    if info.kind == VariableKind::Continuous {
        return Ok(());
    }
    if [lower, upper].iter().any(|bound| bound.is_finite() && bound.abs() > GREATEST_WHOLE) {
        return Err(format!("whole numbers lie within ±{GREATEST_WHOLE}, but its bounds are {lower} and {upper}"));
    }
    match lower.ceil() > upper.floor() {
        true => Err(format!("there is no whole number from {lower} to {upper}")),
        false => Ok(()),
    }
}

/// The places of names.
struct Names<'a> {
    parameters: HashMap<&'a str, usize>,
    variables: HashMap<&'a str, usize>,
}

impl Names<'_> {
    fn number(&self, number: &NumberText, place: &str) -> Result<Number, Mistake> {
        match number {
            NumberText::Constant(value) => in_range(*value, || place.to_owned()).map(Number::Constant),
            NumberText::Scaled { parameter, times, plus } => {
                let parameter = find(&self.parameters, parameter, "parameter", place)?;
                let times = in_range(*times, || format!("{place}.times"))?;
                let plus = in_range(*plus, || format!("{place}.plus"))?;
                Ok(Number::Scaled { parameter, times, plus })
            }
        }
    }

    fn terms(&self, coefficients: &Coefficients, place: &str) -> Result<Vec<(usize, Number)>, Mistake> {
        if coefficients.0.is_empty() {
            return Err(Mistake::new(place, "it is empty, but needs a variable"));
        }
        let term = |(name, number): &(String, NumberText)| {
            let variable = find(&self.variables, name, "variable", place)?;
            Ok((variable, self.number(number, &format!("{place}.{name}"))?))
        };
        coefficients.0.iter().map(term).collect()
    }
}

fn find(names: &HashMap<&str, usize>, name: &str, kind: &str, place: &str) -> Result<usize, Mistake> {
    names.get(name).copied().ok_or_else(|| {
        const MOST_NAMED: usize = 8;
        let mut known: Vec<&str> = names.keys().copied().collect();
        known.sort_by_key(|name| names[name]);
        let listed: Vec<String> = known.iter().take(MOST_NAMED).map(|name| quote(name)).collect();
        let more = if known.len() > MOST_NAMED { " …" } else { "" };
        let known =
            if listed.is_empty() { "there is none".into() } else { format!("there is {}{more}", listed.join(", ")) };
        Mistake::new(place, format!("no {kind} is called {}; {known}", quote(name)))
    })
}

/// Returns the places of names, each of which must be there once.
fn index<'a>(list: &str, names: impl Iterator<Item = &'a str>) -> Result<HashMap<&'a str, usize>, Mistake> {
    let mut places = HashMap::new();
    for (place, name) in names.enumerate() {
        if let Some(first) = places.insert(name, place) {
            let rule = format!("{} is the name of {list}[{first}] already", quote(name));
            return Err(Mistake::new(format!("{list}[{place}].name"), rule));
        }
    }
    Ok(places)
}

fn check_sizes(document: &Document) -> Result<(), Mistake> {
    let terms = document.constraints.iter().map(|constraint| constraint.coefficients.0.len()).sum::<usize>()
        + document.objective.coefficients.0.len();
    let sizes = [
        ("parameters", document.parameters.len(), MOST_PARAMETERS),
        ("variables", document.variables.len(), MOST),
        ("constraints", document.constraints.len(), MOST),
        ("coefficients", terms, MOST_COEFFICIENTS),
    ];
    for (what, size, most) in sizes {
        if size > most {
            return Err(Mistake::new(what, format!("there are {size}, and the limit is {most}")));
        }
    }
    if document.variables.is_empty() {
        return Err(Mistake::new("variables", "there are none, so there is nothing to find"));
    }
    Ok(())
}

/// Texts are printed in tables and errors.
fn check_texts(document: &Document) -> Result<(), Mistake> {
    let Document { description, parameters, variables, objective, constraints, .. } = document;
    check_text("", [None, None, Some(description)])?;
    check_text("objective.", [None, Some(&objective.unit), Some(&objective.description)])?;
    for (place, ParameterText { name, unit, description, .. }) in parameters.iter().enumerate() {
        check_text(&format!("parameters[{place}]."), [Some(name), Some(unit), Some(description)])?;
    }
    for (place, VariableText { name, unit, description, .. }) in variables.iter().enumerate() {
        check_text(&format!("variables[{place}]."), [Some(name), Some(unit), Some(description)])?;
    }
    for (place, ConstraintText { name, unit, description, .. }) in constraints.iter().enumerate() {
        check_text(&format!("constraints[{place}]."), [Some(name), Some(unit), Some(description)])?;
    }
    Ok(())
}

/// Checks a name, a unit and a description.
fn check_text(place: &str, texts: [Option<&String>; 3]) -> Result<(), Mistake> {
    for (text, (field, longest)) in texts.into_iter().zip(LONGEST) {
        let Some(text) = text else { continue };
        let rule = if text.len() > longest {
            format!("it has {} bytes, and the limit is {longest}", text.len())
        } else if field != "description" && text.contains(char::is_control) {
            format!("{} has a control character", quote(text))
        } else if field == "name" && (text.is_empty() || text.trim() != text || text.contains('=')) {
            format!("{} is no name: it must not be empty, begin or end with a space, or have a `=`", quote(text))
        } else {
            continue;
        };
        return Err(Mistake::new(format!("{place}{field}"), rule));
    }
    Ok(())
}

fn parameter((place, text): (usize, &ParameterText)) -> Result<ParameterInfo, Mistake> {
    let at = |field: &str| format!("parameters[{place}].{field}");
    let default = in_range(text.default, || at("default"))?;
    let lowest = text.lowest.map(|value| in_range(value, || at("lowest"))).transpose()?;
    let highest = text.highest.map(|value| in_range(value, || at("highest"))).transpose()?;
    if let (Some(lowest), Some(highest)) = (lowest, highest)
        && lowest > highest
    {
        return Err(Mistake::new(at("lowest"), format!("{lowest} is above `highest`, which is {highest}")));
    }
    if lowest.is_some_and(|lowest| default < lowest) || highest.is_some_and(|highest| default > highest) {
        let side = |bound: Option<f64>| bound.map_or_else(|| "any".to_owned(), |bound| bound.to_string());
        let range = format!("`lowest` {} and `highest` {}", side(lowest), side(highest));
        return Err(Mistake::new(at("default"), format!("{default} is not between {range}")));
    }
    Ok(ParameterInfo { name: text.name.clone(), unit: text.unit.clone(), default, lowest, highest })
}

fn variable_info(text: VariableText) -> VariableInfo {
    VariableInfo { name: text.name, unit: text.unit, kind: text.kind }
}

fn constraint_info(text: ConstraintText) -> ConstraintInfo {
    ConstraintInfo { name: text.name, unit: text.unit, relation: text.relation }
}
