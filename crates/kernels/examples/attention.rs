//! Prints how long attention takes: one token after contexts of 512 and 8192, and a prompt of 512.
//!
//! `cargo run --release -p seedhouse-kernels --example attention`

use std::hint::black_box;
use std::time::Instant;

use seedhouse_kernels::{
    AttentionOptions, BLOCK_TOKENS, KeyValueShape, KeyValueStore, Level, Pool, PoolOptions, Span, append, attend,
};

/// Layers that take turns, as in a model, so that keys and values of long contexts come from memory.
const LAYERS: usize = 12;
const LONGEST: usize = 8192;
/// More than caches hold.
const READ_BYTES: usize = 256 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:>8}  {:>7}  {:>18}  {:>12}  {:>8}  {:>8}", "level", "threads", "heads", "tokens", "us/layer", "rate");
    for level in Level::available() {
        for threads in [1, 2] {
            let pool = Pool::new(&PoolOptions { threads, level, ..PoolOptions::default() })?;
            let read = read_rate(&pool);
            println!("{:>8}  {threads:>7}  {:>18}  {:>12}  {:>8}  {read:.1} GB/s", level.name(), "", "plain read", "");
            for (query_heads, heads) in [(12, 12), (9, 3)] {
                measure(&pool, query_heads, heads)?;
            }
        }
    }
    Ok(())
}

fn measure(pool: &Pool, query_heads: usize, heads: usize) -> Result<(), Box<dyn std::error::Error>> {
    let shape = KeyValueShape { layers: LAYERS, heads, head_width: 64 };
    let mut store = KeyValueStore::new(shape, LONGEST / BLOCK_TOKENS)?;
    let blocks: Vec<u32> = (0..store.blocks() as u32).collect();
    let numbers: Vec<f32> = (0..512 * query_heads * 64).map(|index| (index % 101) as f32 / 50.0 - 1.0).collect();
    for layer in 0..LAYERS {
        for first_position in (0..LONGEST).step_by(512) {
            let span = Span { blocks: &blocks, first_position, rows: 0..512 };
            pool.step(|step| append(step, &mut store, layer, &[span], &numbers[..], &numbers[..]));
        }
    }
    let options = AttentionOptions { query_heads, scale: 0.125, window: None };
    let mut output = vec![0.0; 512 * query_heads * 64];
    for (first_position, rows) in [(511, 1), (8191, 1), (0, 512)] {
        let span = [Span { blocks: &blocks, first_position, rows: 0..rows }];
        let micros = median_micros(|| {
            pool.step(|step| {
                for layer in 0..LAYERS {
                    attend(step, &store, layer, &span, &numbers[..], options, &mut output);
                }
            });
            black_box(&mut output);
        });
        report(pool, query_heads, heads, first_position, rows, micros / LAYERS as f64);
    }
    let span = [Span { blocks: &blocks, first_position: 0, rows: 0..512 }];
    let micros = median_micros(|| pool.step(|step| append(step, &mut store, 3, &span, &numbers[..], &numbers[..])));
    println!(
        "{:>8}  {:>7}  {query_heads:>7} over {heads:>5}  {:>12}  {micros:>8.1}",
        pool.level().name(),
        pool.threads(),
        "append 512"
    );
    Ok(())
}

/// Returns the rate at which plain loops read memory, for comparison.
fn read_rate(pool: &Pool) -> f64 {
    let numbers = vec![1_u64; READ_BYTES / 8];
    let pieces: Vec<&[u64]> = numbers.chunks(1 << 16).collect();
    let micros = median_micros(|| {
        pool.step(|step| {
            step.run(pieces.len(), &|piece| {
                black_box(pieces[piece].iter().fold(0, |sum, number| sum ^ number));
            });
        });
    });
    READ_BYTES as f64 / micros / 1e3
}

/// Returns the median of the microseconds of 15 runs.
fn median_micros(mut work: impl FnMut()) -> f64 {
    work();
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[7]
}

fn report(pool: &Pool, query_heads: usize, heads: usize, first: usize, rows: usize, micros: f64) {
    let name = if rows == 1 { format!("1 at {}", first + 1) } else { format!("prompt {rows}") };
    let rate = if rows == 1 {
        let bytes = (first + 1) * heads * 64 * 2 * 2;
        format!("{:.1} GB/s", bytes as f64 / micros / 1e3)
    } else {
        let operations = rows * (rows + 1) / 2 * query_heads * 64 * 4;
        format!("{:.0} GFLOP/s", operations as f64 / micros / 1e3)
    };
    let (level, threads) = (pool.level().name(), pool.threads());
    println!("{level:>8}  {threads:>7}  {query_heads:>7} over {heads:>5}  {name:>12}  {micros:>8.1}  {rate:>8}");
}
