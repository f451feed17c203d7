//! The dataset as a whole: against FiftyOne's own export of it, and over several items.

use fame_core::{
    Claim, Explanation, MapId, Sample, Subject, Tensor,
    contract::FinishedItem,
    data::{Affine, Original, facts},
};
use serde_json::json;

use super::{
    super::testing::{build, explanation, map_of, sample},
    *,
};

/// A sample whose picture was cut out of a photograph of 4×6 pixels: its columns 1 to 3, rows 1 to
/// 2, at twice the size.
fn cut() -> Sample {
    let mut cut = sample(&["image"], 4, 6);
    let picture = &mut cut.pictures[0].1;
    let photograph = fame_core::Picture::new(Tensor::filled([3, 4, 6], 0.25), "f/a.jpg").unwrap();
    picture.source = "f/a.jpg".to_owned();
    picture.geometry = Affine::scale_shift(2.0, 2.0, -2.0, -2.0);
    picture.original = Some(Original::of(&photograph).unwrap());
    Sample { id: "a".into(), label: Some(1), ..cut }
}

/// One map of `role` with these values and what its loss says of the picture.
fn one(role: &str, shape: [usize; 2], values: Vec<f32>) -> NamedMap {
    let first =
        facts([("class", 1usize.into()), ("name", "cat".into()), ("probability", 0.75.into())]);
    let mut map = map_of(MapId::new(role).alone(true), Tensor::new(shape, values).unwrap());
    map.facts.insert(TOP_BEFORE.to_owned(), vec![Value::Map(first)].into());
    map
}

/// Lets the writer write an item, and leaves its record as a run does.
fn leave(
    out: &Path,
    sample: &Sample,
    explanations: &[(String, Explanation)],
    more: Json,
) -> PathBuf {
    let folder = out.join("items").join(&sample.id);
    fs::create_dir_all(&folder).unwrap();
    let item = FinishedItem { sample, explanations };
    let files = build("FiftyOne()").unwrap().write(&item, &folder).unwrap();
    assert!(files.iter().all(|file| folder.join(file).is_file()));
    let mut record = json!({"id": sample.id, "label": sample.label});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fs::write(folder.join("item.json"), record.to_string()).unwrap();
    folder
}

fn gather(out: &Path, items: &[PathBuf]) -> [Json; 2] {
    let record = r#"{"fame_version": "0.1.0", "model": {"name": "m"}, "recipe": {"file": "r"}}"#;
    fs::write(out.join("run.json"), record).unwrap();
    build("FiftyOne()").unwrap().gather(out, items).unwrap();
    ["samples.json", "metadata.json"].map(|name| read(&out.join(ROOT).join(name)))
}

