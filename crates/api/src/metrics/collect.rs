//! From the figures of the service to metrics.

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use seedhouse_service::statistics::{Distribution, TokenStatistics, VersionStatistics};
use seedhouse_service::{BatchStatistics, ServingFigures};

use super::MetricsAliases;
use super::aliases::{triton, vllm};
use super::catalogue as c;
use super::exposition::{Exposition, Family, Metric};
use super::requests::HttpStatistics;

/// Returns all metrics as text.
pub(super) fn text(figures: &ServingFigures, requests: &HttpStatistics, aliases: &[MetricsAliases]) -> String {
    let mut exposition = Exposition::default();
    let versions = Versions::new(figures);
    process(&mut exposition, requests);
    http(&mut exposition, requests);
    inference(&mut exposition, figures, &versions);
    tokens(&mut exposition, &versions);
    running_texts(&mut exposition, figures, &versions);
    batches(&mut exposition, figures, &versions);
    slots(&mut exposition, figures, &versions);
    memory(&mut exposition, figures);
    unreadable(&mut exposition, figures);
    plans(&mut exposition, figures);
    registry(&mut exposition, figures);
    if aliases.contains(&MetricsAliases::Triton) {
        triton::write(&mut exposition, figures, &versions);
    }
    if aliases.contains(&MetricsAliases::Vllm) {
        vllm::write(&mut exposition, figures, &versions);
    }
    exposition.into_text()
}

/// A version and the values of its labels.
pub(super) struct Labelled<'f> {
    pub(super) counted: &'f VersionStatistics,
    pub(super) model_id: &'f str,
    pub(super) base: &'f str,
    pub(super) version: String,
}

impl Labelled<'_> {
    pub(super) fn labels(&self) -> [&str; 3] {
        [self.model_id, self.base, &self.version]
    }

    fn with<'l>(&'l self, further: &'l str) -> [&'l str; 4] {
        [self.model_id, self.base, &self.version, further]
    }
}

/// All versions that were asked.
pub(super) struct Versions<'f> {
    all: Vec<Labelled<'f>>,
    by_id: HashMap<&'f str, usize>,
}

impl<'f> Versions<'f> {
    fn new(figures: &'f ServingFigures) -> Versions<'f> {
        let label = |counted: &'f VersionStatistics| Labelled {
            counted,
            model_id: counted.name.model_id.as_str(),
            base: counted.name.base.as_str(),
            version: counted.name.version.to_string(),
        };
        let all: Vec<Labelled<'f>> = figures.versions.iter().map(label).collect();
        let by_id = all.iter().enumerate().map(|(index, version)| (version.model_id, index)).collect();
        Versions { all, by_id }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Labelled<'f>> {
        self.all.iter()
    }

    /// Returns the versions that read texts.
    fn with_tokens(&self) -> impl Iterator<Item = (&Labelled<'f>, &'f TokenStatistics)> {
        self.all.iter().filter_map(|version| Some((version, version.counted.tokens.as_ref()?)))
    }

    /// Returns those of them that answered with texts: encoders do not.
    pub(super) fn with_texts(&self) -> impl Iterator<Item = (&Labelled<'f>, &'f TokenStatistics)> {
        self.with_tokens().filter(|(_, tokens)| tokens.finished.total() > 0)
    }

    /// Returns a version; nothing for one that was deleted while it is still in memory.
    pub(super) fn find(&self, model_id: &str) -> Option<&Labelled<'f>> {
        self.by_id.get(model_id).map(|index| &self.all[*index])
    }
}

