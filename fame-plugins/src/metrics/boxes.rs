//! The rectangles a dataset knows, on the pixels of the prepared picture.

use fame_core::{Error, NamedMap, Result, Sample};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which of a picture's boxes count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Boxes {
    /// Every pixel inside any of them.
    #[default]
    Union,
    /// The first, as the authors' code.
    First,
    /// Each by itself; the best number counts.
    Best,
}

impl Boxes {
    /// One mask over the map's pixels for each region that counts; empty when the dataset knows no
    /// box of this picture, or none is left after cropping.
    ///
    /// A pixel belongs to a box when its centre lies inside.
    ///
    /// # Errors
    /// When the map is not about a picture of the sample.
    pub(super) fn masks(self, sample: &Sample, map: &NamedMap) -> Result<Vec<Vec<bool>>> {
        let picture = sample.picture(&map.id.role).ok_or_else(|| {
            Error::bug(format!("sample `{}` has no role `{}`.", sample.id, map.id.role))
        })?;
        let (height, width) = (picture.height(), picture.width());
        let mut masks: Vec<Vec<bool>> = Vec::new();
        for annotation in picture.annotations.iter().filter(|a| a.name == "box") {
            let corners: Vec<[f32; 2]> =
                annotation.points.iter().map(|p| picture.map_point(*p)).collect();
            let range = |axis: usize| {
                corners
                    .iter()
                    .fold((f32::MAX, f32::MIN), |(l, h), c| (l.min(c[axis]), h.max(c[axis])))
            };
            let (x, y) = (range(0), range(1));
            let inside = |value: usize, (low, high): (f32, f32)| {
                (value as f32 + 0.5) >= low && (value as f32 + 0.5) < high
            };
            masks.push(
                (0..height * width).map(|i| inside(i / width, y) && inside(i % width, x)).collect(),
            );
            if self == Boxes::First {
                break;
            }
        }
        if self == Boxes::Union && masks.len() > 1 {
            let union = (0..height * width).map(|i| masks.iter().any(|m| m[i])).collect();
            masks = vec![union];
        }
        masks.retain(|m| m.contains(&true));
        Ok(masks)
    }

    /// The highest of what `number` says about each region; `None` without regions.
    pub(super) fn best(
        self,
        sample: &Sample,
        map: &NamedMap,
        number: impl Fn(&[bool]) -> f64,
    ) -> Result<Option<f64>> {
        Ok(self.masks(sample, map)?.iter().map(|m| number(m)).reduce(f64::max))
    }
}

#[cfg(test)]
pub(super) mod testing {
    use fame_core::{Affine, Annotation, NamedMap, Picture, Sample, Tensor};

    /// A 4×4 picture, scaled by two from one of 2×2, whose upper left quarter (and, if `two`, lower
    /// right quarter) is boxed.
    pub(crate) fn boxed(two: bool) -> Sample {
        let mut picture = Picture::new(Tensor::filled([3, 4, 4], 0.5), "test").unwrap();
        picture.geometry = Affine::scale_shift(2.0, 2.0, 0.0, 0.0);
        let corners = [[[0.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [2.0, 2.0]]];
        picture.annotations = corners[..if two { 2 } else { 1 }]
            .iter()
            .map(|c| Annotation { name: "box".into(), label: None, points: c.to_vec() })
            .collect();
        Sample {
            id: "boxed".into(),
            pictures: vec![("image".into(), picture)],
            ..Sample::default()
        }
    }

    /// A map of 4×4 pixels that is `inside` in the upper left quarter and `outside` elsewhere.
    pub(crate) fn map(inside: f32, outside: f32) -> NamedMap {
        let values =
            (0..16).map(|i| if i / 4 < 2 && i % 4 < 2 { inside } else { outside }).collect();
        let values = Tensor::new([4, 4], values).unwrap();
        NamedMap::new(fame_core::MapId::new("image").alone(true), values.clone(), values)
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};

    #[test]
    fn boxes_follow_the_picture() {
        let count = |boxes: Boxes, two| {
            boxes
                .masks(&boxed(two), &map(1.0, 0.0))
                .unwrap()
                .iter()
                .map(|m| m.iter().filter(|i| **i).count())
                .collect::<Vec<_>>()
        };
        assert_eq!(count(Boxes::Union, false), [4]);
        assert_eq!(
            (count(Boxes::Union, true), count(Boxes::First, true), count(Boxes::Best, true)),
            (vec![8], vec![4], vec![4, 4])
        );
    }
}
