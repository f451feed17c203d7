//! Every recipe of `recipes/` runs, shortened, and leaves what it says.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used, clippy::case_sensitive_file_extension_comparisons)]

use std::{collections::BTreeSet, fs};

use fame_core::{
    registry::{BuildContext, Kind, Registry},
    run::RunStatus,
    text::Spec,
};
use fame_tests::{faces, plan, root, run_into, run_some};

/// Pairs that can be fetched, for the tables on lists of one's own.
const TWO_PAIRS: &str = r#"data=Pairs(pairs: [
    (gallery: "picture:obama", probe: "picture:obama2", genuine: true),
    (gallery: "picture:obama", probe: "picture:biden", genuine: false),
])"#;

/// Every recipe, with the overrides that make it short, and how many maps each item then has.
const SHORT: &[(&str, &[&str], usize)] = &[
    ("fr_similar.ron", &["explain.fame.perturbation.iterations=2"], 2),
    ("fr_dissimilar.ron", &["explain.fame.perturbation=Lots(iterations: 2)"], 2),
    ("fr_target.ron", &["explain.lots.perturbation.iterations=2"], 1),
    // The probe's; the gallery has none.
    ("fr_identify.ron", &["explain.fame.perturbation=Lots(iterations: 2)"], 1),
    ("ic_logit.ron", &["explain.fame.perturbation=Lots(iterations: 2)"], 1),
    ("fame_plus.ron", &["explain.fame_plus.of.0.perturbation.of.iterations=2"], 1),
    ("feature_map.ron", &["explain.cells.perturbation.iterations=1"], 49),
    ("blur_effect.ron", &["explain.fame.perturbation.iterations=2"], 7),
    (
        "sweep_iterations.ron",
        &["explain.fame.perturbation.iterations=3", "explain.fame.read_at=[1, 2, 3]"],
        3,
    ),
    (
        "sweep_step.ron",
        &[
            "explain.step_0_25.perturbation.iterations=1",
            "explain.step_0_50.perturbation.iterations=1",
            "explain.step_1.perturbation.iterations=1",
            "explain.step_2.perturbation.iterations=1",
            "explain.step_4.perturbation.iterations=1",
            "explain.step_8.perturbation.iterations=1",
        ],
        6,
    ),
    (
        "fr_compare.ron",
        &[
            "explain.fame_plus.perturbation.iterations=2",
            "explain.fame_minus.perturbation.iterations=2",
            r#"explain.fggb.roles=["probe"]"#,
            "explain.corr_rise.masks=20",
        ],
        // FGGB has no e- here: the pair is accepted, and its sum of absolute gradients stays above
        // zero everywhere.
        17,
    ),
    (
        "ic_compare.ron",
        &[
            "explain.fame.perturbation.iterations=2",
            "explain.integrated_gradients.steps=2",
            "explain.smooth_grad.n=2",
            "explain.rise.masks=20",
            "explain.occlusion=Occlusion(window: 56, stride: 56)",
        ],
        21,
    ),
    (
        "shapes_evidence.ron",
        &[
            "data.count=1",
            "explain.fame.perturbation.iterations=2",
            "explain.integrated_gradients.steps=2",
            "explain.smooth_grad.n=2",
            "explain.rise.masks=20",
        ],
        22,
    ),
    // The whole tables run on data that cannot be fetched: here on one picture and one pair that
    // can.
    (
        "table1_imagenet.ron",
        &[
            "explain.fame.perturbation=Lots(iterations: 1)",
            r#"data=Images(files: ["picture:chelsea"], labels: [282])"#,
        ],
        8,
    ),
    (
        "table_fame_plus.ron",
        &[
            "explain.mask_walk.perturbation.of.iterations=2",
            "explain.fame_plus.of.0.perturbation.of.iterations=2",
            "explain.fame_plus_full.of.0.perturbation.of.iterations=2",
            "explain.fame.perturbation.iterations=1",
        ],
        7,
    ),
    (
        "table2_verification.ron",
        &["explain.fame.perturbation=Lots(iterations: 1)", "explain.corr_rise.masks=20", TWO_PAIRS],
        8,
    ),
    (
        "table_fame_plus_faces.ron",
        &[
            "explain.fame_noisy.perturbation.of.iterations=2",
            "explain.fame_two_scales.of.0.perturbation.of.iterations=2",
            "explain.fame_two_scales.of.1.perturbation.iterations=2",
            "explain.fame.perturbation.iterations=1",
            TWO_PAIRS,
            "metrics.0.steps=2",
        ],
        6,
    ),
    ("mini_table1.ron", &["explain.fame.perturbation.iterations=2"], 7),
    (
        "mini_table2.ron",
        &["explain.fame.perturbation.iterations=1", "explain.corr_rise.masks=20"],
        6,
    ),
    (
        "sanity.ron",
        &[
            "explain.fame.perturbation.iterations=1",
            "explain.fame_other_class.perturbation.iterations=1",
        ],
        10,
    ),
    (
        "vit_logit.ron",
        &[
            "explain.fame.perturbation.iterations=2",
            "explain.integrated_gradients.steps=2",
            "explain.smooth_grad.n=2",
        ],
        9,
    ),
];

