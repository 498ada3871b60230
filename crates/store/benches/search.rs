//! How long searches take in a registry of many versions, through the front door of the SQLite store.
//!
//! `bench/search [--versions N | --million] [--runs N] [--keep FOLDER]` fills a database with made-up versions by 64 callers
//! at once, then asks each question many times with changing words and numbers, and prints the median and the 99th
//! percentile, by the clock and of the CPU time of the asking thread. `--keep` leaves the database in a folder, or takes the one that is there.

#![expect(clippy::unwrap_used, reason = "a measurement that goes wrong ends with a panic")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use seedhouse_core::{Action, Change, Framework, MetadataStore, ModelType, Query, Registration, Status, Timestamp};
use seedhouse_store::SqliteStore;
use serde_json::{Map, Value, json};

const CROPS: [&str; 12] =
    ["小麦", "水稻", "玉米", "大豆", "棉花", "番茄", "黄瓜", "苹果", "葡萄", "茶叶", "甘蔗", "油菜"];
const TASKS: [&str; 8] =
    ["病害识别", "产量预测", "生长监测", "品质分级", "杂草检测", "虫害预警", "灌溉决策", "图像分割"];
const FAMILIES: [&str; 10] = [
    "resnet50",
    "efficientnet_lite0",
    "vit-base",
    "yolo_v8",
    "swin-tiny",
    "llama",
    "smollm2",
    "mobilenet_v3",
    "convnext",
    "agriculture_classification",
];
const TYPES: [ModelType; 4] =
    [ModelType::Vision, ModelType::Transformer, ModelType::Classification, ModelType::Regression];
const STATUSES: [Status; 5] = [Status::Ready, Status::Ready, Status::Registered, Status::Stopped, Status::Archived];

/// A small generator, so that every run asks the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % sides
    }

    fn of<'a, T: ?Sized>(&mut self, words: &[&'a T]) -> &'a T {
        words[self.roll(words.len())]
    }
}

struct Options {
    versions: u64,
    runs: usize,
    keep: Option<PathBuf>,
}

fn main() {
    let options = options();
    let temporary = tempfile::tempdir().unwrap();
    let folder = options.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("seedhouse.db");
    let store = SqliteStore::open(&path).unwrap();
    fill(&store, options.versions);
    let begin = Instant::now();
    store.settle().unwrap();
    println!("the last block of the index: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    drop(store);
    let begin = Instant::now();
    let store = SqliteStore::open(&path).unwrap();
    store.search(&Query { limit: Some(50), ..Query::default() }).unwrap();
    println!("open and first page: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    let bytes = fs::metadata(&path).unwrap().len();
    println!("database: {:.0} MB, {} bytes per version", bytes as f64 / 1e6, bytes / options.versions.max(1));
    println!("load average: {}", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!("\n| question, 50 versions a page | p50 ms | p99 ms | CPU p50 ms | CPU p99 ms | found |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    questions(&store, &options);
    println!("\nresident memory: {}; highest: {}", memory("VmRSS"), memory("VmHWM"));
}

fn options() -> Options {
    let mut options = Options { versions: 100_000, runs: 300, keep: None };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--million" => options.versions = 1_000_000,
            "--versions" => options.versions = value().parse().unwrap(),
            "--runs" => options.runs = value().parse().unwrap(),
            "--keep" => options.keep = Some(value().into()),
            // Cargo adds this one.
            "--bench" => {}
            other => panic!("unknown argument `{other}`"),
        }
    }
    options
}

fn fill(store: &SqliteStore, versions: u64) {
    let there = store.revision().unwrap();
    let next = AtomicU64::new(there);
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= versions {
                        break;
                    }
                    store.apply(made_up(number)).unwrap();
                }
            });
        }
    });
    let seconds = begin.elapsed().as_secs_f64();
    let added = versions.saturating_sub(there);
    println!("{added} versions registered by 64 callers in {seconds:.1} s: {:.0} per second", added as f64 / seconds);
}

