//! What writers bring together from all items, `gathered` in the record.
//!
//! It has a digest of each file that a writer made in the output folder, under its name; of a
//! folder that of the list of its files, under the list's path: `tree/SHA256SUMS`. So a full check
//! can look at them, and a later run knows what an earlier one has made there: what its own writers
//! do not make any more is removed, unless somebody has changed it since.

use std::{
    fs,
    path::{Component, Path},
};

use super::{FILE as RECORD, INDEX, digest, metrics, read_record, tables};
use crate::{
    Error, Result,
    data::{
        Facts, LIST, Value, files_below, recorded_files, remove_at_once, sha256_file, write_json,
    },
};

/// The field of the record.
pub(super) const FIELD: &str = "gathered";

/// What a run makes by itself: no writer's, whatever a record says.
const OWN: [&str; 8] =
    [RECORD, INDEX, metrics::FILE, tables::FOLDER, "run.lock", "items", "parts", "shards"];

/// What the record of the run in `out` says that writers have brought together there.
pub(super) fn earlier(out: &Path) -> Facts {
    let record = read_record(out).ok();
    match record.as_ref().and_then(|record| record.get(FIELD)) {
        Some(Value::Map(gathered)) => gathered.clone(),
        _ => Facts::new(),
    }
}

/// The entry of the file or folder `name` in `out`, which `writer` has made: the file whose digest
/// it has, and what is recorded of it.
///
/// # Errors
/// When it cannot be read.
pub(super) fn entry(out: &Path, writer: &str, name: &str) -> Result<(String, Value)> {
    let is_folder = out.join(name).is_dir();
    let file = if is_folder { format!("{name}/{LIST}") } else { name.to_owned() };
    let mut about = digest(&out.join(&file))?;
    if let Value::Map(about) = &mut about {
        about.insert("writer".into(), writer.into());
    }
    Ok((file, about))
}

/// Notes in the record of the run in `out` that the file or folder `name`, which one of its writers
/// had brought together, was made again since.
///
/// # Errors
/// When the file or the record cannot be read, or the record not be written.
pub fn made_again(out: &Path, name: &str) -> Result<()> {
    let mut record = read_record(out)?;
    let Value::Map(fields) = &mut record else { return Ok(()) };
    let Some(Value::Map(all)) = fields.get_mut(FIELD) else { return Ok(()) };
    let of = |entry: &Value| writer(entry).to_owned();
    let Some(writer) = all.get(name).map(of) else { return Ok(()) };
    let (file, entry) = entry(out, &writer, name)?;
    if all.insert(file, entry.clone()) == Some(entry) {
        return Ok(());
    }
    write_json(&out.join(RECORD), &record)
}

/// The writer that an entry is of.
pub(super) fn writer(entry: &Value) -> &str {
    entry.get("writer").and_then(Value::as_str).unwrap_or_default()
}

/// An entry without its writer: the digest alone.
pub(super) fn digest_of(entry: &Value) -> Value {
    let mut about = entry.clone();
    if let Value::Map(about) = &mut about {
        about.remove("writer");
    }
    about
}

/// Removes from `out` what an earlier run's writers made there, by an entry of its record. Returns
/// a warning where it stays, because somebody has changed it.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove(out: &Path, file: &str, entry: &Value) -> Result<Option<String>> {
    let folder = file.strip_suffix(LIST).and_then(|folder| folder.strip_suffix('/'));
    let name = folder.unwrap_or(file);
    // The record may have been written by anybody, and not every file system tells cases apart.
    let parts: Vec<Component<'_>> = Path::new(name).components().collect();
    let is_own = OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
    if !matches!(parts[..], [Component::Normal(_)]) || is_own {
        return Ok(None);
    }
    let place = out.join(name);
    if fs::symlink_metadata(&place).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let is_listed = folder.is_none() || is_as_listed(&place);
    if !is_listed || !is_as_recorded(out, file, entry) {
        return Ok(Some(changed_since(&place)));
    }
    match folder {
        Some(_) => remove_at_once(&place)?,
        None => fs::remove_file(&place).map_err(|e| Error::io("remove", &place, &e))?,
    }
    Ok(None)
}

/// The warning of what an earlier run has left at `place` and somebody has changed.
pub(super) fn changed_since(place: &Path) -> String {
    format!(
        "`{}` is of an earlier run and was changed since: it stays, and this run has no say in it. Remove it if nobody needs it.",
        place.display()
    )
}

