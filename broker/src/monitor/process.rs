//! What this process takes of the machine, where the operating system tells.

use std::fs;
use std::time::SystemTime;

/// Linux' own, on every platform that we are built for.
const PAGE_BYTES: u64 = 4096;
const TICKS_PER_SECOND: f64 = 100.0;

/// 0 where it is not told.
pub fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

/// 0 where it is not told.
pub fn cpu_percent(since: SystemTime) -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in parentheses, may hold spaces; user and system time are the 12th and 13th after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    let up = SystemTime::now()
        .duration_since(since)
        .unwrap_or_default()
        .as_secs_f64();
    if up > 0.0 {
        ticks / TICKS_PER_SECOND / up * 100.0
    } else {
        0.0
    }
}
