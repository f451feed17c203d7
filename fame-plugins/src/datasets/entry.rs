//! What a list says about one item, kept in its note from the index to the loading.

use std::collections::BTreeMap;

use fame_core::{
    Annotation, Error, Marks, Picture, Result, Sample,
    contract::{Files, ItemRef},
    data::Facts,
};
use serde::{Deserialize, Serialize};

use super::{
    FOLD, GALLERY, GENUINE, GROUP, IMAGE, PROBE, ROW,
    ids::{stem, unique, without_extension},
    pickle::ByteRange,
};
use crate::pictures;

/// The name of annotations that are rectangles: two corners.
const BOX: &str = "box";

/// Everything a list knows about an item beside its files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    /// Place in the list, from 0.
    pub(super) row: usize,
    /// Class, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<usize>,
    /// Whether both pictures show the same identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) genuine: Option<bool>,
    /// Part of a cross-validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fold: Option<String>,
    /// The group, where the list has a column of groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    /// Rectangles `[x0, y0, x1, y1]` in pixels of the picture as stored, the second corner beyond
    /// the last pixel, with what is in them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) boxes: Vec<(String, [f32; 4])>,
    /// Width and height of the picture as stored, which the boxes belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<(usize, usize)>,
    /// Points of a face, by role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) points: BTreeMap<String, Vec<[f32; 2]>>,
    /// Where a picture's bytes lie in the file that holds all of them, by role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) places: BTreeMap<String, ByteRange>,
    /// The templates compared: of the gallery, and of the probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) templates: Option<(String, String)>,
    /// Anything else for the record.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) facts: BTreeMap<String, String>,
}

