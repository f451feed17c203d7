//! `MapStability`: whether a map says the same of the same picture in another crop, light or
//! encoding.

use fame_core::{
    Affine, Better, Error, Explanation, NamedMap, Parameter, Picture, Result, Sample, Scores,
    Table, Tensor,
    contract::{ExplainContext, Explainer, Measurement, Metric, MetricRow, means, scores},
    registry::{Assembly, BuildContext, Plugin},
};
use image::codecs::jpeg::JpegEncoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    again::{counterparts, explained},
    correlation::spearman,
    measured, plane,
};
use crate::pictures;

/// What happens to a prepared picture without changing what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub enum Alteration {
    /// Moved by so many pixels to the right and down: a crop that misses by them.
    Shift(f32, f32),
    /// Turned about its middle by so many degrees, clockwise as it is seen.
    Turn(f32),
    /// Enlarged about its middle by this factor, above 0.
    Zoom(f32),
    /// Encoded as JPEG of this quality, 1 to 100, and decoded again.
    Jpeg(u8),
    /// Every value times this factor, above 0, cut to 0..=1.
    Light(f32),
}

/// Rank correlation of a map with that of the altered picture, moved back, over the pixels that both
/// have: `spearman`, at most 1, for each alteration, and `mean` of them all; high is good. It says how
/// far a single map is to be trusted in its details. A face that is a pixel beside its place, or saved
/// once more, is the same face; a map that changes then shows more of the crop than of the face.
///
/// The picture that a map scores is altered, its partner in a pair is not. Pixels that come from
/// outside of the picture repeat its edge. A map that ignores the picture has 1 in light and JPEG, and a
/// smooth one has less to lose: read it beside a metric of faithfulness. Explains so many times again
/// as there are alterations.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MapStability {
    /// The alterations, each by itself.
    pub by: Vec<Alteration>,
}

impl Default for MapStability {
    fn default() -> Self {
        Self {
            by: vec![
                Alteration::Shift(2.0, 0.0),
                Alteration::Shift(0.0, -2.0),
                Alteration::Turn(3.0),
                Alteration::Zoom(1.04),
                Alteration::Jpeg(50),
                Alteration::Light(0.8),
                Alteration::Light(1.2),
            ],
        }
    }
}

impl Plugin<dyn Metric> for MapStability {
    const NAME: &'static str = "MapStability";
    const SUMMARY: &'static str = "Rank correlation of a map with those of the same picture in another crop, light or encoding";
    const EXAMPLE: &'static str = "MapStability(by: [Shift(2, 0), Jpeg(50), Light(0.8)])";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        let good = |alteration: &Alteration| match *alteration {
            Alteration::Shift(x, y) => x.is_finite() && y.is_finite(),
            Alteration::Turn(degrees) => degrees.is_finite(),
            Alteration::Zoom(factor) | Alteration::Light(factor) => {
                factor.is_finite() && factor > 0.0
            }
            Alteration::Jpeg(quality) => (1..=100).contains(&quality),
        };
        let all = !self.by.is_empty() && self.by.iter().all(good);
        assembly.check(
            "by",
            all,
            "must hold at least one alteration: finite shifts and turns, factors above 0, qualities from 1 to 100",
        );
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: MapStability);

impl Metric for MapStability {
    fn measure(
        &self,
        _: &ExplainContext<'_>,
        _: &Sample,
        _: &Explanation,
    ) -> Result<Vec<Measurement>> {
        // Nothing can be said without the explainer.
        Ok(Vec::new())
    }

    fn measure_again(
        &self,
        with: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
        explainer: &dyn Explainer,
    ) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        for (role, picture) in &sample.pictures {
            let maps: Vec<&NamedMap> =
                explanation.maps.iter().filter(|m| m.id.role == *role).collect();
            if maps.is_empty() {
                continue;
            }
            let copy = |alteration: &Alteration| -> Result<Sample> {
                let mut copy = sample.clone();
                let altered = alteration.of(picture)?;
                for (name, picture) in &mut copy.pictures {
                    if name == role {
                        picture.pixels = altered.clone();
                    }
                }
                Ok(copy)
            };
            let copies = self.by.iter().map(copy).collect::<Result<Vec<_>>>()?;
            let said = explained(with, explainer, &copies)?;
            for map in maps {
                let mut found = Vec::new();
                for (alteration, other) in self.by.iter().zip(counterparts(map, &said)) {
                    let Some(other) = other else { continue };
                    let size = (picture.height(), picture.width());
                    let alike = alike(&plane(map)?, &plane(other)?, size, alteration.back(size))?;
                    if alike.is_finite() {
                        found.push(alike);
                        let case = Parameter::case(alteration.name());
                        all.push(measured(map, "spearman", case, alike));
                    }
                }
                if !found.is_empty() {
                    let mean = found.iter().sum::<f64>() / found.len() as f64;
                    all.push(measured(map, "mean", Parameter::None, mean));
                }
            }
        }
        Ok(all)
    }

    fn scores(&self, rows: &[MetricRow]) -> Result<Scores> {
        // One column of the summary is enough.
        Ok(scores(rows, |quantity| (quantity == "mean").then_some(Better::Higher)))
    }

    fn summarise(&self, name: &str, rows: &[MetricRow]) -> Result<Vec<Table>> {
        Ok(means(name, rows, |_| Some(Better::Higher), &[]))
    }
}

