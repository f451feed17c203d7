//! `Shapes`: drawn pictures whose truth is known.

use fame_core::{
    Picture, Result, Sample, Tensor,
    contract::{Dataset, Files, ItemRef},
    data::require_memory,
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::synth::{CLASSES, shape};

/// The most pictures: the index of a data set is held in memory.
const MOST: usize = 1_000_000;

/// What an item of that index takes, with its id and its note.
const BYTES_OF_ITEM: u64 = 200;

/// Pictures of one shape each (disc, square, triangle, ring, cross or crescent, in turn) on
/// textured ground, drawn when they are asked for, in the role `image`. The shape's box is exact,
/// and nothing outside it says which shape it is: what a classifier of shapes looks at is known.
/// The same seed gives the same pixels everywhere. The network `shapes` was trained on seed 1 and
/// validated on seed 2.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shapes {
    /// Number of pictures, 1 to 1000000.
    pub count: usize,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Width and height in pixels, 16 to 512.
    pub size: u32,
}

impl Default for Shapes {
    fn default() -> Self {
        Self { count: 60, seed: 2, size: 64 }
    }
}

impl Plugin<dyn Dataset> for Shapes {
    const NAME: &'static str = "Shapes";
    const SUMMARY: &'static str =
        "Drawn shapes on textured ground with labels and exact boxes, without any file: role image";
    const EXAMPLE: &'static str = "Shapes(count: 60, seed: 2)";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("count", (1..=MOST).contains(&self.count), "must be in 1..=1000000");
        assembly.check("size", (16..=512).contains(&self.size), "must be in 16..=512");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Dataset>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Dataset: Shapes);

impl Dataset for Shapes {
    fn files(&self) -> Vec<String> {
        Vec::new()
    }

    fn index(&self, _: &dyn Files) -> Result<Vec<ItemRef>> {
        let bytes = (self.count as u64).saturating_mul(BYTES_OF_ITEM);
        require_memory(format!("the list of {} drawn pictures", self.count), bytes)?;
        let item = |row: usize| {
            let note = Entry { row, ..Entry::default() }.note();
            ItemRef {
                id: format!("{row:05}_{}", CLASSES[row % CLASSES.len()]),
                files: Vec::new(),
                note,
            }
        };
        Ok((0..self.count).map(item).collect())
    }

    fn load(&self, item: &ItemRef, _: &dyn Files) -> Result<Sample> {
        let mut entry = Entry::of(item)?;
        let drawn = shape(self.seed, entry.row, self.size, self.size);
        entry.label = Some(drawn.label);
        entry.boxes = vec![(CLASSES[drawn.label].to_owned(), drawn.bounds.map(|v| v as f32))];
        let side = self.size as usize;
        let pixels = drawn.picture.as_raw();
        let planes = (0..3)
            .flat_map(|c| pixels.iter().skip(c).step_by(3))
            .map(|v| f32::from(*v) / 255.0)
            .collect();
        entry.image(
            item,
            Picture::new(
                Tensor::new([3, side, side], planes)?,
                format!("Shapes(seed: {})#{}", self.seed, entry.row),
            )?,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        ROW,
        testing::{Beside, build},
    };

    #[test]
    fn shapes_need_no_files_and_know_their_boxes() {
        let files = Beside::with(&[]);
        let shapes = build("Shapes(count: 7, seed: 3, size: 32)").unwrap();
        let items = shapes.index(&files).unwrap();
        assert_eq!((items.len(), items[6].id.as_str()), (7, "00006_disc"));
        let sample = shapes.load(&items[2], &files).unwrap();
        let drawn = crate::synth::shape(3, 2, 32, 32);
        assert_eq!((sample.label, sample.marks.get(&ROW)), (Some(2), Some(2)));
        let picture = &sample.pictures[0].1;
        assert_eq!(
            picture.annotations[0].points[1],
            [drawn.bounds[2] as f32, drawn.bounds[3] as f32]
        );
        assert_eq!(
            picture.pixels.data()[32 * 32 + 5],
            f32::from(drawn.picture.get_pixel(5, 0).0[1]) / 255.0
        );
    }
}
