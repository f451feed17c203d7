//! `Gallery`: a probe among many enrolled faces.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use fame_core::{
    Error, Marks, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    data::{Facts, Value, require_memory, safe_id},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Folder, MATE, PROBE,
    entry::picture,
    folder::told,
    ids::{stem, unique, without_extension},
};

/// The most identities: every probe reads and prepares all of them anew, and holds their pictures
/// in memory meanwhile, as prepared (75 MB of them at 112 × 112 pixels) and reduced as decoded (up
/// to 3 MB each), while those of as many probes are open as the network takes rows at a time.
const MOST: usize = 500;

/// The most identities with other names that a note lists.
const TOLD: usize = 10;

/// Pictures with the identities they show.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub enum Faces {
    /// A folder, relative to the recipe, with a folder for each identity, called after it, or a
    /// picture; in the order of their names.
    Folder(String),
    /// Pairs of an identity and a picture: a file, relative to the recipe, or `picture:NAME`.
    Files(Vec<(String, String)>),
}

/// One item for each probe, for identification (1:N): the picture in the role `probe`, and all
/// enrolled faces, one for each identity, in roles called after them. A loss such as
/// `Identification` ranks them by the network's embeddings. Roles become parts of file names: an
/// identity whose name no file can have gets another (`o'brien` is `o_brien`, or `o_brien-2` beside
/// another `o_brien`), which the run warns of, and its own stands in the facts of the items, in
/// `names`.
///
/// The first picture of an identity is enrolled. Its further ones are probes, where `probes` is
/// left out: a folder in the layout of LFW is a gallery and its probes at once. The gallery's
/// pictures are read and prepared for each probe anew, so it has at most 500 identities; each goes
/// through the network once per run.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gallery {
    /// The enrolled faces: `Folder("people")`, or `Files([("ann", "ann.jpg"), …])`.
    pub gallery: Faces,
    /// The presented faces, likewise; their identities, which may be empty in `Files`, need not be
    /// enrolled. Default: the further pictures of the enrolled identities.
    #[serde(default)]
    pub probes: Option<Faces>,
    /// How many identities are enrolled, the first ones, 2 to 500. Default: all.
    #[serde(default)]
    pub identities: Option<usize>,
}

impl Plugin<dyn Dataset> for Gallery {
    const NAME: &'static str = "Gallery";
    const SUMMARY: &'static str =
        "Probes and a gallery of enrolled faces (1:N): role probe, and a role for each identity";
    const EXAMPLE: &'static str =
        r#"Gallery(gallery: Folder("enrolled"), probes: Folder("presented"))"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let must = "must name a folder, or at least one file";
        assembly.check("gallery", self.gallery.is_named(), must);
        let all_called = match &self.gallery {
            Faces::Folder(_) => true,
            Faces::Files(files) => files.iter().all(|(identity, _)| !identity.is_empty()),
        };
        assembly.check("gallery", all_called, "must name the identity of every picture");
        assembly.check("probes", self.probes.as_ref().is_none_or(Faces::is_named), must);
        let is_a_gallery = self.identities.is_none_or(|n| (2..=MOST).contains(&n));
        assembly.check("identities", is_a_gallery, "must be 2 to 500");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(GalleryDataset { parameters: self, notes: Mutex::default() }))
    }
}

fame_core::register!(Dataset: Gallery);

impl Faces {
    /// Whether a place is named, and no empty one.
    fn is_named(&self) -> bool {
        match self {
            Faces::Folder(path) => !path.is_empty() && !path.starts_with("picture:"),
            Faces::Files(files) => {
                !files.is_empty() && files.iter().all(|(_, file)| !file.is_empty())
            }
        }
    }

    /// The files and folders named.
    fn places(&self) -> Vec<String> {
        match self {
            Faces::Folder(path) => vec![path.clone()],
            Faces::Files(files) => files.iter().map(|(_, file)| file.clone()).collect(),
        }
    }