impl Alteration {
    /// As tables call it.
    fn name(self) -> String {
        match self {
            Self::Shift(x, y) => format!("shift_{x}_{y}"),
            Self::Turn(degrees) => format!("turn_{degrees}"),
            Self::Zoom(factor) => format!("zoom_{factor}"),
            Self::Jpeg(quality) => format!("jpeg_{quality}"),
            Self::Light(factor) => format!("light_{factor}"),
        }
    }

    /// Where a point of the altered picture lies in the picture of `size` (rows, columns).
    fn back(self, (height, width): (usize, usize)) -> Affine {
        let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
        let about =
            |[a, b, c, d]: [f64; 4]| Affine([a, b, x - a * x - b * y, c, d, y - c * x - d * y]);
        match self {
            Self::Shift(right, down) => {
                Affine::scale_shift(1.0, 1.0, -f64::from(right), -f64::from(down))
            }
            Self::Turn(degrees) => {
                let (sin, cos) = f64::from(degrees).to_radians().sin_cos();
                about([cos, sin, -sin, cos])
            }
            Self::Zoom(factor) => {
                let smaller = 1.0 / f64::from(factor);
                about([smaller, 0.0, 0.0, smaller])
            }
            Self::Jpeg(_) | Self::Light(_) => Affine::IDENTITY,
        }
    }

    /// The altered pixels.
    fn of(self, picture: &Picture) -> Result<Tensor> {
        let mut pixels = picture.pixels.clone();
        match self {
            Self::Light(factor) => {
                pixels.data_mut().iter_mut().for_each(|v| *v = (*v * factor).clamp(0.0, 1.0));
            }
            Self::Jpeg(quality) => return recoded(&pixels, quality),
            Self::Shift(..) | Self::Turn(_) | Self::Zoom(_) => {
                let size = (picture.height(), picture.width());
                let back = self.back(size);
                for channel in 0..pixels.rows() {
                    let (moved, _) = sampled(picture.pixels.row(channel), size, back);
                    pixels.row_mut(channel).copy_from_slice(&moved);
                }
            }
        }
        Ok(pixels)
    }
}

/// `[3, H, W]` through an encoder and a decoder.
fn recoded(pixels: &Tensor, quality: u8) -> Result<Tensor> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode_image(&pictures::to_rgb8(pixels)?)
        .map_err(|e| Error::bug(format!("a picture could not be encoded as JPEG: {e}.")))?;
    Ok(pictures::decode(&bytes, "altered copy")?.pixels)
}

/// `plane` read at `back` of each pixel's centre, bilinearly, its edge continued; and whether that
/// place lies inside.
fn sampled(
    plane: &[f32],
    (height, width): (usize, usize),
    Affine([a, b, c, d, e, f]): Affine,
) -> (Vec<f32>, Vec<bool>) {
    let one = |pixel: usize| {
        let (x, y) = ((pixel % width) as f64 + 0.5, (pixel / width) as f64 + 0.5);
        let (u, v) = (a * x + b * y + c, d * x + e * y + f);
        let is_in = (0.0..=width as f64).contains(&u) && (0.0..=height as f64).contains(&v);
        // Between the centres of four pixels, the outermost ones continued.
        let (u, v) =
            (u.clamp(0.5, width as f64 - 0.5) - 0.5, v.clamp(0.5, height as f64 - 0.5) - 0.5);
        let (left, top) = (u.floor() as usize, v.floor() as usize);
        let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
        let (across, down) = (u.fract() as f32, v.fract() as f32);
        let at = |y: usize, x: usize| plane[y * width + x];
        let upper = at(top, left) * (1.0 - across) + at(top, right) * across;
        let lower = at(bottom, left) * (1.0 - across) + at(bottom, right) * across;
        (upper * (1.0 - down) + lower * down, is_in)
    };
    (0..height * width).map(one).unzip()
}

