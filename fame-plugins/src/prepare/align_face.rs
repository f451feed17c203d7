//! `AlignFace`: a face onto the five-point template.

use fame_core::{
    Annotation, Error, Picture, Result,
    contract::{PrepareContext, PrepareStep},
    data::{Facts, Value, facts},
    registry::{Assembly, BuildContext, Plugin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Choose, FACE_OUTLINE, LANDMARKS, Point, Points, Similarity, Template, five_points, note,
    search::{ChosenFace, DOUBTFUL_FIT, Search, WORST_FIT},
    similarity::{apply, list},
    warp,
};

/// Turns, scales and moves the picture so that a face's five points (left eye, right eye, nose,
/// left and right corner of the mouth, as seen in the picture) come nearest to the template's, in
/// least squares and without reflection (Umeyama); what lies outside the picture is black.
///
/// The points come from, in this order: `points`; an annotation `landmarks` (2 eyes, 5 or 68
/// points) that the dataset gave; a detector and a landmark model. Coordinates are pixels of the
/// picture as decoded, from the outer corner of its first pixel. The record shows where the points
/// came from, how many faces there were and which was taken, its score and box, the points, the
/// transform, and the residual in pixels: how far the points miss the template, as root mean square.
///
/// A face that its landmarks show to be none makes room for the next. Where none is found upright,
/// or none that fits, the picture is tried turned by 90, 180 and 270 degrees. A warning tells of a
/// turned picture, of points that miss the template by more than faces do, and of a second face that
/// is nearly as prominent.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlignFace {
    /// The face detector: a model with layers `scores` and `boxes`.
    pub detector: String,
    /// The landmark model: 68 or 5 points in 0..1 of a face box.
    pub landmarks: String,
    /// Which face, when several are found: `Best` (size, score and landmarks weighed together),
    /// `Only` (several are an error), `Largest`, `MostCentral`, `MostConfident` or `Index(n)` (by
    /// score, from 0).
    pub choose: Choose,
    /// Faces below this score do not count; in 0..=1.
    pub min_score: f32,
    /// Of two boxes whose intersection over union is above this, only the better one counts; in
    /// 0..=1.
    pub max_overlap: f32,
    /// The five points, `[(x, y), …]`, or by role: `{"gallery": [(x, y), …], "probe": […]}`. No
    /// model is needed then.
    pub points: Option<Points>,
    /// Width and height of the result in pixels, at least 1. Default: those of the model's input.
    pub size: Option<usize>,
    /// Template for the five points.
    pub template: Template,
}

impl Default for AlignFace {
    fn default() -> Self {
        Self {
            detector: "fr_detect".into(),
            landmarks: "fr_landmark".into(),
            choose: Choose::Best,
            min_score: 0.7,
            max_overlap: 0.3,
            points: None,
            size: None,
            template: Template::ArcFace,
        }
    }
}

impl Plugin<dyn PrepareStep> for AlignFace {
    const NAME: &'static str = "AlignFace";
    const SUMMARY: &'static str = "Finds a face and aligns it to a five-point template";
    const EXAMPLE: &'static str = "AlignFace(choose: Best, min_score: 0.7)";
    const REFERENCE: &'static str =
        "Umeyama, PAMI 13 (1991); template: Deng et al., ArcFace (2019), insightface face_align.py";

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("min_score", (0.0..=1.0).contains(&self.min_score), "must be in 0..=1");
        assembly.check("max_overlap", (0.0..=1.0).contains(&self.max_overlap), "must be in 0..=1");
        assembly.check("size", self.size != Some(0), "must be at least 1");
        assembly.check(
            "points",
            self.points.as_ref().is_none_or(Points::are_five),
            "must be five points with finite coordinates, for each role named",
        );
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn PrepareStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Prepare: AlignFace);

impl PrepareStep for AlignFace {
    fn models(&self) -> Vec<String> {
        match self.points {
            Some(_) => Vec::new(),
            None => vec![self.detector.clone(), self.landmarks.clone()],
        }
    }

    fn apply(&self, mut picture: Picture, with: &PrepareContext<'_>) -> Result<Picture> {
        let (height, width) = self.size.map_or(with.input_size, |s| (s, s));
        let Placed { points: five, outline, mut story, warnings } = self.five(&picture, with)?;
        outlined(&mut picture, &outline);
        let (mut picture, fit) = align(picture, &five, self.template, width, height)?;
        picture.warnings.extend(warnings);
        if fit.residual > DOUBTFUL_FIT * fit.spread {
            picture.warnings.push(format!(
                "the face of `{}` misses the template by {:.1} pixels, more than faces do: is it one, whole and upright?",
                picture.source, fit.residual
            ));
        }
        story.extend(facts([
            ("points", pairs(&five)),
            ("matrix", fit.affine.0.to_vec().into()),
            ("residual_pixels", fit.residual.into()),
            ("scale", fit.scale().into()),
            ("rotation_degrees", fit.degrees().into()),
            ("size", vec![width, height].into()),
        ]));
        note(&mut picture, "AlignFace", Value::Map(story));
        Ok(picture)
    }
}

