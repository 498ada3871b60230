//! Measures products of each format, beside the read bandwidth and the arithmetic limit of the same run:
//! `cargo run --release -p seedhouse-kernels --example products [-- FORMAT...]`.
//!
//! With one thread, time is that on the processor, so that other programs matter less; with two it is that on the clock.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use seedhouse_kernels::{
    ActivationForm, Activations, Epilogue, GroupScales, Level, PackedMatrix, Pool, PoolOptions, Step, WeightFormat,
    multiply,
};

/// A feed-forward matrix of a small language model; together the copies are larger than the caches.
const OUTPUTS: usize = 4096;
const INPUTS: usize = 2048;
const WEIGHT_BYTES: usize = 160 << 20;

/// The median of so many rounds.
const ROUNDS: usize = 7;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for level in [Level::Avx512, Level::Avx2].into_iter().filter(|level| level.is_available()) {
        for threads in [1, 2] {
            let pool = Pool::new(&PoolOptions { threads, level, ..PoolOptions::default() }).expect("threads start");
            println!("\n{} with {threads} threads: read {:.1} GB/s", level.name(), read_bandwidth(&pool));
            print_limits(&pool);
            println!(
                "{:44} {:10} {:>12} {:>8} {:>8} {:>9}",
                "weights", "input", "1 row GB/s", "1 row", "8 rows", "512 rows"
            );
            for (format, form) in cases(level) {
                let name = format!("{format:?}");
                if wanted.is_empty() || wanted.iter().any(|wanted| name.starts_with(wanted.as_str())) {
                    measure(&pool, format, form, &name);
                }
            }
        }
    }
}

fn cases(level: Level) -> Vec<(WeightFormat, ActivationForm)> {
    let mut cases: Vec<_> =
        WeightFormat::ALL.into_iter().map(|format| (format, format.best_activations(level))).collect();
    for format in [WeightFormat::Bf16, WeightFormat::Int8, WeightFormat::Int4Groups(GroupScales::Scale)] {
        cases.push((format, ActivationForm::F32));
    }
    cases
}

fn measure(pool: &Pool, format: WeightFormat, form: ActivationForm, name: &str) {
    let bytes = PackedMatrix::packed_len(format, OUTPUTS, INPUTS);
    let matrices: Vec<PackedMatrix> = (0..WEIGHT_BYTES.div_ceil(bytes)).map(|seed| pack(format, seed)).collect();
    let mut row_bandwidth = 0.0;
    let mut speeds = Vec::new();
    for rows in [1, 8, 512] {
        let used = if rows == 512 { 2.min(matrices.len()) } else { matrices.len() };
        let time = time_of_product(pool, &matrices[..used], form, rows) / used as f64;
        if rows == 1 {
            row_bandwidth = bytes as f64 / time * 1e-9;
        }
        speeds.push((2 * rows * OUTPUTS * INPUTS) as f64 / time * 1e-9);
    }
    println!(
        "{name:44} {:10} {row_bandwidth:12.1} {:8.0} {:8.0} {:9.0}",
        format!("{form:?}"),
        speeds[0],
        speeds[1],
        speeds[2]
    );
}

fn pack(format: WeightFormat, seed: usize) -> PackedMatrix {
    PackedMatrix::pack_f32(format, OUTPUTS, INPUTS, &mut |output, row| {
        for (input, weight) in row.iter_mut().enumerate() {
            *weight = ((output * 31 + input * 17 + seed) % 255) as f32 * 0.01 - 1.27;
        }
    })
}

/// Returns the seconds of one product with each matrix.
fn time_of_product(pool: &Pool, matrices: &[PackedMatrix], form: ActivationForm, rows: usize) -> f64 {
    let input: Vec<f32> = (0..INPUTS).map(|at| (at % 61) as f32 - 30.0).collect();
    let mut activations = Activations::new();
    let mut output = vec![0.0; rows * OUTPUTS];
    median(pool.threads(), || {
        pool.step(|step| {
            for matrix in matrices {
                activations.fill(step, form, rows, INPUTS, &|_, numbers| numbers.copy_from_slice(&input));
                multiply(step, matrix, &activations, &mut output, Epilogue::default());
            }
        });
        black_box(&output);
    })
}

