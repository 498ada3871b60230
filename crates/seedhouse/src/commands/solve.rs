//! `seedhouse solve`: a registered problem, for parameters.

use seedhouse_core::runtime::{Outcome, Relation};
use seedhouse_service::{Answer, Service, SolveRequest, Solved};
use serde_json::json;

use crate::cli::SolveArguments;
use crate::output::{Output, print_json, print_line, print_table};

pub(super) fn run(service: &Service, arguments: &SolveArguments, output: Output) -> anyhow::Result<()> {
    let request = SolveRequest { parameters: arguments.set.clone(), timeout: arguments.timeout };
    let answer = service.solve(&arguments.reference, &request, &|| false)?;
    match output {
        Output::Json => print_json(&json!({
            "model_id": answer.model_id,
            "version": answer.version,
            "digest": answer.digest,
            "solution": answer.value.to_json(),
            "load_seconds": answer.load_seconds,
            "seconds": answer.value.seconds,
        })),
        Output::Text => print_text(&answer),
    }
}

fn print_text(answer: &Answer<Solved>) -> anyhow::Result<()> {
    let solved = &answer.value;
    print_line(&headline(solved))?;
    if solved.solution.outcome == Outcome::Infeasible {
        print_conflicts(solved)?;
    }
    if !solved.solution.variables.is_empty() {
        print_line("")?;
        print_variables(solved)?;
    }
    if !solved.solution.constraints.is_empty() {
        print_line("")?;
        print_constraints(solved)?;
    }
    if let (Some(reason), false) = (&solved.solution.no_prices_because, solved.solution.variables.is_empty()) {
        eprintln!("no shadow prices: {reason}");
    }
    eprintln!("{} {}: {:.3} s", answer.model_id, answer.digest, solved.seconds);
    Ok(())
}

fn headline(solved: &Solved) -> String {
    let unit = &solved.info.objective_unit;
    let objective = solved.solution.objective.map_or_else(String::new, |objective| with_unit(objective, unit));
    match (solved.solution.outcome, solved.solution.best_bound) {
        (Outcome::Optimal, _) => format!("optimal: {objective}"),
        (Outcome::Feasible, Some(bound)) => {
            format!("the best until the time was up: {objective}; it cannot be better than {}", with_unit(bound, unit))
        }
        (Outcome::Feasible, None) => format!("the best until the time was up: {objective}"),
        (Outcome::Infeasible, _) => "infeasible: nothing meets all constraints".into(),
        (Outcome::Unbounded, _) => "unbounded: the objective becomes better without end".into(),
    }
}

fn print_conflicts(solved: &Solved) -> anyhow::Result<()> {
    let line = |text: String| print_line(&text);
    for (constraint, missing) in solved.conflicts() {
        line(format!("  `{}` would have to give way by {}", constraint.name, with_unit(missing, &constraint.unit)))?;
    }
    Ok(())
}

fn print_variables(solved: &Solved) -> anyhow::Result<()> {
    let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), readable);
    let row = |(info, value): (&seedhouse_core::runtime::VariableInfo, &seedhouse_core::runtime::VariableValue)| {
        vec![info.name.clone(), readable(value.value), info.unit.clone(), cell(value.reduced_cost)]
    };
    let rows: Vec<Vec<String>> = solved.variables().map(row).collect();
    Ok(print_table(&["VARIABLE", "VALUE", "UNIT", "REDUCED COST"], &rows)?)
}

fn print_constraints(solved: &Solved) -> anyhow::Result<()> {
    let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), readable);
    let row = |(info, value): (&seedhouse_core::runtime::ConstraintInfo, &seedhouse_core::runtime::ConstraintValue)| {
        let relation = match info.relation {
            Relation::AtMost => "<=",
            Relation::AtLeast => ">=",
            Relation::Equal => "=",
        };
        let (right, slack) = (readable(value.right_side), readable(value.slack));
        let name = info.name.clone();
        vec![
            name,
            readable(value.left_side),
            relation.into(),
            right,
            info.unit.clone(),
            slack,
            cell(value.shadow_price),
        ]
    };
    let rows: Vec<Vec<String>> = solved.constraints().map(row).collect();
    Ok(print_table(&["CONSTRAINT", "LEFT", "", "RIGHT", "UNIT", "SLACK", "SHADOW PRICE"], &rows)?)
}

fn with_unit(value: f64, unit: &str) -> String {
    if unit.is_empty() { readable(value) } else { format!("{} {unit}", readable(value)) }
}

/// Returns a number to at most six digits after the point; `--json` has all of them.
fn readable(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    // What rounds to nothing has no sign.
    if text == "-0" { "0".into() } else { text.to_owned() }
}
