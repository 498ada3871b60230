//! Plans on the disk, through the runtime: whatever is done to a file, the logits are those of a plan that was just compiled.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use seedhouse_core::Digest;
use seedhouse_core::runtime::{
    LoadOptions, LoadedModel, LocalFile, LocalFiles, PlanStatistics, Runtime, StepPart, TextModel, Wanted,
};
use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;

use super::header::{FORMAT, Header};
use crate::{NativeOptions, NativeRuntime, PlanOptions, PoolOptions, WeightPrecision};

/// A model's files, and a folder for its plans.
struct Bench {
    folder: tempfile::TempDir,
    files: LocalFiles,
}

fn runtime(plans_folder: &Path, weights: WeightPrecision) -> NativeRuntime {
    NativeRuntime::with(NativeOptions {
        pool: PoolOptions { threads: 2, ..PoolOptions::default() },
        plans: PlanOptions { weights, ..PlanOptions::default() },
        plans_folder: Some(plans_folder.to_owned()),
    })
}

fn load(runtime: &NativeRuntime, files: &LocalFiles) -> Arc<dyn TextModel> {
    match runtime.load(files, &LoadOptions::default()).unwrap() {
        LoadedModel::Text(model) => model,
        _ => panic!("a decoder is no tensor model"),
    }
}

/// Returns the bits of the logits, so that -0 is not 0.
fn logits(model: &dyn TextModel) -> Vec<u32> {
    let tokens: Vec<u32> = (0..7).map(|token| (token * 5 + 1) % model.info().vocab_size as u32).collect();
    let mut executor = model.executor().unwrap();
    let sequence = executor.open().unwrap();
    let logits = executor.step(&[StepPart { sequence, tokens: &tokens, wanted: Wanted::All }]).unwrap();
    logits.rows().flatten().map(|logit| logit.to_bits()).collect()
}

/// What a process that starts now does.
fn start(plans: &Path, files: &LocalFiles) -> (Vec<u32>, PlanStatistics) {
    let runtime = runtime(plans, WeightPrecision::AsStored);
    let found = logits(&*load(&runtime, files));
    (found, runtime.plan_statistics().unwrap())
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, local) = (tiny_llama_gguf(1), folder.path().join("m.gguf"));
        fs::write(&local, &bytes).unwrap();
        let file = LocalFile { path: "m.gguf".parse().unwrap(), local, digest: Digest::of(&bytes) };
        Bench { folder, files: LocalFiles(vec![file]) }
    }

    fn plans(&self) -> PathBuf {
        self.folder.path().join("plans")
    }

    fn start(&self) -> (Vec<u32>, PlanStatistics) {
        start(&self.plans(), &self.files)
    }

    /// Returns the one plan.
    fn plan(&self) -> PathBuf {
        let found: Vec<PathBuf> = fs::read_dir(self.plans()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    fn replace_plan(&self, bytes: &[u8]) {
        let plan = self.plan();
        fs::remove_file(&plan).unwrap();
        fs::write(plan, bytes).unwrap();
    }

    /// Starts with a plan that cannot be used, and again with the one that took its place.
    fn assert_rebuilt(&self, expected: &[u32], reason: &str, what: &str) {
        let written = fs::read(self.plan()).unwrap();
        let (found, statistics) = self.start();
        assert_eq!(found, expected, "{what}");
        assert_eq!(statistics.misses.get(reason), Some(&1), "{what}: {statistics:?}");
        assert_ne!(fs::read(self.plan()).unwrap(), written, "{what}");
        let (found, statistics) = self.start();
        assert_eq!((&found[..], statistics.disk_hits), (expected, 1), "{what}");
    }
}

#[test]
fn plan_is_compiled_once_then_mapped_and_shared_in_memory() {
    let bench = Bench::new();
    let (expected, statistics) = bench.start();
    assert_eq!((statistics.misses.get("absent"), statistics.disk_hits, statistics.stored), (Some(&1), 0, 1));
    assert_eq!(statistics.stored_bytes, fs::metadata(bench.plan()).unwrap().len());

    let runtime = runtime(&bench.plans(), WeightPrecision::AsStored);
    let (one, other) = (load(&runtime, &bench.files), load(&runtime, &bench.files));
    assert_eq!((logits(&*one), logits(&*other)), (expected.clone(), expected));
    let statistics = runtime.plan_statistics().unwrap();
    assert_eq!((statistics.disk_hits, statistics.memory_hits, statistics.misses.len()), (1, 1, 0));
}

#[test]
fn what_was_fetched_while_files_are_verified_is_a_hit_from_the_disk() {
    let bench = Bench::new();
    bench.start();
    let runtime = runtime(&bench.plans(), WeightPrecision::AsStored);
    let fetched = runtime.fetch_plan(&bench.files);
    fs::remove_file(bench.plan()).unwrap();
    load(&runtime, &bench.files);
    drop(fetched);
    let statistics = runtime.plan_statistics().unwrap();
    assert_eq!((statistics.disk_hits, statistics.memory_hits, statistics.misses.len()), (1, 0, 0));
}

#[test]
fn mapped_plans_give_the_bits_of_compiled_ones_for_every_family_and_format() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/decoders");
    let folders: Vec<PathBuf> = fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(folders.len() >= 24);
    for folder in folders {
        let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let file = |local: PathBuf| LocalFile {
            path: local.file_name().unwrap().to_str().unwrap().parse().unwrap(),
            digest: Digest::of(fs::read(&local).unwrap()),
            local,
        };
        let files = LocalFiles(paths.filter(|path| !path.ends_with("expected.json")).map(file).collect());
        let plans = tempfile::tempdir().unwrap();
        for weights in WeightPrecision::ALL {
            let (first, second) = (runtime(plans.path(), weights), runtime(plans.path(), weights));
            let compiled = logits(&*load(&first, &files));
            let mapped = logits(&*load(&second, &files));
            assert_eq!(compiled, mapped, "{} {weights:?}", folder.display());
            assert_eq!(second.plan_statistics().unwrap().disk_hits, 1, "{} {weights:?}", folder.display());
        }
    }
}

