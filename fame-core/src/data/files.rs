//! Files that are there whole or not at all.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{require_memory, require_memory_for};
use crate::{Error, Result};

/// SHA-256 of `bytes`, hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The hash of a text whose beginning many texts share: it is gone through once.
#[derive(Clone)]
pub(crate) struct Begun(Sha256);

impl Begun {
    /// Begins with `text`.
    pub(crate) fn of(text: &str) -> Self {
        Self(Sha256::new_with_prefix(text))
    }

    /// The SHA-256 of the beginning and `rest`, hexadecimal.
    pub(crate) fn then(&self, rest: &str) -> String {
        hex(&self.0.clone().chain_update(rest).finalize())
    }
}

/// An ordinary file, opened to be read.
///
/// # Errors
/// When it cannot be read, or is a folder, a pipe or a device: those may never end.
pub fn open_ordinary(path: &Path) -> Result<fs::File> {
    let failed = |e: std::io::Error| Error::io("read", path, &e);
    // Asked before it is opened: opening a pipe waits for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        let message = format!("`{}` is not an ordinary file.", path.display());
        let help = "Folders, pipes and devices cannot be read here: name a file on disk.";
        return Err(Error::new("fame::io::not_a_file", message).with_help(help));
    }
    fs::File::open(path).map_err(failed)
}

/// All bytes of an ordinary file that fits into the memory.
///
/// # Errors
/// As [`open_ordinary`], and `fame::memory` when it is larger than the budget.
pub fn read_ordinary(path: &Path) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| Error::io("read", path, &e);
    let mut file = open_ordinary(path)?;
    let length = file.metadata().map_err(failed)?.len();
    require_memory(format!("the file `{}`", path.display()), length)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The SHA-256 of an ordinary file, hexadecimal, read in pieces.
///
/// # Errors
/// As [`open_ordinary`].
pub fn sha256_file(path: &Path) -> Result<String> {
    sha256_of(open_ordinary(path)?).map_err(|e| Error::io("read", path, &e))
}

/// The SHA-256 of what `bytes` still gives, hexadecimal, read in pieces.
pub(crate) fn sha256_of(mut bytes: impl std::io::Read) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        let n = bytes.read(&mut piece)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&piece[..n]);
    }
}

/// `text` without the mark (U+FEFF) that some editors put before the first character of a file.
pub(crate) fn without_mark(text: String) -> String {
    text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)
}

/// The hashes of files that were read in this run: each is read once, as long as its size and the
/// time of its last change stay what they were. Nothing of it outlives the process, because a time
/// proves nothing between two runs.
#[derive(Default)]
pub(crate) struct FileHashes(Mutex<BTreeMap<PathBuf, HashedFile>>);

/// A file as it was when it was hashed.
struct HashedFile {
    bytes: u64,
    changed: Option<SystemTime>,
    sha256: String,
}

impl FileHashes {
    /// The SHA-256 of the file at `path`, hexadecimal.
    ///
    /// # Errors
    /// As [`sha256_file`], and `fame::memory` for a file larger than the budget: it is hashed
    /// because it is read next.
    pub(crate) fn sha256(&self, path: &Path) -> Result<String> {
        let about = fs::metadata(path).map_err(|e| Error::io("read", path, &e))?;
        let (bytes, changed) = (about.len(), about.modified().ok());
        let known = |file: &&HashedFile| file.bytes == bytes && file.changed == changed;
        if let Some(file) = self.lock().get(path).filter(known) {
            return Ok(file.sha256.clone());
        }
        require_memory_for(path)?;
        let sha256 = sha256_file(path)?;
        let file = HashedFile { bytes, changed, sha256: sha256.clone() };
        self.lock().insert(path.to_owned(), file);
        Ok(sha256)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, HashedFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

/// Writes `bytes` to `path` under a temporary name, then renames.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole_from(
        path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        path,
        bytes,
    )
}

/// [`write_whole`] with the temporary file in `folder`, which is on the same file system.
pub(crate) fn write_whole_from(folder: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole_by(folder, path, |file| file.write_all(bytes))
}

/// [`write_whole_from`] of what `write` writes piece by piece: a table over many items is never in
/// memory as a whole.
pub(crate) fn write_whole_by(
    folder: &Path,
    path: &Path,
    write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("write", path, &e);
    let file = temporary(0o666).tempfile_in(folder).map_err(failed)?;
    let mut pieces = std::io::BufWriter::new(file);
    write(&mut pieces).map_err(failed)?;
    let file = pieces.into_inner().map_err(|e| failed(e.into_error()))?;
    // After a power cut a name must not stand for an empty file.
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// The beginning of the names of files that are not whole yet. No name of a user begins so: what a
/// killed run has left is known by it.
const UNFINISHED: &str = ".fame-unfinished-";

/// A maker of temporary files and folders. Such are private to their owner by default; results are
/// for everyone the umask allows, so `mode` is asked for and the system takes the umask from it.
fn temporary(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    builder
}

/// Writes `value` as indented JSON with a final newline, whole or not at all.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_whole(path, json_text(value)?.as_bytes())
}