    /// Every picture with its identity; and the pictures that cannot be taken.
    ///
    /// # Errors
    /// When a folder cannot be read or holds no picture.
    fn list(&self, files: &dyn Files) -> Result<(Vec<Known>, Vec<String>)> {
        match self {
            Faces::Files(files) => Ok((files.clone(), Vec::new())),
            Faces::Folder(path) => {
                let folder = Folder { path: path.clone(), recursive: true };
                let content = folder.content(files)?;
                let path = path.trim_end_matches('/');
                let shown = |file: String| (identity(&file), format!("{path}/{file}"));
                Ok((content.pictures.into_iter().map(shown).collect(), content.skipped))
            }
        }
    }
}

/// An identity and a picture of it.
type Known = (String, String);

/// The identity that a picture of a folder shows: the first folder on the way there, else its name.
fn identity(file: &str) -> String {
    file.split_once('/').map_or(without_extension(file), |(folder, _)| folder).to_owned()
}

struct GalleryDataset {
    parameters: Gallery,
    /// What a reader must know of the lists, as they were found.
    notes: Mutex<Vec<String>>,
}

/// The lists of a gallery and its probes.
struct Lists {
    /// The enrolled picture of each identity.
    enrolled: Vec<Known>,
    /// The presented pictures with their identities.
    probes: Vec<Known>,
}

impl GalleryDataset {
    /// Tells enrolled pictures from presented ones.
    ///
    /// # Errors
    /// When a folder cannot be read; `fame::data::gallery` for a gallery that is none.
    fn lists(&self, files: &dyn Files) -> Result<Lists> {
        let Gallery { gallery, probes, identities } = &self.parameters;
        let (listed, mut skipped) = gallery.list(files)?;
        let mut known = BTreeSet::new();
        let (mut enrolled, mut further) = (Vec::new(), Vec::new());
        for (identity, file) in listed {
            if known.contains(&identity) {
                further.push((identity, file));
            } else if identities.is_none_or(|most| enrolled.len() < most) {
                known.insert(identity.clone());
                enrolled.push((identity, file));
            }
        }
        if let Some((message, help)) = check(&enrolled) {
            return Err(Error::new("fame::data::gallery", message).with_help(help));
        }
        let mut notes = Vec::new();
        let probes = match probes {
            None if further.is_empty() => {
                let message =
                    "the gallery has one picture of each identity, and no probes are named.";
                return Err(Error::new("fame::data::gallery", message)
                    .with_help("Name pictures to search for: `probes: Folder(\"presented\")`."));
            }
            None => further,
            Some(probes) => {
                if !further.is_empty() {
                    let are = if further.len() == 1 { "is" } else { "are" };
                    notes.push(format!(
                        "{} of enrolled identities {are} left out: the first of each is enrolled.",
                        count(further.len(), "further picture")
                    ));
                }
                let (listed, more) = probes.list(files)?;
                skipped.extend(more);
                listed
            }
        };
        notes.extend(told(&skipped));
        *self.notes.lock().unwrap_or_else(PoisonError::into_inner) = notes;
        Ok(Lists { enrolled, probes })
    }
}

/// `n` things called `what`, as words.
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What is wrong with a gallery, and the way out.
fn check(enrolled: &[(String, String)]) -> Option<(String, &'static str)> {
    let count = enrolled.len();
    if count < 2 {
        let of = if count == 1 { "identity" } else { "identities" };
        let message = format!("the gallery has {count} {of}; a first and a second are needed.");
        return Some((
            message,
            "In a folder, give each identity a folder or a picture of its own.",
        ));
    }
    if count > MOST {
        let message = format!("the gallery has {count} identities, but may have {MOST}.");
        return Some((message, "Take the first ones, such as `identities: 100`."));
    }
    let mut seen = BTreeSet::new();
    if let Some((_, file)) = enrolled.iter().find(|(_, file)| !seen.insert(file)) {
        let message = format!("`{file}` is enrolled under two identities.");
        return Some((message, "Enrol each picture once: equals cannot be ranked."));
    }
    let is_taken = |role: &String| role.eq_ignore_ascii_case(PROBE);
    let identities: Vec<String> = enrolled.iter().map(|(identity, _)| identity.clone()).collect();
    roles(&identities).iter().any(is_taken).then(|| {
        let message = format!(
            "an identity is called `{PROBE}`, as the role of the picture that is searched for is."
        );
        (message, "Call it otherwise.")
    })
}

