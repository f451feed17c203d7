//! `Pairs`: a list of pairs.

use fame_core::{
    Error, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    crops::Crops,
    entry::{Entry, name_pairs, pair_contents, pair_notes},
    list::{Faults, Header, Table, below, check_file, folder_of, truth},
};

/// Pairs of pictures from a list, one item each: the first file in the role `gallery`, the second
/// in the role `probe`.
///
/// The list is comma-, tab- or space-separated. With a header, columns are found by name in
/// whatever case: `G`, `gallery` or `enroll`; `P` or `probe`; `T`, `genuine`, `label`, `same` or
/// `target`; and, if there are any, `fold` and `group`. (`G,P,T` is the FAME authors' form.) Without a header, a
/// row is `a b label` or, for pairs of unknown kind, `a b`. Labels are 1, true, same, genuine,
/// match, yes, or 0, -1, false, diff, different, impostor, no.
///
/// An item is named after both files, `a--b`, where needed with their folders, or by its row. Its
/// row, from 0, is its place in what `filter` and `limit` leave, as the authors count. A few pairs
/// may stand in the recipe itself, as `pairs`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    /// The list, relative to the recipe.
    #[serde(default)]
    pub list: Option<String>,
    /// The pairs themselves, in place of a list: for a few that belong to the question.
    #[serde(default)]
    pub pairs: Vec<Written>,
    /// The folder that the list's paths are relative to. Default: the list's own.
    #[serde(default)]
    pub root: Option<String>,
    /// Names of the columns, where they are none of the known ones.
    #[serde(default)]
    pub columns: Option<Columns>,
    /// Names of the columns that say which group a pair belongs to, for comparisons of groups
    /// (`ByGroup`); what they hold is joined by `/`. Default: `group`, where the list has it.
    #[serde(default)]
    pub groups: Option<Vec<String>>,
    /// Added to every path of the list, for lists that leave it out: `.jpg`.
    #[serde(default)]
    pub extension: String,
    /// Kind of files behind the paths.
    #[serde(default)]
    pub crops: Crops,
    /// Source of the items' names.
    #[serde(default)]
    pub ids: Ids,
    /// The pairs that count.
    #[serde(default)]
    pub filter: Filter,
    /// How many pairs count, the first ones after `filter`. Default: all.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A pair that stands in the recipe.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// The enrolled picture: a file, relative to the recipe, or `picture:NAME`.
    pub gallery: String,
    /// The presented picture.
    pub probe: String,
    /// Whether both show the same identity, if that is known.
    #[serde(default)]
    pub genuine: Option<bool>,
    /// Its part of a cross-validation.
    #[serde(default)]
    pub fold: Option<String>,
    /// The group it belongs to.
    #[serde(default)]
    pub group: Option<String>,
}

/// Names of the columns of a list of pairs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The enrolled picture's path.
    pub gallery: String,
    /// The presented picture's path.
    pub probe: String,
    /// Whether both show the same identity.
    pub genuine: String,
}

/// The source of a pair's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Ids {
    /// Both files: `a--b`.
    #[default]
    Files,
    /// Their row: `0`, `1`, …, as the FAME authors name their maps.
    Rows,
}

/// The pairs of a list that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Filter {
    /// Every pair.
    #[default]
    All,
    /// Those of one identity.
    GenuineOnly,
    /// Those of two identities.
    ImpostorOnly,
}

impl Filter {
    /// Whether a pair counts.
    pub(super) fn takes(self, genuine: Option<bool>) -> bool {
        match self {
            Self::All => true,
            Self::GenuineOnly => genuine == Some(true),
            Self::ImpostorOnly => genuine == Some(false),
        }
    }
}

const GALLERY: [&str; 5] = ["G", "gallery", "enroll", "enrol", "reference"];
const PROBE: [&str; 2] = ["P", "probe"];
const GENUINE: [&str; 7] = ["T", "genuine", "label", "same", "issame", "is_same", "target"];