#[test]
fn flipped_bit_anywhere_is_noticed() {
    let bench = Bench::new();
    let (expected, _) = bench.start();
    let intact = fs::read(bench.plan()).unwrap();
    let header = Header::parse(&intact, intact.len()).unwrap();
    let (first, last) = (header.parts[0].offset, header.parts.last().unwrap().offset);
    let format = [(8, "other_format")];
    let magic_lengths_checksum_json = [0, 7, 12, 15, 16, 23, 24, 100, 700, first - 1].map(|at| (at, "damaged"));
    let parts = [first, first + 1, last, last + 77, intact.len() / 2, intact.len() - 1].map(|at| (at, "damaged"));
    for (at, reason) in format.into_iter().chain(magic_lengths_checksum_json).chain(parts) {
        for bit in [0, 7] {
            let mut bytes = intact.clone();
            bytes[at] ^= 1 << bit;
            bench.replace_plan(&bytes);
            bench.assert_rebuilt(&expected, reason, &format!("bit {bit} of byte {at}"));
        }
    }
}

#[test]
fn plan_cut_short_or_continued_is_noticed() {
    let bench = Bench::new();
    let (expected, _) = bench.start();
    let intact = fs::read(bench.plan()).unwrap();
    let first = Header::parse(&intact, intact.len()).unwrap().parts[0].offset;
    for length in [0, 1, 8, 23, 24, 25, 100, first - 1, first, first + 1, intact.len() - 64, intact.len() - 1] {
        bench.replace_plan(&intact[..length]);
        bench.assert_rebuilt(&expected, "damaged", &format!("{length} bytes"));
    }
    bench.replace_plan(&[&intact[..], &[0; 64]].concat());
    bench.assert_rebuilt(&expected, "damaged", "64 bytes more");
}

