//! Merging shards: their items and parts are moved to where one machine would have written them.
//! The recipe is run over them afterwards and finds all of them done; that makes what needs the
//! whole set: tables, thresholds, the record.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Shard,
    folder::{LOCK, OutputFolder},
    record::{
        FILE, INDEX, ItemLine, counts, files_of, foreign_file, has_record, item_lines, read_record,
        stranger,
    },
    shard::SHARDS,
};
use crate::{
    Error, Result,
    data::{Value, move_into_place, remove_at_once},
};

/// What a run of one shard writes.
const OWN: [&str; 5] = ["items", "parts", FILE, INDEX, LOCK];

/// The state of one shard.
#[derive(Clone, Debug)]
pub struct ShardState {
    /// Which it is; `None`: the run is not in shards, and this is all of it.
    pub shard: Option<Shard>,
    /// Its output folder.
    pub folder: PathBuf,
    /// `waiting`, `running`, `complete`, `incomplete` (some items failed), `failed`, `stopped`,
    /// `broken off` where its process is gone and had no time to say so, or `damaged` where its
    /// record cannot be read.
    pub status: String,
    /// Why, where the record says.
    pub error: Option<String>,
    /// The items of the shard, as soon as they have been counted.
    pub items: Option<usize>,
    /// Those of them that are finished, done or kept: of a run that goes on, or was broken off, as
    /// many as it has come to.
    pub finished: usize,
    /// Those that failed.
    pub failed: usize,
    /// Items in the folder beside them, which an earlier run has left.
    pub others: usize,
    /// Whether only some of the data's items were asked for, by `--limit` or `--only`.
    pub is_selection: bool,
    /// The `--limit` that it got.
    pub limit: Option<usize>,
    /// The `--only` that it got.
    pub only: Vec<String>,
    /// Items that were finished since the last start, and the time since then: until now while it
    /// runs, else until the last of them.
    pub pace: Option<(usize, Duration)>,
    /// The path of the recipe, and the values that were set in it, of a shard that has started.
    pub recipe: Option<(PathBuf, Vec<String>)>,
    /// The recipe's text as the shard read it.
    pub text: Option<String>,
}

