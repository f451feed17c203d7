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
            remembered: fame_core::contract::Remembered::default(),
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

/// A landmark model that looks: of a square that is bright above and dark below it gives the
/// template, of a flat one the template with the nose far off, of any other left and right
/// exchanged.
struct Looking(Vec<Layer>);

impl Looking {
    fn model() -> Arc<Model> {
        let layer = Layer {
            name: "points".into(),
            op: "Looking".into(),
            shape: vec![10],
            is_output: true,
            depends_on_input: true,
            reads: Vec::new(),
        };
        let Ok(fixed) = Arc::try_unwrap(Fixed::model("fr_landmark", [1, 16, 16], &[])) else {
            panic!()
        };
        Arc::new(Model { network: Box::new(Looking(vec![layer])), ..fixed })
    }
}

struct Looked(Tensor);

impl Pass for Looked {
    fn output(&self, _: &str) -> Result<Tensor> {
        Ok(self.0.clone())
    }
    fn gradient(&self, _: &[LayerCotangent]) -> Result<Vec<Tensor>> {
        unreachable!()
    }
}

impl Network for Looking {
    fn input_shape(&self) -> &[usize] {
        &[1, 16, 16]
    }
    fn layers(&self) -> &[Layer] {
        &self.0
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
        let mean = |of: &dyn Fn(usize) -> bool| {
            let of: Vec<f32> = (0..256).filter(|i| of(*i)).map(|i| batch.data()[i]).collect();
            of.iter().sum::<f32>() / of.len() as f32
        };
        let down = mean(&|i| i < 128) - mean(&|i| i >= 128);
        let across = mean(&|i| i % 16 < 8) - mean(&|i| i % 16 >= 8);
        let mut points = Template::ArcFace.points(112, 112).map(|p| p.map(|v| v / 112.0));
        if down.abs() < 0.1 && across.abs() < 0.1 {
            points[2][1] -= 0.15;
        } else if down < 0.1 {
            points.swap(0, 1);
            points.swap(3, 4);
        }
        let values = points.iter().flatten().map(|v| *v as f32).collect();
        Ok(Box::new(Looked(Tensor::new([1, 10], values)?)))
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

/// A detector with these candidates, and a landmark model that looks.
struct Drawn(Vec<(f32, [f32; 4])>);

impl Models for Drawn {
    fn model(&self, name: &str) -> Result<Arc<Model>> {
        if name == "fr_detect" { Fakes(self.0.clone()).model(name) } else { Ok(Looking::model()) }
    }
}

fn aligned(step: &AlignFace, models: &dyn Models, picture: Picture) -> Result<Picture> {
    step.apply(picture, &PrepareContext { models, input_size: (112, 112), role: "image" })
}

fn fact(picture: &Picture, name: &str) -> f64 {
    picture.facts["AlignFace"].get(name).and_then(Value::as_f64).unwrap()
}

/// Flat gray, with a face (bright above, dark below) of 50 × 50 pixels at (130, 25).
fn gray_with_a_face() -> Picture {
    picture(100, 200, |_, y, x| match (y, x) {
        (25..50, 130..180) => 0.9,
        (50..75, 130..180) => 0.1,
        _ => 0.5,
    })
}

/// The box of that face, and one of background that is 8 % larger.
const FACE: [f32; 4] = [0.65, 0.25, 0.9, 0.75];
const BACKGROUND: [f32; 4] = [0.1, 0.24, 0.35, 0.78];

#[test]
fn a_larger_box_of_background_is_not_taken_for_the_face() {
    let models = Drawn(vec![(0.964, BACKGROUND), (1.0, FACE)]);
    let out = aligned(&AlignFace::default(), &models, gray_with_a_face()).unwrap();
    assert_eq!((fact(&out, "chosen"), fact(&out, "faces")), (0.0, 2.0));
    assert!(fact(&out, "residual_pixels") < SINGLE);
    // It is still told, because it is nearly as prominent.
    assert!(out.warnings[0].contains("another face is nearly as prominent: score 0.964"));
    // Even if it were as certain, its landmarks decide.
    let models = Drawn(vec![(1.0, BACKGROUND), (0.999, FACE)]);
    let out = aligned(&AlignFace::default(), &models, gray_with_a_face()).unwrap();
    assert_eq!(fact(&out, "chosen"), 1.0);
    // Who asks for the largest gets it, with a warning.
    let largest = AlignFace { choose: Choose::Largest, ..AlignFace::default() };
    let out = aligned(&largest, &models, gray_with_a_face()).unwrap();
    assert_eq!(fact(&out, "chosen"), 0.0);
    let residual = fact(&out, "residual_pixels");
    assert!((6.0..7.5).contains(&residual), "{residual}");
    let told = out.warnings.join(" ");
    assert!(told.contains("misses the template by") && told.contains("another face"), "{told}");
}

#[test]
fn what_is_no_face_makes_room_for_the_next() {
    // Dark above and bright below: its landmarks come out the wrong way round.
    let plain = gray_with_a_face().pixels;
    let turned = picture(100, 200, |c, y, x| {
        let gray = plain.row(c)[y * 200 + x];
        if x < 100 { if y < 50 { 0.1 } else { 0.9 } } else { gray }
    });
    let models = Drawn(vec![(1.0, [0.05, 0.1, 0.45, 0.9]), (1.0, FACE)]);
    for choose in [Choose::Largest, Choose::Best] {
        let step = AlignFace { choose, ..AlignFace::default() };
        let out = aligned(&step, &models, turned.clone()).unwrap();
        assert_eq!(fact(&out, "chosen"), 1.0, "{choose:?}");
        assert!(out.warnings[0].contains("is no face by its landmarks"), "{:?}", out.warnings);
    }
}

#[test]
fn a_face_on_its_side_is_found_and_told() {
    // Bright to the left and dark to the right: a quarter clockwise stands it up.
    let lying = picture(100, 100, |_, _, x| if x < 50 { 0.9 } else { 0.1 });
    let models = Drawn(vec![(1.0, [0.25, 0.25, 0.75, 0.75])]);
    let out = aligned(&AlignFace::default(), &models, lying).unwrap();
    assert_eq!(fact(&out, "turned_degrees"), 90.0);
    assert!(out.warnings[0].contains("after turning the picture by 90 degrees"));
    assert!((fact(&out, "rotation_degrees") - 90.0).abs() < SINGLE);
    // What was left is above now.
    let rows = out.pixels.row(0);
    assert!(rows[5 * 112 + 56] > 0.8 && rows[106 * 112 + 56] < 0.2);
}

/// A detector whose scores and boxes are exchanged.
struct Swapped;

impl Models for Swapped {
    fn model(&self, name: &str) -> Result<Arc<Model>> {
        let outputs = [("scores", Tensor::zeros([1, 4, 4])), ("boxes", Tensor::zeros([1, 4, 2]))];
        Ok(Fixed::model(name, [3, 6, 8], &outputs))
    }
}

fn run(step: &AlignFace, fakes: Fakes, picture: Picture) -> Result<Picture> {
    step.apply(picture, &PrepareContext { models: &fakes, input_size: (112, 112), role: "image" })
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
    assert_eq!(fact.get("choose").and_then(Value::as_str), Some("Best"));
    // The square is 50×50 around (80, 45), so the whole map is known: 112/50 times the distance
    // from (55, 20).
    close(out.map_point([55.0, 20.0]), [0.0, 0.0], SINGLE);
    close(out.map_point([105.0, 70.0]), [112.0, 112.0], SINGLE);
    assert!((fact.get("scale").and_then(Value::as_f64).unwrap() - 112.0 / 50.0).abs() < 1e-6);
    let landmarks = out.annotations.iter().find(|found| found.name == LANDMARKS).unwrap();
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
    let error =
        run(&AlignFace::default(), Fakes(vec![(0.42, [0.1, 0.1, 0.3, 0.4])]), ramp()).unwrap_err();
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
    assert_eq!(run(&AlignFace::default(), nan, ramp()).unwrap_err().code, "fame::prepare::no_face");
    let with = PrepareContext { models: &Swapped, input_size: (112, 112), role: "image" };
    let error = AlignFace::default().apply(ramp(), &with).unwrap_err();
    assert_eq!(error.code, "fame::prepare::detector");
}

#[test]
fn given_points_need_no_models_and_go_through_the_geometry() {
    let template = Template::ArcFace.points(112, 112);
    let step = AlignFace { points: Some(Points::All(template.to_vec())), ..AlignFace::default() };
    assert!(step.models().is_empty());
    // The picture was cropped before: points are still those of the picture as decoded.
    let mut cropped = ramp();
    cropped.geometry = Affine::scale_shift(1.0, 1.0, -7.0, -3.0);
    let with = PrepareContext { models: &NoModels, input_size: (112, 112), role: "image" };
    let out = step.apply(cropped, &with).unwrap();
    close(out.map_point([30.0, 40.0]), [30.0, 40.0], SINGLE);
    assert_eq!(out.facts["AlignFace"].get("points_from").and_then(Value::as_str), Some("recipe"));
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
    let error =
        align(ramp(), &[right, left, nose, mouth_right, mouth_left], Template::ArcFace, 112, 112)
            .unwrap_err();
    assert!(error.message.contains("do not look like a face"), "{}", error.message);
}
