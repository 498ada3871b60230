//! Batches, and canaries that compute them, on a runtime whose versions a test breaks as it asks them.

use std::sync::Arc;

use seedhouse_core::runtime::{Direction, Outcome, ProblemInfo, Solution};
use seedhouse_core::{Alias, Code, ExpectedHolder, Share, TrialKind};
use seedhouse_engine::{Cancel, Prompt};
use serde_json::json;

use super::*;
use crate::bundle::tests::{Registry, registry};
use crate::{CanaryPart, Origin, TrialFigures, TrialPlace, Warming};

/// Returns a registry with two versions of `writer`: the first is `writer@champion`, the second its canary for every request.
fn with_canary() -> Registry {
    let registry = registry();
    for bytes in ["one", "two"] {
        registry.register("writer", &[("model.fake-text", bytes)], json!({}));
    }
    let (service, origin) = (&registry.service, || Origin { actor: "test".into(), reason: None });
    let TrialPlace { base, alias, .. } = place();
    let own = "writer_v1".parse().unwrap();
    service.move_alias_of(&base, &own, alias, ExpectedHolder::Any, Warming::Never, origin()).unwrap();
    let (canary, share) = ("writer_v2".parse().unwrap(), Share::try_from(1.0).unwrap());
    service.set_trial(place(), &canary, share, Warming::Never, origin()).unwrap();
    registry
}

fn place() -> TrialPlace {
    let alias: Alias = "champion".parse().unwrap();
    TrialPlace { base: "writer".parse().unwrap(), alias, kind: TrialKind::Canary }
}

fn figures(registry: &Registry) -> [u64; 3] {
    let reports = registry.service.aliases(&place().base).unwrap();
    let TrialFigures { requests, answered, failed, .. } = reports[0].trials[0].2;
    [requests, answered, failed]
}

fn text() -> BatchInput {
    let prompt = Prompt::Text("a".into());
    BatchInput::Text(Box::new(GenerateRequest::new(prompt, 2)))
}

fn ask(
    registry: &Registry,
    count: usize,
    decode: &(dyn Fn(usize, &Slot) -> Result<BatchInput> + Sync),
) -> Result<Answer<Vec<BatchItem>>> {
    let batch = Batch { count, at_once: 1, decode };
    let patience = Patience::new(None, Cancel::default());
    registry.service.infer_batch(&"writer@champion".parse().unwrap(), &batch, &patience)
}

fn is_canary(slot: &Slot) -> bool {
    slot.model_id() == "writer_v2"
}

fn broken() -> Error {
    Error::Internal("a test asked for it".into())
}

#[test]
fn panic_of_one_input_left_the_others_without_an_answer() {
    let registry = with_canary();
    let answer = ask(&registry, 3, &|index, _| {
        assert_ne!(index, 1, "a test");
        Ok(text())
    });
    let codes: Vec<Option<Code>> =
        answer.unwrap().value.iter().map(|item| item.result.as_ref().err().map(Error::code)).collect();
    assert_eq!(codes, [None, Some(Code::Internal), None]);
}

#[test]
fn batch_of_no_inputs_was_refused_by_the_http_route_alone() {
    let registry = with_canary();
    for (count, at_once, field) in
        [(0, 1, "inputs"), (4097, 1, "inputs"), (1, 0, "batch_size"), (1, 4097, "batch_size")]
    {
        let batch = Batch { count, at_once, decode: &|_, _| Ok(text()) };
        let reference = "writer@champion".parse().unwrap();
        let error = registry.service.infer_batch(&reference, &batch, &Patience::default()).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some(field)));
    }
}

#[test]
fn canary_that_broke_inside_a_batch_was_counted_as_healthy() {
    let registry = with_canary();
    let answer = ask(&registry, 2, &|index, slot| match is_canary(slot) && index == 1 {
        true => Err(broken()),
        false => Ok(text()),
    });
    let answer = answer.unwrap();
    let failed = CanaryPart::Failed { model_id: "writer_v2".parse().unwrap(), code: Code::Internal };
    assert_eq!((answer.model_id.as_str(), &answer.canary), ("writer_v1", &Some(failed)));
    assert!(answer.value.iter().all(|item| item.result.is_ok()), "{answer:?}");
    assert_eq!(figures(&registry), [1, 0, 1]);
}

#[test]
fn item_that_fails_with_every_version_is_no_fault_of_the_canary() {
    let registry = with_canary();
    let answer = ask(&registry, 2, &|index, _| if index == 1 { Err(broken()) } else { Ok(text()) }).unwrap();
    assert_eq!((answer.model_id.as_str(), &answer.canary), ("writer_v2", &Some(CanaryPart::Answered)));
    assert_eq!(figures(&registry), [1, 1, 0]);
}

/// What the two versions make of a request, the canary first.
fn infer(registry: &Registry, canary: Result<()>, own: Result<()>, patience: &Patience) -> Result<Answer<Solved>> {
    let reference = "writer@champion".parse().unwrap();
    let mut answers = [canary, own].into_iter();
    registry.service.infer(&reference, "inference", patience.deadline(), |_| match answers.next().unwrap() {
        Ok(()) => Ok(solved()),
        Err(error) => Err(error),
    })
}

fn solved() -> Solved {
    let info = ProblemInfo {
        direction: Direction::Maximise,
        objective_unit: String::new(),
        variables: Vec::new(),
        constraints: Vec::new(),
        parameters: Vec::new(),
    };
    let solution = Solution {
        outcome: Outcome::Infeasible,
        objective: None,
        best_bound: None,
        variables: Vec::new(),
        constraints: Vec::new(),
        no_prices_because: None,
        conflicts: Vec::new(),
    };
    Solved { info: Arc::new(info), parameters: Vec::new(), solution, seconds: 0.0 }
}

#[test]
fn canary_with_a_full_queue_or_other_inputs_failed_the_caller() {
    let errors = [
        Error::Exhausted { what: "requests".into(), limit: 1 },
        Error::invalid("inputs", "x [2]", "the graph cannot compute with them"),
        Error::DeadlineExceeded { what: "memory".into(), seconds: 1.0 },
        broken(),
    ];
    for error in errors {
        let (registry, code) = (with_canary(), error.code());
        let answer = infer(&registry, Err(error), Ok(()), &Patience::default()).unwrap();
        let failed = CanaryPart::Failed { model_id: "writer_v2".parse().unwrap(), code };
        assert_eq!((answer.model_id.as_str(), &answer.canary), ("writer_v1", &Some(failed)));
        assert_eq!(figures(&registry), [1, 0, 1]);
    }
}

#[test]
fn request_that_every_version_refuses_is_no_fault_of_the_canary() {
    let registry = with_canary();
    let wrong = Error::invalid("prompt", "x", "a test");
    let error = infer(&registry, Err(broken()), Err(wrong), &Patience::default()).unwrap_err();
    assert_eq!(error.code(), Code::Invalid);
    // Nothing is computed again for whoever left, or when the time is up.
    let error = infer(&registry, Err(Error::Cancelled), Ok(()), &Patience::default()).unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    assert_eq!(figures(&registry), [2, 0, 0]);
}
