//! How much memory loaded versions may take, as people write it: `2GiB`, `500MB`, `none`; and how much this machine has.

use std::fs;
use std::str::FromStr;

use seedhouse_core::{Error, Result};

/// A number of bytes, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryBudget(pub(crate) Option<u64>);

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl MemoryBudget {
    /// Returns three quarters of the memory that this process can have: the rest is for requests, the database and the system's
    /// cache of files. No limit where the system does not say.
    pub(crate) fn of_this_machine() -> MemoryBudget {
        let read = |path: &str| fs::read_to_string(path).ok();
        let machine = read("/proc/meminfo").and_then(|text| total_of(&text));
        let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
            .into_iter()
            .find_map(|path| read(path)?.trim().parse::<u64>().ok());
        let least = machine.into_iter().chain(group).min();
        MemoryBudget(least.map(|bytes| bytes / 4 * 3))
    }
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

impl FromStr for MemoryBudget {
    type Err = Error;

    fn from_str(text: &str) -> Result<MemoryBudget> {
        if text == "none" {
            return Ok(MemoryBudget(None));
        }
        let refuse = || {
            let rule = "must be a whole number from 1 and a unit, like `2GiB` or `500MB`, or `none`";
            Error::invalid("memory budget", text, rule)
        };
        let (digits, unit) =
            UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1));
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse());
        }
        let number: u64 = digits.parse().map_err(|_| refuse())?;
        match number.checked_mul(unit) {
            None | Some(0) => Err(refuse()),
            bytes => Ok(MemoryBudget(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_unit_are_a_budget_and_nothing_else_is() {
        for (text, bytes) in [("1", 1), ("7B", 7), ("2GiB", 2 << 30), ("500MB", 500_000_000), ("64KiB", 65_536)] {
            assert_eq!(text.parse::<MemoryBudget>().unwrap(), MemoryBudget(Some(bytes)), "{text}");
        }
        assert_eq!("none".parse::<MemoryBudget>().unwrap(), MemoryBudget(None));
        for text in ["", "0", "0GiB", "GiB", "-1", "1.5GiB", "1 GiB", "1gib", "五MB", "20000000TiB"] {
            let error = text.parse::<MemoryBudget>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn total_memory_is_read_from_the_line_that_has_it() {
        assert_eq!(total_of("MemTotal:       24000 kB\nMemFree: 1 kB\n"), Some(24_000 * 1024));
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
    }
}