/// Rank correlation of `map`, moved as its picture was, with the altered picture's, over the pixels
/// that come from inside.
///
/// # Errors
/// Maps of other sizes than the picture.
fn alike(map: &[f32], other: &[f32], size: (usize, usize), back: Affine) -> Result<f64> {
    if map.len() != size.0 * size.1 || other.len() != map.len() {
        let message = format!(
            "maps of {} and {} pixels cannot be compared over {} × {}.",
            map.len(),
            other.len(),
            size.1,
            size.0
        );
        return Err(Error::new("fame::metric::map_size", message));
    }
    let (moved, is_in) = sampled(map, size, back);
    let both = |values: &[f32]| -> Vec<f32> {
        values.iter().zip(&is_in).filter(|(_, i)| **i).map(|(v, _)| *v).collect()
    };
    Ok(spearman(&both(&moved), &both(other)))
}

#[cfg(test)]
mod tests {
    use super::{super::again::testing::measured_again, *};

    const SIZE: (usize, usize) = (8, 10);

    fn plane_of(f: impl Fn(f64, f64) -> f64) -> Vec<f32> {
        (0..80).map(|i| f(f64::from(i % 10), f64::from(i / 10)) as f32).collect()
    }

    #[test]
    fn a_shift_moves_pixels_and_repeats_the_edge() {
        let ramp = plane_of(|x, y| x + 10.0 * y);
        let (moved, is_in) = sampled(&ramp, SIZE, Alteration::Shift(2.0, -1.0).back(SIZE));
        // What stands at (4, 3) stood at (2, 4).
        assert_eq!(moved[3 * 10 + 4], 42.0);
        assert!(!is_in[3 * 10 + 1] && is_in[3 * 10 + 2] && !is_in[7 * 10 + 4]);
        assert_eq!(moved[3 * 10], 40.0, "the edge of its row");
    }

    #[test]
    fn turns_and_zooms_keep_the_middle() {
        for alteration in [Alteration::Turn(90.0), Alteration::Zoom(2.0)] {
            let middle = alteration.back(SIZE).apply([5.0, 4.0]);
            assert!((middle[0] - 5.0).abs() < 1e-6 && (middle[1] - 4.0).abs() < 1e-6);
        }
        // Turned clockwise, what is seen on the right came from above.
        let from = Alteration::Turn(90.0).back(SIZE).apply([7.0, 4.0]);
        assert!((from[0] - 5.0).abs() < 1e-6 && (from[1] - 2.0).abs() < 1e-6, "{from:?}");
        let from = Alteration::Zoom(2.0).back(SIZE).apply([7.0, 4.0]);
        assert!((from[0] - 6.0).abs() < 1e-6, "{from:?}");
    }

    #[test]
    fn a_map_that_moves_with_its_picture_is_stable_and_a_fixed_one_is_not() {
        let of = |spec: &str, map: fn(&[f32]) -> Vec<f32>| {
            let metric = fame_core::testkit::build::<dyn Metric>(spec).unwrap();
            let rows = measured_again(metric.plugin.as_ref(), map);
            rows.iter().find(|m| m.name == "mean").unwrap().value
        };
        // The map is the picture: whole pixels move exactly, and light keeps the order.
        let moves = of("MapStability(by: [Shift(3, 2), Light(0.5)])", <[f32]>::to_vec);
        assert!((moves - 1.0).abs() < 1e-9, "{moves}");
        // The map is a pattern at fixed places, of period 2: one pixel on it is upside down.
        let fixed = |pixels: &[f32]| (0..pixels.len()).map(|i| (i % 2) as f32).collect();
        let stays = of("MapStability(by: [Shift(1, 0)])", fixed);
        assert!(stays < -0.9, "{stays}");
        assert!((of("MapStability(by: [Jpeg(30)])", fixed) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn jpeg_changes_little_at_high_quality_and_more_at_low() {
        let picture = fame_core::testkit::picture(32, 1).unwrap();
        let apart = |quality| {
            let pixels = Alteration::Jpeg(quality).of(&picture).unwrap();
            let pairs = pixels.data().iter().zip(picture.pixels.data());
            pairs.map(|(a, b)| (a - b).abs()).sum::<f32>() / pixels.len() as f32
        };
        assert!(apart(95) < apart(5), "{} {}", apart(95), apart(5));
        assert!(apart(95) < 0.1);
    }
}
