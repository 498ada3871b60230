//! Batches, and canaries that compute them, on a runtime whose versions a test breaks as it asks them.

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
    for (count, at_once, field) in [(0, 1, "inputs"), (4097, 1, "inputs"), (1, 0, "batch_size"), (1, 4097, "batch_size")] {
        let batch = Batch { count, at_once, decode: &|_, _| Ok(text()) };
        let reference = "writer@champion".parse().unwrap();
        let error = registry.service.infer_batch(&reference, &batch, &Patience::default()).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some(field)));
    }
}
