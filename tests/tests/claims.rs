//! What a map claims is a field of it: however its finish is called, e− is never measured or
//! written as e+. FAME on a slim golden network, over every metric and every writer.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs};

use fame_core::{
    Annotation, Claim, Error, Explanation, LayerChoice, LayerChoices, Marks, Model, Picture,
    Result, Sample, Subject, Taps, Target, TargetRequest, Tensor,
    ask::{Aim, Answer, Question, softmax},
    contract::{
        Evaluation, ExplainContext, Explainer, FinishedItem, Loss, Measurement, Metric, Silent,
        Writer,
    },
    data::{Facts, facts},
    registry::{Built, Kind, Registry},
    store::Ask,
};
use fame_plugins::{
    Preset,
    datasets::{GENUINE, HIDDEN, ROW, SAME_FRAME},
    prepare::FACE_OUTLINE,
};
use fame_tests::{asks, build, classifier, noise_picture, sample_of, slim};

const SIDE: usize = 56;

/// Map steps, and how a recipe names them: as the only finish, or as one of several. The second's
/// name sorts behind the claim, where a name that is read back would look for it.
const STEPS: &str = "[Gray(), GaussianBlur(kernel: 5, sigma: 1.0), MaxNormalize()]";
const OTHER: &str = "[Gray(), MaxNormalize()]";

/// Every metric, with the parameters that a pair of faces needs.
const METRICS: &[&str] = &[
    "Verification(steps: 2)",
    "DeletionInsertion(steps: 2, answer: Value, curves: true)",
    "Road(percents: [10, 50], orders: [MoRF, LeRF])",
    "Iou(thresholds: [0.3, 0.5, 0.7])",
    "PointingGame()",
    "RelevanceMass()",
    r#"MapSimilarity(to: "plus")"#,
    "Sparseness()",
    "Complexity(reading: Raw)",
    "EffectiveComplexity(steps: 4)",
    "PixelFlipping(steps: 2, curves: true)",
    "RegionPerturbation(side: 28, regions: 2)",
    "Selectivity(side: 28)",
    "SaCo(groups: 2, answer: Value)",
    "Monotonicity(steps: 2, answer: Value)",
    "MonotonicityCorrelation(steps: 3, samples: 2, answer: Value)",
    "FaithfulnessCorrelation(runs: 4)",
    "SensitivityN(percents: [10, 50], sets: 4)",
    "Infidelity(samples: 3)",
    "Sensitivity(samples: 1)",
    "RelativeStability(samples: 1)",
    "MapStability(by: [Shift(2, 0), Light(0.8)])",
    "Regions()",
    "InpaintingGame(steps: 2)",
    "Decisions(percents: [10])",
    "ByGroup(of: Regions())",
];

/// Every writer.
const WRITERS: &[&str] = &[
    "Npy(raw: true)",
    "Heatmap()",
    "Overlay(title: false)",
    "Picture()",
    "Sheet()",
    r#"ReferenceLayout(model: "net", dataset: "SET", protocol: "one")"#,
    "Report()",
    "MeanMap()",
    "RoCrate()",
    "FiftyOne()",
    "Safetensors()",
    "Parquet()",
];

/// What the golden face network is asked.
fn pairs() -> Ask {
    asks(r#"(loss: Similarity(), layer: "embedding")"#)
}

fn pair() -> Sample {
    let picture = |start| {
        let mut picture: Picture = noise_picture(start, SIDE);
        let points = vec![[10.0, 10.0], [30.0, 40.0]];
        for name in ["box", HIDDEN] {
            let points = points.clone();
            picture.annotations.push(Annotation { name: name.into(), label: None, points });
        }
        // Sixty-eight points all over the picture: which part of a face is where is tested elsewhere.
        let points = (0..68u16).map(|i| [f32::from(i * 37 % 56), f32::from(i * 23 % 56)]).collect();
        picture.annotations.push(Annotation { name: FACE_OUTLINE.into(), label: None, points });
        picture
    };
    let pictures = vec![("gallery".to_owned(), picture(1)), ("probe".to_owned(), picture(90_000))];
    let marks = Marks::default().with(&GENUINE, true).with(&ROW, 7).with(&SAME_FRAME, true);
    Sample { id: "pair".into(), pictures, marks, ..Sample::default() }
}

fn context(model: &Model) -> ExplainContext<'_> {
    ExplainContext { model, seed: 0, progress: &Silent }
}

