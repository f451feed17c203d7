//! How much memory the hungry explainers take: many pull-backs from one forward pass, many masked
//! copies of one picture.

use std::fs;

use super::*;

/// Peak memory of a run, in bytes, as its record has it.
fn peak(folder: &Path, out: &str) -> f64 {
    let record: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join(out).join("run.json")).unwrap())
            .unwrap();
    record["peak_memory_bytes"].as_f64().unwrap()
}

/// On the real face network, each in a process of its own: all 512 pull-backs of FGGB and all 500
/// masks of `CorrRISE` beside a walk of FAME.
#[test]
fn pull_backs_and_masks_take_little_more_memory_than_a_walk() {
    /// A walk takes 136 MiB since the engine has kernels of its own; FGGB's 512 gradients alone are
    /// 74 MiB, and more than them would be kept by mistake.
    const FACTOR: f64 = 1.7;
    let dir = tempfile::tempdir().unwrap();
    let recipe = root().join("recipes/fr_similar.ron");
    let of = |name: &str, explainer: &str| -> f64 {
        let out = dir.path().join(name);
        // The user's own cache: the model is fetched once for all tests.
        let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fame-cli"))
            .args(["run", recipe.to_str().unwrap(), "--out", out.to_str().unwrap(), "--set"])
            .arg(format!("explain.fame={explainer}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        peak(dir.path(), name)
    };
    let walk = of(
        "fame",
        r#"Fame(layer: "embedding", loss: Similarity(), perturbation: Lots(iterations: 5))"#,
    );
    for (name, explainer) in [("fggb", "Fggb()"), ("corr_rise", "CorrRise(masks: 500)")] {
        let bytes = of(name, explainer);
        println!(
            "{name}: {:.0} MiB, FAME: {:.0} MiB, {:.2} times",
            bytes / 1_048_576.0,
            walk / 1_048_576.0,
            bytes / walk
        );
        assert!(bytes <= FACTOR * walk, "{name} took {bytes} bytes, FAME {walk}");
    }
}

/// Many forward passes, gradients at many layers, a path of gradients: none of it stays behind when
/// an item is done.
#[test]
fn two_hundred_pictures_need_the_memory_of_twenty() {
    /// Allocators round; what stayed behind of 180 items would be a multiple of it.
    const SPREAD: f64 = 0.1;
    let about = "loss: Logit(class: Index(0))";
    for explainer in [
        format!("Rise(masks: 20, layer: Output, {about})"),
        format!("FullGrad(layer: Output, {about})"),
        format!("ScoreCam(layer: BeforePooling, loss_layer: Output, {about})"),
        format!("IntegratedGradients(steps: 5, layer: Output, {about})"),
    ] {
        let dir = killed::many(200, &explainer);
        let of = |limit: &str| -> f64 {
            let output = fame(dir.path(), &["run", "r.ron", "--out", limit, "--limit", limit]);
            assert!(output.status.success(), "{explainer}: {}", stderr(&output));
            peak(dir.path(), limit)
        };
        let (few, all) = (of("20"), of("200"));
        println!(
            "{explainer}: 20 pictures {:.1} MiB, 200 pictures {:.1} MiB",
            few / 1_048_576.0,
            all / 1_048_576.0
        );
        assert!(
            all <= (1.0 + SPREAD) * few,
            "{explainer}: 20 pictures took {few} bytes, 200 took {all}"
        );
    }
}
