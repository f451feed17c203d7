//! `Regions`: the share of a map in each part of a face.

use fame_core::{
    Claim, Error, Explanation, NamedMap, Parameter, Result, Sample,
    contract::{ExplainContext, Measurement, Metric},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{measured, plane};
use crate::prepare::{FACE_OUTLINE, LANDMARKS};

/// For each part of a face its `share` of the map's sum, 0..=1 (the shares of a map add up to 1), and
/// `density`, that share by the part's share of the picture: how many times what an even map would
/// have there. Neither is good or bad: they say where a method looks. The parts, by the 68 points of
/// the landmark model that `AlignFace` keeps (300-W): `eyes` with the brows, `nose`, `mouth`,
/// `jaw` (the face below the line through the corners of the mouth), `cheeks` (the rest of the face up
/// to the brows), `forehead` (above the brows, as high as from the brows to the base of the nose), and
/// `background`. Maps of what speaks against the match have `against_` before the part's name.
///
/// Faces whose points were given, or found by a model of fewer points, are left out. The landmark
/// model's own error is a few percent of the eyes' distance; the hairline is a rule of thumb, and no
/// network found it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Regions {}

impl Plugin<dyn Metric> for Regions {
    const NAME: &'static str = "Regions";
    const SUMMARY: &'static str =
        "The share of a map in eyes, nose, mouth, cheeks, jaw and forehead";
    const EXAMPLE: &'static str = "Regions()";
    const REFERENCE: &'static str =
        "Points: Sagonas et al., 300 Faces in-the-Wild Challenge, ICCV workshops 2013";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Metric>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Metric: Regions);

type Point = [f32; 2];

/// The parts, in the order of tables. A pixel's part is its place here.
pub(super) const PARTS: [&str; 7] =
    ["eyes", "nose", "mouth", "cheeks", "jaw", "forehead", "background"];

impl Metric for Regions {
    fn needs(&self) -> &'static str {
        "the 68 landmarks of a face, as `AlignFace` and datasets of faces know them"
    }

    fn measure(
        &self,
        _: &ExplainContext<'_>,
        sample: &Sample,
        explanation: &Explanation,
    ) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        for map in &explanation.maps {
            let Some(parts) = parts_of(sample, map)? else { continue };
            let values = plane(map)?;
            let total: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
            if total == 0.0 || values.len() != parts.len() {
                continue;
            }
            for (part, word) in PARTS.iter().enumerate() {
                let inside = || values.iter().zip(&parts).filter(|(_, p)| **p == part);
                let share = inside().map(|(v, _)| f64::from(v.abs())).sum::<f64>() / total;
                let area = inside().count() as f64 / values.len() as f64;
                let name = match map.id.claim {
                    Claim::Against => format!("against_{word}"),
                    _ => (*word).to_owned(),
                };
                all.push(measured(map, "share", Parameter::case(name.clone()), share));
                if area > 0.0 {
                    all.push(measured(map, "density", Parameter::case(name), share / area));
                }
            }
        }
        Ok(all)
    }
}

/// The part of each pixel of the picture that `map` scores; `None` when its 68 points are not known.
fn parts_of(sample: &Sample, map: &NamedMap) -> Result<Option<Vec<usize>>> {
    let role = &map.id.role;
    let picture = sample
        .picture(role)
        .ok_or_else(|| Error::bug(format!("sample `{}` has no role `{role}`.", sample.id)))?;
    let named = |name: &str| {
        let known = picture.annotations.iter().find(|a| a.name == name);
        known.filter(|a| a.points.len() == 68)
    };
    let Some(known) = named(FACE_OUTLINE).or_else(|| named(LANDMARKS)) else { return Ok(None) };
    let points: Vec<Point> = known.points.iter().map(|p| picture.map_point(*p)).collect();
    Ok(Some(parts(&points, picture.height(), picture.width())))
}

