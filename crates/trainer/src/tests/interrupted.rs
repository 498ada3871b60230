//! Training that is ended goes on as if it had not been.

use serde_json::json;

use super::*;
use seedhouse_core::Error;

fn weights(trained: &Trained) -> Vec<u8> {
    std::fs::read(&trained.files[0].local).unwrap()
}

fn cases() -> Vec<Case> {
    let text_sizes =
        json!({"vocab_size": 280, "max_seq_len": 16, "d_model": 16, "num_heads": 2, "num_layers": 1, "d_ff": 32});
    let mut cases = vec![
        Case::new(ModelType::Transformer, text_sizes, text()),
        Case::new(ModelType::Vision, json!({"base_channels": 4, "num_layers": 2}), images(1)),
        Case::new(
            ModelType::Diffusion,
            json!({"base_channels": 8, "num_timesteps": 50, "num_res_blocks": 1, "num_classes": 3}),
            images(1),
        ),
        Case::new(ModelType::Regression, json!({"hidden_sizes": [8]}), table(false)),
    ];
    for case in &mut cases {
        case.settings.steps = Some(24);
        case.settings.dropout = 0.1;
        case.settings.average_decay = 0.9;
        case.settings.augment = true;
        case.settings.evaluate_every = Some(7);
        case.settings.gradient_accumulation_steps = 2;
        case.settings.batch_size = 4;
    }
    cases
}

#[test]
fn what_was_cancelled_ends_as_if_it_had_not_been() {
    for case in cases() {
        let whole = case.train().unwrap();
        assert_eq!(whole.resumed_at, None);
        let again = Case { folder: tempfile::tempdir().unwrap(), ..case };
        // At 7 and 24, while it measures.
        for end in [3, 7, 11, 24] {
            let watch = Watch::until(end);
            assert!(matches!(again.train_with(&watch), Err(Error::Cancelled)), "after {end} updates");
        }
        let trained = again.train().unwrap();
        assert_eq!(trained.resumed_at, Some(24));
        assert_eq!(weights(&whole), weights(&trained), "{:?}", again.model_type);
        assert_same_figures(&whole, &trained);
    }
}

/// Checks that everything is the same but what time has to do with.
fn assert_same_figures(one: &Trained, other: &Trained) {
    let timeless = |report: &TrainReport| TrainReport { examples_per_second: 0.0, ..report.clone() };
    let figures = |trained: &Trained| {
        let history: Vec<TrainReport> = trained.history.iter().map(timeless).collect();
        (timeless(&trained.report), history, trained.best_step, trained.stopped_early, trained.metadata.clone())
    };
    assert!(one.report.loss > 0.0, "{:?}", one.report);
    assert_eq!(figures(one), figures(other));
}

#[test]
fn a_report_was_empty_when_no_update_was_left() {
    for has_validation in [true, false] {
        let mut case = cases().remove(1);
        case.settings.checkpoint_every = 24;
        if let (false, Dataset::Images(data)) = (has_validation, &mut case.dataset) {
            data.parts
                .iter_mut()
                .filter(|part| **part == SplitPart::Validation)
                .for_each(|part| *part = SplitPart::Train);
        }
        let whole = case.train().unwrap();
        let again = case.train().unwrap();
        assert_eq!(again.resumed_at, Some(24));
        assert_eq!(whole.history.is_empty(), !has_validation);
        assert_same_figures(&whole, &again);
        assert_eq!(whole.report.step, 24);
    }
}

/// The environment variable that makes the test below train until it is killed.
const FOLDER: &str = "SEEDHOUSE_TRAINER_TEST_FOLDER";

fn killed_case(folder: tempfile::TempDir) -> Case {
    let mut case = Case::new(ModelType::Vision, json!({"base_channels": 4, "num_layers": 2}), images(1));
    case.settings.steps = Some(200);
    case.settings.epochs = None;
    case.settings.checkpoint_every = 1;
    case.settings.evaluate_every = Some(20);
    Case { folder, ..case }
}

/// Not a test of its own: what the next one starts, and kills.
#[test]
fn train_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let case = killed_case(tempfile::tempdir().unwrap());
    let task = TrainTask {
        model_type: &case.model_type,
        metadata: &case.metadata,
        settings: &case.settings,
        dataset: &case.dataset,
        start: None,
        folder: folder.into(),
    };
    NativeTrainer::new().train(&task, &Watch::until(u64::MAX)).unwrap();
}

