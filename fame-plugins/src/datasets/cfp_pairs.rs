//! `CfpPairs`: Celebrities in Frontal-Profile in the Wild.

use std::collections::BTreeMap;

use fame_core::{
    Error, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    entry::{Entry, name_pairs, pair_contents, pair_notes, picture},
    list::{Faults, Wrong, below, check_file, text_of},
};

/// Celebrities in Frontal-Profile in the Wild, by the files of its `Protocol` folder.
/// `Split/{FF,FP}/<fold>/{same,diff}.txt` hold rows `a,b` that count, from 1, the rows of
/// `Pair_list_F.txt` (frontal) and `Pair_list_P.txt` (profile), which lie in `Protocol` or in
/// `Protocol/Split`. The sample's fold is `01` to `10`; its row is its place in what `folds`
/// leaves, from 0: fold by fold, genuine pairs first.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CfpPairs {
    /// The folder that holds `Protocol` and `Data`.
    pub root: String,
    /// Which pairs: frontal with frontal, or frontal (gallery) with profile (probe).
    pub protocol: Protocol,
    /// Which folds count, by folder name: the FAME paper takes `["01"]`. Default: all.
    #[serde(default)]
    pub folds: Vec<String>,
    /// Where the pictures are, if not in `Data/Images`: a folder with the same names inside, of
    /// aligned crops, say.
    #[serde(default)]
    pub images: Option<String>,
    /// Ending of the pictures' names instead of `.jpg`.
    #[serde(default)]
    pub extension: Option<String>,
}

/// A protocol of CFP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Protocol {
    /// Frontal with frontal.
    #[serde(rename = "FF")]
    FrontalFrontal,
    /// Frontal with profile.
    #[serde(rename = "FP")]
    FrontalProfile,
}

impl Plugin<dyn Dataset> for CfpPairs {
    const NAME: &'static str = "CfpPairs";
    const SUMMARY: &'static str =
        "Celebrities in Frontal-Profile by its Protocol folder, FF or FP, with folds";
    const EXAMPLE: &'static str = r#"CfpPairs(root: "cfp-dataset", protocol: FP, folds: ["01"])"#;
    const REFERENCE: &'static str = "Sengupta et al., WACV 2016";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("root", !self.root.is_empty(), "must name a folder");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: CfpPairs);

impl Dataset for CfpPairs {
    fn files(&self) -> Vec<String> {
        [Some(self.root.clone()), self.images.clone()].into_iter().flatten().collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let (name, kinds) = match self.protocol {
            Protocol::FrontalFrontal => ("FF", ["F", "F"]),
            Protocol::FrontalProfile => ("FP", ["F", "P"]),
        };
        let mut faults = Vec::new();
        let mut lists: BTreeMap<&str, BTreeMap<usize, String>> = BTreeMap::new();
        for kind in kinds {
            if !lists.contains_key(kind) {
                lists.insert(kind, self.pictures(kind, files, &mut faults)?);
            }
        }
        let split = format!("{}/Protocol/Split/{name}", self.root.trim_end_matches('/'));
        let mut found = Vec::new();
        for fold in self.folds(&split, files)? {
            for (list, genuine) in [("same", true), ("diff", false)] {
                let shown = format!("{split}/{fold}/{list}.txt");
                let mut of_list = Faults::new(&shown);
                for (line, row) in lines(&text_of(&shown, files)?) {
                    let pair = of_list.keep(line, self.pair(row, kinds.map(|k| &lists[k])));
                    let Some(pair) = pair else { continue };
                    pair.iter().for_each(|file| check_file(file, line, files, &mut of_list));
                    let entry = Entry {
                        row: found.len(),
                        genuine: Some(genuine),
                        fold: Some(fold.clone()),
                        ..Entry::default()
                    };
                    found.push((pair, entry));
                }
                faults.push(of_list);
            }
        }
        Faults::all(faults)?;
        Ok(name_pairs(found))
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
        Entry::of(item)?.pair(item, |file| picture(file, files))
    }
}

impl CfpPairs {
    /// The pictures of `Pair_list_<kind>.txt` by their number.
    fn pictures(
        &self,
        kind: &str,
        files: &dyn Files,
        faults: &mut Vec<Faults>,
    ) -> Result<BTreeMap<usize, String>> {
        let root = self.root.trim_end_matches('/');
        let places = [
            format!("{root}/Protocol/Pair_list_{kind}.txt"),
            format!("{root}/Protocol/Split/Pair_list_{kind}.txt"),
        ];
        let there = |place: &&String| files.locate(place).is_ok_and(|p| p.is_file());
        let Some(shown) = places.iter().find(there) else {
            return Err(Error::new(
                "fame::data::cfp",
                format!("neither `{}` nor `{}` is there.", places[0], places[1]),
            )
            .with_help("`root` is the folder that holds `Protocol` and `Data`."));
        };
        let mut wrong = Faults::new(shown);
        let mut list = BTreeMap::new();
        for (line, row) in lines(&text_of(shown, files)?) {
            let cells: Vec<&str> = row.split_whitespace().collect();
            match cells[..] {
                [number, path] if number.parse::<usize>().is_ok() => {
                    let number: usize = number.parse().unwrap_or_default();
                    if list.insert(number, path.to_owned()).is_some() {
                        wrong.add(
                            line,
                            "the number has been given to another picture",
                            &number.to_string(),
                        );
                    }
                }
                _ => wrong.add(line, "the row is not `number path`", row),
            }
        }
        faults.push(wrong);
        Ok(list)
    }