/// A header changed by somebody who also computes its checksum.
#[test]
fn header_that_lies_is_noticed() {
    type Change = fn(&mut Header);
    let bench = Bench::new();
    let (expected, _) = bench.start();
    let intact = fs::read(bench.plan()).unwrap();
    let honest = Header::parse(&intact, intact.len()).unwrap();
    let first = honest.parts[0].offset;
    let cases: [(&str, &str, Change); 14] = [
        ("other machine", "other_machine", |header| header.machine = "big-endian 64-bit".into()),
        ("older program", "other_format", |header| header.program = "0.0.9".into()),
        ("other model", "other_plan", |header| header.key.files.clear()),
        ("offset behind the end", "damaged", |header| header.parts[1].offset = usize::MAX),
        ("overlap", "damaged", |header| header.parts[1].offset = header.parts[0].offset),
        ("length of gigabytes", "damaged", |header| header.parts[1].length = 1 << 40),
        ("more outputs than can be counted", "damaged", |header| header.parts[1].outputs = usize::MAX),
        ("shape of gigabytes with its length", "damaged", |header| {
            let part = &mut header.parts[1];
            (part.format, part.outputs, part.inputs, part.length) = ("vector".into(), 1 << 20, 1 << 20, 1 << 42);
        }),
        ("unknown format", "damaged", |header| header.parts[1].format = "int3".into()),
        ("a part too few", "damaged", |header| drop(header.parts.pop())),
        ("no parts", "damaged", |header| header.parts.clear()),
        ("a part twice", "damaged", |header| header.parts.push(header.parts[0].clone())),
        ("names exchanged", "other_plan", |header| {
            let name = std::mem::replace(&mut header.parts[0].name, "token".into());
            header.parts[1].name = name;
        }),
        ("wrong checksum", "damaged", |header| header.parts[2].checksum ^= 1),
    ];
    for (what, reason, change) in cases {
        let mut header = honest.clone();
        change(&mut header);
        bench.replace_plan(&[&header.to_bytes(first)[..], &intact[first..]].concat());
        bench.assert_rebuilt(&expected, reason, what);
    }
    bench.replace_plan(&[&honest.to_bytes_of_format(first, FORMAT + 1)[..], &intact[first..]].concat());
    bench.assert_rebuilt(&expected, "other_format", "newer format");
}

#[test]
fn other_options_and_other_bytes_have_plans_of_their_own() {
    let bench = Bench::new();
    bench.start();
    let other = runtime(&bench.plans(), WeightPrecision::Int8);
    load(&other, &bench.files);
    assert_eq!(other.plan_statistics().unwrap().misses.get("absent"), Some(&1));
    let mut files = bench.files.clone();
    files.0[0].digest = Digest::of("other bytes");
    let (_, statistics) = start(&bench.plans(), &files);
    assert_eq!((statistics.misses.get("absent"), statistics.stored), (Some(&1), 3));
    let again = runtime(&bench.plans(), WeightPrecision::Int8);
    load(&again, &bench.files);
    assert_eq!(again.plan_statistics().unwrap().disk_hits, 1);
}

#[test]
fn folder_that_takes_no_plans_is_no_reason_not_to_load() {
    let bench = Bench::new();
    // A file where the folder should be: no user may write there, not even root.
    fs::write(bench.plans(), "in the way").unwrap();
    let runtime = runtime(&bench.plans().join("below"), WeightPrecision::AsStored);
    load(&runtime, &bench.files);
    let counted = runtime.plan_statistics().unwrap();
    assert_eq!((counted.failed_writes, counted.misses.values().sum::<u64>()), (1, 1), "{counted:?}");
}

#[test]
fn writers_at_the_same_time_leave_one_whole_plan() {
    let bench = Bench::new();
    thread::scope(|scope| {
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| bench.start())).collect();
        let mut found: Vec<Vec<u32>> = starts.into_iter().map(|start| start.join().unwrap().0).collect();
        found.dedup();
        assert_eq!(found.len(), 1);
    });
    assert_eq!(bench.start().1.disk_hits, 1);
    assert_eq!(fs::metadata(bench.plan()).unwrap().permissions().mode() & 0o222, 0, "nobody writes to a plan again");
}

#[test]
fn list_names_the_files_of_a_plan_and_what_cannot_be_used() {
    let bench = Bench::new();
    bench.start();
    fs::write(bench.plans().join("broken.plan"), "no plan").unwrap();
    fs::write(bench.plans().join("notes.txt"), "not ours").unwrap();
    let runtime = runtime(&bench.plans(), WeightPrecision::AsStored);
    let plans = runtime.stored_plans().unwrap();
    let made_of: Vec<_> = plans.iter().map(|plan| plan.made_of.clone()).collect();
    assert!(made_of.contains(&Ok(vec![bench.files.0[0].digest])), "{plans:?}");
    assert_eq!(made_of.iter().filter(|made_of| made_of.is_err()).count(), 1, "{plans:?}");
    runtime.remove_plan("broken.plan").unwrap();
    runtime.remove_plan("broken.plan").unwrap();
    assert_eq!(runtime.stored_plans().unwrap().len(), 1);
    assert!(runtime.remove_plan("../m.gguf").is_err());
}
