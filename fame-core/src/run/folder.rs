//! The output folder of a run: whether it is ours, and that one run at a time writes there.
//!
//! A folder is ours if it is new or empty, or bears our mark: the record of an earlier run, its
//! index, or the lock of one that was killed before it wrote any, all known by what they say.
//! Nothing in another folder is touched, and nothing behind a link.

use std::{
    fs::{self, File, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use super::{
    record::{
        FILE, INDEX, METRICS_FILE, damaged, foreign_table, index_is_there, metrics_are_foreign,
        read_record,
    },
    shard::SHARDS,
};
use crate::{
    Error, ErrorKind, Result,
    data::{open_ordinary, read_ordinary, sweep_unfinished},
};

/// The name of the lock file. It stays when a run ends: a file that is removed while another
/// process waits for it would let two runs in.
pub(super) const LOCK: &str = "run.lock";

/// The folders that a run replaces parts of.
const FOLDERS: [&str; 3] = ["items", "parts", "tables"];

/// What else is written in its place, and not put there by a rename: behind a link it would be
/// somebody else's.
const IN_PLACE: [&str; 4] = [LOCK, INDEX, SHARDS, "slurm"];

/// The beginning of what a lock says while it is held.
const HOLDER: &str = "process ";

/// The output folder while a run writes there. Dropped, or at the end of the process however that
/// comes, the folder is free again.
pub(super) struct OutputFolder {
    path: PathBuf,
    lock: File,
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        // A finished run leaves the same bytes whichever process it was.
        let _ = self.lock.set_len(0);
    }
}

impl OutputFolder {
    /// Takes the folder `out`, which is made if it is not there.
    ///
    /// # Errors
    /// When it holds files and bears no mark of ours; when another run writes there, with what it
    /// says of itself; when it cannot be written.
    pub(super) fn take(out: &Path) -> Result<Self> {
        let (path, mut lock) = Self::open(out)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(held(out, &mut lock)),
            // What lies half-made here was left by a run that was killed: no other is at work.
            Ok(()) => sweep(out),
            // On a file system without locks the run goes on as it did before there were any.
            Err(TryLockError::Error(_)) => {}
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let holder = format!("{HOLDER}{} on {}", std::process::id(), host.trim());
        let failed = |e: std::io::Error| Error::io("write", &path, &e);
        lock.set_len(0).map_err(failed)?;
        lock.rewind().map_err(failed)?;
        lock.write_all(holder.as_bytes()).map_err(failed)?;
        Ok(Self { path: out.to_owned(), lock })
    }

    /// Marks the folder `out` as one of ours without taking it: the folders of its shards are
    /// taken, by several runs at a time.
    ///
    /// # Errors
    /// When it holds files and bears no mark of ours; when it cannot be written.
    pub(super) fn mark(out: &Path) -> Result<()> {
        Self::open(out).map(|_| ())
    }

    /// Makes the folder and its lock file where they are not there, and opens the lock.
    fn open(out: &Path) -> Result<(PathBuf, File)> {
        let way_out = |e: Error| match e.kind {
            ErrorKind::Failure => e.with_help("Name a folder that you can write: --out FOLDER."),
            _ => e,
        };
        fs::create_dir_all(out).map_err(|e| way_out(Error::io("create", out, &e)))?;
        refuse_foreign(out)?;
        let path = out.join(LOCK);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let lock = options.open(&path).map_err(|e| way_out(Error::io("write", &path, &e)))?;
        Ok((path, lock))
    }

    /// Who writes to `out`, if anybody does.
    pub(super) fn holder(out: &Path) -> Option<String> {
        let mut lock = open_ordinary(&out.join(LOCK)).ok()?;
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(says(&mut lock)),
            _ => None,
        }
    }

    /// Whether a run has left its record there.
    pub(super) fn has_record(&self) -> bool {
        self.path.join(FILE).exists()
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes what a killed run had begun.
fn sweep(out: &Path) {
    sweep_unfinished(out);
    FOLDERS.iter().for_each(|folder| sweep_unfinished(&out.join(folder)));
}

/// Refuses a link at `path`: a run replaces what lies there, and what a link leads to is not ours.
///
/// # Errors
/// `fame::run::link` where it is one.
pub(super) fn refuse_link(path: &Path) -> Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink()) {
        return Ok(());
    }
    let message = format!("`{}` is a link.", path.display());
    Err(Error::new("fame::run::link", message).with_help(
        "Nothing was touched. A run replaces what lies there: move the link away, or name another folder: --out FOLDER.",
    ))
}

