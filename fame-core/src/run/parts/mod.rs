//! Parts: what is kept of an item so that a changed recipe computes only what it touches.
//!
//! ```text
//! out/parts/<id>/<explainer>.part   one explanation with everything measured of it; may be deleted at any time
//! ```
//!
//! A finished item is kept or redone as a whole ([`super::run`]), but its costs are uneven: an
//! explanation takes hundreds of passes through the network, a metric dozens, a picture on disk
//! none. So every explanation stays here under a key of its own, a hash of what determines *it*:
//! model, backend, picture, preparation, explainer, seed. A changed metric or writer, or another
//! explainer beside it, leaves that key as it is. Measurements stand beside the explanation, each
//! under its metric's key.

mod encoding;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::folder::refuse_link;
use crate::{
    Error, Explanation, Result,
    contract::Measurement,
    data::{read_ordinary, safe_id, sha256_hex, write_whole_from},
};
use encoding::{decode, encode};

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
        Ok(Self { folder: Some(folder) })
    }

    /// The part of `explainer` for `item` if it is there whole and has this `key`.
    pub(super) fn read(&self, item: &str, explainer: &str, key: &str) -> Option<Part> {
        let sealed = read_ordinary(&self.path(item, explainer)?).ok()?;
        decode(unseal(&sealed)?).filter(|part| part.key == key)
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
        refuse_link(&parent)?;
        fs::create_dir_all(&parent).map_err(|e| Error::io("create", &parent, &e))?;
        write_whole_from(folder, &path, &seal(encode(part)))
    }

    /// The file of an explainer's part for `item`.
    fn path(&self, item: &str, explainer: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(item).join(format!("{}.part", safe_id(explainer))))
    }
}

/// Whether the file at `path` is a part, and none of its bytes has changed.
pub(super) fn is_whole(path: &Path) -> bool {
    read_ordinary(path).is_ok_and(|sealed| unseal(&sealed).and_then(decode).is_some())
}

/// `bytes` with their hash behind them: a part of which one bit has changed is no part.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(sha256_hex(&bytes).bytes());
    bytes
}

/// The bytes that were sealed, if none of them has changed.
fn unseal(sealed: &[u8]) -> Option<&[u8]> {
    /// The length of a hexadecimal SHA-256.
    const HASH: usize = 64;
    let (bytes, hash) = sealed.split_at_checked(sealed.len().checked_sub(HASH)?)?;
    (sha256_hex(bytes).as_bytes() == hash).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Annotation, Claim, Frame, MapId, NamedMap, Parameter, Subject, Tensor,
        data::{Value, facts},
    };

    fn part() -> Part {
        let map = NamedMap {
            id: MapId::new("left").about(Subject::Cell(1, 2)).finished(Some("k9".into())),
            raw: Tensor::new([1, 1, 3], vec![0.1, -0.0, f32::MIN_POSITIVE]).unwrap(),
            finished: Tensor::new([1, 3], vec![1.0, 1.0 / 3.0, 0.0]).unwrap(),
            frame: Some(Frame { top: 1, left: 2, bottom: 3, right: 4 }),
            annotations: vec![Annotation {
                name: "box".into(),
                label: Some("part".into()),
                points: vec![[0.1, -3.0], [1e-3, 7.7]],
            }],
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
            map: "left".into(),
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
            other(Subject::Named("part_1".into()), Claim::For, None),
        ];
        Part {
            key: "k".into(),
            explanation: Explanation {
                maps: [map.clone()].into_iter().chain(others).collect(),
                summary: "two maps".into(),
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
        // Another folder's part behind a link is not ours to replace.
        #[cfg(unix)]
        {
            let elsewhere = tempfile::tempdir().unwrap();
            std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("parts/link")).unwrap();
            let error = parts.write("link", "fame", &part()).unwrap_err();
            assert_eq!(error.code, "fame::run::link");
            assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        }
        // Nothing is kept when nothing is to be.
        let nowhere = Parts::new(&dir.path().join("else"), false).unwrap();
        nowhere.write("item", "fame", &part()).unwrap();
        assert!(nowhere.read("item", "fame", "k").is_none() && !dir.path().join("else").exists());
    }

    #[test]
    fn one_changed_bit_is_noticed() {
        let whole = seal(encode(&part()));
        assert!(unseal(&whole).is_some_and(|bytes| decode(bytes).is_some()));
        for at in (0..whole.len()).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(unseal(&changed).is_none(), "bit at {at}");
        }
        assert!(unseal(&whole[..10]).is_none());
    }

    #[test]
    fn fuzz_parts() {
        let corpus = [encode(&part()), seal(encode(&part()))];
        crate::fuzz::fuzz("parts", &corpus, &[], |bytes| {
            // Sealed as well, or the hash would refuse nearly all.
            let _ = decode(bytes);
            let _ = unseal(bytes).and_then(decode);
        });
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
        // Nor may lists within lists ask for a stack without end.
        let mut nested = whole[..8].to_vec();
        for _ in 0..1_000_000 {
            nested.push(5);
            nested.extend(1u64.to_le_bytes());
        }
        nested.push(0);
        assert!(decode(&nested).is_none());
    }
}
