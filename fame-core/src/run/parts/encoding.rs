//! A part as bytes.
//!
//! ```text
//! magic    8 bytes, the format and its version
//! head     one value: key, warnings, facts, the maps without their numbers, measurements
//! tensors  for each map in order: raw, then finished; f32, little-endian, shapes as in the head
//! ```
//!
//! A value is one byte for its kind and what it takes; texts, lists and maps begin with their
//! length, eight bytes. A file that ends early, goes on, or lies about a length is no part: it is
//! computed again.
//!
//! Ours alone and binary, because a restored explanation must give the same bytes again: JSON would
//! round its numbers and forget a NaN.

use super::{
    super::record::{parameter_of, parameter_value},
    Part,
};
use crate::{
    Annotation, Claim, Explanation, Frame, MapId, NamedMap, Subject, Tensor,
    contract::Measurement,
    data::{Facts, Value, facts},
};

/// The first bytes of every part: the format and its version.
const MAGIC: &[u8; 8] = b"FAMEPRT2";

/// How deep values may lie in one another. The facts of a plugin may be lists of lists of lists; no
/// file may make the reader run out of stack.
const DEEPEST: usize = 64;

/// Head and tensors: the head is one [`Value`], the tensors follow in the order of the maps, raw
/// before finished.
pub(super) fn encode(part: &Part) -> Vec<u8> {
    let map = |m: &NamedMap| {
        let frame = m.frame.map(|f| vec![f.top, f.left, f.bottom, f.right]);
        Value::Map(facts([
            ("id", id_value(&m.id)),
            ("raw", m.raw.shape().to_vec().into()),
            ("finished", m.finished.shape().to_vec().into()),
            ("frame", frame.into()),
            ("annotations", Value::List(m.annotations.iter().map(annotation_value).collect())),
            ("facts", Value::Map(m.facts.clone())),
        ]))
    };
    let measured = |m: &Measurement| -> Value {
        vec![
            Value::from(m.map.as_str()),
            m.name.as_str().into(),
            parameter_value(&m.parameter),
            m.value.into(),
        ]
        .into()
    };
    let explanation = &part.explanation;
    let head = Value::Map(facts([
        ("key", part.key.as_str().into()),
        ("summary", explanation.summary.as_str().into()),
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

/// The part that `bytes` hold; `None` when they are damaged in any way.
pub(super) fn decode(bytes: &[u8]) -> Option<Part> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let head = take(&mut rest, DEEPEST)?;
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
            facts: known(&map, "facts")?,
        });
    }
    let measurement = |v: &Value| match v {
        Value::List(cells) => match &cells[..] {
            [Value::Text(map), Value::Text(name), parameter, Value::Number(value)] => {
                Some(Measurement {
                    map: map.clone(),
                    name: name.clone(),
                    parameter: parameter_of(parameter)?,
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
    let explanation = Explanation {
        maps,
        summary: text(&head, "summary")?,
        warnings,
        facts: known(&head, "facts")?,
        witnesses: Vec::new(),
    };
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

/// An annotation with its points as one list of coordinates.
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

/// A tensor of this shape out of the first bytes of `rest`.
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

/// The value that [`put`] wrote at the beginning of `rest`, with at most `depth` values in one
/// another.
fn take(rest: &mut &[u8], depth: usize) -> Option<Value> {
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
    let depth = depth.checked_sub(1)?;
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
        5 => Value::List((0..length(rest)?).map(|_| take(rest, depth)).collect::<Option<_>>()?),
        6 => {
            let mut all = Facts::new();
            for _ in 0..length(rest)? {
                let name = text(rest)?;
                all.insert(name, take(rest, depth)?);
            }
            Value::Map(all)
        }
        _ => return None,
    })
}
