//! Whatever is broken, one clear error, a failing exit code, no panic, and no result that looks
//! like one.

use std::{fs, path::Path};

use super::*;

/// Runs a recipe that must fail with `code`, and returns what it said.
fn refused(folder: &Path, text: &str, code: i32) -> String {
    let output = run(folder, text);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    // The record of the failure is all there is: no items, no drafts.
    let items = folder.join("out/items");
    assert!(
        !items.exists() || fs::read_dir(&items).unwrap().next().is_none(),
        "something was left behind"
    );
    if folder.join("out").exists() {
        let record: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.join("out/run.json")).unwrap())
                .unwrap();
        assert!(
            record["status"] == "failed" || record["status"] == "incomplete",
            "{}",
            record["status"]
        );
    }
    said
}

#[test]
fn a_broken_model_is_refused() {
    let dir = workshop();
    let whole = fs::read(dir.path().join("net.onnx")).unwrap();
    let recipe = recipe("net.onnx", "a.png", "b.png", FAME);
    let mut garbled = whole.clone();
    garbled[40..4000].fill(0xff);
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("truncated", whole[..whole.len() / 2].to_vec(), "not an ONNX model, or it is cut short"),
        ("text", b"hello, I am not a model\n".to_vec(), "not an ONNX model"),
        ("empty", Vec::new(), "it is empty"),
        ("garbled", garbled, "cannot load"),
    ];
    for (what, bytes, expected) in cases {
        fs::write(dir.path().join("net.onnx"), bytes).unwrap();
        let said = refused(dir.path(), &recipe, 1);
        assert!(
            said.contains(expected) && said.contains("net.onnx") && said.contains("help:"),
            "{what}: {said}"
        );
    }
    fs::remove_file(dir.path().join("net.onnx")).unwrap();
    assert!(refused(dir.path(), &recipe, 1).contains("there is no file"));
}

#[test]
fn nan_weights_are_refused() {
    let dir = workshop();
    let path = dir.path().join("net.onnx");
    let mut bytes = fs::read(&path).unwrap();
    // The last quarter of the file holds weights as raw little-endian floats: a run of 0xff is a
    // run of NaN, whatever its alignment.
    let at = bytes.len() * 3 / 4;
    bytes[at..at + 16].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let said = refused(dir.path(), &recipe("net.onnx", "a.png", "b.png", FAME), 1);
    assert!(said.contains("holds NaN") && said.contains("net.onnx"), "{said}");
}

#[test]
fn a_missing_layer_gets_the_nearest_name() {
    let dir = workshop();
    let fame = FAME.replace("Output", "\"embeding\"");
    let said = refused(dir.path(), &recipe("net.onnx", "a.png", "b.png", &fame), 2);
    // At its place, as `check` shows it.
    for told in ["no layer called `embeding`", "did you mean `embedding`?", "[r.ron:1:98]"] {
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn broken_pictures_fail_their_item() {
    let dir = workshop();
    let whole = fs::read(dir.path().join("a.png")).unwrap();
    fs::write(dir.path().join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(dir.path().join("text.png"), "hello").unwrap();
    fs::write(dir.path().join("huge.png"), huge_png_header()).unwrap();
    picture(1, 1).save(dir.path().join("one.png")).unwrap();
    picture(80, 3).save(dir.path().join("big.png")).unwrap();
    for (file, expected) in [
        ("cut.png", "cannot be decoded"),
        ("text.png", "text.png"),
        ("huge.png", "20000×20000"),
        ("one.png", "is 1×1 pixels, but model `net` takes 56×56"),
        ("big.png", "is 80×80 pixels, but model `net` takes 56×56"),
    ] {
        let said = refused(dir.path(), &recipe("net.onnx", "a.png", file, FAME), 3);
        assert!(said.contains(expected), "{file}: {said}");
        let _ = fs::remove_dir_all(dir.path().join("out"));
    }
}

/// The first bytes of a PNG that claims 20000×20000 pixels (checksummed, so that the claim is
/// believed).
fn huge_png_header() -> Vec<u8> {
    let mut ihdr = [20_000u32.to_be_bytes(), 20_000u32.to_be_bytes()].concat();
    ihdr.extend([8, 2, 0, 0, 0]);
    [b"\x89PNG\r\n\x1a\n".to_vec(), png_chunk(*b"IHDR", &ihdr), png_chunk(*b"IDAT", &[0; 64])]
        .concat()
}

/// Length, name, data, CRC-32.
fn png_chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&name[..], data].concat();
    let crc = body.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 }
        })
    });
    [&(data.len() as u32).to_be_bytes()[..], &body, &(!crc).to_be_bytes()].concat()
}

#[test]
fn one_bad_item_does_not_take_the_others_with_it() {
    let dir = workshop();
    fs::create_dir(dir.path().join("many")).unwrap();
    for (name, side) in [("a.png", 56), ("b.png", 40), ("c.png", 56)] {
        picture(side, 3).save(dir.path().join("many").join(name)).unwrap();
    }
    let fame = FAME.replace("Similarity()", "Target(towards: Zero)");
    let text = format!(
        r#"(model: "net.onnx", data: Folder(path: "many"), prepare: [], explain: {{"fame": {fame}}})"#
    );
    let output = run(dir.path(), &text);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let record = record(&dir.path().join("out"));
    assert_eq!(record["status"], "incomplete");
    let statuses: Vec<_> =
        record["items"].as_array().unwrap().iter().map(|i| i["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["done", "failed", "done"]);
}

/// An ONNX file of one `Split` of an input of 3×64×64, along axis −9: tract reaches past its list
/// of axes.
const SPLIT: &[u8] = b"\x08\x08B\x04\n\0\x10\r:l\n-\n\x01x\x12\x01y\x12\x01z\x1a\x05Split\"\
    \x05Split*\x14\n\x04axis\x18\xf7\xff\xff\xff\xff\xff\xff\xff\xff\x01\xa0\x01\x02\x12\x01g\
    Z\x1b\n\x01x\x12\x16\n\x14\x08\x01\x12\x10\n\x02\x08\x01\n\x02\x08\x03\n\x02\x08@\n\x02\x08@\
    b\x1b\n\x01y\x12\x16\n\x14\x08\x01\x12\x10\n\x02\x08\x01\n\x02\x08\x03\n\x02\x08@\n\x02\x08@";

#[test]
fn a_panic_over_somebody_elses_file_is_an_error_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("split.onnx"), SPLIT).unwrap();
    let manifest = "(input: (size: (3, 64, 64), order: Rgb, mean: 0.5, std: 0.25), prepare: [])";
    fs::write(dir.path().join("split.ron"), manifest).unwrap();
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fame-cli"));
    command.current_dir(dir.path()).args(["inspect", "split.onnx"]);
    // Many have this set for all that they run.
    command.env("NO_COLOR", "1").env("RUST_BACKTRACE", "1");
    let output = command.env("FAME_CACHE", dir.path().join("cache")).output().unwrap();
    let said = flat(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("split.onnx") && said.contains("fame::backend::"), "{said}");
    for unwanted in ["has a bug", "panicked", "backtrace"] {
        assert!(!said.contains(unwanted), "{unwanted}: {said}");
    }
}