fn refuse_foreign(out: &Path) -> Result<()> {
    FOLDERS.iter().chain(&IN_PLACE).try_for_each(|name| refuse_link(&out.join(name)))?;
    // A pipe or a device would be waited for, without end.
    for name in IN_PLACE.iter().chain(&[FILE]) {
        let path = out.join(name);
        if fs::metadata(&path).is_ok_and(|about| !about.is_file() && !about.is_dir()) {
            open_ordinary(&path)?;
        }
    }
    let has_mark = index_is_there(out) || is_lock(out);
    if out.join(FILE).exists() && !is_record(&out.join(FILE)) && has_mark {
        let error = read_record(out).err();
        return Err(error.unwrap_or_else(|| damaged(out, "it is no record")));
    }
    if is_record(&out.join(FILE)) || has_mark {
        if metrics_are_foreign(out) {
            return Err(foreign_file(&out.join(METRICS_FILE)));
        }
        return foreign_table(out).map_or(Ok(()), |name| Err(in_tables(out, &name)));
    }
    let mut entries = fs::read_dir(out).map_err(|e| Error::io("read", out, &e))?;
    let Some(Ok(first)) = entries.next() else { return Ok(()) };
    let message = format!(
        "the output folder `{}` holds files that no run of fame wrote: `{}` is in the way.",
        out.display(),
        first.file_name().to_string_lossy()
    );
    Err(Error::new("fame::run::foreign_folder", message)
        .with_help("Nothing was touched. Name a new or an empty folder: --out FOLDER."))
}

/// Whether `path` is the record of a run: every one says which version wrote it.
fn is_record(path: &Path) -> bool {
    read_ordinary(path).is_ok_and(|bytes| {
        let field = b"\"fame_version\"";
        bytes.windows(field.len()).any(|window| window == field)
    })
}

/// Whether `out` holds a lock of ours.
fn is_lock(out: &Path) -> bool {
    let says = read_ordinary(&out.join(LOCK));
    says.is_ok_and(|text| text.is_empty() || text.starts_with(HOLDER.as_bytes()))
}

/// What a lock says of whoever holds it.
fn says(lock: &mut File) -> String {
    let mut holder = String::new();
    let _ = lock.read_to_string(&mut holder);
    if holder.is_empty() { "another process".to_owned() } else { holder }
}

/// The error of a folder with a file `name` in its tables that is not ours.
fn in_tables(out: &Path, name: &str) -> Error {
    let tables = out.join("tables");
    let message = format!("`{}` holds `{name}`, which no run of fame wrote.", tables.display());
    Error::new("fame::run::foreign_file", message).with_help(
        "Nothing was touched. A run replaces its tables: move the file away, or name another folder: --out FOLDER.",
    )
}

/// The error of a file that a run would replace and that no run has written.
pub(super) fn foreign_file(place: &Path) -> Error {
    let message = format!("`{}` is nothing that a run of fame wrote as it is.", place.display());
    Error::new("fame::run::foreign_file", message).with_help(
        "Nothing was touched. A run would replace it: move the file away, or name another folder: --out FOLDER.",
    )
}