    fn folds(&self, split: &str, files: &dyn Files) -> Result<Vec<String>> {
        let folder = files.locate(split)?;
        let entries = std::fs::read_dir(&folder).map_err(|e| {
            Error::new("fame::data::cfp", format!("folder `{split}` cannot be read: {e}."))
                .with_help("`root` is the folder that holds `Protocol` and `Data`.")
        })?;
        let mut all: Vec<String> = entries
            .flatten()
            .filter(|e| e.path().is_dir())
            .filter_map(|e| e.file_name().into_string().ok())
            .filter(|n| !n.starts_with('.'))
            .collect();
        all.sort();
        let missing: Vec<&String> = self.folds.iter().filter(|f| !all.contains(f)).collect();
        if !missing.is_empty() || all.is_empty() {
            let message = format!("`{split}` has the folds {all:?}, and no fold {missing:?}.");
            return Err(Error::new("fame::data::no_fold", message));
        }
        all.retain(|f| self.folds.is_empty() || self.folds.contains(f));
        Ok(all)
    }

    fn pair(
        &self,
        row: &str,
        lists: [&BTreeMap<usize, String>; 2],
    ) -> std::result::Result<[String; 2], Wrong> {
        let (a, b) = row.split_once(',').ok_or(("the row is not `a,b`", row.to_owned()))?;
        let file = |cell: &str, list: &BTreeMap<usize, String>| {
            let number: usize = cell
                .trim()
                .parse()
                .map_err(|_| ("a picture's number is no number", row.to_owned()))?;
            list.get(&number)
                .map(|path| self.place(path))
                .ok_or(("the list has no picture of this number", cell.trim().to_owned()))
        };
        Ok([file(a, lists[0])?, file(b, lists[1])?])
    }