fn made_up(number: u64) -> Change {
    let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (crop, task, family) = (dice.of(&CROPS), dice.of(&TASKS), dice.of(&FAMILIES));
    let learning_rate = [0.1, 0.01, 0.001, 1e-4][dice.roll(4)];
    let image_size = [224, 256, 384][dice.roll(3)];
    let fields = json!({
        "description": format!("用于{crop}{task}的{family}模型，第{}批试验数据，{}地区", dice.roll(500), dice.of(&["华北", "华东", "西南", "东北"])),
        "size_bytes": dice.roll(2_000_000_000),
        "accuracy": dice.roll(10_000) as f64 / 1e4,
        "metadata": {
            "num_classes": dice.roll(1000), "image_size": image_size, "learning_rate": learning_rate,
            "optimizer": dice.of(&["adamw", "sgd", "lion"]), "epochs": dice.roll(300), "dropout": dice.roll(100) as f64 / 100.0,
        },
        "metrics": {"f1": dice.roll(1_000_000) as f64 / 1e6, "loss": dice.roll(1_000_000) as f64 / 1e5},
        "tags": {"作物": crop, "任务": task, "stage": dice.of(&["dev", "staging", "production"])},
    });
    let Value::Object(fields) = fields else { unreachable!("written as an object above") };
    let registration = Registration {
        base: format!("{family}_{:05}", dice.roll(20_000)).parse().unwrap(),
        version: None,
        model_id: None,
        name: Some(format!("{crop}{task}{family}")),
        model_type: TYPES[dice.roll(TYPES.len())].clone(),
        framework: [Framework::Pytorch, Framework::Gguf, Framework::Onnx][dice.roll(3)].clone(),
        status: STATUSES[dice.roll(STATUSES.len())],
        manifest: None,
        fields: Map::from_iter(fields),
        idempotency_key: None,
    };
    Change {
        at: Timestamp::now(),
        actor: "bench".into(),
        reason: None,
        action: Action::Register(Box::new(registration)),
    }
}

