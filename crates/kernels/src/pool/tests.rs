use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

fn pool(threads: usize) -> Pool {
    Pool::new(&PoolOptions { threads, ..PoolOptions::default() }).unwrap()
}

#[test]
fn every_part_runs_once() {
    for threads in 1..=4 {
        let pool = pool(threads);
        pool.step(|step| {
            for parts in [0, 1, 2, 3, 7, 100, shared::MOST_PARTS, shared::MOST_PARTS + 5] {
                let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                step.run(parts, &|part| {
                    counts[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{parts} parts");
            }
        });
    }
}

#[test]
fn pieces_cover_the_slice_without_overlap() {
    let pool = pool(3);
    for (length, piece) in [(10, 3), (9, 3), (1, 5), (0, 4), (1000, 1)] {
        let mut items = vec![0_usize; length];
        pool.step(|step| {
            step.for_each_piece(&mut items, piece, &|index, items| {
                items.iter_mut().for_each(|item| *item += index + 1);
            });
        });
        let expected: Vec<usize> = (0..length).map(|at| at / piece + 1).collect();
        assert_eq!(items, expected);
    }
}

#[test]
fn panic_of_a_part_reaches_the_step_and_the_pool_goes_on() {
    let pool = pool(3);
    for round in 0..50 {
        let ended = AtomicUsize::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.step(|step| {
                step.run(8, &|part| {
                    ended.fetch_add(1, Ordering::Relaxed);
                    assert!(part != 5, "part {part} of round {round}");
                });
            });
        }));
        let panic = caught.unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), &format!("part 5 of round {round}"));
        assert_eq!(ended.into_inner(), 8);
    }
    let sum = AtomicUsize::new(0);
    pool.step(|step| step.run(10, &|part| _ = sum.fetch_add(part, Ordering::Relaxed)));
    assert_eq!(sum.into_inner(), 45);
}

#[test]
fn steps_of_several_threads_do_not_mix() {
    let pool = pool(2);
    let inside = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    pool.step(|step| {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        step.run(4, &|_| {});
                        inside.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
        }
    });
}

#[test]
fn workers_take_part() {
    let pool = pool(2);
    let threads = Mutex::new(HashSet::new());
    let both = std::sync::Barrier::new(2);
    pool.step(|step| {
        step.run(2, &|_| {
            threads.lock().unwrap().insert(thread::current().id());
            both.wait();
        });
    });
    assert_eq!(threads.into_inner().unwrap().len(), 2);
}

#[test]
#[cfg(target_os = "linux")]
fn workers_sleep_between_steps() {
    let pool = pool(3);
    pool.step(|step| step.run(6, &|_| {}));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    // A thread that sleeps spends no time on a processor: two equal readings in a row of every worker.
    let mut before = busy_time_of_workers(&pool);
    loop {
        thread::sleep(Duration::from_millis(20));
        let now = busy_time_of_workers(&pool);
        if now == before {
            break;
        }
        before = now;
        assert!(std::time::Instant::now() < deadline, "the workers are still busy");
    }
}

/// Returns the nanoseconds that each worker has run (`schedstat`, proc(5)).
#[cfg(target_os = "linux")]
fn busy_time_of_workers(pool: &Pool) -> Vec<u64> {
    let names: Vec<String> = (0..pool.workers.len()).map(|worker| format!("kernels-{worker}")).collect();
    let mut times = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let folder = task.unwrap().path();
        let Ok(name) = std::fs::read_to_string(folder.join("comm")) else { continue };
        if names.iter().any(|known| known == name.trim()) {
            let Ok(statistics) = std::fs::read_to_string(folder.join("schedstat")) else { continue };
            times.push(statistics.split_whitespace().next().unwrap().parse().unwrap());
        }
    }
    times
}

#[test]
fn core_that_does_not_exist_is_refused() {
    for core in [100_000, 1_000] {
        let options = PoolOptions { threads: 2, pinning: Pinning::Cores(vec![0, core]), level: Level::Portable };
        let error = Pool::new(&options).unwrap_err().to_string();
        assert!(error.contains(&format!("core {core}")), "{error}");
    }
}

#[test]
fn pool_without_workers_runs_on_the_caller() {
    let caller = thread::current().id();
    pool(1).step(|step| step.run(5, &|_| assert_eq!(thread::current().id(), caller)));
}
