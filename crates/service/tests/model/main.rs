//! Random operations on a registry and on a small model of it: after every operation both must say the same.
//!
//! ```text
//! found        what it found once, as tests of their own
//! operations   what may be asked, drawn at random and shrunk by proptest
//! reference    the model: plain maps, and the rules as the documentation states them; it shares no code with the program
//! world        the program: a `Service` on SQLite, or on memory, and on real files
//! ```
//!
//! `SEEDHOUSE_TEST_OPERATIONS` says how many operations to try at least, `SEEDHOUSE_TEST_SEED` with which seed. A failure
//! prints the seed and the shortest list of operations that shows it.

#![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]

mod found;
mod operations;
mod reference;
mod world;

use std::cell::Cell;
use std::time::Instant;

use proptest::collection::vec;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use operations::{Step, any_step};
use reference::Registry;
use world::World;

/// Operations on one registry; the many short lives of registries find more than one long one.
const LONGEST_LIFE: usize = 400;

#[test]
fn registry_does_what_its_model_says() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let wanted = number("SEEDHOUSE_TEST_OPERATIONS", 2000);
    let first_seed = number("SEEDHOUSE_TEST_SEED", 0x5EED);
    let (begun, done) = (Instant::now(), Cell::new(0));
    for seed in first_seed.. {
        if done.get() >= wanted {
            break;
        }
        let outcome = runner(seed).run(&vec(any_step(), 0..=LONGEST_LIFE), |steps| {
            live(&steps).map_err(TestCaseError::fail)?;
            done.set(done.get() + steps.len() as u64);
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("SEEDHOUSE_TEST_SEED={seed}: {error}");
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} operations from seed {first_seed} on: {seconds:.1} s, {:.0} operations/s",
        done.get(),
        done.get() as f64 / seconds
    );
}

/// Draws four lives, which `seed` alone decides.
fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: 4,
        failure_persistence: None,
        max_shrink_iters: 2000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Lets a model, a registry on SQLite and one in memory live through the same.
fn live(steps: &[Step]) -> Result<(), String> {
    let mut registry = Registry::default();
    let worlds = [World::on_sqlite(), World::in_memory()];
    for (number, step) in steps.iter().enumerate() {
        let request = registry.request(step);
        let expected = registry.step(step);
        for world in &worlds {
            let found = world.step(step, &request, &registry);
            if found != expected {
                return Err(format!(
                    "{}, operation {number}, {step:?}\nfound    {found:?}\nexpected {expected:?}",
                    world.name
                ));
            }
        }
    }
    worlds.iter().try_for_each(|world| world.check(&registry))
}
