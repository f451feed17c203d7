//! Facts of this machine for the record.

use crate::data::{Value, facts};

/// Operating system, architecture and number of cores.
pub(super) fn machine() -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    Value::Map(facts([
        ("os", std::env::consts::OS.into()),
        ("arch", std::env::consts::ARCH.into()),
        ("cores", cores.into()),
    ]))
}

/// The most memory this process has held, in bytes; `None` where the system does not say.
pub(super) fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