/// FAME for e+ (`plus`) or e− (`minus`), finished as `maps` says.
fn fame(name: &str, maps: &str) -> Built<dyn Explainer> {
    let loss = if name == "plus" { "Similarity()" } else { "Dissimilarity()" };
    let spec = format!(
        r#"Fame(layer: "embedding", loss: {loss}, perturbation: Lots(iterations: 3), {maps})"#
    );
    build::<dyn Explainer>(&spec, &pairs(), Preset::Paper)
}

/// e+ under `plus` and e− under `minus`, finished as `maps` says.
fn both(model: &Model, sample: &Sample, maps: &str) -> Vec<(String, Explanation)> {
    let explained = |name: &str| {
        let explainer = fame(name, maps);
        let mut all = explainer.plugin.explain(&context(model), std::slice::from_ref(sample));
        let explanation = all.remove(0).unwrap();
        assert!(!explanation.maps.is_empty(), "{:?}", explanation.warnings);
        (name.to_owned(), explanation)
    };
    ["plus", "minus"].map(explained).to_vec()
}

/// What a metric finds of what FAME said, finished as `maps` says, without the maps' names.
fn found(
    metric: &dyn Metric,
    model: &Model,
    sample: &Sample,
    all: &[(String, Explanation)],
    maps: &str,
) -> Vec<(String, String, String, f64)> {
    let told = |explainer: &str, m: Measurement| {
        (explainer.to_owned(), m.name, m.parameter.to_string(), m.value)
    };
    let mut rows = Vec::new();
    for (name, explanation) in all {
        let explainer = fame(name, maps);
        let measured = metric
            .measure_again(&context(model), sample, explanation, explainer.plugin.as_ref())
            .unwrap();
        rows.extend(measured.into_iter().map(|m| told(name, m)));
    }
    for (name, compared) in metric.compare(&context(model), sample, all).unwrap() {
        rows.extend(compared.into_iter().map(|m| told(&name, m)));
    }
    rows
}

/// The files a writer leaves, by name.
fn written(
    writer: &dyn Writer,
    sample: &Sample,
    all: &[(String, Explanation)],
) -> BTreeMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let names = writer.write(&FinishedItem { sample, explanations: all }, dir.path()).unwrap();
    names.into_iter().map(|n| (n.clone(), fs::read(dir.path().join(n)).unwrap())).collect()
}

