use fame_core::{NamedMap, Tensor, registry::Registry};
use npyz::WriterBuilder as _;

use super::*;

fn running(dir: &Path, rest: &str) -> PrecomputedExplainer {
    let registry = Registry::builtin().unwrap();
    let mut parameters: Precomputed =
        fame_core::text::parse(&format!("(dir: {dir:?}{rest})")).unwrap();
    let with = BuildContext::new(&registry, Path::new("/"));
    let steps = std::mem::take(&mut parameters.map);
    assert!(steps.is_empty());
    PrecomputedExplainer {
        folder: with.folder.join(&parameters.dir),
        parameters,
        finish: Finish::none(),
    }
}

fn save<T: npyz::AutoSerialize + Copy>(
    path: &Path,
    shape: &[u64],
    order: npyz::Order,
    values: &[T],
) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut bytes = Vec::new();
    let mut npy = npyz::WriteOptions::new()
        .default_dtype()
        .shape(shape)
        .order(order)
        .writer(&mut bytes)
        .begin_nd()
        .unwrap();
    npy.extend(values.iter().copied()).unwrap();
    npy.finish().unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn pair() -> Sample {
    let picture = || fame_core::Picture::new(Tensor::zeros([3, 2, 3]), "x").unwrap();
    Sample {
        id: "7".into(),
        pictures: vec![("gallery".into(), picture()), ("probe".into(), picture())],
        ..Sample::default()
    }
}

fn input() -> InputConvention {
    let order = fame_core::data::ChannelOrder::Rgb;
    InputConvention {
        channels: 3,
        height: 2,
        width: 3,
        order,
        mean: vec![0.0; 3],
        std: vec![1.0; 3],
    }
}

const VALUES: [f32; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];

#[test]
fn the_authors_layout_and_ours_are_read() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("7_g_pos.npy"), &[2, 3], npyz::Order::C, &VALUES);
    save(&dir.path().join("7_p_neg.npy"), &[1, 2, 3], npyz::Order::C, &VALUES.map(f64::from));
    save(
        &dir.path().join("7/fame.probe.npy"),
        &[2, 3],
        npyz::Order::Fortran,
        &[0.0f32, 0.6, 0.2, 0.8, 0.4, 1.0],
    );
    let explanation = running(dir.path(), "").sample(&input(), &pair()).unwrap();
    let names: Vec<String> = explanation.maps.iter().map(NamedMap::name).collect();
    assert_eq!(names, ["gallery_similar", "probe_dissimilar"]);
    let claims: Vec<Claim> = explanation.maps.iter().map(|m| m.id.claim).collect();
    assert_eq!(claims, [Claim::For, Claim::Against]);
    assert!(
        explanation
            .maps
            .iter()
            .all(|m| m.finished == Tensor::new([2, 3], VALUES.to_vec()).unwrap())
    );
    assert_eq!(
        explanation.warnings.len(),
        2,
        "two of the four are missing: {:?}",
        explanation.warnings
    );
    let ours = running(dir.path(), r#", pattern: "{id}/fame.{role}.npy", roles: Some(["probe"])"#)
        .sample(&input(), &pair())
        .unwrap();
    assert_eq!(
        (ours.maps[0].name().as_str(), ours.maps[0].finished.data()),
        ("probe", &VALUES[..])
    );
}

#[test]
fn the_files_of_an_item_are_known_before_its_pictures_are() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["7_g_pos.npy", "7_p_neg.npy", "8_g_pos.npy", "7_p_other.npy", "7_g_[x].npy"] {
        save(&dir.path().join(name), &[2, 3], npyz::Order::C, &VALUES);
    }
    let item = ItemRef { id: "7".into(), files: vec![], note: String::new() };
    let files = running(dir.path(), "").files(&item).unwrap();
    assert_eq!(files, ["7_g_pos.npy", "7_p_neg.npy"].map(|name| dir.path().join(name)));
    let odd = running(dir.path(), r#", pattern: "{id}_{side}{role}_[x].npy""#);
    assert_eq!(odd.files(&item).unwrap(), [dir.path().join("7_g_[x].npy")]);
    let nested = running(dir.path(), r#", pattern: "{role}/{id}.npy""#);
    assert!(nested.files(&item).unwrap().is_empty());
    save(&dir.path().join("probe/7.npy"), &[2, 3], npyz::Order::C, &VALUES);
    assert_eq!(nested.files(&item).unwrap(), [dir.path().join("probe/7.npy")]);
}

#[test]
fn the_authors_maps_of_pictures_are_found_by_name_and_class() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("val_5_7.npy"), &[2, 3], npyz::Order::C, &VALUES);
    save(&dir.path().join("val_51_7.npy"), &[2, 3], npyz::Order::C, &VALUES);
    let picture = fame_core::Picture::new(Tensor::zeros([3, 2, 3]), "in/val_5.JPEG").unwrap();
    // The id of a picture that is listed twice.
    let sample = Sample {
        id: "val_5-2".into(),
        label: Some(7),
        pictures: vec![("image".into(), picture)],
        ..Sample::default()
    };
    let reads = running(dir.path(), r#", pattern: "{stem}_{label}.npy""#);
    assert_eq!(reads.sample(&input(), &sample).unwrap().maps[0].finished.data(), VALUES);
    let item = ItemRef { id: sample.id, files: vec!["in/val_5.JPEG".into()], note: String::new() };
    assert_eq!(reads.files(&item).unwrap(), [dir.path().join("val_5_7.npy")]);
}