/// The roles of enrolled identities, which become parts of file names. A name that a file can have
/// is kept, wherever it stands; any other is made one, with a number where that is taken. Upper and
/// lower case count as the same, for not every file system tells them apart.
fn roles(identities: &[String]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut take = |role: &String| taken.insert(role.to_ascii_lowercase());
    let kept: Vec<bool> = identities.iter().map(|of| safe_id(of) == *of && take(of)).collect();
    let role = |(of, kept): (&String, bool)| {
        if kept {
            return of.clone();
        }
        let safe = safe_id(of);
        let numbered = (2..).map(|n| format!("{safe}-{n}"));
        let mut all = std::iter::once(safe.clone()).chain(numbered);
        all.find(&mut take).unwrap_or_default()
    };
    identities.iter().zip(kept).map(role).collect()
}

/// The identities that are not called as their roles: role and identity.
fn renamed(identities: &[String]) -> Vec<(String, &String)> {
    let all = roles(identities).into_iter().zip(identities);
    all.filter(|(role, identity)| role != *identity).collect()
}

/// What a reader must know of identities with other names: at most [`TOLD`] of them one by one.
fn told_names(identities: &[String]) -> Option<String> {
    let renamed = renamed(identities);
    let each = renamed.iter().take(TOLD).map(|(role, of)| format!("`{of}` as `{role}`"));
    let named = each.collect::<Vec<_>>().join(", ");
    let more = match renamed.len().saturating_sub(TOLD) {
        0 => String::new(),
        n => format!(" and {n} more, in the facts of each item"),
    };
    (!renamed.is_empty()).then(|| {
        format!(
            "Identities whose names no file can have, or another has, are shown under other names: \
             {named}{more}."
        )
    })
}

/// The bytes of an index of so many probes: each item names all pictures and identities of the
/// gallery, in 24 bytes of a file's text and 3 of quotes and comma beside its letters.
fn index_bytes(probes: usize, identities: &[String], gallery: &[String]) -> u64 {
    let names = identities.iter().map(|identity| identity.len() + 3);
    let files = gallery.iter().map(|file| file.len() + size_of::<String>());
    let each = names.chain(files).sum::<usize>() as u64;
    each.saturating_mul(probes as u64)
}

/// What an item remembers: it is part of its key.
#[derive(Serialize, Deserialize)]
struct Note {
    /// The probe's identity; empty where it is not known.
    identity: String,
    /// The identities that are enrolled, in the order of the item's further files.
    enrolled: Vec<String>,
}

impl Dataset for GalleryDataset {
    fn files(&self) -> Vec<String> {
        let Gallery { gallery, probes, .. } = &self.parameters;
        [Some(gallery), probes.as_ref()].into_iter().flatten().flat_map(Faces::places).collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let Lists { enrolled, probes } = self.lists(files)?;
        let names: Vec<_> = probes
            .iter()
            .map(|(_, file)| (stem(file).to_owned(), without_extension(file).to_owned()))
            .collect();
        let (identities, gallery): (Vec<String>, Vec<String>) = enrolled.into_iter().unzip();
        let bytes = index_bytes(probes.len(), &identities, &gallery);
        let what = format!("the list of {}, each with the gallery,", count(probes.len(), "probe"));
        require_memory(what, bytes)?;
        let item = |(id, (identity, file)): (String, (String, String))| {
            let note = Note { identity, enrolled: identities.clone() };
            ItemRef {
                id,
                files: std::iter::once(file).chain(gallery.iter().cloned()).collect(),
                note: serde_json::to_string(&note).unwrap_or_default(),
            }
        };
        Ok(unique(&names).into_iter().zip(probes).map(item).collect())
    }