/// The shards of the run in `out` in order, or the run itself where it is not in shards.
///
/// # Errors
/// When there is no run, or its shards are of different numbers of shards.
pub fn shards(out: &Path) -> Result<Vec<ShardState>> {
    let entries = fs::read_dir(out.join(SHARDS)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let found: Vec<Shard> = names.filter_map(|name| Shard::of_folder(&name)).collect();
    let counts: BTreeSet<usize> = found.iter().map(|shard| shard.count()).collect();
    match counts.len() {
        0 if out.join(FILE).is_file() => Ok(vec![state(out.to_owned(), None)]),
        0 => Err(Error::new("fame::run::no_run", format!("`{}` holds no run.", out.display()))
            .with_help("Name the folder that `fame-cli run` got as --out.")),
        1 => {
            let count = found[0].count();
            let all = (0..count).map(|index| Shard::new(index, count));
            all.map(|shard| shard.map(|shard| state(shard.folder(out), Some(shard)))).collect()
        }
        _ => {
            let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
            let message = format!(
                "`{}` holds shards of runs in {} shards.",
                out.join(SHARDS).display(),
                counts.join(" and in ")
            );
            Err(Error::new("fame::run::mixed_shards", message)
                .with_help("Remove the folders of those that are not wanted: `NUMBER-of-COUNT`."))
        }
    }
}

/// The state of the run in `folder`.
fn state(folder: PathBuf, shard: Option<Shard>) -> ShardState {
    let read = read_record(&folder);
    let is_there = folder.join(FILE).exists();
    let unread = read.as_ref().err().filter(|_| is_there).map(|e| match &e.help {
        Some(help) => format!("{e} {help}"),
        None => e.to_string(),
    });
    let record = read.ok();
    let is_held = OutputFolder::holder(&folder).is_some();
    let field = |name: &str| record.as_ref().and_then(|record| record.get(name));
    let status = match (field("status").and_then(Value::as_str), is_held) {
        (_, true) => "running",
        (None, false) if is_there => "damaged",
        (None, false) => "waiting",
        (Some("running"), false) => "broken off",
        (Some(status), false) => status,
    };
    let whole = |value: &Value| value.as_f64().map(|n| n as usize);
    let (finished_items, failed) = counts(&folder);
    let started = field("started_unix_seconds").and_then(Value::as_f64);
    let times = finished(&folder);
    let texts = |value: Option<&Value>| match value {
        Some(Value::List(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let set: Vec<String> = texts(field("recipe").and_then(|recipe| recipe.get("overrides")));
    let selection = field("selection");
    let recipe = field("shard").and_then(|shard| shard.get("recipe_path")?.as_str());
    ShardState {
        shard,
        status: status.to_owned(),
        error: unread.or_else(|| Some(field("error")?.get("message")?.as_str()?.to_owned())),
        items: field("to_do").and_then(whole),
        finished: finished_items,
        failed,
        others: times.len().saturating_sub(finished_items),
        is_selection: selection.is_some(),
        limit: selection.and_then(|selection| selection.get("limit")).and_then(whole),
        only: texts(selection.and_then(|selection| selection.get("only"))),
        pace: started.map(|started| pace(&times, started, is_held)),
        recipe: recipe.map(|path| (PathBuf::from(path), set)),
        text: field("recipe").and_then(|recipe| Some(recipe.get("text")?.as_str()?.to_owned())),
        folder,
    }
}

/// When each finished item in `folder` was written.
fn finished(folder: &Path) -> Vec<SystemTime> {
    let entries = fs::read_dir(folder.join("items")).into_iter().flatten().flatten();
    let written = entries.filter_map(|entry| {
        fs::metadata(entry.path().join("item.json")).and_then(|about| about.modified()).ok()
    });
    written.collect()
}

/// How many items were written since the run `started`, in seconds since 1970, and in what time.
fn pace(written: &[SystemTime], started: f64, is_running: bool) -> (usize, Duration) {
    let since = UNIX_EPOCH + Duration::from_secs_f64(started.max(0.0));
    let new: Vec<&SystemTime> = written.iter().filter(|time| **time >= since).collect();
    let until =
        if is_running { SystemTime::now() } else { new.iter().max().map_or(since, |t| **t) };
    (new.len(), until.duration_since(since).unwrap_or_default())
}

/// Moves the items and parts of all shards in `out` to where one machine would have written them.
/// What follows is a [`run`](super::run) of the whole recipe in `out`, and [`remove_shards`].
/// Broken off anywhere, all of it can be repeated.
///
/// # Errors
/// When a shard has not gone through, with all of them that have not; when a file of somebody else
/// is in the way. Items that an earlier run left in `out` under the same names are replaced.
pub fn merge(out: &Path) -> Result<()> {
    let shards = shards(out)?;
    let missing: Vec<String> = shards.iter().filter_map(what_is_missing).collect();
    if !missing.is_empty() {
        let message = format!(
            "{} of {} shards have not gone through:\n  {}",
            missing.len(),
            shards.len(),
            missing.join("\n  ")
        );
        return Err(Error::new("fame::run::missing_shards", message).with_help(
            "Run these again, with the same command and `--shard NUMBER/COUNT`: what they have finished is kept.",
        ));
    }
    let _taken = OutputFolder::take(out)?;
    if shards.iter().any(|state| state.shard.is_some()) {
        require_shards_only(&out.join(SHARDS))?;
    }
    for folder in shards.iter().filter(|s| s.shard.is_some()).map(|s| &s.folder) {
        let _shard = OutputFolder::take(folder)?;
        require_own(folder)?;
        for kind in ["items", "parts"] {
            move_all(&folder.join(kind), &out.join(kind))?;
        }
    }
    Ok(())
}

/// What the shards in `out` have noted of their items, by id; nothing where there are no shards.
pub(super) fn lines_of_shards(out: &Path) -> BTreeMap<String, ItemLine> {
    if !out.join(SHARDS).is_dir() {
        return BTreeMap::new();
    }
    let shards = shards(out).unwrap_or_default();
    let lines = shards.iter().filter_map(|state| item_lines(&state.folder).ok()).flatten();
    lines.map(|line| (line.id.clone(), line)).collect()
}

/// Removes the records of merged shards, when the record of the whole run is there.
///
/// # Errors
/// When a shard holds something still, or the folder cannot be removed.
pub fn remove_shards(out: &Path) -> Result<()> {
    let folder = out.join(SHARDS);
    for state in shards(out)?.iter().filter(|state| state.shard.is_some()) {
        require_own(&state.folder)?;
        for kind in ["items", "parts"].map(|kind| state.folder.join(kind)) {
            if fs::read_dir(&kind).is_ok_and(|mut entries| entries.next().is_some()) {
                let message = format!("`{}` was not merged.", kind.display());
                return Err(Error::new("fame::run::missing_shards", message));
            }
        }
    }
    if !folder.exists() {
        return Ok(());
    }
    require_shards_only(&folder)?;
    // In one rename: of half the shards nobody could say which are missing.
    remove_at_once(&folder)
}

/// Why a shard cannot be merged yet; `None` where it can. Items that failed are no reason: a run on
/// one machine goes on without them as well.
fn what_is_missing(state: &ShardState) -> Option<String> {
    let shard = state.shard?;
    if ["complete", "incomplete"].contains(&state.status.as_str()) {
        return None;
    }
    let items = state.items.map_or(String::new(), |n| format!(", {} of {n} items", state.finished));
    let error = state.error.as_ref().map_or(String::new(), |e| format!(": {e}"));
    Some(format!("{shard}: {}{items}{error}", state.status))
}

/// Moves every folder in `from` to `to`, each in one rename, in place of what was there.
fn move_all(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries.flatten() {
        let place = to.join(entry.file_name());
        let foreign = if has_record(&place) {
            foreign_file(&place)
        } else {
            stranger(&place, files_of(&entry.path()).iter())
        };
        if from.ends_with("items")
            && let Some(name) = foreign
        {
            let message = format!("`{}` holds `{name}`, which no run wrote.", place.display());
            return Err(Error::new("fame::run::foreign_file", message)
                .with_help("Move the file away and merge again: nothing is lost."));
        }
        move_into_place(&entry.path(), &place)?;
    }
    Ok(())
}

/// Refuses a folder of shards that holds anything else: it is going to be removed.
fn require_shards_only(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))?.flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let Some(name) = names.find(|name| Shard::of_folder(name).is_none()) else { return Ok(()) };
    let message = format!("`{}` holds `{name}`, which is no shard.", folder.display());
    Err(Error::new("fame::run::foreign_file", message)
        .with_help("Move it away and merge again: nothing is lost."))
}

/// Refuses a shard's folder that holds more than a run writes there: it is going to be removed.
fn require_own(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))?.flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let Some(name) = names.find(|name| !OWN.contains(&name.as_str())) else { return Ok(()) };
    let message = format!("`{}` holds `{name}`, which no run wrote.", folder.display());
    Err(Error::new("fame::run::foreign_file", message)
        .with_help("Move the file away and merge again: nothing is lost."))
}
