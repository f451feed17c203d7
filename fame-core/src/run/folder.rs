//! The output folder of a run: whether it is ours, and that one run at a time writes there.
//!
//! A folder is ours if it is new or empty, or bears our mark: the record of an earlier run, or the
//! lock of one that was killed before it wrote any, both known by what they say. Nothing in another
//! folder is touched, and nothing behind a link.

use std::{
    fs::{self, File, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
};

use crate::{Error, Result};

/// The name of the lock file. It stays when a run ends: a file that is removed while another
/// process waits for it would let two runs in.
const LOCK: &str = "run.lock";

/// The folders that a run replaces parts of.
const FOLDERS: [&str; 3] = ["items", "parts", "tables"];

/// The beginning of what a lock says while it is held.
const HOLDER: &str = "process ";

/// The output folder while a run writes there. Dropped, or at the end of the process however that
/// comes, the folder is free again.
pub(super) struct OutputFolder {
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
        fs::create_dir_all(out).map_err(|e| {
            Error::io("create", out, &e)
                .with_help("Name a folder that you can write: --out FOLDER.")
        })?;
        refuse_foreign(out)?;
        let path = out.join(LOCK);
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| {
                Error::io("write", &path, &e)
                    .with_help("Name a folder that you can write: --out FOLDER.")
            })?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(held(out, &mut lock)),
            // On a file system without locks the run goes on as it did before there were any.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let holder = format!("{HOLDER}{} on {}", std::process::id(), host.trim());
        let failed = |e: std::io::Error| Error::io("write", &path, &e);
        lock.set_len(0).map_err(failed)?;
        lock.rewind().map_err(failed)?;
        lock.write_all(holder.as_bytes()).map_err(failed)?;
        Ok(Self { lock })
    }
}

fn refuse_foreign(out: &Path) -> Result<()> {
    let is_link = |name: &&&str| fs::symlink_metadata(out.join(name)).is_ok_and(|a| a.is_symlink());
    if let Some(link) = FOLDERS.iter().find(is_link) {
        let message = format!("`{}` is a link.", out.join(link).display());
        return Err(Error::new("fame::run::link", message).with_help(
            "Nothing was touched. A run replaces what lies there: name another folder.",
        ));
    }
    if is_record(&out.join("run.json")) || is_lock(out) {
        return Ok(());
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
    fs::read(path).is_ok_and(|bytes| {
        let field = b"\"fame_version\"";
        bytes.windows(field.len()).any(|window| window == field)
    })
}

/// Whether `out` holds a lock of ours and no record of another program.
fn is_lock(out: &Path) -> bool {
    let says = fs::read_to_string(out.join(LOCK));
    !out.join("run.json").exists()
        && says.is_ok_and(|text| text.is_empty() || text.starts_with(HOLDER))
}

fn held(out: &Path, lock: &mut File) -> Error {
    let mut holder = String::new();
    let _ = lock.read_to_string(&mut holder);
    let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
    let message = format!("another run writes to `{}`: {holder}.", out.display());
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
        fs::write(dir.path().join("run.json"), r#"{"fame_version": "0.1.0"}"#).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("items")).unwrap();
        assert_eq!(OutputFolder::take(dir.path()).err().unwrap().code, "fame::run::link");
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
        assert!(OutputFolder::take(&out).is_ok());
    }
}
