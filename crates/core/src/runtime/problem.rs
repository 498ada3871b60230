//! Declared optimisation problems: what one is made of, and what a solver found.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::Result;

/// A linear or mixed-integer problem that a file declares.
pub trait DeclaredProblem: Send + Sync {
    /// Returns what the problem is made of.
    fn info(&self) -> &Arc<ProblemInfo>;

    /// Solves the problem for one value of each parameter, in the order of [`ProblemInfo::parameters`]. That a problem has no
    /// solution, or none that is best, is an answer and no error.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when the values leave a variable no room or are too large,
    /// [`Error::DeadlineExceeded`](crate::Error::DeadlineExceeded) when the time was up before anything was found,
    /// [`Error::Cancelled`](crate::Error::Cancelled), [`Error::Unsupported`](crate::Error::Unsupported) when the numbers are such
    /// that no result could be verified.
    fn solve(&self, parameters: &[f64], limits: &SolveLimits<'_>) -> Result<Solution>;

    /// Returns the bytes that the problem holds between calls. Cheap: it is asked often.
    fn memory_bytes(&self) -> u64;
}

/// When a solver gives up.
pub struct SolveLimits<'a> {
    /// When the time is up; what was found until then is the answer.
    pub deadline: Instant,
    /// Says whether nobody waits for the answer any more.
    pub is_cancelled: &'a dyn Fn() -> bool,
}

/// What a problem is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct ProblemInfo {
    /// Which way is better.
    pub direction: Direction,
    /// In what the objective is measured; empty where nobody said.
    pub objective_unit: String,
    /// What is to be found.
    pub variables: Vec<VariableInfo>,
    /// What must hold.
    pub constraints: Vec<ConstraintInfo>,
    /// The numbers that a request may choose.
    pub parameters: Vec<ParameterInfo>,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More.
    Maximise,
    /// Less.
    Minimise,
}

/// The values that a variable may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VariableKind {
    /// Any number.
    Continuous,
    /// Whole numbers.
    Integer,
    /// 0 or 1.
    Binary,
}

/// How the two sides of a constraint stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Relation {
    /// The left side is at most the right side.
    #[serde(rename = "<=")]
    AtMost,
    /// The left side is at least the right side.
    #[serde(rename = ">=")]
    AtLeast,
    /// Both sides are equal.
    #[serde(rename = "=")]
    Equal,
}

/// What is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableInfo {
    /// Its name, unique among variables.
    pub name: String,
    /// In what it is measured; empty where nobody said.
    pub unit: String,
    /// The values it may take.
    pub kind: VariableKind,
}

/// What must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintInfo {
    /// Its name, unique among constraints.
    pub name: String,
    /// In what both sides are measured; empty where nobody said.
    pub unit: String,
    /// How they stand to each other.
    pub relation: Relation,
}

/// A number that a request may choose.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterInfo {
    /// Its name, unique among parameters.
    pub name: String,
    /// In what it is measured; empty where nobody said.
    pub unit: String,
    /// Its value where a request says nothing.
    pub default: f64,
    /// The smallest value it may have.
    pub lowest: Option<f64>,
    /// The largest.
    pub highest: Option<f64>,
}

/// What became of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing is better, and that is proven.
    Optimal,
    /// The best that was found until the time was up.
    Feasible,
    /// Nothing meets all constraints.
    Infeasible,
    /// The objective can become better without end.
    Unbounded,
}

/// What a solver found.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// What became of the problem.
    pub outcome: Outcome,
    /// The value of the objective; with an assignment only.
    pub objective: Option<f64>,
    /// What the objective cannot be better than, where that is not the objective itself and is known.
    pub best_bound: Option<f64>,
    /// The assignment, in the order of the problem's variables; empty where there is none.
    pub variables: Vec<VariableValue>,
    /// Both sides of the constraints at the assignment, in the problem's order; empty where there is none.
    pub constraints: Vec<ConstraintValue>,
    /// Why there are no shadow prices and reduced costs; `None` when there are.
    pub no_prices_because: Option<String>,
    /// For an infeasible problem: what would have to give way, as a smallest such change.
    pub conflicts: Vec<Conflict>,
}

/// The value of a variable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VariableValue {
    /// The value.
    pub value: f64,
    /// By how much the objective changes for each unit that the variable is forced up; 0 between its bounds.
    pub reduced_cost: Option<f64>,
}

/// Both sides of a constraint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConstraintValue {
    /// The left side at the assignment.
    pub left_side: f64,
    /// The right side.
    pub right_side: f64,
    /// By how much the constraint is met: 0 when it binds. For an equation the right side less the left one.
    pub slack: f64,
    /// By how much the objective changes for each unit more on the right side.
    pub shadow_price: Option<f64>,
}

/// A constraint that stands in the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conflict {
    /// Its place among the constraints.
    pub constraint: usize,
    /// How far its left side is from what it must be.
    pub missing: f64,
}