fn read(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn row(explainer: &str, map: &str, quantity: &str, parameter: Json, value: f64) -> Json {
    json!({"explainer": explainer, "map": map, "metric": "Road", "quantity": quantity,
           "parameter": parameter, "value": value})
}

fn at(value: f64) -> Json {
    json!({"axis": "P", "unit": "percent", "value": value})
}

/// A document without what differs from one export to the next, as golden/export.py leaves it.
fn plain(document: &Json) -> Json {
    const OTHERS: [&str; 6] =
        ["_id", "_rand", "_dataset_id", "created_at", "last_modified_at", "size_bytes"];
    let Some(parts) = document.as_object() else { return document.clone() };
    let kept = parts.iter().filter(|(name, _)| !OTHERS.contains(&name.as_str()));
    Json::Object(kept.map(|(name, part)| (name.clone(), plain(part))).collect())
}

/// A field of the schema with its parts in the order of their names.
fn field(about: &Json) -> Json {
    const KEPT: [&str; 6] =
        ["name", "db_field", "ftype", "embedded_doc_type", "subfield", "read_only"];
    let mut parts: Vec<Json> = about["fields"].as_array().unwrap().iter().map(field).collect();
    parts.sort_by_key(|part| part["name"].as_str().unwrap().to_owned());
    let mut kept: serde_json::Map<String, Json> =
        KEPT.iter().map(|name| ((*name).to_owned(), about[name].clone())).collect();
    kept.insert("fields".to_owned(), parts.into());
    Json::Object(kept)
}

/// `golden/export.json` is what FiftyOne 1.22.1 exports of the same dataset; it imports ours.
#[test]
fn the_dataset_is_what_fiftyone_exports() {
    let golden: Json = serde_json::from_str(include_str!("golden/export.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut values = vec![0.0; 24];
    values[5] = 1.0;
    let explained = [("cam".to_owned(), explanation(vec![one("image", [4, 6], values)]))];
    let item = leave(
        dir.path(),
        &cut(),
        &explained,
        json!({"marks": {"genuine": true, "row": 7, "fold": "2", "weight": 0.5},
               "measurements": [row("cam", "image", "MoRF", at(10.0), 0.25)]}),
    );
    let [samples, metadata] = gather(dir.path(), &[item]);
    let samples: Vec<Json> = samples["samples"].as_array().unwrap().iter().map(plain).collect();
    assert_eq!(Json::from(samples), golden["samples"]);
    let fields = metadata["sample_fields"].as_array().unwrap();
    let mut fields: Vec<Json> = fields.iter().map(field).collect();
    fields.sort_by_key(|about| about["name"].as_str().unwrap().to_owned());
    assert_eq!(Json::from(fields), golden["sample_fields"]);
    assert_eq!((&metadata["version"], &metadata["info"]["model"]), (&json!("1.0.0"), &json!("m")));
    for file in ["data/a/image.png", "fields/cam/a/image.png"] {
        let picture = image::open(dir.path().join(ROOT).join(file)).unwrap();
        assert_eq!((picture.width(), picture.height()), (6, 4), "{file}");
    }
}

#[test]
fn a_heatmap_lies_over_the_photograph_where_the_network_saw_it() {
    let dir = tempfile::tempdir().unwrap();
    // Rows of the prepared picture: 0.2 in its left half, 0.8 in its right half.
    let values = [0.2, 0.2, 0.2, 0.8, 0.8, 0.8].repeat(4);
    let explained = [("cam".to_owned(), explanation(vec![one("image", [4, 6], values)]))];
    leave(dir.path(), &cut(), &explained, json!({}));
    let place = dir.path().join("items/a").join(ROOT);
    let gray = image::open(place.join("fields/cam/image.png")).unwrap().into_luma8();
    // Two of its pixels to one of the photograph: 0.2, their mean 0.5, 0.8; 0.8 is the highest.
    let [low, mean, high] = [64, 159, 255];
    for y in 0..4 {
        let row: Vec<u8> = (0..6).map(|x| gray.get_pixel(x, y).0[0]).collect();
        let seen = y == 1 || y == 2;
        assert_eq!(row, if seen { [0, low, mean, high, 0, 0] } else { [0; 6] }, "row {y}");
    }
    let about = read(&place.join(ABOUT));
    let heatmap = &about[0]["heatmaps"][0];
    assert_eq!((&heatmap["low"], about[0]["frame"].as_str()), (&json!(0.0), Some("photograph")));
    assert!((heatmap["high"].as_f64().unwrap() - 0.8).abs() < f64::from(f32::EPSILON));
}

#[test]
fn signed_maps_keep_their_zero_and_a_lost_geometry_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut lost = sample(&["image"], 1, 3);
    lost.pictures[0].1.geometry = Affine::scale_shift(0.0, 1.0, 0.0, 0.0);
    let explained =
        [("cam".to_owned(), explanation(vec![one("image", [1, 3], vec![-1.0, 0.0, 3.0])]))];
    leave(dir.path(), &lost, &explained, json!({}));
    let place = dir.path().join("items/s").join(ROOT);
    let gray = image::open(place.join("fields/cam/image.png")).unwrap().into_luma8();
    assert_eq!(gray.into_raw(), [0, 64, 255]);
    let about = read(&place.join(ABOUT));
    let heatmap = &about[0]["heatmaps"][0];
    assert_eq!((&heatmap["low"], &heatmap["high"]), (&json!(-1.0), &json!(3.0)));
    assert_eq!(about[0]["frame"], "prepared");
    // A map of another size than its picture is a mistake of the explainer.
    let wrong = [("cam".to_owned(), explanation(vec![one("image", [3, 1], vec![0.0; 3])]))];
    let item = FinishedItem { sample: &lost, explanations: &wrong };
    let other = tempfile::tempdir().unwrap();
    let error = build("FiftyOne()").unwrap().write(&item, other.path()).unwrap_err();
    assert_eq!(error.code, "fame::bug");
}

/// Both sides of a pair share the fields of a method; what was measured of one side is its own,
/// and what of neither is both's. Long curves make no fields, names that are taken get numbers.
#[test]
fn sides_share_fields_and_have_their_own_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let map = |role: &str, claim| {
        let id = MapId::new(role).about(Subject::Match).claiming(claim);
        map_of(id, Tensor::new([1, 2], vec![0.5, 1.0]).unwrap())
    };
    let maps = vec![map("gallery", Claim::For), map("probe", Claim::For)];
    let named = [("tags", maps.clone()), ("é 1", maps)];
    let explained = named.map(|(name, maps)| (name.to_owned(), explanation(maps)));
    let pair = Sample { id: "p".into(), ..sample(&["gallery", "probe"], 1, 2) };
    let curve =
        (0..=dataset::POINTS).map(|n| row("tags", "probe_similar", "curve", at(n as f64), 0.1));
    let mut rows: Vec<Json> = curve.collect();
    rows.extend([
        row("tags", "probe_similar", "auc", Json::Null, 0.5),
        row("tags", "both", "auc", Json::Null, 0.75),
        // Two parameters whose names differ in signs only.
        row("tags", "probe_similar", "x", json!("a-b"), 1.0),
        row("tags", "probe_similar", "x", json!("a+b"), 2.0),
    ]);
    let more = json!({"marks": {"item": "x", "note": null}, "measurements": rows});
    let item = leave(dir.path(), &pair, &explained, more);
    let [samples, metadata] = gather(dir.path(), std::slice::from_ref(&item));
    let [gallery, probe] = [0, 1].map(|n| samples["samples"][n].clone());
    assert_eq!((&gallery["role"], &probe["role"]), (&json!("gallery"), &json!("probe")));
    for side in [&gallery, &probe] {
        assert_eq!(side["tags"], json!([]));
        assert_eq!(side["tags_similar"]["_cls"], "Heatmap");
        assert_eq!(side["f_1_similar"]["_cls"], "Heatmap");
        assert_eq!((&side["item"], &side["item_2"]), (&json!("p"), &json!("x")));
        assert_eq!((&side["tags_both_Road_auc"], &side["note"]), (&json!(0.75), &Json::Null));
        assert!(side.get("predictions").is_none() && side.get("ground_truth").is_none());
    }
    assert_eq!(probe["tags_similar_Road_auc"], 0.5);
    assert!(gallery.get("tags_similar_Road_auc").is_none());
    // In the order of the parameters' own names.
    assert_eq!(probe["tags_similar_Road_x_a_b"], 2.0);
    assert_eq!(probe["tags_similar_Road_x_a_b_2"], 1.0);
    let fields: Vec<&str> = metadata["sample_fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|about| about["name"].as_str().unwrap())
        .collect();
    assert!(!fields.iter().any(|name| name.contains("curve")), "{fields:?}");
    let mut once = fields.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), fields.len());
    // Every value has a field.
    for name in probe.as_object().unwrap().keys().filter(|name| *name != "_id") {
        assert!(fields.contains(&name.as_str()), "{name}");
    }
    // The same items give the same bytes; fewer items, and the others' files are gone.
    let place = dir.path().join(ROOT);
    let list = fs::read(place.join("SHA256SUMS")).unwrap();
    gather(dir.path(), std::slice::from_ref(&item));
    assert_eq!(fs::read(place.join("SHA256SUMS")).unwrap(), list);
    let [samples, _] = gather(dir.path(), &[]);
    assert_eq!(samples, json!({"samples": []}));
    assert!(!place.join("data").exists());
}

