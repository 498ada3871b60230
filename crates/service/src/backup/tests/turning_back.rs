//! Going back to an earlier time of the registry's own history.

use seedhouse_core::{Code, Result, Timestamp};

use super::fixture::{Fixture, origin};
use crate::{RestoreMode, RestoreReport, RestoreSource};

fn turn_back(fixture: &Fixture, at: Timestamp) -> Result<RestoreReport> {
    fixture.restore_from(RestoreSource::AsOf(at), RestoreMode::Apply)
}

#[test]
fn every_earlier_state_comes_back_and_the_audit_agrees() {
    let fixture = Fixture::new();
    let steps: [&dyn Fn(); 13] = [
        &|| drop(fixture.register("小麦", "one")),
        &|| drop(fixture.register("小麦", "two")),
        &|| fixture.point("小麦/1", "best"),
        &|| fixture.point("小麦/1", "旧"),
        &|| fixture.describe("小麦_v1", "病虫害"),
        &|| fixture.point("小麦/2", "best"),
        &|| drop(fixture.register("m", "three")),
        &|| fixture.delete("小麦_v1"),
        &|| fixture.point("m/1", "best"),
        &|| drop(fixture.service.undelete("小麦_v1".parse().unwrap(), origin()).unwrap()),
        &|| drop(fixture.service.remove_alias("m".parse().unwrap(), "best".parse().unwrap(), origin()).unwrap()),
        &|| fixture.delete("小麦_v2"),
        &|| drop(fixture.register("小麦", "four")),
    ];
    let mut moments = Vec::new();
    for step in steps {
        step();
        moments.push((fixture.now(), fixture.shown()));
    }
    // Forth and back, in an order in which everything differs from what stands there.
    for number in [12, 0, 7, 3, 11, 5, 1, 8, 4, 10, 2, 9, 6, 12] {
        let (at, shown) = &moments[number];
        turn_back(&fixture, *at).unwrap();
        assert_eq!(fixture.shown(), *shown, "after step {number}");
        fixture.assert_sound();
        moments.push((fixture.now(), shown.clone()));
    }
    for (at, shown) in &moments[13..] {
        turn_back(&fixture, *at).unwrap();
        assert_eq!(fixture.shown(), *shown, "what a restoration made is a point in history like any other");
    }
    let first = turn_back(&fixture, moments[0].0).unwrap();
    assert!(first.proven && first.head == fixture.service.audit().unwrap().head);
    let as_of = fixture.service.as_of(&"小麦@best".parse().unwrap(), moments[15].0).unwrap();
    assert_eq!(as_of.model_id.as_str(), "小麦_v2", "the history understands restorations");
}

#[test]
fn times_that_are_no_point_of_the_history_are_refused() {
    let empty = Fixture::new();
    assert_eq!(turn_back(&empty, empty.now()).unwrap_err().code(), Code::Invalid);
    let fixture = Fixture::with_some();
    let before = fixture.state();
    for (time, expected) in [("2001-01-01T00:00:00Z", "before the history begins"), ("2999-01-01T00:00:00Z", "future")]
    {
        let error = turn_back(&fixture, time.parse().unwrap()).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some("as_of")));
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(fixture.state(), before);
}

#[test]
fn every_version_whose_bytes_are_gone_is_named_and_nothing_is_changed() {
    let fixture = Fixture::new();
    fixture.register("a", "one");
    fixture.register("b", "two");
    fixture.register("c", "three");
    let at = fixture.now();
    fixture.describe("c_v1", "later");
    fixture.delete("a_v1");
    fixture.delete("b_v1");
    fixture.collect();
    let before = fixture.state();
    let error = turn_back(&fixture, at).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let text = error.to_string();
    assert!(text.contains("`a_v1` are gone") && text.contains("`b_v1` are gone") && !text.contains("c_v1"), "{text}");
    assert_eq!(fixture.state(), before);
}

#[test]
fn restoration_by_mistake_does_not_let_a_collection_take_the_bytes() {
    let fixture = Fixture::new();
    let long_ago = fixture.register("a", "one");
    let at = fixture.now();
    let kept = fixture.register("b", "two");
    turn_back(&fixture, at).unwrap();
    let deleted = fixture.store.deleted().unwrap().pop().unwrap().record;
    assert_eq!(deleted.model_id, kept.record.model_id);
    assert!(deleted.deleted_at().unwrap() > at, "its retention begins with the restoration");
    assert_eq!(fixture.shown().len(), 1);
    assert_eq!(fixture.service.show(&"a".parse().unwrap()).unwrap(), long_ago, "what did not change was not written");
}
