//! `LfwPairs`: Labeled Faces in the Wild's `pairs.txt`.

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

/// The pairs of Labeled Faces in the Wild, as its `pairs.txt` (view 2, ten folds) or
/// `pairsDevTrain.txt` (view 1, one) lists them. The first line is `folds pairs` or `pairs`; then
/// come, fold by fold, as many genuine rows `Name i j` as impostor rows `NameA i NameB j`. Pictures
/// are `Name/Name_0001.jpg`. The sample's fold is `1` to `10`, its row counts the list's pairs from
/// 0.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LfwPairs {
    /// The list, relative to the recipe.
    pub pairs: String,
    /// The folder that holds a folder for each person.
    pub root: String,
    /// Ending of the pictures' names.
    #[serde(default = "jpg")]
    pub extension: String,
    /// Which folds count, from 1. Default: all.
    #[serde(default)]
    pub folds: Vec<usize>,
}

fn jpg() -> String {
    ".jpg".into()
}

impl Plugin<dyn Dataset> for LfwPairs {
    const NAME: &'static str = "LfwPairs";
    const SUMMARY: &'static str = "Labeled Faces in the Wild by its pairs.txt, with folds";
    const EXAMPLE: &'static str = r#"LfwPairs(pairs: "lfw/pairs.txt", root: "lfw/images")"#;
    const REFERENCE: &'static str = "Huang, Ramesh, Berg & Learned-Miller, UMass TR 07-49 (2007)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("pairs", !self.pairs.is_empty(), "must name a file");
        assembly.check("folds", !self.folds.contains(&0), "counts from 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: LfwPairs);

impl Dataset for LfwPairs {
    fn files(&self) -> Vec<String> {
        [&self.pairs, &self.root].into_iter().filter(|f| !f.is_empty()).cloned().collect()
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let text = text_of(&self.pairs, files)?;
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(n, line)| (n + 1, line.split_whitespace().collect::<Vec<_>>()));
        let head = lines.by_ref().find(|(_, cells)| !cells.is_empty());
        let (folds, each) =
            head.as_ref().and_then(|(_, cells)| first_line(cells)).ok_or_else(|| {
                let message = format!(
                    "the first line of `{}` is neither `folds pairs` nor `pairs`.",
                    self.pairs
                );
                Error::new("fame::data::lfw", message)
                    .with_help("Lists of the form `path path label` are read by Pairs(list: …).")
            })?;
        let rows: Vec<_> = lines.filter(|(_, cells)| !cells.is_empty()).collect();
        if rows.len() != 2 * folds * each {
            let message = format!(
                "`{}` promises {folds} fold(s) of {each} genuine and {each} impostor pairs, {} rows, and has {}.",
                self.pairs,
                2 * folds * each,
                rows.len()
            );
            return Err(Error::new("fame::data::lfw", message)
                .with_help("The list was probably cut off; get it again."));
        }
        let missing: Vec<_> = self.folds.iter().filter(|f| **f > folds).collect();
        if !missing.is_empty() {
            return Err(Error::new(
                "fame::data::no_fold",
                format!("`{}` has {folds} fold(s), and no fold {missing:?}.", self.pairs),
            ));
        }
        let mut faults = Faults::new(&self.pairs);
        let mut found = Vec::new();
        for (row, (line, cells)) in rows.iter().enumerate() {
            let (fold, wanted) = (1 + row / (2 * each), row % (2 * each) < each);
            let Some((pair, genuine)) = faults.keep(*line, self.pair(cells)) else { continue };
            if genuine != wanted {
                let what = if wanted {
                    "a genuine pair is due here"
                } else {
                    "an impostor pair is due here"
                };
                faults.add(*line, what, &cells.join(" "));
                continue;
            }
            if self.folds.is_empty() || self.folds.contains(&fold) {
                pair.iter().for_each(|file| check_file(file, *line, files, &mut faults));
                found.push((
                    pair,
                    Entry {
                        row,
                        genuine: Some(genuine),
                        fold: Some(fold.to_string()),
                        ..Entry::default()
                    },
                ));
            }
        }
        faults.into_result()?;
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

/// Folds, and pairs of either kind in each.
fn first_line(cells: &[&str]) -> Option<(usize, usize)> {
    let numbers: Vec<usize> = cells
        .iter()
        .map(|c| c.parse().ok().filter(|n| (1..1_000_000).contains(n)))
        .collect::<Option<_>>()?;
    match numbers[..] {
        [each] => Some((1, each)),
        [folds, each] => Some((folds, each)),
        _ => None,
    }
}

impl LfwPairs {
    fn pair(&self, cells: &[&str]) -> std::result::Result<([String; 2], bool), Wrong> {
        match cells {
            [name, i, j] => Ok(([self.file(name, i)?, self.file(name, j)?], true)),
            [a, i, b, j] => Ok(([self.file(a, i)?, self.file(b, j)?], false)),
            _ => Err(("the row is neither `Name i j` nor `NameA i NameB j`", cells.join(" "))),
        }
    }

    fn file(&self, name: &str, number: &str) -> std::result::Result<String, Wrong> {
        let number: u32 =
            number.parse().map_err(|_| ("a picture's number is no number", number.to_owned()))?;
        Ok(below(&self.root, &format!("{name}/{name}_{number:04}{}", self.extension)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        FOLD, GENUINE, ROW,
        testing::{Beside, build, told},
    };

    const GRAY: [u8; 3] = [128; 3];
    const PAIRS: &str = "2\t1\nAda\t1\t2\nAda\t1\tBob\t1\nBob 1 2\nBob 2 Ada 2\n";

    fn people() -> Beside {
        Beside::with(&[
            ("l/Ada/Ada_0001.png", GRAY),
            ("l/Ada/Ada_0002.png", GRAY),
            ("l/Bob/Bob_0001.png", GRAY),
            ("l/Bob/Bob_0002.png", GRAY),
        ])
    }

    fn spec(rest: &str) -> String {
        format!(r#"LfwPairs(pairs: "pairs.txt", root: "l", extension: ".png"{rest})"#)
    }

    #[test]
    fn folds_and_kinds_follow_the_list() {
        let files = people();
        std::fs::write(files.path().join("pairs.txt"), PAIRS).unwrap();
        let read = |rest: &str| {
            let lfw = build(&spec(rest)).unwrap();
            let samples = lfw
                .index(&files)
                .unwrap()
                .iter()
                .map(|i| lfw.load(i, &files).unwrap())
                .collect::<Vec<_>>();
            samples
                .iter()
                .map(|s| {
                    (
                        s.id.clone(),
                        s.marks.get(&GENUINE).unwrap(),
                        s.marks.get(&ROW).unwrap(),
                        s.marks.get(&FOLD).unwrap(),
                    )
                })
                .collect::<Vec<_>>()
        };
        let all = read("");
        assert_eq!(all[0], ("Ada_0001--Ada_0002".to_owned(), true, 0, "1".to_owned()));
        assert_eq!(all[3], ("Bob_0002--Ada_0002".to_owned(), false, 3, "2".to_owned()));
        assert_eq!(read(", folds: [2]"), all[2..]);
    }

    #[test]
    fn malformed_lists_are_told() {
        let files = people();
        let told = |text: &str, rest: &str| {
            std::fs::write(files.path().join("pairs.txt"), text).unwrap();
            told(build(&spec(rest)).unwrap().index(&files).unwrap_err())
        };
        insta::assert_snapshot!(
            "lfw_rows",
            told("2 1\nAda 1 x\nAda 1\nBob 1 Ada 2\nBob 1 Eve 1\n", "")
        );
        insta::assert_snapshot!("lfw_short", told("10 300\nAda 1 2\n", ""));
        insta::assert_snapshot!("lfw_first_line", told("a.jpg b.jpg 1\n", ""));
        insta::assert_snapshot!("lfw_fold", told(PAIRS, ", folds: [1, 3]"));
    }
}