/// Whether `name` in `out` is nothing that a run has brought together there, or was changed since:
/// a writer that makes something of that name would replace what is somebody's.
pub(in crate::run) fn is_foreign(out: &Path, name: &str) -> bool {
    let place = out.join(name);
    let is_there = fs::symlink_metadata(&place).is_ok();
    let list = format!("{name}/{LIST}");
    let is_ours = earlier(out).iter().any(|(file, entry)| {
        (file == name && is_as_recorded(out, file, entry))
            || (*file == list && is_as_listed(&place))
    });
    is_there && !is_ours
}

/// Whether the file of an entry is an ordinary one with the bytes that were recorded.
fn is_as_recorded(out: &Path, file: &str, entry: &Value) -> bool {
    is_ordinary(&out.join(file)) && digest(&out.join(file)).is_ok_and(|now| now == digest_of(entry))
}

/// Whether a folder holds the files of its list, as they are listed, and no others.
fn is_as_listed(folder: &Path) -> bool {
    // What a link leads to is somebody else's.
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|about| about.is_dir());
    let (Some(listed), Ok(mut there)) = (recorded_files(folder), files_below(folder)) else {
        return false;
    };
    there.retain(|name| name != LIST);
    let is_same = |(name, sha256): (&String, &String)| {
        let path = folder.join(name);
        is_ordinary(&path) && sha256_file(&path).is_ok_and(|now| now == *sha256)
    };
    is_folder && there.iter().eq(listed.keys()) && listed.iter().all(is_same)
}

/// Whether `path` is an ordinary file itself, and no link to one.
fn is_ordinary(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::replace_folder;

    /// An output folder with a file and a folder, and their entries.
    fn made() -> (tempfile::TempDir, Vec<(String, Value)>) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path();
        fs::write(out.join("all.bin"), "1").unwrap();
        replace_folder(&out.join("tree"), |draft| {
            fs::create_dir(draft.join("deep")).unwrap();
            fs::write(draft.join("a"), "2").unwrap();
            fs::write(draft.join("deep/b"), "3").unwrap();
            Ok(())
        })
        .unwrap();
        let entries = ["all.bin", "tree"].map(|name| entry(out, "Mine", name).unwrap());
        (dir, entries.into())
    }

    fn left(out: &Path) -> Vec<String> {
        files_below(out).unwrap()
    }

    #[test]
    fn what_nobody_has_touched_is_removed() {
        let (dir, entries) = made();
        assert_eq!(entries[1].0, "tree/SHA256SUMS");
        assert_eq!(writer(&entries[0].1), "Mine");
        for (file, entry) in &entries {
            assert_eq!(remove(dir.path(), file, entry).unwrap(), None);
            // What is gone already is no trouble.
            assert_eq!(remove(dir.path(), file, entry).unwrap(), None);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_somebody_has_changed_stays_and_is_named() {
        type Change = fn(&Path);
        let changes: [(usize, Change); 5] = [
            (0, |out| fs::write(out.join("all.bin"), "2").unwrap()),
            (1, |out| fs::write(out.join("tree/a"), "3").unwrap()),
            (1, |out| fs::write(out.join("tree/deep/mine"), "precious").unwrap()),
            (1, |out| fs::remove_file(out.join("tree/a")).unwrap()),
            (1, |out| fs::write(out.join("tree/SHA256SUMS"), "").unwrap()),
        ];
        for (n, change) in changes {
            let (dir, entries) = made();
            change(dir.path());
            let before = left(dir.path());
            let (file, entry) = &entries[n];
            let warning = remove(dir.path(), file, entry).unwrap().unwrap();
            assert!(warning.contains(["all.bin", "tree"][n]), "{warning}");
            assert_eq!(left(dir.path()), before);
        }
    }

    #[test]
    fn a_record_cannot_point_at_anything_else() {
        let (dir, _) = made();
        let out = dir.path().join("out");
        fs::create_dir_all(out.join("items")).unwrap();
        for file in ["run.json", "items/x", "metrics.csv"] {
            fs::write(out.join(file), "1").unwrap();
        }
        let (_, entry) = entry(dir.path(), "Mine", "all.bin").unwrap();
        let absolute = dir.path().join("all.bin").display().to_string();
        for file in
            ["../all.bin", absolute.as_str(), "run.json", "items/x", "metrics.csv", "..", ""]
        {
            assert_eq!(remove(&out, file, &entry).unwrap(), None, "{file}");
        }
        assert_eq!(left(&out).len(), 3);
        assert!(dir.path().join("all.bin").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_a_file_stays() {
        let (dir, entries) = made();
        let out = dir.path();
        fs::rename(out.join("all.bin"), out.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(out.join("elsewhere"), out.join("all.bin")).unwrap();
        let (file, entry) = &entries[0];
        assert!(remove(out, file, entry).unwrap().is_some());
        assert!(out.join("all.bin").exists() && out.join("elsewhere").exists());
    }
}
