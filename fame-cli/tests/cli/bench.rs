//! `bench` and `inspect --kernels`: what they count. How long anything takes is nobody's promise.

use serde_json::Value;

use super::*;

fn told(dir: &std::path::Path, arguments: &[&str]) -> Value {
    let output = fame(dir, &[&["--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    // Behind the events, one line each.
    serde_json::from_str(&said[said.find("{\n").unwrap()..]).unwrap()
}

#[test]
fn every_convolution_is_told_with_its_kernel_in_both_passes() {
    let dir = workshop();
    let said = told(dir.path(), &["inspect", "net.onnx", "--kernels"]);
    let nodes = said["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["seconds"].as_f64().unwrap() >= 0.0), "{nodes:?}");
    assert!(said["product_peak_gflops"].as_f64().unwrap() > 0.0);
    let operations = |pass: &str| -> f64 {
        let kernels = nodes.iter().filter(|n| n["pass"] == pass && !n["kernel"].is_null());
        kernels.map(|node| node["kernel"]["operations"].as_f64().unwrap()).sum()
    };
    // The gradient at the input of each layer takes as many as the layer.
    assert!(operations("forward") > 1e6, "{said}");
    assert_eq!(operations("forward"), operations("backward"));
    let text = stdout(&fame(dir.path(), &["inspect", "net.onnx", "--kernels"]));
    assert!(text.contains("product") && text.contains("GFLOP/s"), "{text}");
    let other = ["inspect", "net.onnx", "--kernels", "--backend", "Tract(convolutions: Tract)"];
    let said = told(dir.path(), &other);
    let nodes = said["nodes"].as_array().unwrap();
    assert!(!nodes.is_empty() && nodes.iter().all(|node| node["kernel"].is_null()), "{nodes:?}");
}

#[test]
fn the_methods_of_a_recipe_are_told_with_the_rows_they_ask_for() {
    let dir = workshop();
    let explain = r#"{
        "walk": Fame(loss: Logit(class: Index(0)), layer: Output, perturbation: Lots(iterations: 5)),
        "gradient": Saliency(loss: Logit(class: Index(0)), layer: Output),
    }"#;
    let recipe =
        format!(r#"(model: "net.onnx", data: Folder(path: "."), prepare: [], explain: {explain})"#);
    std::fs::write(dir.path().join("r.ron"), recipe).unwrap();
    let said = told(dir.path(), &["bench", "--methods", "r.ron", "--items", "2", "--rounds", "3"]);
    let of = |said: &Value, name: &str| {
        let all = said["methods"].as_array().unwrap();
        all.iter().find(|method| method["explainer"] == name).unwrap().clone()
    };
    let (walk, gradient) = (of(&said, "walk"), of(&said, "gradient"));
    assert_eq!((&walk["maps"], &gradient["maps"]), (&2.into(), &2.into()), "{said}");
    // Five steps, and where the last one led; the clean answer that tells the class comes first.
    assert_eq!(walk["gradient_rows_per_map"], 5.0, "{said}");
    assert_eq!(walk["forward_rows_per_map"], 7.0, "{said}");
    assert_eq!(gradient["gradient_rows_per_map"], 1.0, "{said}");
    assert!(!dir.path().join("out").exists(), "nothing is written");
    let set = ["bench", "--methods", "r.ron", "--set", "explain.walk.perturbation.iterations=2"];
    let said = told(dir.path(), &set);
    assert_eq!(of(&said, "walk")["gradient_rows_per_map"], 2.0, "{said}");
    let text = stdout(&fame(dir.path(), &["bench", "--methods", "r.ron"]));
    assert!(text.contains("s a map") && text.contains("gradient"), "{text}");
}

#[test]
fn a_bench_of_steps_and_one_of_methods_are_not_mixed() {
    let dir = workshop();
    for arguments in [
        &["bench"][..],
        &["bench", "net.onnx", "--methods", "r.ron"],
        &["bench", "--methods", "r.ron", "--rows", "2"],
        &["bench", "net.onnx", "--rounds", "2"],
    ] {
        assert_eq!(fame(dir.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
    // The way out, whichever of the two comes first.
    for (beside, way) in [
        (&["--backend", "Ort()"][..], "--set 'backend="),
        (&["--steps", "2"], "--items and --rounds"),
        (&["--layer", "x"], "--set 'explain.NAME.layer="),
        (&["net.onnx"], "--set model=NAME"),
    ] {
        let methods = &["--methods", "r.ron"][..];
        for both in [[methods, beside], [beside, methods]] {
            let said = stderr(&fame(dir.path(), &[&["bench"], &both.concat()[..]].concat()));
            assert!(said.contains("tip:") && said.contains(way), "{both:?}: {said}");
        }
    }
    // And it leads there: a recipe that leaves its backend out takes one.
    std::fs::write(dir.path().join("r.ron"), recipe("net.onnx", "a.png", "b.png", FAME)).unwrap();
    let set = ["bench", "--methods", "r.ron", "--set", "backend=Tract(threads: 1)"];
    assert_eq!(told(dir.path(), &set)["backend"], "Tract");
    let said = told(dir.path(), &["bench", "net.onnx", "--steps", "1"]);
    let measured = &said["measured"][0];
    assert!(measured["operations"].as_f64().unwrap() > 2e6, "{said}");
}
