//! What this plugin promises, checked with fame's test kit.

use std::path::Path;

use fame_core::{
    Result,
    contract::Dataset,
    testkit::{FolderFiles, Trial, build, check_dataset, check_plugin, registry},
};
use scaffold_crate::Scaffold;

/// Writes a list and two pictures of the size that the kit's network takes.
fn workshop(folder: &Path, list: &str) -> Result<()> {
    std::fs::create_dir(folder.join("pictures")).unwrap();
    std::fs::write(folder.join("pictures/list.csv"), list).unwrap();
    for (name, shade) in [("cat.png", 40u8), ("dog.png", 90)] {
        let picture =
            image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([shade, 20 * x as u8, 30 * y as u8]));
        picture.save(folder.join("pictures").join(name)).unwrap();
    }
    Ok(())
}

const LIST: &str = "# two of them\ncat.png,1\n\ndog.png\n";

#[test]
fn it_is_a_plugin() {
    check_plugin::<dyn Dataset, Scaffold>().unwrap();
    assert!(build::<dyn Dataset>(r#"Scaffold(list: "")"#).is_err());
}

#[test]
fn its_items_are_named_stable_and_load() {
    let folder = tempfile::tempdir().unwrap();
    workshop(folder.path(), LIST).unwrap();
    let data = Scaffold { list: "pictures/list.csv".to_owned() };
    assert_eq!(check_dataset(&data, folder.path()).unwrap(), 2);
    let files = FolderFiles(folder.path());
    let items = data.index(&files).unwrap();
    assert_eq!((items[0].id.as_str(), items[1].id.as_str()), ("2-cat", "4-dog"));
    let sample = data.load(&items[0], &files).unwrap();
    assert_eq!((sample.label, sample.pictures[0].1.pixels.data()[0]), (Some(1), 40.0 / 255.0));
}

#[test]
fn every_malformed_line_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    workshop(folder.path(), "cat.png,one\n,3\ndog.png,0\n").unwrap();
    let data = Scaffold { list: "pictures/list.csv".to_owned() };
    let said = data.index(&FolderFiles(folder.path())).unwrap_err().message;
    assert!(
        said.contains("line 1: `one` is not a class") && said.contains("line 2: names no picture"),
        "{said}"
    );
}

#[test]
fn a_recipe_with_it_runs() {
    let recipe = r#"data: Scaffold(list: "pictures/list.csv")"#;
    let trial =
        Trial::run_with(recipe, &registry().unwrap(), |folder| workshop(folder, LIST)).unwrap();
    assert!(trial.summary.done == 2 && trial.item("4-dog").exists());
}