impl Entry {
    /// The note of an item.
    pub(super) fn note(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What [`Entry::note`] wrote.
    ///
    /// # Errors
    /// When the note is another's: a bug.
    pub(super) fn of(item: &ItemRef) -> Result<Self> {
        serde_json::from_str(&item.note).map_err(|e| {
            Error::bug(format!("item `{}` came back with another note: {e}.", item.id))
        })
    }

    /// The kind of an item, as [`Dataset::kind`](fame_core::contract::Dataset::kind) has it: 1 for
    /// two identities, else 0.
    pub(super) fn kind(item: &ItemRef) -> usize {
        Self::of(item).map_or(0, |entry| usize::from(entry.genuine == Some(false)))
    }

    /// The sample of these pictures.
    pub(super) fn sample(&self, item: &ItemRef, pictures: Vec<(String, Picture)>) -> Sample {
        let mut facts: Facts =
            self.facts.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
        if let Some((gallery, probe)) = &self.templates {
            facts.insert("template".into(), gallery.as_str().into());
            facts.insert("probe_template".into(), probe.as_str().into());
        }
        let marks = Marks::default()
            .with(&ROW, self.row)
            .with(&FOLD, self.fold.clone())
            .with(&GROUP, self.group.clone())
            .with(&GENUINE, self.genuine);
        Sample { id: item.id.clone(), pictures, label: self.label, marks, facts }
    }

    /// The sample of a picture that has been decoded.
    ///
    /// # Errors
    /// When a box lies outside the picture, or the picture has another size than the list says.
    pub(super) fn image(&self, item: &ItemRef, mut picture: Picture) -> Result<Sample> {
        self.check_size(&picture)?;
        if !self.boxes.is_empty() && pictures::is_turned(&picture) {
            picture.warnings.push(format!(
                "`{}` was turned upright, as its EXIF data asks, and the list's boxes are taken for those of the upright picture.",
                picture.source
            ));
        }
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        for (label, corners) in &self.boxes {
            let [x0, y0, x1, y1] = *corners;
            // Lists round, and a corner may be a pixel outside.
            let points = vec![
                [x0.clamp(0.0, width), y0.clamp(0.0, height)],
                [x1.clamp(0.0, width), y1.clamp(0.0, height)],
            ];
            if points[0][0] >= points[1][0] || points[0][1] >= points[1][1] {
                let message = format!(
                    "the box {corners:?} lies outside `{}`, which has {width} × {height} pixels.",
                    picture.source
                );
                return Err(Error::new("fame::data::box_outside", message)
                    .with_help("Is the list that of these pictures?"));
            }
            let label = (!label.is_empty()).then(|| label.clone());
            picture.annotations.push(Annotation { name: BOX.to_owned(), label, points });
        }
        Ok(self.sample(item, vec![(IMAGE.to_owned(), picture)]))
    }

    /// Refuses a picture of another size than its boxes were drawn on: they would lie elsewhere.
    fn check_size(&self, picture: &Picture) -> Result<()> {
        let Some((width, height)) = self.size else { return Ok(()) };
        if (picture.width(), picture.height()) == (width, height) {
            return Ok(());
        }
        let message = format!(
            "the boxes of `{}` were drawn on {width} × {height} pixels, as their file says, but the picture has {} × {} (width × height).",
            picture.source,
            picture.width(),
            picture.height()
        );
        let help = "Take the pictures that the boxes belong to. If only <size> is wrong, correct it or write 0 there.";
        Err(Error::new("fame::data::box_size", message).with_help(help))
    }

    /// The sample of a pair; `load` decodes the picture behind a file.
    pub(super) fn pair(
        &self,
        item: &ItemRef,
        load: impl Fn(&str) -> Result<Picture>,
    ) -> Result<Sample> {
        let [gallery, probe] = item.files.as_slice() else {
            return Err(Error::bug(format!(
                "item `{}` of a list of pairs has {} files.",
                item.id,
                item.files.len()
            )));
        };
        let picture = |role: &str, file: &str| {
            let mut picture = load(file).map_err(|e| e.at(role))?;
            let points = self.points.get(role).cloned();
            picture.annotations.extend(points.map(|points| Annotation {
                name: crate::prepare::LANDMARKS.to_owned(),
                label: None,
                points,
            }));
            Ok((role.to_owned(), picture))
        };
        Ok(self.sample(item, vec![picture(GALLERY, gallery)?, picture(PROBE, probe)?]))
    }
}

/// The picture in a file.
pub(super) fn picture(file: &str, files: &dyn Files) -> Result<Picture> {
    pictures::load(&files.locate(file)?, file)
}

/// Names pairs after both files, `a--b`, and keeps what the list says about them.
pub(super) fn name_pairs(found: Vec<([String; 2], Entry)>) -> Vec<ItemRef> {
    let both = |of: fn(&str) -> &str, [a, b]: &[String; 2]| format!("{}--{}", of(a), of(b));
    let names: Vec<_> = found
        .iter()
        .map(|(files, _)| (both(stem, files), both(without_extension, files)))
        .collect();
    let items = unique(&names).into_iter().zip(found);
    items
        .map(|(id, (files, entry))| ItemRef { id, note: entry.note(), files: files.into() })
        .collect()
}

/// Names items after their file and keeps what the list says about them.
pub(super) fn name_pictures(found: Vec<(String, Entry)>) -> Vec<ItemRef> {
    let names: Vec<_> = found
        .iter()
        .map(|(file, _)| (stem(file).to_owned(), without_extension(file).to_owned()))
        .collect();
    let items = unique(&names).into_iter().zip(found);
    items.map(|(id, (file, entry))| ItemRef { id, note: entry.note(), files: vec![file] }).collect()
}

/// What a list of pairs holds: how many of which kind.
pub(super) fn pair_contents(items: &[ItemRef]) -> String {
    let entries: Vec<Entry> = items.iter().filter_map(|i| Entry::of(i).ok()).collect();
    let count = |wanted| entries.iter().filter(|e| e.genuine == Some(wanted)).count();
    let unknown = entries.iter().filter(|e| e.genuine.is_none()).count();
    format!(
        "{} pair{}: {} genuine, {} impostor{}.",
        items.len(),
        if items.len() == 1 { "" } else { "s" },
        count(true),
        count(false),
        match unknown {
            0 => String::new(),
            n => format!(", {n} of unknown kind"),
        }
    )
}

/// What a reader must be warned of in a list of pairs: repeated ones, and pictures compared with
/// themselves.
pub(super) fn pair_notes(items: &[ItemRef]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut seen: BTreeMap<&[String], usize> = BTreeMap::new();
    items.iter().for_each(|i| *seen.entry(&i.files).or_default() += 1);
    let repeated = items.len() - seen.len();
    if repeated > 0 && seen.keys().any(|files| !files.is_empty()) {
        notes.push(format!(
            "{repeated} of the pairs repeat an earlier one: each counts as often as it is listed."
        ));
    }
    let same = items.iter().filter(|i| i.files.len() == 2 && i.files[0] == i.files[1]).count();
    if same > 0 {
        notes.push(format!(
            "{same} of the pairs compare a picture with itself: such a pair scores 1 whatever the network, and a threshold from it says nothing."
        ));
    }
    notes
}

/// What a list of pictures holds, where none of them has a label: whoever names no labels wants
/// none.
pub(super) fn picture_contents(items: &[ItemRef]) -> Option<String> {
    let (all, none) = (items.len(), without_label(items));
    (all > 0 && none == all).then(|| match all {
        1 => "1 picture, without a label.".to_owned(),
        _ => format!("{all} pictures, without labels."),
    })
}

fn without_label(items: &[ItemRef]) -> usize {
    items.iter().filter(|i| Entry::of(i).is_ok_and(|e| e.label.is_none())).count()
}

/// What a reader must be warned of in a list of pictures: repeated ones, and labels that only some
/// of them have.
pub(super) fn picture_notes(items: &[ItemRef]) -> Vec<String> {
    let different: std::collections::BTreeSet<_> = items.iter().map(|i| &i.files).collect();
    let mut notes = Vec::new();
    if different.len() < items.len() {
        notes.push(format!(
            "{} rows name {} different pictures: {} repeat an earlier row, and count as often as they are listed.",
            items.len(),
            different.len(),
            items.len() - different.len()
        ));
    }
    let unlabelled = without_label(items);
    if unlabelled > 0 && unlabelled < items.len() {
        notes.push(format!("{unlabelled} of {} pictures have no label.", items.len()));
    }
    notes
}
