//! Parts: what is kept of an item so that a changed recipe computes only what it touches.
//!
//! ```text
//! out/parts/<id>/<explainer>.part   one explanation with everything measured of it; may be deleted at any time
//! ```
//!
//! A finished item is kept or redone as a whole ([`super::run`]), but what is dear about it is not:
//! an explanation is hundreds of passes through the network, a metric dozens, a picture on disk
//! none. So every explanation stays here under a key of its own, a hash of what determines *it*:
//! model, backend, picture, preparation, explainer, seed. A changed metric or writer, or another
//! explainer beside it, leaves that key as it is. Measurements stand beside the explanation, each
//! under its metric's key.
//!
//! The file is ours alone and binary, because a restored explanation must give the same bytes
//! again: JSON would round its numbers and forget a NaN.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::record;
use crate::{
    Annotation, Claim, Error, Explanation, Frame, MapId, NamedMap, Result, Subject, Tensor,
    contract::Measurement,
    data::safe_id,
    data::write_whole_from,
    data::{Facts, Value, facts},
};

const MAGIC: &[u8; 8] = b"FAMEPRT2";

/// An explanation and what was measured of it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Hash of all that determines the explanation.
    pub(super) key: String,
    /// Without witnesses: they were for the check, which has been made.
    pub(super) explanation: Explanation,
    /// Measurements by their metric's key.
    pub(super) measured: BTreeMap<String, Vec<Measurement>>,
}

/// The parts of a run.
pub(super) struct Parts {
    /// `None`: nothing is kept.
    folder: Option<PathBuf>,
}

impl Parts {
    /// Parts below the run's folder `out`, or nowhere.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(super) fn new(out: &Path, keep: bool) -> Result<Self> {
        if !keep {
            return Ok(Self { folder: None });
        }
        let folder = out.join("parts");
        fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, &e))?;
        for entry in fs::read_dir(&folder).map_err(|e| Error::io("read", &folder, &e))?.flatten() {
            // What a killed run was about to put in place.
            if entry.file_name().to_string_lossy().starts_with(".tmp") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { folder: Some(folder) })
    }

    /// The part of `explainer` for `item` if it is there whole and has this `key`.
    pub(super) fn read(&self, item: &str, explainer: &str, key: &str) -> Option<Part> {
        decode(&fs::read(self.path(item, explainer)?).ok()?).filter(|part| part.key == key)
    }

    /// Keeps `part` in place of what was there.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(super) fn write(&self, item: &str, explainer: &str, part: &Part) -> Result<()> {
        let (Some(path), Some(folder)) = (self.path(item, explainer), &self.folder) else {
            return Ok(());
        };
        let parent = folder.join(item);
        fs::create_dir_all(&parent).map_err(|e| Error::io("create", &parent, &e))?;
        write_whole_from(folder, &path, &encode(part))
    }

    fn path(&self, item: &str, explainer: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(item).join(format!("{}.part", safe_id(explainer))))
    }
}

