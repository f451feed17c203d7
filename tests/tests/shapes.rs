//! A network whose evidence is known: what explanations must find in drawn shapes.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs};

use fame_core::run::RunStatus;
use fame_tests::{plan, run_into};

/// Settings that leave every method its meaning and take seconds.
const SHORT: &[&str] = &[
    "data.count=24",
    "explain.fame.perturbation.iterations=50",
    "explain.integrated_gradients.steps=20",
    "explain.smooth_grad.n=10",
    "explain.rise.masks=500",
];

/// Maps that know nothing. A random CAM is not among them: it weighs the channels of a trained
/// network by chance, and these fire where the shape is.
const FLOORS: [&str; 2] = ["random", "random_blurred"];

/// A random map scores the box's area, and every method must hold more than this many times as much
/// of its mass in the box. With the recipe as it stands, 60 pictures: FAME 1.9, Grad-CAM 2.5,
/// integrated gradients 2.9, EigenCAM 3.3, guided backpropagation 3.6; the least is RISE's 1.7.
const TIMES_AREA: f64 = 1.4;

/// But two spread by their nature: SmoothGrad (1.3) averages noisy pictures, and FullGrad's min-max
/// maps (1.4) keep a floor everywhere.
const SPREADING: [&str; 2] = ["smooth_grad", "full_grad"];

/// What these two must reach.
const TIMES_AREA_SPREADING: f64 = 1.15;

/// Mean of a quantity of `RelevanceMass` for each explainer.
fn means(csv: &str, quantity: &str) -> BTreeMap<String, f64> {
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let at = |name: &str| head.iter().position(|h| *h == name).unwrap();
    let (explainer, of, value) = (at("explainer"), at("quantity"), at("value"));
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for cells in
        lines.map(|l| l.split(',').collect::<Vec<_>>()).filter(|cells| cells[of] == quantity)
    {
        all.entry(cells[explainer].to_owned()).or_default().push(cells[value].parse().unwrap());
    }
    all.into_iter()
        .map(|(name, values)| (name, values.iter().sum::<f64>() / values.len() as f64))
        .collect()
}

#[test]
fn every_explainer_holds_its_energy_in_the_true_box() {
    let dir = tempfile::tempdir().unwrap();
    let summary = run_into(&plan("shapes_evidence.ron", SHORT), dir.path()).unwrap();
    assert_eq!(summary.status, RunStatus::Complete);
    let csv = fs::read_to_string(dir.path().join("metrics.csv")).unwrap();
    let (mass, rank, area) = (means(&csv, "mass"), means(&csv, "rank"), means(&csv, "area"));
    let area = area["random"];
    let random = FLOORS.iter().map(|f| mass[*f]).fold(0.0, f64::max);
    // What is measured must itself be right: a map of chance scores the area.
    assert!(
        (mass["random"] - area).abs() < 0.01 && (random - area).abs() < 0.05,
        "{random} {area}"
    );
    assert!(mass.len() >= 20, "{mass:?}");
    for (explainer, mass) in
        mass.iter().filter(|(name, _)| !FLOORS.contains(&name.as_str()) && *name != "random_cam")
    {
        let least =
            if SPREADING.contains(&explainer.as_str()) { TIMES_AREA_SPREADING } else { TIMES_AREA };
        assert!(*mass > least * area, "{explainer}: mass {mass:.3}, area {area:.3}");
        assert!(
            rank[explainer] > least * area,
            "{explainer}: rank {:.3}, area {area:.3}",
            rank[explainer]
        );
    }
}

#[test]
fn the_network_knows_the_shapes() {
    use fame_core::{
        Taps, Tensor,
        contract::{Backend, Dataset, Files, ItemRef},
        store::Ask,
    };
    use fame_plugins::Preset;

    /// Drawn pictures have no files.
    struct Nowhere;
    impl Files for Nowhere {
        fn locate(&self, text: &str) -> fame_core::Result<std::path::PathBuf> {
            panic!("asked for `{text}`");
        }
    }

    let backend = fame_tests::build::<dyn Backend>("Tract()", &Ask::default(), Preset::default());
    let model = fame_tests::model("shapes", backend.plugin.as_ref());
    // A seed that it was neither trained nor validated on.
    let data = fame_tests::build::<dyn Dataset>(
        "Shapes(count: 300, seed: 4)",
        &Ask::default(),
        Preset::default(),
    )
    .plugin;
    let items: Vec<ItemRef> = data.index(&Nowhere).unwrap();
    let mut right = 0;
    for item in &items {
        let sample = data.load(item, &Nowhere).unwrap();
        let input = model.manifest.input.to_input(&sample.pictures[0].1.pixels).unwrap();
        let pass = model
            .network
            .forward(&Tensor::stack([&input]).unwrap(), &Taps::of(["logits"]))
            .unwrap();
        let logits = pass.output("logits").unwrap();
        let best = (0..logits.len())
            .max_by(|a, b| logits.data()[*a].total_cmp(&logits.data()[*b]))
            .unwrap();
        right += usize::from(sample.label == Some(best));
    }
    // Its manifest states 94.3 % on 600 others; 300 may differ by three standard errors, 4 %.
    assert!(right >= 271, "{right} of 300");
}