    fn contents(&self, items: &[ItemRef]) -> Option<String> {
        let size = items.first().map_or(0, |item| item.files.len().saturating_sub(1));
        let notes: Vec<Note> = items.iter().filter_map(|item| note(item).ok()).collect();
        let unknown = notes.iter().filter(|of| !of.enrolled.contains(&of.identity)).count();
        let each = if items.len() == 1 { "" } else { "each " };
        let mut first =
            format!("{}, {each}compared with {size} enrolled faces", count(items.len(), "probe"));
        match unknown {
            0 => first.push('.'),
            1 => first.push_str("; the identity of 1 is not enrolled or not known."),
            _ => {
                let are = "are not enrolled or not known.";
                let _ = write!(first, "; the identities of {unknown} {are}");
            }
        }
        Some(first)
    }

    fn notes(&self, items: &[ItemRef]) -> Vec<String> {
        let mut all = Vec::new();
        let is_enrolled = |item: &&ItemRef| {
            item.files.split_first().is_some_and(|(probe, gallery)| gallery.contains(probe))
        };
        let same = items.iter().filter(is_enrolled).count();
        if same > 0 {
            let are = if same == 1 { "is enrolled itself" } else { "are enrolled themselves" };
            all.push(format!(
                "{same} of the probes {are}: such a picture finds itself, whatever \
                 the network."
            ));
        }
        all.extend(self.notes.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        let first = items.first().and_then(|item| note(item).ok());
        all.extend(first.and_then(|of| told_names(&of.enrolled)));
        all
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        let Note { identity, enrolled } = note(item)?;
        let roles = std::iter::once(PROBE.to_owned()).chain(roles(&enrolled));
        // All of them are there, as decoded, before the first is prepared.
        let mut held = 0;
        let pictures = roles.zip(&item.files).map(|(role, file)| {
            let picture = picture(file, files).map_err(|e| e.at(role.clone()))?;
            held += size_of_val(picture.pixels.data()) as u64;
            require_memory("a probe with its gallery, as decoded,", held)?;
            Ok((role, picture))
        });
        let pictures = pictures.collect::<Result<Vec<_>>>()?;
        let mate = enrolled.iter().position(|of| *of == identity);
        let mate = mate.and_then(|at| Some(pictures.get(at + 1)?.0.clone()));
        let known = (!identity.is_empty()).then_some(("identity", identity.into()));
        let names = renamed(&enrolled).into_iter().map(|(role, of)| (role, of.as_str().into()));
        let names: Facts = names.collect();
        let names = (!names.is_empty()).then_some(("names", Value::Map(names)));
        let told = known.into_iter().chain(names);
        Ok(Sample {
            id: item.id.clone(),
            pictures,
            marks: Marks::default().with(&MATE, mate),
            facts: told.map(|(name, value)| (name.to_owned(), value)).collect(),
            ..Sample::default()
        })
    }
}

/// What the item `item` remembers.
///
/// # Errors
/// When the note is another's: a bug.
fn note(item: &ItemRef) -> Result<Note> {
    serde_json::from_str(&item.note)
        .map_err(|e| Error::bug(format!("item `{}` came back with another note: {e}.", item.id)))
}

#[cfg(test)]
mod tests {
    use fame_core::testkit::check_dataset;

    use super::{
        super::testing::{Beside, build},
        *,
    };

    const GRAY: [u8; 3] = [128; 3];

    fn people() -> Beside {
        Beside::with(&[
            ("p/ann/2.png", GRAY),
            ("p/ann/1.png", [255, 0, 0]),
            ("p/bob.png", [0, 255, 0]),
            ("p/çe/x.png", [0, 0, 255]),
            ("p/çe/y.png", GRAY),
            ("q/bob/late.png", GRAY),
            ("q/eve.png", GRAY),
        ])
    }