impl Plugin<dyn Dataset> for Pairs {
    const NAME: &'static str = "Pairs";
    const SUMMARY: &'static str =
        "A list of pairs: G,P,T or gallery,probe,genuine by name, or `a b label`";
    const EXAMPLE: &'static str =
        r#"Pairs(list: "protocols/01FP.csv", root: "crops", filter: GenuineOnly)"#;
    const REFERENCE: &'static str = "G,P,T: the FAME authors' code";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let named = self.list.as_ref().is_none_or(|list| !list.is_empty());
        assembly.check("list", named, "must name a file");
        let one = self.list.is_some() == self.pairs.is_empty();
        assembly.check("list", one, "or `pairs` must say which pairs are meant, and not both");
        let of_lists = self.root.is_some()
            || self.columns.is_some()
            || self.groups.is_some()
            || !self.extension.is_empty();
        let plain = self.pairs.is_empty() || !of_lists;
        let must =
            "stand for themselves: `root`, `columns`, `groups` and `extension` are for a list";
        assembly.check("pairs", plain, must);
        let whole = self.pairs.iter().all(|p| !p.gallery.is_empty() && !p.probe.is_empty());
        assembly.check("pairs", whole, "must name two files each");
        assembly.check("limit", self.limit != Some(0), "must be at least 1");
        self.crops.check(assembly);
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: Pairs);

/// The columns of a row's cells.
struct Places {
    gallery: usize,
    probe: usize,
    genuine: Option<usize>,
    fold: Option<usize>,
    groups: Vec<usize>,
    /// How many cells every row has; `None` where a header says what they are.
    cells: Option<usize>,
}

impl Dataset for Pairs {
    fn files(&self) -> Vec<String> {
        let written = self.pairs.iter().flat_map(|pair| [&pair.gallery, &pair.probe]);
        let named = self.list.iter().chain(&self.root).filter(|file| !file.is_empty());
        named.chain(written).cloned().collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let mut found = match &self.list {
            Some(list) => self.read(list, files)?,
            None => self.pairs.iter().map(Written::entry).collect(),
        };
        found.retain(|(_, entry)| self.filter.takes(entry.genuine));
        found.truncate(self.limit.unwrap_or(usize::MAX));
        found.iter_mut().enumerate().for_each(|(row, (_, entry))| entry.row = row);
        let mut items = name_pairs(found);
        if self.ids == Ids::Rows {
            items.iter_mut().enumerate().for_each(|(row, item)| item.id = row.to_string());
        }
        Ok(items)
    }

    fn contents(&self, items: &[ItemRef]) -> Option<String> {
        Some(pair_contents(items))
    }

    fn notes(&self, items: &[ItemRef]) -> Vec<String> {
        pair_notes(items)
    }

    fn kind(&self, item: &ItemRef) -> usize {
        Entry::kind(item)
    }

    fn load(&self, item: &ItemRef, files: &dyn Files) -> Result<Sample> {
        Entry::of(item)?.pair(item, |file| self.crops.load(file, files))
    }
}

/// The files of a pair, gallery first, and what is known of it.
type Found = ([String; 2], Entry);

impl Written {
    fn entry(&self) -> Found {
        let Self { gallery, probe, genuine, fold, group } = self.clone();
        ([gallery, probe], Entry { genuine, fold, group, ..Entry::default() })
    }
}

impl Pairs {
    /// The pairs of `list`, all of them.
    ///
    /// # Errors
    /// Every malformed row, with file and line.
    fn read(&self, list: &str, files: &dyn Files) -> Result<Vec<Found>> {
        let mut table = Table::read(list, files)?;
        let places = self.places(list, &mut table)?;
        let root = self.root.as_deref().unwrap_or(folder_of(list));
        let mut faults = Faults::new(list);
        let mut found = Vec::new();
        for (line, cells) in &table.rows {
            let cell = |at: usize| cells.get(at).map(String::as_str).filter(|c| !c.is_empty());
            if places.cells.is_some_and(|n| n != cells.len()) {
                faults.add(*line, "the row is not `path path label`", &cells.join(" "));
                continue;
            }
            let (Some(gallery), Some(probe)) = (cell(places.gallery), cell(places.probe)) else {
                faults.add(*line, "a path is missing", "");
                continue;
            };
            let genuine = match places.genuine {
                None => None,
                Some(at) => match faults.keep(*line, truth(cell(at).unwrap_or_default())) {
                    None => continue,
                    known => known,
                },
            };
            let pair = [gallery, probe]
                .map(|file| below(root, &self.crops.file(&format!("{file}{}", self.extension))));
            pair.iter().for_each(|file| check_file(file, *line, files, &mut faults));
            let fold = places.fold.and_then(cell).map(str::to_owned);
            let groups: Vec<&str> =
                places.groups.iter().map(|at| cell(*at).unwrap_or_default()).collect();
            let group = groups.iter().any(|g| !g.is_empty()).then(|| groups.join("/"));
            found.push((pair, Entry { genuine, fold, group, ..Entry::default() }));
        }
        faults.into_result()?;
        Ok(found)
    }

