//! Writers for other programs, in a whole run: what they leave is complete, and says what the run's
//! own files say.

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::Value;

use super::{
    killed::{files, measured},
    *,
};

#[test]
fn what_other_programs_read_says_what_the_run_found() {
    let dir = measured(2, "Saliency(loss: Logit(class: Index(0)), layer: Output)");
    let set = ["--set", "write=[RoCrate(), FiftyOne(), Safetensors(), Parquet()]"];
    let run = || {
        let output = fame(dir.path(), &[&["run", "r.ron", "--out", "out"][..], &set].concat());
        assert!(output.status.success(), "{}", stderr(&output));
    };
    run();
    let out = dir.path().join("out");
    let json = |file: &str| -> Value {
        serde_json::from_slice(&std::fs::read(out.join(file)).unwrap()).unwrap()
    };

    // Every cell of metrics.csv, none of which needs quotes here.
    let csv = std::fs::read_to_string(out.join("metrics.csv")).unwrap();
    let expected: Vec<Vec<String>> =
        csv.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect();
    let table = std::fs::File::open(out.join("metrics.parquet")).unwrap();
    let reader = SerializedFileReader::new(table).unwrap();
    let columns = reader.metadata().file_metadata().schema().get_fields();
    let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
    assert_eq!(names.join(","), csv.lines().next().unwrap());
    let cell = |field: &parquet::record::Field| match field {
        parquet::record::Field::Null => String::new(),
        parquet::record::Field::Str(text) => text.clone(),
        parquet::record::Field::Double(value) => value.to_string(),
        other => other.to_string(),
    };
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    let found: Vec<Vec<String>> =
        rows.map(|row| row.get_column_iter().map(|(_, field)| cell(field)).collect()).collect();
    assert!(!found.is_empty());
    assert_eq!(found, expected);

    // Every sample has its picture, its heatmaps and a number for each row of a map.
    let samples = json("fiftyone/samples.json")["samples"].clone();
    let samples = samples.as_array().unwrap();
    assert_eq!(samples.len(), 2);
    for sample in samples {
        let is_there = |path: &Value| out.join("fiftyone").join(path.as_str().unwrap()).is_file();
        assert!(is_there(&sample["filepath"]));
        for field in ["e_class_0", "random"] {
            assert!(is_there(&sample[field]["map_path"]), "{sample}");
        }
        let measured = sample.as_object().unwrap().keys().filter(|name| name.contains("_Road_"));
        let of_item = expected.iter().filter(|row| row[0] == sample["item"].as_str().unwrap());
        let of_item: Vec<&Vec<String>> = of_item.collect();
        assert_eq!(measured.count(), of_item.len());
        // Each of them is that of its explainer, map, metric, quantity and parameter: a map that is
        // called as the only picture's role needs no name of its own.
        for row in of_item {
            let map = if row[2] == "image" { "" } else { &row[2] };
            let named = [&row[1], map, &row[3], &row[4], &row[5]].join("_");
            let words = named.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
            let field = words.collect::<Vec<_>>().join("_");
            let wanted: f64 = row[6].parse().unwrap();
            let found = sample[&field].as_f64().unwrap_or_else(|| panic!("no {field}: {sample}"));
            // A reader of JSON may miss the last digit of a number, no more.
            assert!(
                (found - wanted).abs() <= 4.0 * f64::EPSILON * wanted.abs(),
                "{field}: {row:?}"
            );
        }
        let item = out.join("items").join(sample["item"].as_str().unwrap());
        assert!(item.join("raw.safetensors").is_file());
    }
    assert_eq!(json("fiftyone/metadata.json")["info"]["recipe"], "r.ron");
    let graph = json("ro-crate-metadata.json")["@graph"].clone();
    let table = graph.as_array().unwrap().iter().find(|e| e["@id"] == "metrics.parquet").unwrap();
    assert_eq!(table["encodingFormat"], "application/vnd.apache.parquet");

    // A run that keeps everything leaves the same, and the files are as they were recorded.
    let left = || {
        let mut all = files(&out);
        // It tells when the run was.
        assert!(all.remove("ro-crate-metadata.json").is_some());
        all
    };
    let first = left();
    run();
    assert!(left() == first, "the second run's files differ");
    let verified = fame(dir.path(), &["verify-run", "out"]);
    assert!(verified.status.success(), "{}", stderr(&verified));

    // One byte of what writers left beside the run's own files.
    let lone = ["metrics.parquet", "ro-crate-metadata.json"];
    for file in lone.into_iter().chain(["fiftyone/SHA256SUMS", "fiftyone/samples.json"]) {
        let whole = std::fs::read(out.join(file)).unwrap();
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        std::fs::write(out.join(file), changed).unwrap();
        let verified = fame(dir.path(), &["verify-run", "out", "--json"]);
        assert_eq!(verified.status.code(), Some(3), "{file}");
        let said: Value = serde_json::from_slice(&verified.stdout).unwrap();
        let differences = said["differences"].as_array().unwrap();
        assert!(differences.iter().any(|found| found["file"] == file), "{file}: {said}");
        std::fs::write(out.join(file), whole).unwrap();
    }

    // Another recipe's run makes none of it: it goes, but for what somebody has changed.
    std::fs::write(out.join(lone[1]), "mine").unwrap();
    let samples = out.join("fiftyone/samples.json");
    std::fs::write(&samples, "mine").unwrap();
    let output = fame(dir.path(), &["run", "r.ron", "--out", "out"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains(lone[1]), "{}", stderr(&output));
    assert!(!out.join(lone[0]).exists());
    assert_eq!(std::fs::read_to_string(out.join(lone[1])).unwrap(), "mine");
    // No further run mends that, and verify-run says so.
    let verify = || fame(dir.path(), &["verify-run", "out"]);
    let said = stdout(&verify());
    assert!(said.contains("samples.json has other bytes"), "{said}");
    assert!(said.contains("no writer of this recipe makes it: `fiftyone` may be"), "{said}");
    assert!(!said.contains("makes that anew"), "{said}");
    std::fs::remove_dir_all(out.join("fiftyone")).unwrap();
    assert!(verify().status.success());
}