/// Head and tensors: the head is one [`Value`], the tensors follow in the order of the maps, raw
/// before finished.
fn encode(part: &Part) -> Vec<u8> {
    let map = |m: &NamedMap| {
        let frame = m.frame.map(|f| vec![f.top, f.left, f.bottom, f.right]);
        Value::Map(facts([
            ("id", id_value(&m.id)),
            ("raw", m.raw.shape().to_vec().into()),
            ("finished", m.finished.shape().to_vec().into()),
            ("frame", frame.into()),
            ("annotations", Value::List(m.annotations.iter().map(annotation_value).collect())),
            ("note", m.note.as_str().into()),
            ("facts", Value::Map(m.facts.clone())),
        ]))
    };
    let measured = |m: &Measurement| -> Value {
        vec![
            Value::from(m.map.as_str()),
            m.name.as_str().into(),
            record::parameter_value(&m.parameter),
            m.value.into(),
        ]
        .into()
    };
    let explanation = &part.explanation;
    let head = Value::Map(facts([
        ("key", part.key.as_str().into()),
        ("warnings", explanation.warnings.clone().into()),
        ("facts", Value::Map(explanation.facts.clone())),
        ("maps", Value::List(explanation.maps.iter().map(map).collect())),
        (
            "measured",
            Value::Map(
                part.measured
                    .iter()
                    .map(|(key, all)| {
                        (key.clone(), Value::List(all.iter().map(measured).collect()))
                    })
                    .collect(),
            ),
        ),
    ]));
    let mut bytes = MAGIC.to_vec();
    put(&head, &mut bytes);
    for tensor in explanation.maps.iter().flat_map(|m| [&m.raw, &m.finished]) {
        tensor.data().iter().for_each(|v| bytes.extend(v.to_le_bytes()));
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Part> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let head = take(&mut rest)?;
    let list = |of: &Value, name: &str| match of.get(name) {
        Some(Value::List(all)) => Some(all.clone()),
        _ => None,
    };
    let text = |of: &Value, name: &str| of.get(name)?.as_str().map(str::to_owned);
    let known = |of: &Value, name: &str| match of.get(name) {
        Some(Value::Map(facts)) => Some(facts.clone()),
        _ => None,
    };
    let sizes = |of: &Value, name: &str| -> Option<Vec<usize>> {
        let size = |v: &Value| match v {
            Value::Integer(i) => usize::try_from(*i).ok(),
            _ => None,
        };
        list(of, name)?.iter().map(size).collect()
    };
    let mut maps = Vec::new();
    for map in list(&head, "maps")? {
        let frame = match map.get("frame") {
            Some(Value::Null) => None,
            _ => match *sizes(&map, "frame")? {
                [top, left, bottom, right] => Some(Frame { top, left, bottom, right }),
                _ => return None,
            },
        };
        let (raw, finished) =
            (floats(sizes(&map, "raw")?, &mut rest)?, floats(sizes(&map, "finished")?, &mut rest)?);
        maps.push(NamedMap {
            id: id_of(map.get("id")?)?,
            raw,
            finished,
            frame,
            annotations: list(&map, "annotations")?
                .iter()
                .map(annotation_of)
                .collect::<Option<_>>()?,
            note: text(&map, "note")?,
            facts: known(&map, "facts")?,
        });
    }
    let measurement = |v: &Value| match v {
        Value::List(cells) => match &cells[..] {
            [Value::Text(map), Value::Text(name), parameter, Value::Number(value)] => {
                Some(Measurement {
                    map: map.clone(),
                    name: name.clone(),
                    parameter: record::parameter_of(parameter)?,
                    value: *value,
                })
            }
            _ => None,
        },
        _ => None,
    };
    let measured = known(&head, "measured")?.into_iter().map(|(key, all)| match all {
        Value::List(all) => Some((key, all.iter().map(measurement).collect::<Option<Vec<_>>>()?)),
        _ => None,
    });
    let warnings = list(&head, "warnings")?
        .iter()
        .map(|w| w.as_str().map(str::to_owned))
        .collect::<Option<Vec<_>>>()?;
    let explanation =
        Explanation { maps, warnings, facts: known(&head, "facts")?, witnesses: Vec::new() };
    let part =
        Part { key: text(&head, "key")?, explanation, measured: measured.collect::<Option<_>>()? };
    rest.is_empty().then_some(part)
}

/// A map's identity, field by field.
fn id_value(id: &MapId) -> Value {
    let subject = match &id.subject {
        Subject::Whole => vec!["whole".into()],
        Subject::Match => vec!["match".into()],
        Subject::Class(class) => vec!["class".into(), (*class).into()],
        Subject::Cell(row, column) => vec!["cell".into(), (*row).into(), (*column).into()],
        Subject::Named(name) => vec!["named".into(), name.as_str().into()],
    };
    Value::Map(facts([
        ("role", id.role.as_str().into()),
        ("alone", id.alone.into()),
        ("subject", Value::List(subject)),
        ("claim", id.claim.word().into()),
        ("finish", id.finish.clone().into()),
        ("stage", id.stage.clone().into()),
    ]))
}

/// What [`id_value`] made.
fn id_of(value: &Value) -> Option<MapId> {
    let text = |name: &str| match value.get(name)? {
        Value::Null => Some(None),
        Value::Text(text) => Some(Some(text.clone())),
        _ => None,
    };
    let Value::List(subject) = value.get("subject")? else { return None };
    let index = |v: &Value| match v {
        Value::Integer(i) => usize::try_from(*i).ok(),
        _ => None,
    };
    let (kind, rest) = subject.split_first()?;
    let subject = match (kind.as_str()?, rest) {
        ("whole", []) => Subject::Whole,
        ("match", []) => Subject::Match,
        ("class", [class]) => Subject::Class(index(class)?),
        ("cell", [row, column]) => Subject::Cell(index(row)?, index(column)?),
        ("named", [name]) => Subject::Named(name.as_str()?.to_owned()),
        _ => return None,
    };
    let claim = text("claim")??;
    let claims = [Claim::For, Claim::Against, Claim::Both, Claim::Neither];
    Some(MapId {
        role: text("role")??,
        alone: *value.get("alone")? == Value::Bool(true),
        subject,
        claim: claims.into_iter().find(|c| c.word() == claim)?,
        finish: text("finish")?,
        stage: text("stage")?,
    })
}

fn annotation_value(annotation: &Annotation) -> Value {
    Value::Map(facts([
        ("name", annotation.name.as_str().into()),
        ("label", annotation.label.clone().into()),
        ("points", annotation.points.concat().into()),
    ]))
}

/// What [`annotation_value`] made.
fn annotation_of(value: &Value) -> Option<Annotation> {
    let Value::List(numbers) = value.get("points")? else { return None };
    let numbers: Vec<f32> =
        numbers.iter().map(|v| v.as_f64().map(|v| v as f32)).collect::<Option<_>>()?;
    let (points, rest) = numbers.as_chunks::<2>();
    rest.is_empty().then_some(())?;
    Some(Annotation {
        name: value.get("name")?.as_str()?.to_owned(),
        label: value.get("label")?.as_str().map(str::to_owned),
        points: points.to_vec(),
    })
}

fn floats(shape: Vec<usize>, rest: &mut &[u8]) -> Option<Tensor> {
    let bytes = shape.iter().try_fold(4usize, |n, d| n.checked_mul(*d))?;
    let (mine, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    let values =
        mine.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Tensor::new(shape, values).ok()
}

/// One byte for the kind, then the value; texts, lists and maps after their length.
fn put(value: &Value, into: &mut Vec<u8>) {
    let length = |n: usize, into: &mut Vec<u8>| into.extend((n as u64).to_le_bytes());
    let text = |t: &str, into: &mut Vec<u8>| {
        length(t.len(), into);
        into.extend(t.as_bytes());
    };
    match value {
        Value::Null => into.push(0),
        Value::Bool(b) => into.extend([1, u8::from(*b)]),
        Value::Integer(i) => {
            into.push(2);
            into.extend(i.to_le_bytes());
        }
        Value::Number(n) => {
            into.push(3);
            into.extend(n.to_bits().to_le_bytes());
        }
        Value::Text(t) => {
            into.push(4);
            text(t, into);
        }
        Value::List(all) => {
            into.push(5);
            length(all.len(), into);
            all.iter().for_each(|v| put(v, into));
        }
        Value::Map(all) => {
            into.push(6);
            length(all.len(), into);
            for (name, v) in all {
                text(name, into);
                put(v, into);
            }
        }
    }
}

fn take(rest: &mut &[u8]) -> Option<Value> {
    fn eight(rest: &mut &[u8]) -> Option<[u8; 8]> {
        let (mine, after) = rest.split_first_chunk::<8>()?;
        *rest = after;
        Some(*mine)
    }
    fn length(rest: &mut &[u8]) -> Option<usize> {
        // Every element takes a byte at least: no count can exceed what is left, and a damaged one
        // asks for no memory.
        usize::try_from(u64::from_le_bytes(eight(rest)?)).ok().filter(|n| *n <= rest.len())
    }
    fn text(rest: &mut &[u8]) -> Option<String> {
        let n = length(rest)?;
        let (mine, after) = rest.split_at(n);
        *rest = after;
        String::from_utf8(mine.to_vec()).ok()
    }
    let (kind, after) = rest.split_first()?;
    *rest = after;
    Some(match kind {
        0 => Value::Null,
        1 => {
            let (b, after) = rest.split_first()?;
            *rest = after;
            Value::Bool(*b != 0)
        }
        2 => Value::Integer(i64::from_le_bytes(eight(rest)?)),
        3 => Value::Number(f64::from_bits(u64::from_le_bytes(eight(rest)?))),
        4 => Value::Text(text(rest)?),
        5 => Value::List((0..length(rest)?).map(|_| take(rest)).collect::<Option<_>>()?),
        6 => {
            let mut all = Facts::new();
            for _ in 0..length(rest)? {
                let name = text(rest)?;
                all.insert(name, take(rest)?);
            }
            Value::Map(all)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parameter;

    fn part() -> Part {
        let map = NamedMap {
            id: MapId::new("probe").about(Subject::Cell(1, 2)).finished(Some("k9".into())),
            raw: Tensor::new([1, 1, 3], vec![0.1, -0.0, f32::MIN_POSITIVE]).unwrap(),
            finished: Tensor::new([1, 3], vec![1.0, 1.0 / 3.0, 0.0]).unwrap(),
            frame: Some(Frame { top: 1, left: 2, bottom: 3, right: 4 }),
            annotations: vec![Annotation {
                name: "box".into(),
                label: Some("face".into()),
                points: vec![[0.1, -3.0], [1e-3, 7.7]],
            }],
            note: "one step".into(),
            // A number that JSON's usual parser gives back one bit off, one that it forgets, and
            // one that is whole.
            facts: facts([
                ("a", 1.000_000_000_000_000_2_f64.into()),
                ("b", f64::NAN.into()),
                ("c", 3usize.into()),
                ("d", true.into()),
            ]),
        };
        let measurement = Measurement {
            map: "probe".into(),
            name: "iou".into(),
            parameter: Parameter::at("at", "threshold", 0.1 + 0.7),
            value: 0.1 + 0.2,
        };
        let other = |subject, claim, stage: Option<&str>| NamedMap {
            id: MapId { subject, claim, stage: stage.map(Into::into), ..MapId::new("image") },
            frame: None,
            ..map.clone()
        };
        let others = [
            other(Subject::Whole, Claim::Neither, None),
            other(Subject::Match, Claim::Against, Some("last_3")),
            other(Subject::Class(7), Claim::Both, None),
            other(Subject::Named("face_1".into()), Claim::For, None),
        ];
        Part {
            key: "k".into(),
            explanation: Explanation {
                maps: [map.clone()].into_iter().chain(others).collect(),
                warnings: vec!["so-so".into()],
                facts: facts([("loss", vec!["x", "y"].into()), ("none", Value::Null)]),
                witnesses: Vec::new(),
            },
            measured: [("m".to_owned(), vec![measurement])].into(),
        }
    }

    #[test]
    fn a_part_comes_back_bit_by_bit() {
        let dir = tempfile::tempdir().unwrap();
        let parts = Parts::new(dir.path(), true).unwrap();
        parts.write("item", "fame", &part()).unwrap();
        let back = parts.read("item", "fame", "k").unwrap();
        // A NaN is not equal to itself, so the bytes are compared.
        assert_eq!(encode(&back), encode(&part()));
        assert_eq!(back.measured, part().measured);
        let told = |part: Part| -> Vec<(MapId, Vec<Annotation>)> {
            part.explanation.maps.into_iter().map(|m| (m.id, m.annotations)).collect()
        };
        assert_eq!(told(back), told(part()));
        assert!(
            parts.read("item", "fame", "other").is_none()
                && parts.read("item", "cam", "k").is_none()
        );
        // Nothing is left of a writer that was killed, and nothing is kept when nothing is to be.
        fs::write(dir.path().join("parts/.tmpX"), "half").unwrap();
        Parts::new(dir.path(), true).unwrap();
        assert!(!dir.path().join("parts/.tmpX").exists());
        let nowhere = Parts::new(&dir.path().join("else"), false).unwrap();
        nowhere.write("item", "fame", &part()).unwrap();
        assert!(nowhere.read("item", "fame", "k").is_none() && !dir.path().join("else").exists());
    }

    #[test]
    fn damage_is_never_mistaken_for_a_part() {
        let whole = encode(&part());
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_none(), "cut at {cut}");
        }
        assert!(decode(&[&whole[..], &[0]].concat()).is_none());
        // Lengths that lie must not ask for memory.
        let mut lying = whole.clone();
        lying[9..17].fill(0xff);
        assert!(decode(&lying).is_none());
    }
}