    fn indexed(spec: &str, files: &Beside) -> (Box<dyn Dataset>, Vec<ItemRef>) {
        let data = build(spec).unwrap();
        let items = data.index(files).unwrap();
        (data, items)
    }

    #[test]
    fn a_folder_of_people_is_a_gallery_and_its_probes() {
        let files = people();
        let (data, items) = indexed(r#"Gallery(gallery: Folder("p/"))"#, &files);
        let ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
        assert_eq!(ids, ["2", "y"]);
        assert_eq!(items[0].files, ["p/ann/2.png", "p/ann/1.png", "p/bob.png", "p/çe/x.png"]);
        let sample = data.load(&items[1], &files).unwrap();
        // Of a name in other letters the hash tells who it is.
        let other = "_e-edce1aea03186682";
        assert_eq!(sample.roles().collect::<Vec<_>>(), ["probe", "ann", "bob", other]);
        assert_eq!(sample.marks.get(&MATE).as_deref(), Some(other));
        assert_eq!(sample.facts["identity"].as_str(), Some("çe"));
        assert_eq!(sample.picture("bob").unwrap().pixels.data()[12], 1.0);
        assert_eq!(check_dataset(data.as_ref(), files.path()).unwrap(), 2);
        let contents = data.contents(&items).unwrap();
        assert!(contents.starts_with("2 probes, each compared with 3 enrolled"), "{contents}");
        let (data, items) = indexed(r#"Gallery(gallery: Folder("p"), identities: 2)"#, &files);
        assert_eq!((items.len(), items[0].files.len()), (1, 3));
        let contents = data.contents(&items);
        assert_eq!(contents.as_deref(), Some("1 probe, compared with 2 enrolled faces."));
        assert!(data.notes(&items).is_empty(), "nothing to warn of");
    }

    #[test]
    fn probes_of_their_own_need_not_be_enrolled() {
        let files = people();
        let spec = r#"Gallery(gallery: Folder("p"), probes: Folder("q"))"#;
        let (data, items) = indexed(spec, &files);
        assert_eq!(data.files(), ["p", "q"]);
        let mates = items.iter().map(|item| data.load(item, &files).unwrap().marks.get(&MATE));
        assert_eq!(mates.collect::<Vec<_>>(), [Some("bob".to_owned()), None]);
        let (contents, notes) = (data.contents(&items).unwrap(), data.notes(&items));
        assert!(contents.ends_with("the identity of 1 is not enrolled or not known."));
        assert!(notes[0].starts_with("2 further pictures"), "{notes:?}");
    }

    #[test]
    fn a_name_that_a_file_can_have_is_kept_in_any_order() {
        let of = |names: &[&str]| {
            roles(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["o'brien", "o_brien"]), ["o_brien-2", "o_brien"]);
        assert_eq!(of(&["o_brien", "o'brien"]), ["o_brien", "o_brien-2"]);
        // The number is not another's name either.
        assert_eq!(
            of(&["o'brien", "o brien", "O_brien-2", "o_brien"]),
            ["o_brien-3", "o_brien-4", "O_brien-2", "o_brien"]
        );
        assert_eq!(of(&["Ann", "ann", "ann-2"]), ["Ann", "ann-3", "ann-2"]);
    }

    #[test]
    fn other_names_are_told_and_stand_in_the_record() {
        let files = people();
        let spec = r#"Gallery(
            gallery: Files([("o'brien", "p/ann/1.png"), ("o_brien", "p/bob.png")]),
            probes: Files([("o'brien", "p/ann/2.png")]),
        )"#;
        let (data, items) = indexed(spec, &files);
        let sample = data.load(&items[0], &files).unwrap();
        assert_eq!(sample.roles().collect::<Vec<_>>(), ["probe", "o_brien-2", "o_brien"]);
        assert_eq!(sample.marks.get(&MATE).as_deref(), Some("o_brien-2"));
        let name = sample.facts["names"].get("o_brien-2").and_then(Value::as_str);
        assert_eq!(name, Some("o'brien"));
        let notes = data.notes(&items);
        assert!(notes.iter().any(|n| n.ends_with("names: `o'brien` as `o_brien-2`.")), "{notes:?}");
        let many: Vec<String> = (0..12).map(|n| format!("{n}!")).collect();
        assert!(told_names(&many).unwrap().contains("`9!` as `9_` and 2 more"));
        assert!(told_names(&["ann".to_owned()]).is_none());
    }

    #[test]
    fn files_say_whom_they_show() {
        let files = people();
        let spec = r#"Gallery(
            gallery: Files([("ann", "p/ann/1.png"), ("bob", "picture:p/bob.png")]),
            probes: Files([("", "q/eve.png"), ("ann", "p/ann/1.png")]),
        )"#;
        let (data, items) = indexed(spec, &files);
        assert_eq!(data.files()[1], "picture:p/bob.png");
        let sample = data.load(&items[0], &files).unwrap();
        assert!(sample.facts.is_empty() && sample.marks.get(&MATE).is_none());
        let mate = data.load(&items[1], &files).unwrap().marks.get(&MATE);
        assert_eq!(mate.as_deref(), Some("ann"));
        assert!(data.notes(&items)[0].starts_with("1 of the probes is enrolled itself"));
    }

