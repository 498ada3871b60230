//! How much memory the process has.

/// Returns the bytes of the process that stand in no file; `None` where the system does not say.
pub(super) fn anonymous_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_counted() {
        const BYTES: usize = 64 << 20;
        let before = anonymous_bytes().unwrap();
        let block = std::hint::black_box(vec![1_u8; BYTES]);
        // Other tests free some of theirs meanwhile.
        assert!(anonymous_bytes().unwrap() + (BYTES as u64) / 2 > before + BYTES as u64);
        drop(block);
    }
}
