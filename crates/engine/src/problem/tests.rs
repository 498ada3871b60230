//! What is asked of problems.

use std::sync::Mutex;

use seedhouse_core::runtime::{Direction, Outcome};

use super::*;

fn numbers(json: &str) -> Vec<(String, Numbers)> {
    vec![("water".into(), serde_json::from_str(json).unwrap())]
}

#[test]
fn value_that_is_no_number_was_called_given() {
    for (json, expected) in [("true", "`true`"), ("[1, 2]", "[2]"), ("[[1.5]]", "[1, 1]")] {
        let error = SolveRequest::of_numbers(&numbers(json)).unwrap_err();
        assert_eq!(error.field(), Some("parameters.water"));
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(SolveRequest::of_numbers(&numbers("2")).unwrap().parameters, [("water".to_owned(), 2.0)]);
}

/// A problem that notes how long it was given.
struct Watched {
    info: Arc<ProblemInfo>,
    given: Mutex<Option<Duration>>,
}

impl DeclaredProblem for Watched {
    fn info(&self) -> &Arc<ProblemInfo> {
        &self.info
    }

    fn solve(&self, _parameters: &[f64], limits: &SolveLimits<'_>) -> Result<Solution> {
        *self.given.lock().unwrap() = Some(limits.deadline.saturating_duration_since(Instant::now()));
        Ok(Solution {
            outcome: Outcome::Infeasible,
            objective: None,
            best_bound: None,
            variables: Vec::new(),
            constraints: Vec::new(),
            no_prices_because: None,
            conflicts: Vec::new(),
        })
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
}

#[test]
fn longest_time_was_kept_on_one_route_alone() {
    let info = Arc::new(ProblemInfo {
        direction: Direction::Maximise,
        objective_unit: String::new(),
        variables: Vec::new(),
        constraints: Vec::new(),
        parameters: Vec::new(),
    });
    let problem = Watched { info, given: Mutex::new(None) };
    let hours = Duration::from_secs(7200);
    let limits = SolveLimits { deadline: Instant::now() + hours, is_cancelled: &|| false };
    solve(&problem, &SolveRequest::default(), &limits).unwrap();
    let given = problem.given.lock().unwrap().take().unwrap();
    assert!(given <= SolveRequest::LONGEST_TIMEOUT, "{given:?}");
    let asked = SolveRequest { timeout: Some(hours), ..SolveRequest::default() };
    let error = solve(&problem, &asked, &limits).unwrap_err();
    assert_eq!(error.field(), Some("timeout_seconds"));
    assert_eq!(*problem.given.lock().unwrap(), None);
}