    #[test]
    fn the_size_of_an_index_is_known_before_it_is_made() {
        let files = people();
        let (_, items) = indexed(r#"Gallery(gallery: Folder("p"))"#, &files);
        let text = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let gallery = text(&["p/ann/1.png", "p/bob.png", "p/çe/x.png"]);
        let counted = index_bytes(items.len(), &text(&["ann", "bob", "çe"]), &gallery);
        // What the items hold, but for the probe itself, its identity and the names of the fields.
        let held = |item: &ItemRef| {
            let texts = item.files[1..].iter().map(|file| file.len() + size_of::<String>());
            let names = serde_json::to_string(&note(item).unwrap().enrolled).unwrap();
            // A list of three has two commas and two brackets.
            texts.sum::<usize>() + names.len() - 1
        };
        assert_eq!(counted, items.iter().map(held).sum::<usize>() as u64);
        // No number of probes runs over.
        let many = vec!["x".repeat(200); MOST];
        assert_eq!(index_bytes(usize::MAX, &many, &many), u64::MAX);
    }

    #[test]
    fn what_is_no_gallery_is_told() {
        let files = people();
        let error = |spec: &str| build(spec).unwrap().index(&files).unwrap_err();
        for (spec, why) in [
            (r#"Gallery(gallery: Folder("q/bob"))"#, "has 1 identity"),
            (
                r#"Gallery(gallery: Files([("a", "p/bob.png"), ("b", "q/eve.png")]))"#,
                "no probes are named",
            ),
            (
                r#"Gallery(gallery: Files([("a", "q/eve.png"), ("b", "q/eve.png")]))"#,
                "under two identities",
            ),
            (
                r#"Gallery(gallery: Files([("Probe", "p/bob.png"), ("b", "q/eve.png")]))"#,
                "is called `probe`",
            ),
        ] {
            let error = error(spec);
            assert_eq!(error.code, "fame::data::gallery");
            assert!(error.message.contains(why) && error.help.is_some(), "{error}");
        }
        let many: Vec<String> = (0..=MOST).map(|n| format!(r#"("{n}", "{n}.png")"#)).collect();
        let many = error(&format!("Gallery(gallery: Files([{}]))", many.join(",")));
        assert!(many.message.contains("has 501 identities"), "{many}");
        for wrong in [
            r#"Gallery(gallery: Folder(""))"#,
            "Gallery(gallery: Files([]))",
            r#"Gallery(gallery: Files([("", "a.png"), ("b", "b.png")]))"#,
            r#"Gallery(gallery: Folder("p"), probes: Files([("a", "")]))"#,
            r#"Gallery(gallery: Folder("p"), identities: 1)"#,
        ] {
            assert_eq!(build(wrong).err().map(|problems| problems.len()), Some(1), "{wrong}");
        }
    }
}