/// `value` as indented JSON with a final newline.
pub(crate) fn json_text<T: Serialize>(value: &T) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::bug(format!("a record cannot be written as JSON: {e}.")))?;
    text.push('\n');
    Ok(text)
}

/// A folder under a temporary name beside its final place. Dropped without [`Draft::publish`], it
/// disappears.
pub(crate) struct Draft {
    folder: tempfile::TempDir,
    place: PathBuf,
}

impl Draft {
    /// Starts a folder that will become `place`.
    ///
    /// # Errors
    /// When the parent cannot be written.
    pub(crate) fn new(place: &Path) -> Result<Self> {
        let parent = place.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
        let folder =
            temporary(0o777).tempdir_in(parent).map_err(|e| Error::io("create", parent, &e))?;
        Ok(Self { folder, place: place.to_owned() })
    }

    /// The folder to write into.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the folder appear at its place, in one rename; what was there before is moved away in
    /// one rename first, and removed at the end: a kill in between leaves no half of it.
    ///
    /// # Errors
    /// When renaming fails; the old folder is then kept or gone, never mixed with the new.
    pub(crate) fn publish(self) -> Result<()> {
        let failed = |e: std::io::Error| Error::io("write", &self.place, &e);
        // A name that a power cut leaves must stand for whole files.
        sync_files(self.folder.path()).map_err(failed)?;
        move_into_place(self.folder.path(), &self.place)?;
        // The folder has moved: there is nothing left to clean up.
        let _ = self.folder.keep();
        Ok(())
    }
}

/// The list of the files of a folder that was made as a whole, with their hashes, as
/// `sha256sum --check` reads it. It is published with them, so it is never older or younger than
/// they are, and it says which files are ours.
pub(crate) const LIST: &str = "SHA256SUMS";

impl Draft {
    /// [`Draft::publish`], with a list of the files.
    ///
    /// # Errors
    /// As that, and when a file cannot be read or the list cannot be written.
    pub(crate) fn publish_listed(self) -> Result<()> {
        let mut text = String::new();
        for name in files_below(self.path())? {
            let sha256 = sha256_file(&self.path().join(&name))?;
            text.extend([&sha256, "  ", &name, "\n"]);
        }
        write_whole(&self.path().join(LIST), text.as_bytes())?;
        self.publish()
    }
}

/// Makes the folder `place` as a whole: `make` fills a draft, and that takes the place of what an
/// earlier call has left, in one rename, with a list of its files, `SHA256SUMS`. For what a writer
/// brings together from all items.
///
/// # Errors
/// `fame::run::link` where `place` is a link, and `fame::run::foreign_file` where it holds a file
/// that no earlier call has left: nothing is touched then. What `make` says, and when the folder
/// cannot be written.
pub fn replace_folder(place: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let help = "Nothing was touched. Move it away, or name another folder: --out FOLDER.";
    if fs::symlink_metadata(place).is_ok_and(|about| about.is_symlink()) {
        let message = format!("`{}` is a link.", place.display());
        return Err(Error::new("fame::run::link", message).with_help(help));
    }
    if place.exists() {
        let ours = recorded_files(place).unwrap_or_default();
        let mut there = files_below(place)?.into_iter();
        if let Some(name) = there.find(|name| name != LIST && !ours.contains_key(name)) {
            let message =
                format!("`{}` holds `{name}`, which no run of fame wrote.", place.display());
            return Err(Error::new("fame::run::foreign_file", message).with_help(help));
        }
    }
    let draft = Draft::new(place)?;
    make(draft.path())?;
    draft.publish_listed()
}

/// The names and hashes in the list of a folder that was made as a whole; `None` where there is no
/// list.
pub(crate) fn recorded_files(folder: &Path) -> Option<BTreeMap<String, String>> {
    let text = String::from_utf8(read_ordinary(&folder.join(LIST)).ok()?).ok()?;
    let line = |line: &str| {
        let (sha256, name) = line.split_once("  ")?;
        Some((name.to_owned(), sha256.to_owned()))
    };
    Some(text.lines().filter_map(line).collect())
}

/// The files below `folder`, by their paths from there, in order; a link is a file.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut open = vec![(folder.to_owned(), String::new())];
    while let Some((place, prefix)) = open.pop() {
        let failed = |e: std::io::Error| Error::io("read", &place, &e);
        for entry in fs::read_dir(&place).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().map_err(failed)?.is_dir() {
                open.push((entry.path(), format!("{name}/")));
            } else {
                files.push(name);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Moves the folder `from` to `place` in one rename, on one file system. What was there before is
/// moved away in one rename first, and removed at the end.
///
/// # Errors
/// When renaming fails; the old folder is then kept or gone, never mixed with the new.
pub(crate) fn move_into_place(from: &Path, place: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("write", place, &e);
    let parent = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let mut old = None;
    if place.exists() {
        let away = temporary(0o777).tempdir_in(parent).map_err(failed)?;
        fs::rename(place, away.path()).map_err(failed)?;
        old = Some(away);
    }
    fs::rename(from, place).map_err(failed)?;
    drop(old);
    Ok(())
}

/// Removes `folder` with all that is in it: first its name, so that no half of it is ever seen.
///
/// # Errors
/// When it cannot be renamed.
pub(crate) fn remove_at_once(folder: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("remove", folder, &e);
    let parent = folder.parent().unwrap_or(Path::new("."));
    let away = temporary(0o777).tempdir_in(parent).map_err(failed)?;
    fs::rename(folder, away.path()).map_err(failed)
}

/// Brings all files below `folder` to the disk.
fn sync_files(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_files(&path)?;
        } else if path.is_file() {
            fs::File::open(path)?.sync_all()?;
        }
    }
    Ok(())
}