    fn places(&self, list: &str, table: &mut Table) -> Result<Places> {
        if let Some(columns) = &self.columns {
            let [gallery, probe, genuine] =
                [[columns.gallery.as_str()], [columns.probe.as_str()], [columns.genuine.as_str()]];
            let Some(header) = table.header(&[gallery, probe, genuine].concat())? else {
                let message = format!(
                    "the first line of list `{list}` holds none of the names in `columns`."
                );
                return Err(Error::new("fame::data::columns", message));
            };
            let [gallery, probe, genuine] = header.need([&gallery, &probe, &genuine])?;
            return Ok(Places {
                gallery,
                probe,
                genuine: Some(genuine),
                fold: header.find(&["fold"]),
                groups: self.groups(list, Some(&header))?,
                cells: None,
            });
        }
        // Not by the label's names: `a b same` is a row.
        match table.header(&[&GALLERY[..], &PROBE].concat())? {
            Some(header) => {
                let [gallery, probe, genuine] = header.need([&GALLERY, &PROBE, &GENUINE])?;
                Ok(Places {
                    gallery,
                    probe,
                    genuine: Some(genuine),
                    fold: header.find(&["fold"]),
                    groups: self.groups(list, Some(&header))?,
                    cells: None,
                })
            }
            None => {
                self.groups(list, None)?;
                Ok(unnamed(table))
            }
        }
    }

    /// The columns of groups.
    ///
    /// # Errors
    /// `fame::data::columns` when one that the recipe names is not there.
    fn groups(&self, list: &str, header: Option<&Header>) -> Result<Vec<usize>> {
        let find = |name: &str| header.and_then(|header| header.find(&[name]));
        let Some(named) = &self.groups else { return Ok(find("group").into_iter().collect()) };
        let place = |name: &String| {
            find(name).ok_or_else(|| {
                let message = format!("list `{list}` has no column `{name}` of groups.");
                Error::new("fame::data::columns", message)
                    .with_help("`groups` names columns of the list's header.")
            })
        };
        named.iter().map(place).collect()
    }
}

fn unnamed(table: &Table) -> Places {
    let cells = if table.rows.first().is_some_and(|(_, cells)| cells.len() == 2) { 2 } else { 3 };
    Places {
        gallery: 0,
        probe: 1,
        genuine: (cells == 3).then_some(2),
        fold: None,
        groups: Vec::new(),
        cells: Some(cells),
    }
}

#[cfg(test)]
mod tests {
    use fame_core::contract::Files as _;

    use super::super::{
        FOLD, GENUINE, ROW,
        testing::{Beside, build, told},
    };

    const GRAY: [u8; 3] = [128; 3];

    fn pictures() -> Beside {
        Beside::with(&[("p/a.png", GRAY), ("p/b.png", GRAY), ("p/in/c.png", GRAY)])
    }

    /// Id, genuine, row and fold of a pair.
    type Told = (String, Option<bool>, Option<usize>, Option<String>);

    fn rows(files: &Beside, list: &str, spec: &str) -> Vec<Told> {
        std::fs::write(files.path().join("p/list.txt"), list).unwrap();
        let pairs = build(spec).unwrap();
        let load = |item| pairs.load(item, files).unwrap();
        let row = |s: fame_core::Sample| {
            (s.id.clone(), s.marks.get(&GENUINE), s.marks.get(&ROW), s.marks.get(&FOLD))
        };
        pairs.index(files).unwrap().iter().map(|item| row(load(item))).collect()
    }

    fn is(
        id: &str,
        genuine: bool,
        row: usize,
    ) -> (String, Option<bool>, Option<usize>, Option<String>) {
        (id.to_owned(), Some(genuine), Some(row), None)
    }

    #[test]
    fn the_authors_form_and_its_kin_are_read() {
        let files = pictures();
        let wanted = [is("a--b", true, 0), is("b--c", false, 1)];
        let spec = r#"Pairs(list: "p/list.txt")"#;
        for list in [
            "G,P,T\na.png,b.png,1\nb.png,in/c.png,0\n",
            "\u{feff}more,t,p,g\nx,1,b.png,a.png\r\nx,0,in/c.png,b.png\r\n",
            "gallery\tprobe\tgenuine\na.png\tb.png\ttrue\n\nb.png\tin/c.png\tfalse",
            "a.png b.png 1\nb.png in/c.png -1\n",
            "a.png,b.png,same\nb.png,in/c.png,diff\n",
        ] {
            assert_eq!(rows(&files, list, spec), wanted, "{list}");
        }
        let unknown = rows(&files, "a.png b.png\n", spec);
        assert_eq!((unknown[0].1, unknown[0].0.as_str()), (None, "a--b"));
        let folds = rows(&files, "G,P,T,fold\na.png,b.png,1,07\n", spec);
        assert_eq!(folds[0].3.as_deref(), Some("07"));
        let own = r#"Pairs(list: "p/list.txt", root: "", extension: ".png", columns: (gallery: "x", probe: "y", genuine: "z"))"#;
        assert_eq!(rows(&files, "x,y,z\np/a,p/b,1\n", own), [is("a--b", true, 0)]);
    }

