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
    Choose, LANDMARKS, Point, Points, Similarity, Template, find_faces, five_points, landmarks_of,
    note,
    similarity::{apply, list},
    warp,
};

/// Beyond this share of the template's own spread, the five points are not those of a face in the
/// right order. Of 34 portraits the worst, cut through the face, has 0.23; left and right exchanged
/// give more than 0.9.
const WORST_FIT: f64 = 0.5;

/// Turns, scales and moves the picture so that a face's five points (left eye, right eye, nose,
/// left and right corner of the mouth, as seen in the picture) come nearest to the template's, in
/// least squares and without reflection (Umeyama); what lies outside the picture is black.
///
/// The points come from, in this order: `points`; an annotation `landmarks` (2 eyes, 5 or 68
/// points) that the dataset gave; a detector and a landmark model. Coordinates are pixels of the
/// picture as decoded, from the outer corner of its first pixel. The record shows where the points
/// came from, how many faces there were and which was taken, its score and box, the points, the
/// transform, and the residual in pixels.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlignFace {
    /// The face detector: a model with layers `scores` and `boxes`.
    pub detector: String,
    /// The landmark model: 68 or 5 points in 0..1 of a face box.
    pub landmarks: String,
    /// Which face, when several are found: `Only` (several are an error), `Largest`, `MostCentral`,
    /// `MostConfident` or `Index(n)` (by score, from 0).
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
            choose: Choose::Largest,
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
    const EXAMPLE: &'static str = "AlignFace(choose: Largest, min_score: 0.7)";
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

    fn apply(&self, picture: Picture, with: &PrepareContext<'_>) -> Result<Picture> {
        let (height, width) = self.size.map_or(with.input_size, |s| (s, s));
        let (five, mut story) = self.five(&picture, with)?;
        let (mut picture, fit) = align(picture, &five, self.template, width, height)?;
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
    /// The five points in pixels of the picture as it is now, and the story of where they came
    /// from.
    fn five(&self, picture: &Picture, with: &PrepareContext<'_>) -> Result<([Point; 5], Facts)> {
        let moved = |points: Vec<Point>| {
            five_points(&points.iter().map(|p| apply(&picture.geometry, *p)).collect::<Vec<_>>())
        };
        if let Some(given) = self.points.as_ref().and_then(|p| p.of(with.role)) {
            return Ok((moved(given.to_vec())?, facts([("points_from", "recipe".into())])));
        }
        if let Some(known) = picture.annotations.iter().find(|a| a.name == LANDMARKS) {
            let points = known.points.iter().map(|p| p.map(f64::from)).collect();
            return Ok((moved(points)?, facts([("points_from", "annotation".into())])));
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

    fn detected(
        &self,
        picture: &Picture,
        with: &PrepareContext<'_>,
    ) -> Result<([Point; 5], Facts)> {
        let found = find_faces(
            &*with.models.model(&self.detector)?,
            &picture.pixels,
            self.min_score,
            self.max_overlap,
        )?;
        let index = found.choose(self.choose)?;
        let face = found.faces[index];
        let five = five_points(&landmarks_of(
            &*with.models.model(&self.landmarks)?,
            &picture.pixels,
            &face,
        )?)?;
        let story = facts([
            ("points_from", "detector".into()),
            ("faces", found.faces.len().into()),
            ("choose", Value::of(&self.choose)),
            ("chosen", index.into()),
            ("score", face.score.into()),
            ("box", face.bounds.to_vec().into()),
        ]);
        Ok((five, story))
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

/// Points for the record.
fn pairs(points: &[Point]) -> Value {
    Value::List(points.iter().map(|p| p.to_vec().into()).collect())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path, sync::Arc};

    use fame_core::{
        Affine, Bias, GradientPlace, Layer, LayerCotangent, Model, Taps, Tensor,
        contract::{Models, Network, Pass},
        store::ModelManifest,
    };

    use super::*;
    use crate::prepare::testing::{NoModels, picture};

    /// A network that answers the same, whatever it is shown.
    struct Fixed {
        input: Vec<usize>,
        layers: Vec<Layer>,
        outputs: BTreeMap<String, Tensor>,
    }

    impl Fixed {
        fn model(name: &str, input: [usize; 3], outputs: &[(&str, Tensor)]) -> Arc<Model> {
            let order = if input[0] == 1 { "Gray" } else { "Rgb" };
            let [c, h, w] = input;
            let text = format!("(input: (size: ({c}, {h}, {w}), order: {order}, mean: 0, std: 1))");
            let layer = |(name, value): &(&str, Tensor)| Layer {
                name: (*name).to_owned(),
                op: "Fixed".into(),
                shape: value.row_shape().to_vec(),
                is_output: true,
                depends_on_input: true,
                reads: Vec::new(),
            };
            let network = Fixed {
                input: input.to_vec(),
                layers: outputs.iter().map(layer).collect(),
                outputs: outputs.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect(),
            };
            Arc::new(Model {
                manifest: ModelManifest::parse(name, &text, Some(Path::new("."))).unwrap(),
                network: Box::new(network),
                file: "none".into(),
                sha256: String::new(),
                labels: Vec::new(),
                operators: fame_core::contract::Operators::default(),
            })
        }
    }

    struct FixedPass<'n>(&'n Fixed);

    impl Pass for FixedPass<'_> {
        fn output(&self, layer: &str) -> Result<Tensor> {
            Ok(self.0.outputs[layer].clone())
        }
        fn gradient(&self, _: &[LayerCotangent]) -> Result<Vec<Tensor>> {
            unreachable!()
        }
    }

    impl Network for Fixed {
        fn input_shape(&self) -> &[usize] {
            &self.input
        }
        fn layers(&self) -> &[Layer] {
            &self.layers
        }
        fn check_gradient(&self, _: &str, _: &GradientPlace) -> Result<()> {
            Ok(())
        }
        fn preferred_rows(&self) -> usize {
            1
        }
        fn notes(&self) -> &[String] {
            &[]
        }
        fn forward<'n>(&'n self, batch: &Tensor, _: &Taps) -> Result<Box<dyn Pass + 'n>> {
            assert_eq!(batch.row_shape(), self.input);
            Ok(Box::new(FixedPass(self)))
        }
        fn forward_from<'n>(
            &'n self,
            _: &str,
            _: &Tensor,
            _: &Tensor,
            _: &Taps,
        ) -> Result<Box<dyn Pass + 'n>> {
            unreachable!()
        }
        fn biases(&self) -> Result<Vec<Bias>> {
            Ok(Vec::new())
        }
    }

    /// A detector with the given (score, box) candidates, and a landmark model that always finds
    /// the template in the box.
    struct Fakes(Vec<(f32, [f32; 4])>);

    impl Models for Fakes {
        fn model(&self, name: &str) -> Result<Arc<Model>> {
            if name == "fr_detect" {
                let scores = self.0.iter().flat_map(|(s, _)| [1.0 - s, *s]).collect();
                let boxes = self.0.iter().flat_map(|(_, b)| *b).collect();
                let n = self.0.len();
                let outputs = [
                    ("scores", Tensor::new([1, n, 2], scores).unwrap()),
                    ("boxes", Tensor::new([1, n, 4], boxes).unwrap()),
                ];
                Ok(Fixed::model(name, [3, 6, 8], &outputs))
            } else {
                let points = Template::ArcFace
                    .points(112, 112)
                    .iter()
                    .flatten()
                    .map(|v| (v / 112.0) as f32)
                    .collect();
                Ok(Fixed::model(
                    name,
                    [1, 16, 16],
                    &[("points", Tensor::new([1, 10], points).unwrap())],
                ))
            }
        }
    }

    /// A detector whose scores and boxes are exchanged.
    struct Swapped;

    impl Models for Swapped {
        fn model(&self, name: &str) -> Result<Arc<Model>> {
            let outputs =
                [("scores", Tensor::zeros([1, 4, 4])), ("boxes", Tensor::zeros([1, 4, 2]))];
            Ok(Fixed::model(name, [3, 6, 8], &outputs))
        }
    }

    fn run(step: &AlignFace, fakes: Fakes, picture: Picture) -> Result<Picture> {
        step.apply(
            picture,
            &PrepareContext { models: &fakes, input_size: (112, 112), role: "image" },
        )
    }

    fn ramp() -> Picture {
        picture(100, 200, |c, y, x| (x + 2 * y + 10 * c) as f32 / 500.0)
    }

    fn close(found: [f32; 2], wanted: Point, tolerance: f64) {
        let apart = (f64::from(found[0]) - wanted[0]).hypot(f64::from(found[1]) - wanted[1]);
        assert!(apart < tolerance, "{found:?} {wanted:?}");
    }

    /// Points pass through f32 twice (landmark output, annotation) at coordinates up to 200.
    const SINGLE: f64 = 1e-3;

    #[test]
    fn a_detected_face_lands_on_the_template() {
        // Two boxes of one face (the better one is 50 pixels high, at x 60..100, y 20..70), one
        // that scores too little.
        let fakes = Fakes(vec![
            (0.8, [0.31, 0.2, 0.51, 0.71]),
            (0.95, [0.3, 0.2, 0.5, 0.7]),
            (0.5, [0.7, 0.1, 0.9, 0.9]),
        ]);
        let out = run(&AlignFace::default(), fakes, ramp()).unwrap();
        assert_eq!(out.pixels.shape(), [3, 112, 112]);
        let fact = &out.facts["AlignFace"];
        assert_eq!(fact.get("faces"), Some(&1usize.into()));
        assert_eq!(fact.get("choose").and_then(Value::as_str), Some("Largest"));
        // The square is 50×50 around (80, 45), so the whole map is known: 112/50 times the distance
        // from (55, 20).
        close(out.map_point([55.0, 20.0]), [0.0, 0.0], SINGLE);
        close(out.map_point([105.0, 70.0]), [112.0, 112.0], SINGLE);
        assert!((fact.get("scale").and_then(Value::as_f64).unwrap() - 112.0 / 50.0).abs() < 1e-6);
        let [landmarks] = &out.annotations[..] else { panic!("one annotation") };
        for (p, t) in landmarks.points.iter().zip(Template::ArcFace.points(112, 112)) {
            close(out.map_point(*p), t, SINGLE);
        }
        // The ramp is linear, so bilinear sampling is exact: the middle of the frame shows the
        // value at the box's middle.
        let expected = (80.0 - 0.5 + 2.0 * (45.0 - 0.5)) / 500.0;
        let middle: f32 = [(55, 55), (55, 56), (56, 55), (56, 56)]
            .map(|(y, x)| out.pixels.row(0)[y * 112 + x])
            .iter()
            .sum::<f32>()
            / 4.0;
        assert!((middle - expected).abs() < 1e-5, "{middle} {expected}");
    }

    #[test]
    fn no_face_and_several_faces_are_told() {
        let error = run(&AlignFace::default(), Fakes(vec![(0.42, [0.1, 0.1, 0.3, 0.4])]), ramp())
            .unwrap_err();
        assert_eq!(error.code, "fame::prepare::no_face");
        assert!(error.message.contains("0.420"));
        let two = || Fakes(vec![(0.9, [0.1, 0.1, 0.3, 0.4]), (0.8, [0.6, 0.1, 0.9, 0.8])]);
        let only = AlignFace { choose: Choose::Only, ..AlignFace::default() };
        assert!(
            run(&only, two(), ramp())
                .unwrap_err()
                .message
                .contains("1: score 0.800 at (120, 10)–(180, 80)")
        );
        let fact = run(&AlignFace::default(), two(), ramp()).unwrap().facts["AlignFace"].clone();
        assert_eq!(
            (fact.get("faces"), fact.get("chosen")),
            (Some(&2usize.into()), Some(&1usize.into())),
            "the larger one"
        );
    }

    #[test]
    fn a_broken_detector_is_an_error_not_a_panic() {
        let nan = Fakes(vec![
            (f32::NAN, [0.1, 0.1, 0.3, 0.4]),
            (0.9, [0.1, f32::NAN, 0.3, 0.4]),
            (0.9, [0.5, 0.5, 0.4, 0.4]),
        ]);
        assert_eq!(
            run(&AlignFace::default(), nan, ramp()).unwrap_err().code,
            "fame::prepare::no_face"
        );
        let with = PrepareContext { models: &Swapped, input_size: (112, 112), role: "image" };
        let error = AlignFace::default().apply(ramp(), &with).unwrap_err();
        assert_eq!(error.code, "fame::prepare::detector");
    }

    #[test]
    fn given_points_need_no_models_and_go_through_the_geometry() {
        let template = Template::ArcFace.points(112, 112);
        let step =
            AlignFace { points: Some(Points::All(template.to_vec())), ..AlignFace::default() };
        assert!(step.models().is_empty());
        // The picture was cropped before: points are still those of the picture as decoded.
        let mut cropped = ramp();
        cropped.geometry = Affine::scale_shift(1.0, 1.0, -7.0, -3.0);
        let with = PrepareContext { models: &NoModels, input_size: (112, 112), role: "image" };
        let out = step.apply(cropped, &with).unwrap();
        close(out.map_point([30.0, 40.0]), [30.0, 40.0], SINGLE);
        assert_eq!(
            out.facts["AlignFace"].get("points_from").and_then(Value::as_str),
            Some("recipe")
        );
    }

    #[test]
    fn points_by_role_annotations_and_their_absence() {
        let five = Template::ArcFace.points(112, 112).to_vec();
        let step = AlignFace {
            points: Some(Points::ByRole([("gallery".to_owned(), five.clone())].into())),
            ..AlignFace::default()
        };
        let with = |role| PrepareContext { models: &NoModels, input_size: (112, 112), role };
        assert!(step.apply(ramp(), &with("gallery")).is_ok());
        let error = step.apply(ramp(), &with("probe")).unwrap_err();
        assert_eq!(error.code, "fame::prepare::no_points");
        let mut known = ramp();
        let points = five.iter().map(|p| p.map(|v| v as f32)).collect();
        known.annotations.push(Annotation { name: LANDMARKS.into(), label: None, points });
        let out = step.apply(known, &with("probe")).unwrap();
        assert_eq!(
            out.facts["AlignFace"].get("points_from").and_then(Value::as_str),
            Some("annotation")
        );
        assert_eq!(out.annotations.len(), 1);
    }

    #[test]
    fn exchanged_eyes_are_noticed() {
        let [left, right, nose, mouth_left, mouth_right] = Template::ArcFace.points(112, 112);
        let error = align(
            ramp(),
            &[right, left, nose, mouth_right, mouth_left],
            Template::ArcFace,
            112,
            112,
        )
        .unwrap_err();
        assert!(error.message.contains("do not look like a face"), "{}", error.message);
    }
}
