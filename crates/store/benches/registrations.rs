//! How many registrations a second the SQLite store takes, beside the same file written by a bare loop.
//!
//! `bench/registrations [--callers N] [--versions N] [--rounds N]`: both sides take what 8 callers at once hand over through a
//! channel, commit what waits in one transaction, with the same settings of SQLite, and answer once it is durable. The bare
//! loop inserts the row of the record and the row of the event, with their primary keys, and does nothing else: it checks no
//! name, numbers nothing, chains no history, keeps no index. Rounds alternate; the median of each and their ratio are printed.

#![expect(clippy::unwrap_used, reason = "a measurement that goes wrong ends with a panic")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;
use std::{env, fs, iter, thread};

use rusqlite::{Connection, params};
use seedhouse_core::{Action, Change, Framework, MetadataStore, ModelType, Registration, Status, Timestamp};
use seedhouse_store::SqliteStore;
use serde_json::{Map, Value, json};

struct Options {
    callers: usize,
    versions: u64,
    rounds: usize,
}

fn main() {
    let mut options = Options { callers: 8, versions: 20_000, rounds: 5 };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> u64 { arguments.next().unwrap().parse().unwrap() };
        match argument.as_str() {
            "--callers" => options.callers = usize::try_from(number()).unwrap(),
            "--versions" => options.versions = number(),
            "--rounds" => options.rounds = usize::try_from(number()).unwrap(),
            // Cargo adds this one.
            "--bench" => {}
            other => panic!("unknown argument `{other}`"),
        }
    }
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        ours.push(measured(&options, our_rate));
        bare.push(measured(&options, bare_rate));
    }
    println!("{} callers, {} versions, {} rounds", options.callers, options.versions, options.rounds);
    println!("load average: {}", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!("\n| side | median per second | least | most | CPU each, median |\n| --- | ---: | ---: | ---: | ---: |");
    let medians = [("ours, searchable and audited", ours), ("bare loop, two rows", bare)].map(|(name, rounds)| {
        let [rates, cpu] = [0, 1].map(|column| {
            let mut figures: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
            figures.sort_by(f64::total_cmp);
            figures
        });
        let (rate, cpu) = (rates[rates.len() / 2], cpu[cpu.len() / 2]);
        println!("| {name} | {rate:.0} | {:.0} | {:.0} | {cpu:.0} µs |", rates[0], rates[rates.len() - 1]);
        [rate, cpu]
    });
    let [[our_rate, our_cpu], [bare_rate, bare_cpu]] = medians;
    println!("\nours / bare: {:.2} by the clock, {:.2} by the CPU", our_rate / bare_rate, bare_cpu / our_cpu);
}

/// Returns how many a second, and the microseconds of CPU that each took, callers and index included.
fn measured(options: &Options, rate: fn(&Path, &Options) -> f64) -> [f64; 2] {
    let folder = tempfile::tempdir().unwrap();
    let begin = cpu_seconds();
    let rate = rate(&folder.path().join("seedhouse.db"), options);
    [rate, (cpu_seconds() - begin) * 1e6 / options.versions as f64]
}

/// Returns what this process has spent on CPUs, in seconds.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Returns how often a second the callers together get an answer.
fn rate_of(options: &Options, call: impl Fn(u64) + Sync) -> f64 {
    let next = AtomicU64::new(0);
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..options.callers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= options.versions {
                        break;
                    }
                    call(number);
                }
            });
        }
    });
    options.versions as f64 / begin.elapsed().as_secs_f64()
}

fn our_rate(path: &Path, options: &Options) -> f64 {
    let store = SqliteStore::open(path).unwrap();
    rate_of(options, |number| drop(store.apply(registration(number)).unwrap()))
}

/// What a bare caller hands over: a record and its event as they are stored.
struct Rows {
    model_id: String,
    record: String,
    event: String,
    reply: SyncSender<()>,
}

fn bare_rate(path: &Path, options: &Options) -> f64 {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768;
             CREATE TABLE version (id INTEGER PRIMARY KEY, model_id TEXT NOT NULL, record TEXT NOT NULL) STRICT;
             CREATE TABLE event (sequence INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT;",
        )
        .unwrap();
    let (requests, waiting) = sync_channel::<Rows>(1024);
    let writer = thread::spawn(move || write_rows(&connection, &waiting));
    let rate = rate_of(options, |number| {
        let change = registration(number);
        let Action::Register(registration) = change.action else { unreachable!("made below") };
        let record = Value::Object(registration.fields).to_string();
        let (reply, answer) = sync_channel(1);
        let event = format!("{{\"at\":\"{}\",\"after\":{record}}}", change.at);
        let model_id = format!("{}_v1", registration.base);
        requests.send(Rows { model_id, record, event, reply }).unwrap();
        answer.recv().unwrap();
    });
    drop(requests);
    writer.join().unwrap();
    rate
}

fn write_rows(connection: &Connection, waiting: &Receiver<Rows>) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<Rows> = iter::once(first).chain(waiting.try_iter().take(255)).collect();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for Rows { model_id, record, event, .. } in &batch {
            let sql = "INSERT INTO version (model_id, record) VALUES (?1, ?2)";
            connection.prepare_cached(sql).unwrap().execute(params![model_id, record]).unwrap();
            let sql = "INSERT INTO event (event) VALUES (?1)";
            connection.prepare_cached(sql).unwrap().execute([event]).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        batch.iter().for_each(|rows| rows.reply.send(()).unwrap());
    }
}

fn registration(number: u64) -> Change {
    let fields = json!({
        "description": format!("用于小麦病害识别的模型，第{number}批试验数据"),
        "size_bytes": number * 1000,
        "metadata": {"num_classes": number % 1000, "learning_rate": 0.001, "optimizer": "adamw", "epochs": number % 300},
        "metrics": {"f1": (number % 997) as f64 / 997.0, "loss": (number % 1009) as f64 / 100.0},
        "tags": {"作物": "小麦", "stage": "dev"},
    });
    let Value::Object(fields) = fields else { unreachable!("written as an object above") };
    let registration = Registration {
        base: format!("resnet50_{:05}", number.wrapping_mul(2_654_435_761) % 20_000).parse().unwrap(),
        version: None,
        model_id: None,
        name: None,
        model_type: ModelType::Vision,
        framework: Framework::Pytorch,
        status: Status::Ready,
        manifest: None,
        fields: Map::from_iter(fields),
        idempotency_key: None,
    };
    let action = Action::Register(Box::new(registration));
    Change { at: Timestamp::now(), actor: "bench".into(), reason: None, action }
}