#[test]
fn a_kill_at_any_moment_leaves_a_checkpoint_that_is_whole() {
    let whole = killed_case(tempfile::tempdir().unwrap());
    let whole = weights(&whole.train().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoints/checkpoint.safetensors");
    let mut kills = 0;
    for round in 0..12_u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["tests::interrupted::train_until_killed", "--exact"])
            .env(FOLDER, folder.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Killed at another moment in each round: some milliseconds after a checkpoint has moved on.
        let modified = || std::fs::metadata(&checkpoint).and_then(|found| found.modified()).ok();
        let before = modified();
        let is_over = loop {
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            if modified() != before {
                break false;
            }
            std::thread::yield_now();
        };
        if is_over {
            break;
        }
        std::thread::sleep(std::time::Duration::from_micros(700 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills >= 5, "it was killed {kills} times only");
    let last = Case { folder, ..killed_case(tempfile::tempdir().unwrap()) };
    let trained = last.train().unwrap();
    assert!(trained.resumed_at.is_some_and(|step| step >= kills), "{:?}", trained.resumed_at);
    assert_eq!(whole, weights(&trained));
}

#[test]
fn the_same_seed_gives_the_same_and_another_seed_something_else() {
    let mut case = cases().remove(1);
    let first = weights(&case.train().unwrap());
    case.folder = tempfile::tempdir().unwrap();
    assert_eq!(first, weights(&case.train().unwrap()));
    case.folder = tempfile::tempdir().unwrap();
    case.settings.seed = 8;
    assert_ne!(first, weights(&case.train().unwrap()));
}

/// Large enough that every sum over rows is cut into parts.
fn large_cases() -> Vec<Case> {
    let language = |architecture: &str| {
        let metadata =
            json!({"architecture": architecture, "vocab_size": 300, "max_seq_len": 32, "d_model": 32, "num_layers": 1});
        Case::new(ModelType::Transformer, metadata, text())
    };
    let mut cases = vec![
        language("llama"),
        language("gpt2"),
        Case::new(ModelType::Vision, json!({"base_channels": 8}), images(3)),
        Case::new(ModelType::Vision, json!({"model_type": "vit", "base_channels": 32, "num_layers": 1}), images(1)),
        Case::new(ModelType::Diffusion, json!({"base_channels": 16, "num_res_blocks": 1}), images(1)),
        Case::new(ModelType::Classification, json!({"hidden_sizes": [300]}), table(true)),
    ];
    for case in &mut cases {
        case.settings.batch_size = 33;
        case.settings.dropout = 0.1;
        case.settings.epochs = None;
        case.settings.steps = Some(4);
        case.settings.evaluate_every = Some(2);
    }
    cases
}

#[test]
fn another_number_of_threads_was_another_task() {
    for mut case in large_cases() {
        case.settings.threads = Some(1);
        let whole = case.train().unwrap();
        let expected = weights(&whole);
        for threads in [2, 3, 5] {
            case.folder = tempfile::tempdir().unwrap();
            case.settings.threads = Some(threads);
            assert!(matches!(case.train_with(&Watch::until(1)), Err(Error::Cancelled)));
            case.settings.threads = Some(threads - 1);
            case.settings.checkpoint_every = threads.into();
            let trained = case.train().unwrap();
            assert_eq!(trained.resumed_at, Some(1));
            assert!(expected == weights(&trained), "{:?} with {threads} threads", case.model_type);
            assert_same_figures(&whole, &trained);
        }
    }
}

#[test]
fn a_checkpoint_of_another_task_is_refused() {
    let mut case = cases().remove(1);
    assert!(matches!(case.train_with(&Watch::until(4)), Err(Error::Cancelled)));
    case.settings.learning_rate *= 2.0;
    let error = case.error();
    assert!(error.contains("`checkpoint` is") && error.contains("this task is"), "{error}");
    std::fs::write(case.folder.path().join("checkpoints/checkpoint.safetensors"), b"nothing").unwrap();
    assert!(matches!(case.train(), Err(Error::CorruptState { .. })));
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_last_one() {
    let case = cases().remove(1);
    assert!(matches!(case.train_with(&Watch::until(4)), Err(Error::Cancelled)));
    let folder = case.folder.path().join("checkpoints");
    let before = std::fs::read(folder.join("checkpoint.safetensors")).unwrap();
    // A folder where the new file would be written: the system refuses as it does when the disk is full.
    std::fs::create_dir(folder.join("checkpoint.unfinished")).unwrap();
    assert!(matches!(case.train_with(&Watch::until(8)), Err(Error::Io { .. })));
    assert_eq!(before, std::fs::read(folder.join("checkpoint.safetensors")).unwrap());
    std::fs::remove_dir(folder.join("checkpoint.unfinished")).unwrap();
    assert_eq!(case.train().unwrap().resumed_at, Some(4));
}

#[test]
fn divergence_is_an_error_and_the_last_checkpoint_stays() {
    let mut case = cases().remove(3);
    case.settings.learning_rate = 900.0;
    case.settings.weight_decay = 900.0;
    case.settings.clip_norm = 0.0;
    case.settings.warmup_steps = 0;
    case.settings.checkpoint_every = 1;
    case.settings.steps = Some(2000);
    case.settings.epochs = None;
    case.settings.evaluate_every = Some(100_000);
    let error = case.train().unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 2.., .. }), "{error}");
    assert!(case.folder.path().join("checkpoints/checkpoint.safetensors").exists());
}

#[test]
fn training_ends_early_and_keeps_the_best_weights() {
    let mut case = cases().remove(1);
    case.settings.early_stopping_patience = Some(2);
    case.settings.evaluate_every = Some(1);
    case.settings.average_decay = 0.0;
    case.settings.steps = Some(3000);
    case.settings.epochs = None;
    case.settings.learning_rate = 0.05;
    let watch = Watch::until(u64::MAX);
    let trained = case.train_with(&watch).unwrap();
    assert!(trained.stopped_early && trained.report.step < 3000, "{:?}", trained.report);
    assert_eq!(trained.best_step, trained.report.step - 2);
    assert_eq!(watch.reports.lock().unwrap().last(), Some(&trained.report));
}