fn process(exposition: &mut Exposition, requests: &HttpStatistics) {
    let started = requests.started_at().duration_since(UNIX_EPOCH).unwrap_or_default();
    exposition.family(&c::BUILD_INFO, |family| family.sample(&[env!("CARGO_PKG_VERSION")], 1));
    exposition.family(&c::START_TIME, |family| family.sample(&[], started.as_secs_f64()));
    if let Some(bytes) = resident_bytes() {
        exposition.family(&c::RESIDENT_BYTES, |family| family.sample(&[], bytes));
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn http(exposition: &mut Exposition, requests: &HttpStatistics) {
    let report = requests.report();
    exposition.family(&c::HTTP_REQUESTS, |family| {
        for figures in &report {
            for (status, count) in &figures.by_status {
                family.sample(&[figures.method, &figures.route, &status.to_string()], count);
            }
        }
    });
    exposition.family(&c::HTTP_SECONDS, |family| {
        for figures in &report {
            family.histogram(&[figures.method, &figures.route], &figures.seconds);
        }
    });
    exposition.family(&c::HTTP_IN_PROGRESS, |family| family.sample(&[], requests.in_progress()));
}

fn inference(exposition: &mut Exposition, figures: &ServingFigures, versions: &Versions<'_>) {
    let mut each = |metric: &'static Metric, write: fn(&mut Family<'_>, &[&str], &VersionStatistics)| {
        exposition.family(metric, |family| {
            versions.iter().for_each(|version| write(family, &version.labels(), version.counted));
        });
    };
    each(&c::REQUESTS, |family, labels, counted| family.sample(labels, counted.succeeded));
    each(&c::IN_PROGRESS, |family, labels, counted| family.sample(labels, counted.in_progress));
    each(&c::ITEMS, |family, labels, counted| family.sample(labels, counted.items));
    each(&c::REQUEST_SECONDS, |family, labels, counted| family.histogram(labels, &counted.request_seconds));
    each(&c::QUEUE_SECONDS, |family, labels, counted| family.histogram(labels, &counted.queue_seconds));
    each(&c::COMPUTE_SECONDS, |family, labels, counted| family.histogram(labels, &counted.compute_seconds));
    each(&c::SLOT_HITS, |family, labels, counted| family.sample(labels, counted.slot.hits));
    each(&c::SLOT_WAITS, |family, labels, counted| family.sample(labels, counted.slot.waits));
    each(&c::SLOT_LOADS, |family, labels, counted| family.histogram(labels, &counted.slot.load_seconds));
    each(&c::SLOT_EVICTIONS, |family, labels, counted| family.sample(labels, counted.slot.evictions));
    exposition.family(&c::FAILURES, |family| {
        for version in versions.iter() {
            for (code, count) in &version.counted.failed.0 {
                family.sample(&version.with(code.as_str()), count);
            }
        }
    });
    exposition.family(&c::UNRESOLVED, |family| {
        figures.unresolved.0.iter().for_each(|(code, count)| family.sample(&[code.as_str()], count));
    });
}

fn tokens(exposition: &mut Exposition, versions: &Versions<'_>) {
    exposition.family(&c::PROMPT_TOKENS, |family| {
        versions.with_tokens().for_each(|(version, tokens)| family.sample(&version.labels(), tokens.prompt));
    });
    let mut each = |metric: &'static Metric, write: fn(&mut Family<'_>, &[&str], &TokenStatistics)| {
        exposition.family(metric, |family| {
            versions.with_texts().for_each(|(version, tokens)| write(family, &version.labels(), tokens));
        });
    };
    each(&c::CACHED_TOKENS, |family, labels, tokens| family.sample(labels, tokens.cached));
    each(&c::GENERATED_TOKENS, |family, labels, tokens| family.sample(labels, tokens.generated));
    each(&c::FIRST_TOKEN_SECONDS, |family, labels, tokens| family.histogram(labels, &tokens.first_token_seconds));
    each(&c::TOKEN_SECONDS, |family, labels, tokens| family.histogram(labels, &tokens.per_token_seconds));
    exposition.family(&c::ANSWERS, |family| {
        for (version, tokens) in versions.with_texts() {
            let finished = &tokens.finished;
            family.sample(&version.with("stop"), finished.stop);
            family.sample(&version.with("length"), finished.length);
            family.sample(&version.with("cancelled"), finished.cancelled);
        }
    });
}

fn running_texts(exposition: &mut Exposition, figures: &ServingFigures, versions: &Versions<'_>) {
    let texts: Vec<_> =
        figures.texts.iter().filter_map(|(id, counted)| Some((versions.find(id)?.labels(), counted))).collect();
    let mut each = |metric: &'static Metric, value: fn(&seedhouse_service::TextStatistics) -> u64| {
        exposition.family(metric, |family| {
            texts.iter().for_each(|(labels, counted)| family.sample(labels, value(counted)));
        });
    };
    each(&c::TEXT_RUNNING, |text| text.running);
    each(&c::TEXT_WAITING, |text| text.queued);
    each(&c::TEXT_STEPS, |text| text.steps);
    each(&c::TEXT_PREFIX_HITS, |text| text.prefix_hits);
    each(&c::TEXT_PREEMPTIONS, |text| text.preemptions);
}