fn held(out: &Path, lock: &mut File) -> Error {
    let message = format!("another run writes to `{}`: {}.", out.display(), says(lock));
    Error::new("fame::run::locked", message)
        .with_help("Wait for it to end, or name another folder: --out FOLDER.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_other_files_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tables")).unwrap();
        fs::write(dir.path().join("tables/mine.tex"), "precious").unwrap();
        let error = OutputFolder::take(dir.path()).err().unwrap();
        assert_eq!(error.code, "fame::run::foreign_folder");
        assert!(error.message.contains("`tables` is in the way"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // The same folder with the record of a run is one of ours.
        fs::write(dir.path().join("run.json"), r#"{"project": "other"}"#).unwrap();
        assert!(OutputFolder::take(dir.path()).is_err());
        fs::write(dir.path().join("run.json"), r#"{"fame_version": "0.1.0"}"#).unwrap();
        // Even there a file that no run wrote is not ours.
        let error = OutputFolder::take(dir.path()).err().unwrap();
        assert_eq!(error.code, "fame::run::foreign_file");
        assert_eq!(fs::read_to_string(dir.path().join("tables/mine.tex")).unwrap(), "precious");
        fs::remove_file(dir.path().join("tables/mine.tex")).unwrap();
        assert!(OutputFolder::take(dir.path()).is_ok());
    }

    #[test]
    fn a_damaged_record_leaves_the_folder_ours() {
        let dir = tempfile::tempdir().unwrap();
        drop(OutputFolder::take(dir.path()).unwrap());
        fs::write(dir.path().join("run.json"), "\0\0\0").unwrap();
        let error = OutputFolder::take(dir.path()).err().unwrap();
        assert_eq!(error.code, "fame::run::damaged");
        assert!(error.help.unwrap().contains("Move run.json away"));
        // The way out, and then the lock alone or the index alone says whose it is.
        fs::remove_file(dir.path().join("run.json")).unwrap();
        fs::create_dir(dir.path().join("items")).unwrap();
        drop(OutputFolder::take(dir.path()).unwrap());
        fs::remove_file(dir.path().join(LOCK)).unwrap();
        assert_eq!(OutputFolder::take(dir.path()).err().unwrap().code, "fame::run::foreign_folder");
        let line = r#"{"id": "a", "status": "done", "seconds": 1.0, "computed": []}"#;
        fs::write(dir.path().join("items.jsonl"), line).unwrap();
        assert!(OutputFolder::take(dir.path()).is_ok());
    }

    #[test]
    fn a_lock_of_another_program_is_no_mark() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOCK), "mine").unwrap();
        assert_eq!(OutputFolder::take(dir.path()).err().unwrap().code, "fame::run::foreign_folder");
        assert_eq!(fs::read_to_string(dir.path().join(LOCK)).unwrap(), "mine");
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_replaced_behind_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let precious = elsewhere.path().join("precious");
        fs::write(&precious, "mine").unwrap();
        fs::write(dir.path().join("run.json"), r#"{"fame_version": "0.1.0"}"#).unwrap();
        for name in FOLDERS.iter().chain(&IN_PLACE) {
            for target in [elsewhere.path(), &precious, Path::new("nowhere")] {
                let link = dir.path().join(name);
                std::os::unix::fs::symlink(target, &link).unwrap();
                let taken = OutputFolder::take(dir.path()).err().unwrap();
                assert_eq!(taken.code, "fame::run::link", "{name}");
                assert!(OutputFolder::mark(dir.path()).is_err(), "{name}");
                fs::remove_file(link).unwrap();
            }
        }
        assert_eq!(fs::read_to_string(precious).unwrap(), "mine");
        assert!(!dir.path().join("nowhere").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_among_our_files_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        for name in [FILE, INDEX, LOCK] {
            let pipe = dir.path().join(name);
            let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
            assert!(made.success());
            let taken = OutputFolder::take(dir.path()).err().unwrap();
            assert_eq!(taken.code, "fame::io::not_a_file", "{name}");
            assert!(OutputFolder::holder(dir.path()).is_none());
            fs::remove_file(pipe).unwrap();
        }
    }

    #[test]
    fn one_run_at_a_time_writes_to_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new/out");
        let first = OutputFolder::take(&out).unwrap();
        let error = OutputFolder::take(&out).err().unwrap();
        assert_eq!(error.code, "fame::run::locked");
        assert!(error.message.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        // A process that a test beside this one starts has a copy of the lock's file until it runs
        // its own program.
        let is_free = || {
            let taken = OutputFolder::take(&out).is_ok();
            if !taken {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            taken
        };
        assert!((0..500).any(|_| is_free()));
    }
}
