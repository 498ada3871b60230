//! The machine, as receipts name it.

use std::fs;

use seedhouse_core::Host;
use seedhouse_native::PoolOptions;

/// Describes the machine, as far as models use it.
pub(crate) fn host(pool: &PoolOptions) -> Host {
    Host {
        processor: processor().unwrap_or_else(|| "unknown".to_owned()),
        threads: u32::try_from(pool.threads).unwrap_or(u32::MAX),
        instructions: pool.level.name().to_owned(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

/// What Linux says that the processor is; other systems say it elsewhere.
fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