#[test]
fn patterns_stay_below_their_folder_and_know_their_places() {
    let registry = Registry::builtin().unwrap();
    let with = BuildContext::new(&registry, Path::new("/"));
    let problems = |pattern: &str| {
        let spec =
            Spec::from_text(&format!("Precomputed(dir: \"maps\", pattern: {pattern:?})")).unwrap();
        registry
            .build::<dyn Explainer>(&spec, &with)
            .err()
            .map(|p| p[0].message.clone())
            .unwrap_or_default()
    };
    for good in ["{id}/fame.{role}_{map}.npy", "{id}_{side}_{sign}.npy", "./{id}.npy"] {
        assert_eq!(problems(good), "", "{good}");
    }
    for (bad, says) in [
        ("/tmp/{id}.npy", "below"),
        ("../{id}.npy", "below"),
        ("{id}/../../x.npy", "below"),
        ("{index}_{id}.npy", "knows"),
        ("a.npy", "{id}"),
    ] {
        assert!(problems(bad).contains(says), "{bad}: {}", problems(bad));
    }
}

#[test]
fn a_wrong_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let says = |explained: Result<Explanation>| explained.unwrap_err().message;
    assert!(says(running(dir.path(), "").sample(&input(), &pair())).contains("7_g_pos.npy"));
    save(&dir.path().join("7_g_pos.npy"), &[3, 2], npyz::Order::C, &VALUES);
    let message = says(running(dir.path(), "").sample(&input(), &pair()));
    assert!(
        message.contains("7_g_pos.npy")
            && message.contains("2 × 3 pixels")
            && message.contains("3 × 2"),
        "{message}"
    );
    std::fs::write(dir.path().join("7_g_pos.npy"), "no").unwrap();
    assert!(
        says(running(dir.path(), "").sample(&input(), &pair()))
            .contains("is neither a .npy file nor a picture")
    );
    save(&dir.path().join("7_g_pos.npy"), &[2, 3], npyz::Order::C, &[7i32; 6]);
    let message = says(running(dir.path(), "").sample(&input(), &pair()));
    assert!(message.contains("whole numbers up to 7"), "{message}");
}

#[test]
fn what_whole_numbers_mean_is_known_told_or_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("7_g_pos.npy");
    let map = |rest: &str| {
        let explained =
            running(dir.path(), &format!(r#", maps: ["similar"], roles: Some(["gallery"]){rest}"#))
                .sample(&input(), &pair())
                .unwrap();
        (explained.maps[0].finished.data().to_vec(), explained.warnings)
    };
    let tenths = |n: u16| (0..6).map(|i| n * i).collect::<Vec<u16>>();
    save(&path, &[2, 3], npyz::Order::C, &tenths(51).iter().map(|v| *v as u8).collect::<Vec<_>>());
    assert_eq!(map(""), (VALUES.to_vec(), vec![]));
    save(&path, &[2, 3], npyz::Order::C, &tenths(13107));
    assert_eq!(map(""), (VALUES.to_vec(), vec![]));
    save(&path, &[2, 3], npyz::Order::Fortran, &[0u8, 1, 1, 0, 1, 0]);
    let (values, warnings) = map("");
    assert_eq!(values, [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    assert!(warnings[0].contains("nothing but 0 and 1"), "{warnings:?}");
    assert_eq!(map(", range: (0, 1)"), (values, vec![]));
    let percent = [0.0f32, 20.0, 40.0, 60.0, 80.0, 100.0];
    save(&path, &[2, 3], npyz::Order::C, &percent);
    let (values, warnings) = map("");
    assert_eq!(values, percent);
    assert!(warnings[0].contains("reaches 100"), "{warnings:?}");
    assert_eq!(map(", range: (0, 100)"), (VALUES.to_vec(), vec![]));
    save(&path, &[2, 3], npyz::Order::C, &[0i64, 20, 40, 60, 80, 100]);
    assert_eq!(map(", range: (0, 100)"), (VALUES.to_vec(), vec![]));
}

#[test]
fn a_gray_picture_is_a_map_and_a_coloured_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let reads = || running(dir.path(), r#", pattern: "{id}_{side}.png", roles: Some(["probe"])"#);
    let path = dir.path().join("7_p.png");
    image::GrayImage::from_raw(3, 2, vec![0, 51, 102, 153, 204, 255]).unwrap().save(&path).unwrap();
    let explained = reads().sample(&input(), &pair()).unwrap();
    assert_eq!(explained.maps[0].finished.data(), VALUES);
    assert!(explained.warnings.is_empty());
    image::RgbImage::from_pixel(3, 2, image::Rgb([9, 9, 200])).save(&path).unwrap();
    let error = reads().sample(&input(), &pair()).unwrap_err();
    assert!(error.message.contains("is a coloured picture"), "{error}");
}

/// The parser of headers takes exponential time for brackets within brackets.
#[test]
fn a_header_of_nested_brackets_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let header =
        format!("{{'descr': {}, 'fortran_order': False, 'shape': (2, 3)}}\n", "[".repeat(60));
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    std::fs::write(dir.path().join("7_g_pos.npy"), bytes).unwrap();
    let clock = std::time::Instant::now();
    let error = running(dir.path(), "").sample(&input(), &pair()).unwrap_err();
    assert!(error.message.contains("holds records"), "{error}");
    assert!(clock.elapsed().as_secs() < 5);
}

#[cfg(unix)]
#[test]
fn a_device_is_no_map() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("7_g_pos.npy")).unwrap();
    // It is no file, so it counts as not there.
    let error = running(dir.path(), "").sample(&input(), &pair()).unwrap_err();
    assert_eq!(error.code, "fame::precomputed::no_map");
}
