//! The memory that one thing may ask for: a picture, a layer, a list.
//!
//! A file of a kilobyte can ask for any number of bytes, and whoever allocates them ends the
//! process. So whatever is as large as a file or a recipe says is asked for here first. The budget
//! bounds each such thing by itself, not their sum: it refuses what cannot be meant, and leaves
//! room for what can.

use std::{
    fmt::Display,
    fs,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Error, Result};

/// The budget that was set; 0: none was.
static SET: AtomicU64 = AtomicU64::new(0);

/// Sets the budget of this process, in bytes. A loaded plugin has its own copy of this library, and
/// with it the machine's.
pub fn set_memory_budget(bytes: u64) {
    SET.store(bytes.max(1), Ordering::Relaxed);
}

/// The budget in bytes: what was set, else the memory of this machine or, where that is less, of
/// the control group that the process runs in, or what `ulimit` leaves it; without end where the
/// system says nothing.
pub fn memory_budget() -> u64 {
    static OF_MACHINE: OnceLock<u64> = OnceLock::new();
    match SET.load(Ordering::Relaxed) {
        0 => *OF_MACHINE.get_or_init(|| of_machine().unwrap_or(u64::MAX)),
        set => set,
    }
}

/// Refuses `what`, which would take so many `bytes`, if that is more than the budget.
///
/// # Errors
/// `fame::memory`, with the size and the option that sets the budget.
pub fn require_memory(what: impl Display, bytes: u64) -> Result<()> {
    let budget = memory_budget();
    if bytes <= budget {
        return Ok(());
    }
    let message = format!(
        "{what} would take {} of memory, and {} are the most that one thing may take here.",
        told(bytes),
        told(budget)
    );
    Err(Error::new("fame::memory", message).with_help(
        "Make it smaller. If it is meant, and the machine has the memory, say so: --memory 64GiB, with your number.",
    ))
}

/// Refuses a file that is going to be read as a whole and is larger than the budget: before it is
/// hashed, for the hash of terabytes of nothing (a sparse file takes no disk) takes hours. What is
/// no ordinary file, or not there, is left to whoever opens it.
///
/// # Errors
/// `fame::memory`, with the file, its size and the option that sets the budget.
pub fn require_memory_for(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(about) if about.is_file() => {
            require_memory(format!("the file `{}`", path.display()), about.len())
        }
        _ => Ok(()),
    }
}

/// A number of bytes for people.
fn told(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(size, _)| bytes >= *size);
    unit.map_or_else(
        || format!("{bytes} bytes"),
        |(size, unit)| format!("{:.1} {unit}", bytes as f64 / size as f64),
    )
}

/// What `ulimit -v` and `-d` leave a process whose `/proc` files `limits` and `status` say this.
fn left_by_ulimit(limits: &str, status: &str) -> Option<u64> {
    let left = |limit: &str, taken: &str| {
        let limit = limits.lines().find_map(|line| line.strip_prefix(limit))?;
        let limit: u64 = limit.split_whitespace().next()?.parse().ok()?;
        let taken = status.lines().find_map(|line| line.strip_prefix(taken));
        let taken = taken.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Some(limit.saturating_sub(taken.unwrap_or_default().saturating_mul(1024)))
    };
    let of_both = [("Max address space", "VmSize:"), ("Max data size", "VmData:")];
    of_both.into_iter().filter_map(|(limit, taken)| left(limit, taken)).min()
}

/// The memory of the machine, of the process's control group, or what limits leave the process,
/// whichever is less.
fn of_machine() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // Version 2 has one line, `0::/path`; version 1 one for each controller.
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, kind, path) = (fields.next(), fields.next(), fields.next());
        let path = path.unwrap_or_default();
        match kind {
            Some("") => [format!("{path}/memory.max"), "/memory.max".to_owned()]
                .map(|file| format!("/sys/fs/cgroup{file}"))
                .to_vec(),
            Some("memory") => [format!("{path}/"), "/".to_owned()]
                .map(|place| format!("/sys/fs/cgroup/memory{place}memory.limit_in_bytes"))
                .to_vec(),
            _ => Vec::new(),
        }
    });
    let limits = limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    let of_process = left_by_ulimit(
        &fs::read_to_string("/proc/self/limits").unwrap_or_default(),
        &fs::read_to_string("/proc/self/status").unwrap_or_default(),
    );
    limits.chain(total.map(|kib| kib.saturating_mul(1024))).chain(of_process).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_the_budget_is_named_with_its_size_and_the_option() {
        let error = require_memory("layer `x`", u64::MAX).err();
        // A system that says nothing of its memory bounds nothing.
        if let Some(error) = error {
            assert_eq!(error.code, "fame::memory");
            assert!(error.message.starts_with("layer `x` would take 1"), "{error}");
            assert!(error.help.unwrap().contains("--memory"));
        }
        assert!(require_memory("layer `x`", 1).is_ok());
        assert_eq!([told(10), told(3 << 20)], ["10 bytes", "3.0 MiB"]);
    }

    #[test]
    fn what_a_limit_leaves_is_the_limit_without_what_is_taken() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max data size             unlimited            unlimited            bytes\n\
                      Max address space         921600000            unlimited            bytes\n";
        let status = "Name:\tfame-cli\nVmSize:\t  300000 kB\nVmData:\t   90000 kB\n";
        assert_eq!(left_by_ulimit(limits, status), Some(921_600_000 - 300_000 * 1024));
        assert_eq!(left_by_ulimit(&limits.replace("921600000", "unlimited"), status), None);
        assert_eq!(left_by_ulimit(&limits.replace("921600000", "4096"), status), Some(0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_has_memory() {
        // Less than a megabyte or more than 4 PiB is no machine that runs this.
        assert!(of_machine().is_some_and(|bytes| (1 << 20..1 << 52).contains(&bytes)));
    }
}