/// Removes what a killed run had begun in `folder`: drafts, and files that were not in place yet.
/// Only for whoever knows that nobody else is at work there.
pub(crate) fn sweep_unfinished(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            continue;
        }
        let _ = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
            _ => fs::remove_file(entry.path()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::memory_budget;

    #[test]
    fn a_draft_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("items/a");
        let draft = Draft::new(&place).unwrap();
        fs::write(draft.path().join("x"), "1").unwrap();
        drop(draft);
        assert!(!place.exists());
        assert_eq!(fs::read_dir(dir.path().join("items")).unwrap().count(), 0);
        for text in ["1", "2"] {
            let draft = Draft::new(&place).unwrap();
            fs::write(draft.path().join("x"), text).unwrap();
            draft.publish().unwrap();
        }
        assert_eq!(fs::read_to_string(place.join("x")).unwrap(), "2");
    }

    #[test]
    fn a_folder_of_a_users_files_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("reference");
        let make = |text: &'static str| {
            move |draft: &Path| {
                fs::create_dir(draft.join("a")).unwrap();
                fs::write(draft.join("a").join(text), text)
                    .map_err(|e| Error::io("write", draft, &e))
            }
        };
        replace_folder(&place, make("one")).unwrap();
        replace_folder(&place, make("two")).unwrap();
        assert_eq!(files_below(&place).unwrap(), [LIST, "a/two"]);
        assert_eq!(recorded_files(&place).unwrap()["a/two"], sha256_hex(b"two"));
        fs::write(place.join("a/mine"), "precious").unwrap();
        let error = replace_folder(&place, make("three")).unwrap_err();
        assert_eq!(error.code, "fame::run::foreign_file");
        assert!(error.message.contains("`a/mine`"), "{error}");
        assert_eq!(files_below(&place).unwrap(), [LIST, "a/mine", "a/two"]);
        // A folder of the user's own has no list, and is not ours.
        let own = dir.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("thesis"), "precious").unwrap();
        assert!(replace_folder(&own, make("four")).is_err() && own.join("thesis").exists());
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&own, &link).unwrap();
            assert_eq!(replace_folder(&link, make("five")).unwrap_err().code, "fame::run::link");
        }
    }

    #[test]
    fn only_what_bears_the_mark_of_the_unfinished_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let mine = [".tmpnotes", ".draft-thesis", "x.csv"].map(|name| dir.path().join(name));
        mine.iter().for_each(|path| fs::write(path, "mine").unwrap());
        // As a kill leaves them: not in place, and not cleaned up.
        let draft = Draft::new(&dir.path().join("a")).unwrap();
        fs::write(draft.path().join("x"), "half").unwrap();
        let _ = draft.folder.keep();
        let (_, file) = temporary(0o666).tempfile_in(dir.path()).unwrap().keep().unwrap();
        assert!(file.exists());
        sweep_unfinished(dir.path());
        assert!(mine.iter().all(|path| path.exists()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), mine.len());
    }

    #[test]
    fn a_file_is_hashed_once_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let hashes = FileHashes::default();
        fs::write(&path, "abc").unwrap();
        let first = hashes.sha256(&path).unwrap();
        assert_eq!(first, sha256_hex(b"abc"));
        // Other bytes of the same size and time: what is known is not read again.
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "xyz").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(hashes.sha256(&path).unwrap(), first);
        fs::write(&path, "longer").unwrap();
        assert_eq!(hashes.sha256(&path).unwrap(), sha256_hex(b"longer"));
        // Another run knows nothing of this one's times.
        assert_eq!(FileHashes::default().sha256(&path).unwrap(), sha256_hex(b"longer"));
        assert_eq!(hashes.sha256(dir.path()).unwrap_err().code, "fame::io::not_a_file");
        // Terabytes of nothing, on no disk: refused unread, where the memory is known.
        if memory_budget() < 1 << 43 {
            fs::File::create(&path).unwrap().set_len(1 << 43).unwrap();
            assert_eq!(hashes.sha256(&path).unwrap_err().code, "fame::memory");
        }
    }

    #[test]
    fn a_hash_that_was_begun_is_that_of_the_whole() {
        let begun = Begun::of("abc / ");
        assert_eq!(begun.then("d"), sha256_hex(b"abc / d"));
        assert_eq!(begun.then(""), sha256_hex(b"abc / "));
    }

    #[test]
    fn hashes_agree_with_the_standard() {
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