    /// Where a picture of a list is; `path` is relative to `Protocol`, wherever the list lies.
    fn place(&self, path: &str) -> String {
        let inner = path.trim_start_matches("./").trim_start_matches("../");
        let mut file = match (&self.images, inner.strip_prefix("Data/Images/")) {
            (Some(images), Some(inner)) => below(images, inner),
            _ => below(&self.root, inner),
        };
        if let Some(extension) = &self.extension {
            file = format!("{}{extension}", super::ids::without_extension(&file));
        }
        file
    }
}

/// Lines that are not blank, with their number.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{
        FOLD, GENUINE,
        testing::{Beside, build, told},
    };

    const GRAY: [u8; 3] = [128; 3];

    fn cfp(lists_in: &str) -> Beside {
        let files = Beside::with(&[
            ("c/Data/Images/001/frontal/01.jpg", GRAY),
            ("c/Data/Images/001/frontal/02.jpg", GRAY),
            ("c/Data/Images/002/frontal/01.jpg", GRAY),
            ("c/Data/Images/001/profile/01.jpg", GRAY),
        ]);
        let image = |n: usize, path: &str| format!("{n} ../Data/Images/{path}.jpg\n");
        let put = |path: &str, text: &str| {
            let path = files.path().join("c/Protocol").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(
            &format!("{lists_in}Pair_list_F.txt"),
            &[image(1, "001/frontal/01"), image(2, "001/frontal/02"), image(3, "002/frontal/01")]
                .concat(),
        );
        put(&format!("{lists_in}Pair_list_P.txt"), &image(1, "001/profile/01"));
        for fold in ["01", "02"] {
            put(&format!("Split/FF/{fold}/same.txt"), "1,2\n");
            put(&format!("Split/FF/{fold}/diff.txt"), "1,3\n");
            put(&format!("Split/FP/{fold}/same.txt"), "1,1\n2,1\n");
            put(&format!("Split/FP/{fold}/diff.txt"), "3,1\n");
        }
        files
    }

    #[test]
    fn both_protocols_and_both_places_of_the_lists_are_read() {
        for lists_in in ["", "Split/"] {
            let files = cfp(lists_in);
            let read = |spec: &str| {
                let cfp = build(spec).unwrap();
                let samples: Vec<_> = cfp
                    .index(&files)
                    .unwrap()
                    .iter()
                    .map(|i| cfp.load(i, &files).unwrap())
                    .collect();
                samples
                    .iter()
                    .map(|s| {
                        (
                            s.pictures[1].1.source.clone(),
                            s.marks.get(&GENUINE).unwrap(),
                            s.marks.get(&FOLD).unwrap(),
                        )
                    })
                    .collect::<Vec<_>>()
            };
            let fp = read(r#"CfpPairs(root: "c", protocol: FP)"#);
            assert_eq!(fp.len(), 6);
            assert_eq!(
                fp[0],
                ("c/Data/Images/001/profile/01.jpg".to_owned(), true, "01".to_owned())
            );
            assert!(!fp[2].1 && fp[3].2 == "02");
            let ff = read(r#"CfpPairs(root: "c/", protocol: FF, folds: ["01"])"#);
            assert_eq!(
                ff.iter().map(|p| (p.0.as_str(), p.1)).collect::<Vec<_>>(),
                [
                    ("c/Data/Images/001/frontal/02.jpg", true),
                    ("c/Data/Images/002/frontal/01.jpg", false)
                ]
            );
        }
    }

    #[test]
    fn crops_may_lie_elsewhere() {
        let files = cfp("");
        std::fs::rename(files.path().join("c/Data/Images"), files.path().join("crops")).unwrap();
        let cfp =
            build(r#"CfpPairs(root: "c", protocol: FF, folds: ["02"], images: Some("crops"))"#)
                .unwrap();
        assert_eq!(cfp.index(&files).unwrap()[0].files[0], "crops/001/frontal/01.jpg");
    }

    #[test]
    fn malformed_lists_are_told_all_at_once() {
        let files = cfp("");
        let index = |spec: &str| told(build(spec).unwrap().index(&files).unwrap_err());
        insta::assert_snapshot!(
            "cfp_fold",
            index(r#"CfpPairs(root: "c", protocol: FP, folds: ["11"])"#)
        );
        let put = |path: &str, text: &str| {
            std::fs::write(files.path().join("c/Protocol").join(path), text).unwrap();
        };
        put(
            "Pair_list_F.txt",
            "1 ../Data/Images/001/frontal/01.jpg\nx\n1 ../Data/Images/001/frontal/02.jpg\n",
        );
        put("Split/FF/01/same.txt", "1;2\n1,9\n\n1,b\n");
        insta::assert_snapshot!("cfp_rows", index(r#"CfpPairs(root: "c", protocol: FF)"#));
        std::fs::remove_file(files.path().join("c/Protocol/Pair_list_F.txt")).unwrap();
        insta::assert_snapshot!("cfp_no_list", index(r#"CfpPairs(root: "c", protocol: FF)"#));
    }
}