/// Writes one line per question.
fn questions(store: &SqliteStore, options: &Options) {
    let page = |text: String, filter: String, order: &str| Query {
        text: (!text.is_empty()).then_some(text),
        filter: filter.parse().unwrap(),
        order: order.parse().unwrap(),
        limit: Some(50),
        cursor: None,
    };
    let text = |words: String| page(words, String::new(), "-registration");
    let filter = |conditions: String| page(String::new(), conditions, "-registration");
    let family_and_number = |dice: &mut Dice| format!("{}_{:05}", dice.of(&FAMILIES), dice.roll(20_000));
    type Make<'a> = (&'a str, Box<dyn Fn(&mut Dice) -> Query + 'a>);
    let made: Vec<Make<'_>> = vec![
        ("newest", Box::new(|_| text(String::new()))),
        ("text: 1 Chinese character", Box::new(|dice| text(dice.of(&["麦", "米", "病", "测", "茶"]).into()))),
        ("text: 2 Chinese characters", Box::new(|dice| text(dice.of(&CROPS).into()))),
        ("text: 4 Chinese characters", Box::new(|dice| text(dice.of(&TASKS).into()))),
        (
            "text: 8 Chinese characters",
            Box::new(|dice| text(format!("{}{} 第{}批", dice.of(&CROPS), dice.of(&TASKS), dice.roll(500)))),
        ),
        ("text: beginning of a Latin word", Box::new(|dice| text(dice.of(&["resn", "effic", "smol", "yolo"]).into()))),
        ("text: inside a Latin word", Box::new(|dice| text(dice.of(&["ricult", "obilen", "icientn"]).into()))),
        ("text: one model of many", Box::new(move |dice| text(family_and_number(dice)))),
        ("text: nothing found", Box::new(|dice| text(dice.of(&["resnet_lite", "tinyllama", "麦小", "型模识"]).into()))),
        (
            "type, framework and status",
            Box::new(|dice| {
                filter(format!(
                    "type = {} AND framework = {} AND status = {}",
                    TYPES[dice.roll(4)],
                    dice.of(&["pytorch", "gguf", "onnx"]),
                    STATUSES[dice.roll(5)]
                ))
            }),
        ),
        (
            "text, type and status",
            Box::new(|dice| {
                page(
                    dice.of(&CROPS).into(),
                    format!("type = {} AND status = archived", TYPES[dice.roll(4)]),
                    "-registration",
                )
            }),
        ),
        ("metadata: equality", Box::new(|dice| filter(format!("metadata.num_classes = {}", dice.roll(1000))))),
        ("metadata: wide range", Box::new(|dice| filter(format!("metadata.num_classes >= {}", dice.roll(900))))),
        ("metadata: narrow range", Box::new(|dice| filter(format!("metrics.f1 >= 0.{}", 9900 + dice.roll(99))))),
        (
            "metadata: two ranges",
            Box::new(|dice| {
                filter(format!("metrics.f1 >= 0.9{} AND metadata.epochs < {}", dice.roll(10), 10 + dice.roll(30)))
            }),
        ),
        (
            "tags and metadata",
            Box::new(|dice| {
                filter(format!(
                    "tags.作物 = {} AND tags.stage = production AND metadata.image_size = 384",
                    dice.of(&CROPS)
                ))
            }),
        ),
        (
            "name LIKE",
            Box::new(|dice| {
                filter(format!("name LIKE '{}%{}%'", dice.of(&CROPS), dice.of(&["resnet", "lite0", "llama"])))
            }),
        ),
        ("order by a metric", Box::new(|_| page(String::new(), String::new(), "-metrics.f1"))),
        (
            "order by a metric, type and text",
            Box::new(|dice| page(dice.of(&CROPS).into(), "type = vision".into(), "-metrics.f1")),
        ),
        (
            "order by a metric, rare matches",
            Box::new(|dice| page(String::new(), format!("metadata.num_classes = {}", dice.roll(1000)), "metrics.loss")),
        ),
        ("order by name, status", Box::new(|_| page(String::new(), "status = ready".into(), "name"))),
    ];
    for (name, make) in &made {
        measure(name, options.runs, |dice| make(dice), |query| store.search(&query).unwrap().entries.len() as u64);
    }
    for (name, query) in [
        ("deep page, newest", text(String::new())),
        ("deep page, 2 Chinese characters", text("小麦".into())),
        ("deep page, order by a metric", page(String::new(), String::new(), "-metrics.f1")),
    ] {
        let deep = deep_page(store, query, options.versions / 30);
        measure(name, options.runs, |_| deep.clone(), |query| store.search(&query).unwrap().entries.len() as u64);
    }
    for (name, make) in made.iter().filter(|(name, _)| name.starts_with("text") || name.starts_with("type")) {
        let count = |query: Query| store.count(&query, 10_000).unwrap().number;
        measure(&format!("count to 10,000, {name}"), options.runs / 3, |dice| make(dice), count);
    }
    measure("statistics", options.runs / 10, |_| Query::default(), |_| store.statistics().unwrap().total_models);
}

/// Returns the query of a page behind `depth` versions.
fn deep_page(store: &SqliteStore, query: Query, depth: u64) -> Query {
    let depth = usize::try_from(depth).unwrap();
    let next = store.search(&Query { limit: Some(depth), ..query.clone() }).unwrap().next;
    Query { cursor: Some(next.expect("there are more than that")), ..query }
}

fn measure(name: &str, runs: usize, make: impl Fn(&mut Dice) -> Query, ask: impl Fn(Query) -> u64) {
    let mut dice = Dice(42);
    let mut found = 0;
    let (mut times, mut cpu_times) = (Vec::new(), Vec::new());
    for _ in 0..runs.max(3) {
        let query = make(&mut dice);
        let (begin, cpu_begin) = (Instant::now(), cpu_time());
        found += ask(query);
        times.push(begin.elapsed());
        cpu_times.push(cpu_time().saturating_sub(cpu_begin));
    }
    let found = found as f64 / times.len() as f64;
    let [times, cpu_times] = [times, cpu_times].map(|mut times: Vec<Duration>| {
        times.sort_unstable();
        [50, 99].map(|share| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3)
    });
    let [[p50, p99], [cpu_p50, cpu_p99]] = [times, cpu_times];
    println!("| {name} | {p50:.2} | {p99:.2} | {cpu_p50:.2} | {cpu_p99:.2} | {found:.0} |");
}

/// Returns what this thread has spent on a CPU: on a machine that does other work too, that is what repeats.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Returns a line of what Linux says about this process.
fn memory(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}