#[test]
fn every_recipe_is_listed_here() {
    let there: BTreeSet<String> = fs::read_dir(root().join("recipes"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.ends_with(".ron"))
        .collect();
    let listed: BTreeSet<String> = SHORT.iter().map(|(n, ..)| (*n).to_owned()).collect();
    assert_eq!(there, listed);
}

#[test]
fn every_recipe_runs_and_leaves_honest_maps() {
    for (recipe, sets, maps) in SHORT {
        let dir = tempfile::tempdir().unwrap();
        let summary = run_some(&plan(recipe, sets), dir.path(), Some(1))
            .unwrap_or_else(|e| panic!("{recipe}: {e}"));
        assert_eq!(summary.status, RunStatus::Complete, "{recipe}");
        let items: Vec<_> =
            fs::read_dir(dir.path().join("items")).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(items.len(), 1, "{recipe}");
        let names =
            fs::read_dir(&items[0]).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let finished: Vec<String> =
            names.filter(|n| n.ends_with(".npy") && !n.ends_with(".raw.npy")).collect();
        assert_eq!(finished.len(), *maps, "{recipe}: {finished:?}");
        for name in finished {
            let npy = npyz::NpyFile::new(fs::File::open(items[0].join(&name)).unwrap()).unwrap();
            assert_eq!(npy.shape().len(), 2, "{recipe} {name}");
            let values: Vec<f32> = npy.into_vec().unwrap();
            let (min, max) =
                values.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            // Dividing by the maximum reaches 1; min-max divides by the range and 1e-8, and the
            // range of FGGB's sums is about 1e-4.
            assert!(
                min >= 0.0 && max > 0.999 && max <= 1.0 && min < max,
                "{recipe} {name}: {min}..{max}"
            );
        }
        let record = fame_tests::record(dir.path());
        assert_eq!(record["status"], "complete");
        let explanations = record["items"][0]["explanations"].as_object().unwrap();
        for explanation in explanations.values() {
            // What a composed explainer repeats says its loss once, under its own name.
            let loss = [&explanation["loss"], &explanation["explainer"]["loss"]];
            let said = |map: &serde_json::Value| {
                !map["map_steps"].is_null() || loss.iter().any(|l| !l.is_null())
            };
            assert!(
                explanation["maps"].as_array().unwrap().iter().all(said),
                "{recipe}: {explanation}"
            );
            // Only a walk has steps and losses.
            if explanation["perturbation"].is_null() {
                continue;
            }
            assert!(explanation["layers"][0]["shape"].is_array());
            for map in explanation["maps"].as_array().unwrap() {
                for fact in ["loss_before", "loss_after", "steps", "stop", "map_steps"] {
                    assert!(!map[fact].is_null(), "{recipe}: no {fact} in {map}");
                }
            }
        }
        assert!(record["items"][0]["seconds"].as_f64().unwrap() > 0.0);
    }
}

/// What a plugin's documentation shows must work.
#[test]
fn every_registered_example_parses_and_builds() {
    let registry = Registry::builtin().unwrap();
    assert!(registry.iter().count() > 20, "the built-in plugins are linked");
    assert_eq!(registry.presets(), ["Authors", "Fast", "Paper"]);
    for registration in registry.iter() {
        for preset in registry.presets() {
            let (ask, folder) = (faces(), root());
            let with = BuildContext { preset, ask: &ask, ..BuildContext::new(&registry, &folder) };
            registry
                .check_example(registration, &with)
                .unwrap_or_else(|p| panic!("{}: {p:#?}", registration.example()));
            let spec = Spec::from_text(registration.example()).unwrap();
            assert_eq!(spec.name, registration.name());
        }
        assert!(
            registration.kind() != Kind::Explainer || !registration.reference().is_empty(),
            "{} says whose it is",
            registration.name()
        );
        let schema: serde_json::Value =
            serde_json::from_str(&registration.schema().unwrap()).unwrap();
        assert!(schema["description"].is_string(), "{} says what it does", registration.name());
        for (name, about) in schema["properties"].as_object().into_iter().flatten() {
            assert!(
                about["description"].is_string(),
                "{}.{name} has no documentation",
                registration.name()
            );
        }
    }
}

#[test]
fn an_interrupted_run_continues_and_ends_the_same() {
    let sets = ["explain.fame.perturbation.iterations=2"];
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run_into(&plan("fr_similar.ron", &sets), whole.path()).unwrap();
    let item = "items/obama--obama2";
    // A killed run leaves its lock and a draft, and no item.
    fs::write(broken.path().join("run.lock"), "process 1 on a machine").unwrap();
    fs::create_dir_all(broken.path().join("items/.fame-unfinished-x")).unwrap();
    run_into(&plan("fr_similar.ron", &sets), broken.path()).unwrap();
    assert!(!broken.path().join("items/.fame-unfinished-x").exists());
    let again = run_into(&plan("fr_similar.ron", &sets), broken.path()).unwrap();
    assert_eq!((again.done, again.kept), (0, 1), "the same work is not done twice");
    let other = run_into(
        &plan("fr_similar.ron", &["explain.fame.perturbation.iterations=1"]),
        broken.path(),
    )
    .unwrap();
    assert_eq!((other.done, other.kept), (1, 0), "other work is not mistaken for it");
    run_into(&plan("fr_similar.ron", &sets), broken.path()).unwrap();
    for entry in fs::read_dir(whole.path().join(item)).unwrap() {
        let name = entry.unwrap().file_name();
        let read = |dir: &std::path::Path| fs::read(dir.join(item).join(&name)).unwrap();
        assert!(read(whole.path()) == read(broken.path()), "{name:?} differs");
    }
}
