//! The command line as a user meets it: output, messages, exit codes, and what is left behind.

// Helpers of tests, outside of the test functions that clippy knows.
#![allow(clippy::unwrap_used, clippy::case_sensitive_file_extension_comparisons)]

mod arguments;
mod bench;
mod broken_input;
mod describe;
mod explain;
mod exports;
mod faults;
mod heal;
mod killed;
mod limits;
mod memory;
mod parts;
mod plugins;
mod recipe_errors;
mod report;
mod run;
mod shards;
mod stale;
#[cfg(unix)]
mod stopped;
mod synth;
mod terminal;
mod third_party;
mod verify;
mod verify_run;

use std::{
    path::{Path, PathBuf},
    process::Output,
};

/// `fame-cli` with arguments, run in `folder`; no colours, nobody's cache.
fn fame(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fame-cli"));
    command
        .current_dir(folder)
        .args(arguments)
        .env("NO_COLOR", "1")
        .env("RUST_BACKTRACE", "0")
        .env("FAME_CACHE", folder.join("cache"));
    command.output().expect("fame-cli starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it said, as one line: messages are wrapped, with bars before them.
fn flat(output: &Output) -> String {
    stderr(output).replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder with a small real network (`net.onnx`, an IResNet for 56×56 faces, 16 KB of our own
/// random weights), its manifest and two pictures.
fn workshop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let net = root().join("tests/golden/nets/iresnet50_slim.onnx");
    std::fs::copy(net, dir.path().join("net.onnx")).expect("the golden network is there");
    std::fs::write(dir.path().join("net.ron"), MANIFEST).expect("writable");
    for (name, shade) in [("a.png", 3u32), ("b.png", 5)] {
        picture(56, shade).save(dir.path().join(name)).expect("writable");
    }
    dir
}

const MANIFEST: &str = "(input: (size: (3, 56, 56), order: Bgr, mean: 0.5, std: 0.5), ask: (loss: Similarity(), layer: Output))";

/// A picture with structure, so that no gradient vanishes.
fn picture(side: u32, shade: u32) -> image::RgbImage {
    image::RgbImage::from_fn(side, side, |x, y| {
        image::Rgb([(x * shade % 256) as u8, (y * shade % 256) as u8, ((x + y) * 2 % 256) as u8])
    })
}

/// A recipe over the workshop's files.
fn recipe(model: &str, gallery: &str, probe: &str, fame: &str) -> String {
    format!(
        r#"(model: "{model}", data: Pair(gallery: "{gallery}", probe: "{probe}"), prepare: [], explain: {{"fame": {fame}}})"#
    )
}

/// FAME with three steps; the blur is small because the pictures are.
const FAME: &str = "Fame(layer: Output, loss: Similarity(), perturbation: Lots(iterations: 3), map: [Gray(), GaussianBlur(kernel: 9), MaxNormalize()])";

/// The record of the run in `out`, with its items: each line of the index, and beside it what the
/// item's own record says.
fn record(out: &Path) -> serde_json::Value {
    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let mut record = read(&out.join("run.json"));
    let index = std::fs::read_to_string(out.join("items.jsonl")).unwrap();
    let items = index.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let place = out.join("items").join(line["id"].as_str().unwrap()).join("item.json");
        if place.exists() {
            let of_item = read(&place);
            line.as_object_mut().unwrap().extend(of_item.as_object().unwrap().clone());
        }
        line
    });
    record["items"] = items.collect();
    record
}

/// Writes `text` as `r.ron` into `folder` and runs it into `out`.
fn run(folder: &Path, text: &str) -> Output {
    std::fs::write(folder.join("r.ron"), text).expect("writable");
    fame(folder, &["run", "r.ron", "--out", "out"])
}