    #[test]
    fn rows_are_counted_after_filtering_and_repeated_pairs_noted() {
        let files = pictures();
        let list = "a.png b.png 0\na.png b.png 1\na.png a.png 1\na.png b.png 1\n";
        let spec = r#"Pairs(list: "p/list.txt", filter: GenuineOnly, limit: 3)"#;
        assert_eq!(
            rows(&files, list, spec),
            [is("p_a--p_b", true, 0), is("a--a", true, 1), is("p_a--p_b-2", true, 2)]
        );
        let by_row = r#"Pairs(list: "p/list.txt", filter: GenuineOnly, ids: Rows)"#;
        assert_eq!(
            rows(&files, list, by_row).iter().map(|r| r.0.as_str()).collect::<Vec<_>>(),
            ["0", "1", "2"]
        );
        let pairs = build(spec).unwrap();
        let items = pairs.index(&files).unwrap();
        let (contents, notes) = (pairs.contents(&items), pairs.notes(&items));
        assert_eq!(contents.as_deref(), Some("3 pairs: 3 genuine, 0 impostor."));
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].starts_with("1 of") && notes[1].contains("with itself"));
    }

    #[test]
    fn pairs_in_the_recipe_are_those_of_a_list() {
        let files = pictures();
        std::fs::write(
            files.path().join("p/list.txt"),
            "G,P,T,fold\na.png,b.png,1,1\nb.png,in/c.png,0,2\n",
        )
        .unwrap();
        let written = r#"Pairs(pairs: [
            (gallery: "p/a.png", probe: "p/b.png", genuine: true, fold: "1"),
            (gallery: "p/b.png", probe: "p/in/c.png", genuine: false, fold: "2"),
        ])"#;
        let [listed, written] =
            [r#"Pairs(list: "p/list.txt")"#, written].map(|spec| build(spec).unwrap());
        assert_eq!(written.index(&files).unwrap(), listed.index(&files).unwrap());
        assert_eq!(written.files(), ["p/a.png", "p/b.png", "p/b.png", "p/in/c.png"]);
        let pair = r#"pairs: [(gallery: "a", probe: "b")]"#;
        for (spec, told) in [
            ("Pairs()".to_owned(), "not both"),
            (format!(r#"Pairs(list: "l", {pair})"#), "not both"),
            (format!(r#"Pairs({pair}, root: "r")"#), "for a list"),
            (r#"Pairs(pairs: [(gallery: "", probe: "b")])"#.to_owned(), "two files"),
            (r#"Pairs(list: "")"#.to_owned(), "must name a file"),
        ] {
            let problems = build(&spec).err().unwrap();
            assert!(problems.iter().any(|p| p.message.contains(told)), "{spec}: {problems:?}");
        }
    }

    #[test]
    fn every_malformed_row_is_told_before_anything_runs() {
        let files = pictures();
        let path = files.locate("p/list.txt").unwrap();
        for (name, list) in [
            (
                "bad_rows",
                "G,P,T\na.png,b.png,1\na.png,,1\na.png,b.png,maybe\nz.png,b.png,0\nz.png\n",
            ),
            ("bad_spaced", "a.png b.png 1\na.png b.png\na.png b.png 1 2\n"),
            ("missing_columns", "G,Q,U\na.png,b.png,1\n"),
            ("empty", "\n\n"),
        ] {
            std::fs::write(&path, list).unwrap();
            insta::assert_snapshot!(
                format!("pairs_{name}"),
                told(build(r#"Pairs(list: "p/list.txt")"#).unwrap().index(&files).unwrap_err())
            );
        }
        std::fs::write(&path, b"a.png b.png 1\n\xff\xfe 1 2").unwrap();
        insta::assert_snapshot!(
            "pairs_not_text",
            told(build(r#"Pairs(list: "p/list.txt")"#).unwrap().index(&files).unwrap_err())
        );
    }
}