fn batches(exposition: &mut Exposition, figures: &ServingFigures, versions: &Versions<'_>) {
    let queues: Vec<_> =
        figures.queues.iter().filter_map(|(id, counted)| Some((versions.find(id)?.labels(), counted))).collect();
    exposition.family(&c::BATCH_SIZE, |family| {
        queues.iter().for_each(|(labels, counted)| family.histogram(labels, &sizes(counted)));
    });
    let mut each = |metric: &'static Metric, value: fn(&BatchStatistics) -> f64| {
        exposition.family(metric, |family| {
            queues.iter().for_each(|(labels, counted)| family.sample(labels, value(counted)));
        });
    };
    each(&c::BATCH_WAITING, |queue| queue.waiting as f64);
    each(&c::BATCH_QUEUE_SECONDS, |queue| queue.queue_micros as f64 / 1e6);
    each(&c::BATCH_COMPUTE_SECONDS, |queue| queue.compute_micros as f64 / 1e6);
    each(&c::BATCH_REPEATED, |queue| queue.repeated as f64);
}

fn sizes(queue: &BatchStatistics) -> Distribution {
    let mut count = 0;
    let mut up_to = |batches: &u64| {
        count += batches;
        count
    };
    let bounds = BatchStatistics::SIZE_BOUNDS.iter().map(|bound| *bound as f64);
    let buckets = bounds.zip(queue.sizes.iter().map(&mut up_to)).collect();
    Distribution { count: queue.sizes.iter().sum(), sum: queue.rows as f64, buckets }
}

fn slots(exposition: &mut Exposition, figures: &ServingFigures, versions: &Versions<'_>) {
    // A version may stand in several: one that answers and one that is being drained.
    let mut bytes: HashMap<(&str, &str), u64> = HashMap::new();
    let mut in_use: HashMap<&str, u64> = HashMap::new();
    for slot in &figures.memory.slots {
        *bytes.entry((&slot.model_id, slot.state.as_str())).or_default() += slot.bytes;
        *in_use.entry(&slot.model_id).or_default() += slot.in_use;
    }
    exposition.family(&c::SLOT_BYTES, |family| {
        for ((model_id, state), bytes) in sorted(bytes) {
            versions.find(model_id).into_iter().for_each(|version| family.sample(&version.with(state), bytes));
        }
    });
    exposition.family(&c::SLOT_IN_USE, |family| {
        for (model_id, in_use) in sorted(in_use) {
            versions.find(model_id).into_iter().for_each(|version| family.sample(&version.labels(), in_use));
        }
    });
}

fn sorted<K: Ord, V>(map: HashMap<K, V>) -> Vec<(K, V)> {
    let mut pairs: Vec<(K, V)> = map.into_iter().collect();
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    pairs
}

fn memory(exposition: &mut Exposition, figures: &ServingFigures) {
    let memory = &figures.memory;
    if let Some(budget) = memory.budget_bytes {
        exposition.family(&c::MEMORY_BUDGET, |family| family.sample(&[], budget));
    }
    exposition.family(&c::MEMORY_USED, |family| family.sample(&[], memory.used_bytes));
    exposition.family(&c::MEMORY_WAITING, |family| family.sample(&[], memory.waiting_requests));
    exposition.family(&c::FAILED_LOADS, |family| family.sample(&[], memory.failed_loads));
}

fn unreadable(exposition: &mut Exposition, figures: &ServingFigures) {
    let sources = [
        ("plans", figures.plans.is_none()),
        ("registry", figures.registered_versions.is_none()),
        ("jobs", figures.jobs.is_none()),
    ];
    exposition.family(&c::UNREADABLE, |family| {
        sources.iter().for_each(|(source, is_unreadable)| family.sample(&[source], u8::from(*is_unreadable)));
    });
}

fn plans(exposition: &mut Exposition, figures: &ServingFigures) {
    let Some(plans) = &figures.plans else { return };
    exposition.family(&c::PLAN_HITS, |family| {
        family.sample(&["memory"], plans.memory_hits);
        family.sample(&["disk"], plans.disk_hits);
    });
    exposition.family(&c::PLAN_MISSES, |family| {
        plans.misses.iter().for_each(|(reason, count)| family.sample(&[reason], count));
    });
    exposition.family(&c::PLAN_COMPILE_SECONDS, |family| family.sample(&[], plans.compile_micros as f64 / 1e6));
    exposition.family(&c::PLAN_FAILED_WRITES, |family| family.sample(&[], plans.failed_writes));
    exposition.family(&c::PLAN_STORED, |family| family.sample(&[], plans.stored_bytes));
}

fn registry(exposition: &mut Exposition, figures: &ServingFigures) {
    if let Some(versions) = figures.registered_versions {
        exposition.family(&c::VERSIONS, |family| family.sample(&[], versions));
    }
    if let Some(jobs) = &figures.jobs {
        exposition.family(&c::JOBS, |family| {
            jobs.iter().for_each(|(state, count)| family.sample(&[state.as_str()], count));
        });
    }
}
