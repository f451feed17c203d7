//! The cache on disk: verified files under their own checksum.
//!
//! ```text
//! files/<sha256>/<name>      models, labels, pictures
//! archives/<sha256>          the packages they were taken from
//! python/<key>/              Python packages that converters need
//! locks/<key>.lock           held while something is being fetched
//! tmp/                       work in progress; everything else enters the folders above by a rename
//! ```

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::data::sha256_file;
use crate::{Error, Result};

/// Work in progress that is older than this was left by a process that was killed.
const ABANDONED: Duration = Duration::from_hours(24);

/// The folder fame caches in: `FAME_CACHE`, else `XDG_CACHE_HOME/fame`, else `~/.cache/fame`.
///
/// # Errors
/// `fame::model::no_cache` when none of these and no home folder is known.
pub fn default_cache_dir() -> Result<PathBuf> {
    cache_dir_from(|name| std::env::var_os(name)).ok_or_else(|| {
        Error::new("fame::model::no_cache", "there is no folder to cache models in: neither FAME_CACHE nor XDG_CACHE_HOME nor HOME is set.")
            .with_help("Set the environment variable FAME_CACHE to a folder that you may write to.")
    })
}

/// [`default_cache_dir`] by the values that `variable` gives.
fn cache_dir_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // A relative XDG_CACHE_HOME is to be ignored, says its specification.
    let shared = || {
        folder("XDG_CACHE_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| folder("HOME").map(|home| home.join(".cache")))
    };
    folder("FAME_CACHE").or_else(|| shared().map(|path| path.join("fame")))
}

/// The cache: the folders described above, below one root.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `root` is made absolute, because clients run in folders of their own.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf()) }
    }

    /// The folder that holds all of it.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of the file called `name` with this checksum.
    pub(super) fn file(&self, sha256: &str, name: &str) -> PathBuf {
        self.root.join("files").join(sha256).join(name)
    }

    /// The path of the archive with this checksum.
    pub(super) fn archive(&self, sha256: &str) -> PathBuf {
        self.root.join("archives").join(sha256)
    }

    /// The folder of the Python packages with this key.
    pub(super) fn python(&self, key: &str) -> PathBuf {
        self.root.join("python").join(key)
    }

    /// A fresh folder for work in progress, on the same file system as everything else in the
    /// cache. Dropped, it is gone.
    pub(super) fn work_folder(&self) -> Result<TempDir> {
        let folder = self.root.join("tmp");
        make_folder(&folder)?;
        sweep(&folder);
        tempfile::Builder::new()
            .prefix("fetch-")
            .tempdir_in(&folder)
            .map_err(|error| Error::io("create a folder in", &folder, &error))
    }

    /// Waits until no other process fetches `key`. Dropping the guard frees it. `waiting` is called
    /// once if there is a wait.
    pub(super) fn lock(&self, key: &str, waiting: impl FnOnce()) -> Result<File> {
        let folder = self.root.join("locks");
        make_folder(&folder)?;
        let path = folder.join(format!("{key}.lock"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| Error::io("create", &path, &error))?;
        // Where the file system knows no locks, two processes do the same work twice: renames keep
        // the result right all the same.
        if file.try_lock().is_err() {
            waiting();
            let _ = file.lock();
        }
        Ok(file)
    }
}

/// Is there a file with this checksum? A damaged one counts as none, and will be replaced.
pub(super) fn is_intact(path: &Path, sha256: &str) -> Result<bool> {
    Ok(path.is_file() && sha256_file(path)? == sha256)
}

/// Moves a finished file from a work folder to its place, at once or not at all.
pub(super) fn publish(from: &Path, to: &Path) -> Result<()> {
    let synced = File::open(from).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::io("write", from, &error))?;
    if let Some(parent) = to.parent() {
        make_folder(parent)?;
    }
    fs::rename(from, to).map_err(|error| Error::io("write", to, &error))
}

/// Makes a folder and those it lies in, where they are not there.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::io("create", path, &error))
}

/// Removes what killed processes left. It is a courtesy: whatever goes wrong is left for the next
/// time.
fn sweep(folder: &Path) {
    let is_old = |entry: &fs::DirEntry| {
        let modified = entry.metadata().and_then(|data| data.modified());
        modified.is_ok_and(|time| {
            SystemTime::now().duration_since(time).is_ok_and(|age| age > ABANDONED)
        })
    };
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(io::Result::ok);
    for entry in entries.filter(is_old) {
        let _ = fs::remove_dir_all(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_environment_says() {
        let dir = |set: &[(&str, &str)]| {
            cache_dir_from(|name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            })
        };
        assert_eq!(
            dir(&[("FAME_CACHE", "/f"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]),
            Some("/f".into())
        );
        assert_eq!(
            dir(&[("FAME_CACHE", ""), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]),
            Some("/x/fame".into())
        );
        assert_eq!(
            dir(&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")]),
            Some("/h/.cache/fame".into())
        );
        assert_eq!(dir(&[]), None);
    }

    #[test]
    fn a_checksum_is_sixty_four_lower_case_digits() {
        assert_eq!(
            crate::data::sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn the_leftovers_of_a_killed_process_are_swept_and_live_ones_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let old = folder.path().join("tmp/fetch-old");
        let live = cache.work_folder().unwrap();
        make_folder(&old).unwrap();
        File::open(&old).unwrap().set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        let _next = cache.work_folder().unwrap();
        assert!(!old.exists());
        assert!(live.path().exists());
    }
}