fn names(specs: &[&str]) -> Vec<String> {
    let mut names: Vec<String> =
        specs.iter().map(|s| s.split('(').next().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_metric_and_every_writer_is_here() {
    let registry = Registry::builtin().unwrap();
    assert_eq!(names(METRICS), registry.names(Kind::Metric));
    assert_eq!(names(WRITERS), registry.names(Kind::Writer));
}

#[test]
fn a_finish_by_any_name_is_measured_as_the_only_one_is() {
    let (model, sample) = (slim("iresnet50_slim", pairs(), SIDE), pair());
    let once = format!("map: {STEPS}");
    let plain = both(&model, &sample, &once);
    for name in ["k49", "similar", "dissimilar"] {
        let by_name = format!(r#"maps: {{"{name}": {STEPS}}}"#);
        let named = both(&model, &sample, &by_name);
        for spec in METRICS {
            let metric = build::<dyn Metric>(spec, &pairs(), Preset::Paper);
            let rows = |all, maps| found(metric.plugin.as_ref(), &model, &sample, all, maps);
            let expected = rows(&plain, &once);
            assert!(!expected.is_empty(), "{spec} measures nothing");
            assert_eq!(rows(&named, &by_name), expected, "{spec}, finish `{name}`");
        }
    }
}

/// A loss about a class that says so in its target, or in a fact for the record.
struct OfClass {
    subject: Subject,
    facts: Facts,
}

impl Loss for OfClass {
    fn targets(&self, _: &TargetRequest<'_>) -> Result<Vec<Target>> {
        let (subject, facts) = (self.subject.clone(), self.facts.clone());
        Ok(vec![Target { subject, facts, ..Target::default() }])
    }

    fn evaluate(&self, _: &[Tensor], _: &[&Target]) -> Result<Evaluation> {
        Err(Error::bug("a probability does not ask for the loss's value."))
    }
}

#[test]
fn a_class_is_what_the_target_is_about_and_no_fact() {
    let model = slim("squeezenet_slim", classifier(), 64);
    let sample = sample_of("noise", noise_picture(1, 64));
    let asked = |loss: &OfClass| {
        let aim = Aim::new(&model, &LayerChoices(vec![LayerChoice::Output]), loss)?;
        let row = aim.rows(&sample, None)?.remove(0);
        Question::new(&aim, &sample, &row, Answer::Probability)?.ask_all(1, |_, _| {})
    };
    let in_target =
        OfClass { subject: Subject::Class(2), facts: facts([("class", 1usize.into())]) };
    let in_facts = OfClass { subject: Subject::Whole, facts: facts([("class", 2usize.into())]) };
    let clean =
        Tensor::stack([&model.manifest.input.to_input(&sample.pictures[0].1.pixels).unwrap()]);
    let output = model.layer(&LayerChoice::Output).unwrap().name.clone();
    let pass = model.network.forward(&clean.unwrap(), &Taps::of([&output])).unwrap();
    let expected = softmax(pass.output(&output).unwrap().row(0))[2] as f32;
    assert_eq!(asked(&in_target).unwrap(), [expected]);
    assert_eq!(asked(&in_facts).unwrap_err().code, "fame::explain::no_class");
}

/// A method that speaks only against a match says nothing of what makes it: it is measured as
/// silence, and never as e+.
#[test]
fn verification_takes_no_finish_of_what_speaks_against_the_match() {
    let (model, sample) = (slim("iresnet50_slim", pairs(), SIDE), pair());
    let all = both(&model, &sample, &format!(r#"maps: {{"k5": {STEPS}, "k9": {OTHER}}}"#));
    let [(_, plus), (_, minus)] = all.as_slice() else { panic!("two explanations") };
    let metric = build::<dyn Metric>("Verification(steps: 2)", &pairs(), Preset::Paper);
    let measured = |e: &Explanation| {
        let rows = metric.plugin.measure(&context(&model), &sample, e).unwrap();
        rows.into_iter().map(|m| (m.map, m.name, m.parameter, m.value)).collect::<Vec<_>>()
    };
    let claims = |e: &Explanation| e.maps.iter().map(|m| m.id.claim).collect::<Vec<_>>();
    assert_eq!((claims(plus), claims(minus)), (vec![Claim::For; 4], vec![Claim::Against; 4]));
    assert_eq!(measured(minus), measured(&Explanation::default()));
    let maps: Vec<String> = measured(plus).into_iter().map(|row| row.0).collect();
    // Three points of two curves for each finish of the probe.
    assert_eq!(
        (maps.len(), maps[0].as_str(), maps[6].as_str()),
        (12, "probe_similar_k5", "probe_similar_k9")
    );
}

/// The tensors of a safetensors file, behind its header, whose length the first eight bytes are.
fn behind_header(file: &[u8]) -> &[u8] {
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    &rest[u64::from_le_bytes(*length) as usize..]
}

/// JSON without the finish where a name ends in it: at a text's end, or before a file's ending.
fn without_finish(json: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(json).unwrap();
    text.replace("_k49\"", "\"").replace("_k49.", ".").into_bytes()
}

#[test]
fn every_writer_writes_a_finish_by_any_name_as_the_only_one() {
    let (model, sample) = (slim("iresnet50_slim", pairs(), SIDE), pair());
    let plain = both(&model, &sample, &format!("map: {STEPS}"));
    let named = both(&model, &sample, &format!(r#"maps: {{"k49": {STEPS}}}"#));
    for spec in WRITERS {
        let writer = build::<dyn Writer>(spec, &pairs(), Preset::Paper);
        let (one, other) = (
            written(writer.plugin.as_ref(), &sample, &plain),
            written(writer.plugin.as_ref(), &sample, &named),
        );
        let without = |name: &String| name.replace("_k49", "");
        let renamed: Vec<String> = other.keys().map(without).collect();
        assert_eq!(renamed, one.keys().cloned().collect::<Vec<_>>(), "{spec}");
        for (name, bytes) in &other {
            let plain = &one[&without(name)];
            let same = match name.rsplit_once('.') {
                // It shows the names.
                _ if name == "sheet.png" => true,
                // Its header has them; what the tensors hold is the same.
                Some((_, "safetensors")) => {
                    let (other, plain) = (behind_header(bytes), behind_header(plain));
                    !plain.is_empty() && other == plain
                }
                Some((_, "json")) => without_finish(bytes) == *plain,
                _ => bytes == plain,
            };
            assert!(same, "{spec}: {name}");
        }
    }
    let layout = build::<dyn Writer>(WRITERS[5], &pairs(), Preset::Paper);
    let files = written(layout.plugin.as_ref(), &sample, &named);
    let place = |method: &str, file: &str| format!("reference/{method}/net/SET/one/7_{file}.npy");
    assert_eq!(
        files.keys().cloned().collect::<Vec<_>>(),
        [
            place("minus", "g_neg"),
            place("minus", "p_neg"),
            place("plus", "g_pos"),
            place("plus", "p_pos")
        ]
    );
}