impl AlignFace {
    /// The five points in pixels of the picture as it is now.
    fn five(&self, picture: &Picture, with: &PrepareContext<'_>) -> Result<Placed> {
        let moved = |points: Vec<Point>| {
            five_points(&points.iter().map(|p| apply(&picture.geometry, *p)).collect::<Vec<_>>())
        };
        if let Some(given) = self.points.as_ref().and_then(|p| p.of(with.role)) {
            return Ok(Placed::from("recipe", moved(given.to_vec())?));
        }
        if let Some(known) = picture.annotations.iter().find(|a| a.name == LANDMARKS) {
            let points = known.points.iter().map(|p| p.map(f64::from)).collect();
            return Ok(Placed::from("annotation", moved(points)?));
        }
        if self.points.is_some() {
            return Err(Error::new(
                "fame::prepare::no_points",
                format!("`points` gives none for role `{}`, and the picture has no annotation `{LANDMARKS}`.", with.role),
            )
            .with_help(format!("Add \"{}\": [(x, y), …] to `points`, or leave `points` out, so that the face is detected.", with.role)));
        }
        self.detected(picture, with)
    }

    fn detected(&self, picture: &Picture, with: &PrepareContext<'_>) -> Result<Placed> {
        let (height, width) = self.size.map_or(with.input_size, |s| (s, s));
        let search = Search {
            step: self,
            detector: with.models.model(&self.detector)?,
            landmarks: with.models.model(&self.landmarks)?,
            goal: self.template.points(width, height),
        };
        let ChosenFace { points, outline, story, warnings, .. } = search.face(&picture.pixels)?;
        Ok(Placed { points, outline, story, warnings })
    }
}

/// A face's five points, and where they came from.
struct Placed {
    points: [Point; 5],
    /// All points of the face in the picture as it is now, where they were detected.
    outline: Vec<Point>,
    story: Facts,
    warnings: Vec<String>,
}

impl Placed {
    /// Points that were given.
    fn from(whom: &str, points: [Point; 5]) -> Self {
        let story = facts([("points_from", whom.into())]);
        Self { points, outline: Vec::new(), story, warnings: Vec::new() }
    }
}

/// Aligns a picture so that its `points` (pixels of the picture as it is now, from its outer
/// corner) come nearest to the template's in a frame of `width` × `height`; also says how. The
/// picture gets an annotation `landmarks` if it has none.
///
/// # Errors
/// `fame::prepare::degenerate_points` when the points determine no alignment, or look like no face;
/// `fame::prepare::size`.
pub fn align(
    mut picture: Picture,
    points: &[Point; 5],
    template: Template,
    width: usize,
    height: usize,
) -> Result<(Picture, Similarity)> {
    let fit = Similarity::fit(points, &template.points(width, height))?;
    if fit.residual > WORST_FIT * fit.spread {
        return Err(Error::new(
            "fame::prepare::degenerate_points",
            format!(
                "the points {} do not look like a face: after alignment they miss the template by {:.1} pixels.",
                list(points),
                fit.residual
            ),
        )
        .with_help(
            "Their order is left eye, right eye, nose, left and right corner of the mouth, as seen in the picture; x comes before y.",
        ));
    }
    picture.pixels = warp(&picture.pixels, &fit.affine, width, height)?;
    if picture.annotations.iter().all(|a| a.name != LANDMARKS)
        && let Some(back) = picture.geometry.inverse()
    {
        let points = points.iter().map(|p| apply(&back, *p).map(|v| v as f32)).collect();
        picture.annotations.push(Annotation { name: LANDMARKS.to_owned(), label: None, points });
    }
    picture.geometry = picture.geometry.then(&fit.affine);
    Ok((picture, fit))
}

/// Keeps the points of a face, in pixels of the picture as it is now, as the annotation
/// [`FACE_OUTLINE`], if there are any and it is not there.
fn outlined(picture: &mut Picture, outline: &[Point]) {
    if outline.is_empty() || picture.annotations.iter().any(|a| a.name == FACE_OUTLINE) {
        return;
    }
    if let Some(back) = picture.geometry.inverse() {
        let points = outline.iter().map(|p| apply(&back, *p).map(|v| v as f32)).collect();
        let name = FACE_OUTLINE.to_owned();
        picture.annotations.push(Annotation { name, label: None, points });
    }
}

/// Points for the record.
fn pairs(points: &[Point]) -> Value {
    Value::List(points.iter().map(|p| p.to_vec().into()).collect())
}

#[cfg(test)]
mod tests;
