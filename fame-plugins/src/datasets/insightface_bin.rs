//! `InsightfaceBin`: the verification sets of insightface, one pickle each.

use std::{collections::BTreeMap, fs::File, io::BufReader};

use fame_core::{
    Error, Picture, Result, Sample,
    contract::{Dataset, Files, ItemRef},
    data::sha256_hex,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    GALLERY, PROBE,
    entry::{Entry, pair_contents, pair_notes},
    list::Faults,
    pairs::Filter,
    pickle::{self, ByteRange, Value},
};
use crate::pictures;

/// A verification set as insightface distributes them (`lfw.bin`, `cfp_fp.bin`, `agedb_30.bin`, …):
/// a Python pickle of encoded pictures, two for each pair, and of whether each pair shows one
/// person. Pictures are aligned already.
///
/// Pickles of protocols 2 to 5 are read, as Python 2 or 3 wrote them, with byte strings or arrays
/// of `uint8`; nothing in them is executed, and pictures are loaded one by one from their place in
/// the file. Items are named after the file and their row, from 0: `lfw-00017`; folds are
/// consecutive parts, as insightface's own evaluation cuts them, named from `1`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InsightfaceBin {
    /// The file, relative to the recipe.
    pub file: String,
    /// Number of folds.
    #[serde(default = "ten")]
    pub folds: usize,
    /// The pairs that count.
    #[serde(default)]
    pub filter: Filter,
}

fn ten() -> usize {
    10
}

impl Plugin<dyn Dataset> for InsightfaceBin {
    const NAME: &'static str = "InsightfaceBin";
    const SUMMARY: &'static str =
        "A verification set of insightface: one .bin file of aligned pairs";
    const EXAMPLE: &'static str = r#"InsightfaceBin(file: "lfw.bin")"#;
    const REFERENCE: &'static str = "insightface, recognition/arcface_torch/eval/verification.py";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("file", !self.file.is_empty(), "must name a file");
        assembly.check("folds", self.folds > 0, "must be at least 1");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: InsightfaceBin);

impl Dataset for InsightfaceBin {
    fn files(&self) -> Vec<String> {
        vec![self.file.clone()]
    }

    fn index(&self, files: &dyn Files) -> Result<Vec<ItemRef>> {
        let mut file = self.open(files)?;
        let size = file.metadata().map_or(0, |m| m.len());
        let pickle = pickle::read(&mut file, size).map_err(|why| self.bad(&why))?;
        let (pictures, same) = self.parts(&pickle.value, &mut file)?;
        if pictures.len() != 2 * same.len() || same.is_empty() {
            let why = format!(
                "holds {} pictures for {} pairs; there must be two for each",
                pictures.len(),
                same.len()
            );
            return Err(self.bad(&why));
        }
        let mut reader = BufReader::new(file);
        let mut faults = Faults::new(&self.file);
        let mut items = Vec::new();
        let stem = super::ids::stem(&self.file);
        for (row, (pair, genuine)) in pictures.chunks(2).zip(&same).enumerate() {
            if !self.filter.takes(Some(*genuine)) {
                continue;
            }
            let (mut facts, mut places) = (BTreeMap::new(), BTreeMap::new());
            for (role, place) in [GALLERY, PROBE].into_iter().zip(pair) {
                // The file is too large to be hashed for every item; its pictures are not.
                match pickle::bytes_at(&mut reader, *place) {
                    Ok(bytes) if image::guess_format(&bytes).is_ok() => {
                        places.insert(role.to_owned(), *place);
                        facts.insert(format!("{role}_sha256"), sha256_hex(&bytes));
                    }
                    Ok(_) => faults.add(row, "the pair's picture is of no known format", role),
                    Err(why) => faults.add(row, "the pair's picture cannot be read", &why),
                }
            }
            let fold = Some((1 + fold_of(row, same.len(), self.folds)).to_string());
            let genuine = Some(*genuine);
            let entry = Entry { row, genuine, fold, places, facts, ..Entry::default() };
            items.push(ItemRef {
                id: fame_core::data::safe_id(&format!("{stem}-{row:05}")),
                files: Vec::new(),
                note: entry.note(),
            });
        }
        faults.into_result()?;
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
        let entry = Entry::of(item)?;
        let mut file = self.open(files)?;
        let mut picture = |role: &str| -> Result<(String, Picture)> {
            let place = *entry.places.get(role).ok_or_else(|| {
                Error::bug(format!("item `{}` came back without the place of its {role}.", item.id))
            })?;
            let bytes = pickle::bytes_at(&mut file, place).map_err(|why| self.bad(&why))?;
            let shown = format!("{}#{}", self.file, 2 * entry.row + usize::from(role == PROBE));
            Ok((role.to_owned(), pictures::decode(&bytes, &shown).map_err(|e| e.at(role))?))
        };
        let pictures = vec![picture(GALLERY)?, picture(PROBE)?];
        Ok(entry.sample(item, pictures))
    }
}