/// The part of each pixel, by the 68 points of a face.
fn parts(points: &[Point], height: usize, width: usize) -> Vec<usize> {
    let of = |range: std::ops::RangeInclusive<usize>| points[range].to_vec();
    let eyes =
        [hull([of(36..=41), of(17..=21)].concat()), hull([of(42..=47), of(22..=26)].concat())];
    let (nose, mouth) = (hull(of(27..=35)), hull(of(48..=59)));
    let face = hull([of(0..=16), of(17..=26)].concat());
    // From the base of the nose to the brows: a third of a face's height.
    let middle = |a: Point, b: Point| [f32::midpoint(a[0], b[0]), f32::midpoint(a[1], b[1])];
    let (brows, base) = (middle(points[19], points[24]), points[33]);
    let up = [brows[0] - base[0], brows[1] - base[1]];
    let hairline = points[17..=26].iter().map(|p| [p[0] + up[0], p[1] + up[1]]);
    let forehead = hull(hairline.chain(of(17..=26)).collect());
    let side = |p: Point| cross(points[48], points[54], p);
    let chin = side(points[8]);
    let part = |p: Point| {
        if eyes.iter().any(|eye| inside(eye, p)) {
            0
        } else if inside(&nose, p) {
            1
        } else if inside(&mouth, p) {
            2
        } else if inside(&face, p) {
            if side(p) * chin > 0.0 { 4 } else { 3 }
        } else if inside(&forehead, p) {
            5
        } else {
            6
        }
    };
    let centre = |i: usize| [(i % width) as f32 + 0.5, (i / width) as f32 + 0.5];
    (0..height * width).map(|i| part(centre(i))).collect()
}

/// Twice the area of the triangle a, b, p; its sign tells on which side of the line p lies.
fn cross(a: Point, b: Point, p: Point) -> f32 {
    (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])
}

/// The convex hull of `points`, in turning order (Andrew's monotone chain).
fn hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let half = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for p in points {
            while let [.., a, b] = chain[..]
                && cross(a, b, p) <= 0.0
            {
                chain.pop();
            }
            chain.push(p);
        }
        chain.pop();
        chain
    };
    let mut all = half(&mut points.iter().copied());
    all.extend(half(&mut points.iter().rev().copied()));
    all
}

/// Whether `p` lies in a convex polygon as [`hull`] makes it.
fn inside(hull: &[Point], p: Point) -> bool {
    let next = hull.iter().cycle().skip(1);
    hull.len() > 2 && hull.iter().zip(next).all(|(a, b)| cross(*a, *b, p) >= 0.0)
}

#[cfg(test)]
pub(super) mod testing {
    use super::Point;