#[test]
fn a_label_has_its_name_where_the_network_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let explained = [("cam".to_owned(), explanation(vec![one("image", [4, 6], vec![1.0; 24])]))];
    let wrong = Sample { label: Some(2), ..cut() };
    let item = leave(dir.path(), &wrong, &explained, json!({"label_name": "dog"}));
    let [samples, _] = gather(dir.path(), std::slice::from_ref(&item));
    let sample = &samples["samples"][0];
    let said = |field: &str| (sample[field]["label"].clone(), sample[field]["index"].clone());
    assert_eq!(said("ground_truth"), (json!("dog"), json!(2)));
    assert_eq!(said("predictions"), (json!("cat"), json!(1)));
    // A model without names leaves the number.
    let dir = tempfile::tempdir().unwrap();
    let item = leave(dir.path(), &wrong, &explained, json!({"label_name": null}));
    let [samples, _] = gather(dir.path(), &[item]);
    assert_eq!(samples["samples"][0]["ground_truth"]["label"], "2");
}

/// A probe among many: the enrolled pictures have no map, and would be samples without one for
/// every probe anew.
#[test]
fn pictures_without_a_map_are_left_out_where_another_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let probe = one("probe", [1, 2], vec![0.5, 1.0]);
    let sample = Sample { id: "p".into(), ..sample(&["probe", "ann", "bob"], 1, 2) };
    let explained = [("cam".to_owned(), explanation(vec![probe]))];
    let item = leave(dir.path(), &sample, &explained, json!({}));
    assert!(!item.join(ROOT).join("data/ann.png").exists());
    let [samples, _] = gather(dir.path(), &[item]);
    let roles = |samples: &Json| -> Vec<Json> {
        samples["samples"].as_array().unwrap().iter().map(|s| s["role"].clone()).collect()
    };
    assert_eq!(roles(&samples), ["probe"]);
    // Where nothing was explained every picture is shown.
    let none = Sample { id: "q".into(), ..sample };
    let item = leave(dir.path(), &none, &[], json!({}));
    let [samples, _] = gather(dir.path(), &[item]);
    assert_eq!(roles(&samples), ["probe", "ann", "bob"]);
}

#[test]
fn a_name_is_one_that_python_reads_as_an_attribute() {
    let names = ["fame", "3x", "a.b $c", "__", "P=0.5"].map(identifier);
    assert_eq!(names, ["fame", "f_3x", "a_b_c", "f_", "P_0_5"]);
}
