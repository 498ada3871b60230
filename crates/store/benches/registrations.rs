//! How many registrations a second the SQLite store takes, beside the same file written by a bare loop.
//!
//! `bench/registrations [--callers N] [--versions N] [--rounds N]`: both sides take what 8 callers at once hand over through a
//! channel, commit what waits in one transaction, with the same settings of SQLite, and answer once it is durable. The bare
//! loop does nothing but insert: it checks no name, numbers nothing, chains no history. Once it inserts the row of the record and the
//! row of the event with their primary keys only, and once into the registry's own tables with all their indexes, which is what
//! looking versions up costs any program. Rounds alternate; the median of each and the ratios are printed.

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
    let (mut ours, mut indexed, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        ours.push(measured(&options, our_rate));
        indexed.push(measured(&options, |path, options| bare_rate(path, options, Tables::Ours)));
        bare.push(measured(&options, |path, options| bare_rate(path, options, Tables::Two)));
    }
    println!("{} callers, {} versions, {} rounds", options.callers, options.versions, options.rounds);
    println!("load average: {}", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!("\n| side | median per second | least | most | CPU each, median |\n| --- | ---: | ---: | ---: | ---: |");
    let sides = [
        ("ours, searchable and audited", ours),
        ("bare loop, the same tables and indexes", indexed),
        ("bare loop, two rows without indexes", bare),
    ];
    let medians = sides.map(|(name, rounds)| {
        let [rates, cpu] = [0, 1].map(|column| {
            let mut figures: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
            figures.sort_by(f64::total_cmp);
            figures
        });
        let (rate, cpu) = (rates[rates.len() / 2], cpu[cpu.len() / 2]);
        println!("| {name} | {rate:.0} | {:.0} | {:.0} | {cpu:.0} µs |", rates[0], rates[rates.len() - 1]);
        [rate, cpu]
    });
    let [[our_rate, our_cpu], bare @ ..] = medians;
    for (name, [rate, cpu]) in ["the same tables", "two rows"].into_iter().zip(bare) {
        println!("\nours / bare, {name}: {:.2} by the clock, {:.2} by the CPU", our_rate / rate, cpu / our_cpu);
    }
}

/// Returns how many a second, and the microseconds of CPU that each took, callers and index included.
fn measured(options: &Options, rate: impl Fn(&Path, &Options) -> f64) -> [f64; 2] {
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

/// What the bare loop writes to.
#[derive(Clone, Copy)]
enum Tables {
    /// The registry's own.
    Ours,
    /// One for records and one for events.
    Two,
}

impl Tables {
    /// Returns how a row of a record and one of an event are inserted.
    fn inserts(self) -> [&'static str; 2] {
        match self {
            Tables::Ours => [
                "INSERT INTO version (model_id, base, ordinal, label, version_key, type, framework, status, name, size_bytes,
                     created_at_us, deleted, revision, record)
                 VALUES (?1, ?1, ?2, '1', x'00', 'vision', 'pytorch', 'ready', ?1, ?2, ?2, 0, ?2, ?3)",
                "INSERT INTO event (sequence, at, actor, action, subject, before, after, previous, digest)
                 VALUES (?2, '2026-01-01T00:00:00Z', 'bench', 'register', ?1, 'null', ?3, hex(zeroblob(32)), hex(zeroblob(32)))",
            ],
            Tables::Two => [
                "INSERT INTO version (id, model_id, record) VALUES (?2, ?1, ?3)",
                "INSERT INTO event (sequence, event) VALUES (?2, ?1 || ?3)",
            ],
        }
    }
}

/// What a bare caller hands over: a record and its event as they are stored.
struct Rows {
    model_id: String,
    number: u64,
    record: String,
    reply: SyncSender<()>,
}

fn bare_rate(path: &Path, options: &Options, tables: Tables) -> f64 {
    if let Tables::Ours = tables {
        drop(SqliteStore::open(path).unwrap());
    }
    let connection = Connection::open(path).unwrap();
    let pragmas =
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768;";
    connection.execute_batch(pragmas).unwrap();
    if let Tables::Two = tables {
        let tables =
            "CREATE TABLE version (id INTEGER PRIMARY KEY, model_id TEXT NOT NULL, record TEXT NOT NULL) STRICT;
                      CREATE TABLE event (sequence INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT;";
        connection.execute_batch(tables).unwrap();
    }
    let (requests, waiting) = sync_channel::<Rows>(1024);
    let writer = thread::spawn(move || write_rows(&connection, tables.inserts(), &waiting));
    let rate = rate_of(options, |number| {
        let change = registration(number);
        let Action::Register(registration) = change.action else { unreachable!("made below") };
        let record = Value::Object(registration.fields).to_string();
        let (reply, answer) = sync_channel(1);
        let model_id = format!("{}_v{number}", registration.base);
        requests.send(Rows { model_id, number: number + 1, record, reply }).unwrap();
        answer.recv().unwrap();
    });
    drop(requests);
    writer.join().unwrap();
    rate
}

fn write_rows(connection: &Connection, inserts: [&str; 2], waiting: &Receiver<Rows>) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<Rows> = iter::once(first).chain(waiting.try_iter().take(255)).collect();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for Rows { model_id, number, record, .. } in &batch {
            for sql in inserts {
                let mut statement = connection.prepare_cached(sql).unwrap();
                statement.execute(params![model_id, i64::try_from(*number).unwrap(), record]).unwrap();
            }
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