/// Returns how many gigabytes per second all threads together read.
fn read_bandwidth(pool: &Pool) -> f64 {
    // Packed weights lie in huge pages.
    let matrices: Vec<PackedMatrix> = (0..8).map(|seed| pack(WeightFormat::F32, seed)).collect();
    let bytes: usize = matrices.iter().map(|matrix| matrix.bytes().len()).sum();
    let time =
        median(pool.threads(), || pool.step(|step| matrices.iter().for_each(|matrix| read(step, matrix.bytes()))));
    bytes as f64 / time * 1e-9
}

fn read(step: &mut Step<'_>, bytes: &[u8]) {
    let parts: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(step.threads() * 4)).collect();
    step.run(parts.len(), &|part| {
        let (words, _) = parts[part].as_chunks::<8>();
        let sums = words.chunks_exact(32).fold([0_u64; 32], |mut sums, words| {
            sums.iter_mut().zip(words).for_each(|(sum, word)| *sum ^= u64::from_ne_bytes(*word));
            sums
        });
        black_box(sums);
    });
}

/// Prints how many operations per second all threads together do on registers alone.
#[cfg(target_arch = "x86_64")]
fn print_limits(pool: &Pool) {
    if pool.level() == Level::Avx512 {
        let giga = |operations_per_lane: usize, work: unsafe fn()| {
            let parts = pool.threads() * 4;
            // SAFETY: the level of a pool is available.
            let time = median(pool.threads(), || pool.step(|step| step.run(parts, &|_| unsafe { work() })));
            (parts * limits::INSTRUCTIONS * 16 * operations_per_lane) as f64 / time * 1e-9
        };
        let (floats, halves, bytes) = (giga(2, limits::floats), giga(4, limits::halves), giga(8, limits::bytes));
        println!("arithmetic limits, 10^9 per second: f32 {floats:.0}, bf16 {halves:.0}, int8 {bytes:.0}");
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn print_limits(_pool: &Pool) {}

/// The instruction of each product, with 24 independent sums.
#[cfg(target_arch = "x86_64")]
mod limits {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    pub(super) const INSTRUCTIONS: usize = 24 * ROUNDS;
    const ROUNDS: usize = 100_000;

    #[target_feature(enable = "avx512f")]
    pub(super) fn floats() {
        let factor = black_box(_mm512_set1_ps(0.5));
        let mut sums = black_box([_mm512_set1_ps(1.0); 24]);
        for _ in 0..ROUNDS {
            sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(factor, factor, *sum));
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn halves() {
        // SAFETY: vectors of the same size, in which any bits are numbers.
        let factor = unsafe { std::mem::transmute::<__m512i, __m512bh>(black_box(_mm512_set1_epi32(0x3f00_3f00))) };
        let mut sums = black_box([_mm512_set1_ps(1.0); 24]);
        for _ in 0..ROUNDS {
            sums.iter_mut().for_each(|sum| *sum = _mm512_dpbf16_ps(*sum, factor, factor));
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn bytes() {
        let factor = black_box(_mm512_set1_epi8(3));
        let mut sums = black_box([_mm512_set1_epi32(1); 24]);
        for _ in 0..ROUNDS {
            sums.iter_mut().for_each(|sum| *sum = _mm512_dpbusd_epi32(*sum, factor, factor));
        }
        black_box(sums);
    }
}

fn median(threads: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = now(threads);
            work();
            now(threads) - start
        })
        .collect();
    times.sort();
    times[ROUNDS / 2].as_secs_f64()
}

/// Returns a reading of the clock that suits the number of threads.
fn now(threads: usize) -> Duration {
    let clock = if threads == 1 { ClockId::ThreadCPUTime } else { ClockId::Monotonic };
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}