/// The part, from 0, that `row` of `rows` falls in when they are cut into `folds` in order; the
/// first parts take what is left over, as scikit-learn's `KFold`.
fn fold_of(row: usize, rows: usize, folds: usize) -> usize {
    let (each, more) = (rows / folds, rows % folds);
    let large = more * (each + 1);
    if row < large { row / (each + 1) } else { more + (row - large) / each.max(1) }
}

impl InsightfaceBin {
    fn open(&self, files: &dyn Files) -> Result<File> {
        let path = files.locate(&self.file)?;
        if path.is_dir() {
            return Err(self.bad("is a folder"));
        }
        File::open(path).map_err(|e| self.bad(&format!("cannot be read: {e}")))
    }

    fn bad(&self, why: &str) -> Error {
        Error::new("fame::data::pickle", format!("`{}` {why}.", self.file)).with_help(
            "A .bin file of insightface is a pickle of (list of encoded pictures, list of bool).",
        )
    }

    /// Places of the pictures, and whether each pair shows one person.
    fn parts(&self, value: &Value, file: &mut File) -> Result<(Vec<ByteRange>, Vec<bool>)> {
        let two = match value {
            Value::Tuple(items) | Value::List(items) => items.borrow().clone(),
            _ => Vec::new(),
        };
        let [Value::List(pictures), same] = two.as_slice() else {
            return Err(self.bad("does not hold two lists"));
        };
        let pictures = pictures.borrow();
        let places = pictures.iter().enumerate().map(|(n, picture)| {
            bytes_of(picture).ok_or_else(|| {
                self.bad(&format!(
                    "holds something else than an encoded picture, as its number {n}"
                ))
            })
        });
        let places = places.collect::<Result<Vec<_>>>()?;
        let same = self.truths(same, file)?;
        Ok((places, same))
    }

    fn truths(&self, same: &Value, file: &mut File) -> Result<Vec<bool>> {
        let mut read =
            |place: ByteRange| pickle::bytes_at(file, place).map_err(|why| self.bad(&why));
        if let Value::List(list) = same {
            let of = |value: &Value| match value {
                Value::Bool(b) => Ok(*b),
                Value::Integer(n @ 0..=1) => Ok(*n == 1),
                // A single value of an array: `scalar(dtype, bytes)`.
                Value::Call(call) if call.name.ends_with("multiarray scalar") => {
                    match call.with.borrow().as_slice() {
                        [_, Value::Bytes(place)] if place.length == 1 || place.latin1 => {
                            Ok(read(*place)? == [1])
                        }
                        _ => Err(self.bad("holds labels that are not bool")),
                    }
                }
                _ => Err(self.bad("holds labels that are not bool")),
            };
            return list.borrow().iter().map(of).collect();
        }
        match array(same) {
            Some((kind, place)) if matches!(&*kind, "b1" | "u1" | "?" | "i1") => {
                Ok(read(place)?.iter().map(|b| *b != 0).collect())
            }
            _ => Err(self.bad("holds labels that are not bool")),
        }
    }
}

/// Where the bytes of an encoded picture lie: a byte string, or an array of `uint8`.
fn bytes_of(value: &Value) -> Option<ByteRange> {
    match value {
        Value::Bytes(place) => Some(*place),
        other => array(other).filter(|(kind, _)| &**kind == "u1").map(|(_, place)| place),
    }
}

/// The element type of a numpy array and where its values lie.
fn array(value: &Value) -> Option<(std::rc::Rc<str>, ByteRange)> {
    let Value::Call(call) = value else { return None };
    // `_reconstruct(ndarray, …)`, then the state (version, shape, dtype, order, values).
    if !call.name.ends_with("multiarray _reconstruct") {
        return None;
    }
    let Value::Tuple(state) = &*call.state.borrow() else { return None };
    let state = state.borrow();
    let [_, _, Value::Call(dtype), _, Value::Bytes(place)] = state.as_slice() else { return None };
    match dtype.with.borrow().as_slice() {
        [Value::Text(kind, _), ..] if dtype.name.ends_with(" dtype") => {
            Some((kind.clone(), *place))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
