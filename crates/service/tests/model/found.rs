//! What the random operations found, each as the few operations that show it.

use crate::live;
use crate::operations::{AsOfTarget, Asked, File, Holder, Operation, Step, Target};

fn lived(operations: Vec<Operation>) {
    let steps: Vec<Step> = operations.into_iter().map(|operation| Step { seconds: 1, operation }).collect();
    live(&steps).unwrap_or_else(|difference| panic!("{difference}"));
}

fn register(base: &'static str, file: Option<File>) -> Operation {
    Operation::Register(Asked { base, label: None, id: None, status: None, description: None, file, key: None })
}

fn move_champion(number: usize) -> Operation {
    Operation::MoveAlias { target: Target::Id(number), alias: "champion", expected: Holder::Any }
}

#[test]
fn undeleted_version_gets_the_names_of_its_files_back_after_a_collection() {
    let file = Some(File { name: "weights.bin", content: "one" });
    lived(vec![
        register("a", file),
        register("b", file),
        Operation::Delete { target: Target::Id(0), force: false },
        Operation::Collect { retention_seconds: 0, dry: false },
        Operation::Undelete(0),
        Operation::Check,
    ]);
}

#[test]
fn version_as_of_a_time_has_the_aliases_of_that_time() {
    let as_of = |number, seconds_ago| Operation::AsOf { target: AsOfTarget::Id(number), seconds_ago };
    lived(vec![
        register("b", None),
        register("b", None),
        move_champion(0),
        Operation::Update { target: Target::Id(0), expected: crate::operations::Revision::Any, edits: Vec::new() },
        move_champion(1),
        as_of(0, 0),
        as_of(1, 0),
        as_of(0, 3),
        as_of(1, 4),
    ]);
}