    /// Sixty-eight points of a plain face in a frame of 100 × 100.
    pub(crate) fn face() -> Vec<Point> {
        let mut points = Vec::new();
        // The jaw: half an ellipse from the left temple over the chin (50, 95) to the right one.
        for i in 0..17 {
            let angle = std::f32::consts::PI * i as f32 / 16.0;
            points.push([50.0 - 35.0 * angle.cos(), 45.0 + 50.0 * angle.sin()]);
        }
        let row = |from: f32, to: f32, y: f32, n: usize| {
            (0..n).map(move |i| [from + (to - from) * i as f32 / (n - 1) as f32, y])
        };
        points.extend(row(22.0, 42.0, 35.0, 5));
        points.extend(row(58.0, 78.0, 35.0, 5));
        points.extend((0..4).map(|i| [50.0, 42.0 + 5.0 * i as f32]));
        points.extend(row(43.0, 57.0, 64.0, 5));
        for left in [25.0, 60.0] {
            points.extend(row(left, left + 15.0, 43.0, 4));
            points.extend(row(left + 10.0, left + 5.0, 47.0, 2));
        }
        // Outer lips from (38, 75) round to it, then the inner ones.
        points.extend(row(38.0, 62.0, 75.0, 7));
        points.extend(row(58.0, 42.0, 82.0, 5));
        points.extend(row(42.0, 58.0, 78.0, 8));
        points
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{Annotation, MapId, Picture, Subject, Tensor};

    use super::*;

    #[test]
    fn a_hull_is_convex_and_holds_its_points() {
        let square = hull(vec![[0., 0.], [4., 0.], [4., 4.], [0., 4.], [2., 2.], [2., 0.]]);
        assert_eq!(square.len(), 4);
        assert!(inside(&square, [2.0, 2.0]) && inside(&square, [0.0, 1.0]));
        assert!(!inside(&square, [4.1, 2.0]) && !inside(&square, [2.0, -0.1]));
        assert!(!inside(&hull(vec![[1., 1.], [1., 1.]]), [1.0, 1.0]), "no area, no inside");
    }

    #[test]
    fn pixels_lie_in_the_part_that_a_person_would_name() {
        let points = testing::face();
        assert_eq!(points.len(), 68);
        let parts = parts(&points, 100, 100);
        for (x, y, part) in [
            (32, 44, "eyes"),
            (70, 38, "eyes"),
            (50, 60, "nose"),
            (50, 78, "mouth"),
            (25, 60, "cheeks"),
            (75, 60, "cheeks"),
            (50, 90, "jaw"),
            (40, 25, "forehead"),
            (50, 12, "forehead"),
            (50, 2, "background"),
            (5, 50, "background"),
            (90, 95, "background"),
        ] {
            assert_eq!(PARTS[parts[y * 100 + x]], part, "at ({x}, {y})");
        }
    }

    fn sample(geometry: fame_core::Affine, name: &str, points: Vec<Point>) -> Sample {
        let mut picture = Picture::new(Tensor::filled([3, 100, 100], 0.5), "face").unwrap();
        picture.geometry = geometry;
        picture.annotations = vec![Annotation { name: name.to_owned(), label: None, points }];
        Sample { id: "a".into(), pictures: vec![("probe".into(), picture)], ..Sample::default() }
    }

    fn found(sample: &Sample, claim: Claim) -> Vec<(String, String, f64)> {
        // All of the map lies on the nose, at (50, 60).
        let values: Vec<f32> = (0..10_000).map(|i| f32::from(u8::from(i == 6050))).collect();
        let values = Tensor::new([100, 100], values).unwrap();
        let id = MapId::new("probe").about(Subject::Match).claiming(claim);
        let maps = vec![NamedMap::new(id, values.clone(), values)];
        let explanation = Explanation { maps, ..Explanation::default() };
        let model = fame_core::testkit::model().unwrap();
        let with =
            ExplainContext { model: &model, seed: 0, progress: &fame_core::contract::Silent };
        let rows = Regions {}.measure(&with, sample, &explanation).unwrap();
        rows.into_iter().map(|m| (m.name, m.parameter.to_string(), m.value)).collect()
    }

    #[test]
    fn shares_add_up_and_follow_the_geometry() {
        // The points are those of a picture twice as large.
        let points = testing::face().into_iter().map(|p| p.map(|v| 2.0 * v)).collect();
        let half = fame_core::Affine::scale_shift(0.5, 0.5, 0.0, 0.0);
        let rows = found(&sample(half, FACE_OUTLINE, points), Claim::For);
        let of =
            |name: &str, part: &str| rows.iter().find(|r| r.0 == name && r.1 == part).map(|r| r.2);
        assert_eq!(of("share", "nose"), Some(1.0));
        let shares: f64 = rows.iter().filter(|r| r.0 == "share").map(|r| r.2).sum();
        assert!((shares - 1.0).abs() < 1e-12);
        // The nose is a few percent of the frame.
        assert!(of("density", "nose").unwrap() > 20.0);
        assert_eq!(of("density", "eyes"), Some(0.0));
    }

    #[test]
    fn what_speaks_against_is_told_apart_and_five_points_say_nothing() {
        let whole = fame_core::Affine::IDENTITY;
        let rows = found(&sample(whole, LANDMARKS, testing::face()), Claim::Against);
        assert!(rows.iter().all(|r| r.1.starts_with("against_")) && rows.len() == 14, "{rows:?}");
        assert!(found(&sample(whole, LANDMARKS, vec![[1.0; 2]; 5]), Claim::For).is_empty());
    }
}
