//! Datasets with boxes, one file each, and what they share: a picture with its boxes travels from
//! the index to the loader as text.

mod coco;
mod voc;

pub use coco::Coco;
pub use voc::{Origin, Voc};

use fame_core::{Annotation, Error, Result, Sample, contract::Files, contract::ItemRef, data::facts};
use serde::{Deserialize, Serialize};

use crate::{
    detections::BOX,
    pictures::{self, Orientation},
};

/// What a list says of one picture. It is the item's note, so that a box that was moved makes a new
/// item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Boxed {
    /// Width and height the list says, if it does.
    size: Option<(u32, u32)>,
    /// Label and left, top, right, bottom in pixels from the outer corner of the first.
    boxes: Vec<(String, [f32; 4])>,
}

impl Boxed {
    fn note(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::bug(e.to_string()))
    }

    /// Decodes the picture of `item` and hangs the boxes on it.
    fn load(item: &ItemRef, files: &dyn Files, orientation: Orientation) -> Result<Sample> {
        let boxed: Self =
            serde_json::from_str(&item.note).map_err(|e| Error::bug(format!("item `{}` came back with another note: {e}.", item.id)))?;
        let file = item.files.first().ok_or_else(|| Error::bug(format!("item `{}` lost its file.", item.id)))?;
        let mut picture = pictures::load(&files.locate(file)?, file, orientation)?;
        let (width, height) = (picture.width() as u32, picture.height() as u32);
        if let Some((w, h)) = boxed.size
            && (w, h) != (width, height)
        {
            let message = format!("picture `{file}` is {width}×{height} pixels, but its boxes were drawn on {w}×{h}.");
            let help = match (orientation, (w, h) == (height, width)) {
                (Orientation::Upright, true) => "The file asks to be turned and the boxes do not know: say `orientation: Stored`.",
                (Orientation::Stored, true) => "The boxes were drawn on the picture turned upright: say `orientation: Upright`.",
                _ => "Was the picture scaled after the boxes were drawn?",
            };
            return Err(Error::new("fame_detection::size", message).with_help(help));
        }
        let beyond = boxed.boxes.iter().filter(|(_, [_, _, right, bottom])| *right > width as f32 || *bottom > height as f32).count();
        picture.annotations = boxed.boxes.iter().map(|(label, b)| annotation(label, *b, width as f32, height as f32)).collect();
        picture.facts.insert(
            "boxes".into(),
            fame_core::data::Value::Map(facts([("count", boxed.boxes.len().into()), ("reaching_beyond", beyond.into())])),
        );
        Ok(Sample { id: item.id.clone(), pictures: vec![("image".to_owned(), picture)], ..Sample::default() })
    }
}

/// A box on a picture of this size. Boxes reach beyond their picture by rounding: what is outside
/// is cut off.
fn annotation(label: &str, [left, top, right, bottom]: [f32; 4], width: f32, height: f32) -> Annotation {
    let corner = |x: f32, y: f32| [x.clamp(0.0, width), y.clamp(0.0, height)];
    Annotation { name: BOX.to_owned(), label: Some(label.to_owned()), points: vec![corner(left, top), corner(right, bottom)] }
}

/// All that is wrong with a list, as one error: nothing runs before all of it is right.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    /// At most this many are printed; the rest is counted.
    const SHOWN: usize = 20;

    fn add(&mut self, place: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.0.push(format!("{place}: {what}"));
    }

    /// # Errors
    /// When there are any.
    fn report(self, list: &str) -> Result<()> {
        let count = self.0.len();
        if count == 0 {
            return Ok(());
        }
        let more = if count > Self::SHOWN { format!("\n  … and {} more", count - Self::SHOWN) } else { String::new() };
        let shown = self.0[..count.min(Self::SHOWN)].join("\n  ");
        let message = format!("{list} has {count} malformed record{}:\n  {shown}{more}", if count == 1 { "" } else { "s" });
        Err(Error::new("fame_detection::malformed", message).with_help("Correct or remove these records; nothing was run."))
    }
}

#[cfg(test)]
mod testing {
    use std::path::PathBuf;

    use fame_core::{
        Result,
        contract::{Dataset, Files},
        registry::{BuildContext, Registry},
        text::Spec,
    };

    /// Files of a folder of the test's own.
    pub(super) struct Beside(pub(super) tempfile::TempDir);

    impl Beside {
        pub(super) fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        pub(super) fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        pub(super) fn picture(&self, name: &str, width: u32, height: u32) {
            crate::pictures::testing::save(&self.0.path().join(name), width, height);
        }
    }

    impl Files for Beside {
        fn locate(&self, text: &str) -> Result<PathBuf> {
            Ok(self.0.path().join(text))
        }
    }

    /// Builds what a recipe writes.
    pub(super) fn build(text: &str) -> Box<dyn Dataset> {
        let registry = Registry::builtin().unwrap();
        let with = BuildContext::new(&registry, std::path::Path::new("."));
        registry.build::<dyn Dataset>(&Spec::from_text(text).unwrap(), &with).unwrap_or_else(|p| panic!("{p:?}")).plugin
    }
}
