//! Readers of foreign bytes, given damaged copies of what they read: they may refuse, and must not
//! panic, hang or end the process.
//!
//! ```text
//! FAME_FUZZ_SECONDS=120 cargo test --workspace -- fuzz_ --test-threads=1 --nocapture
//! ```
//!
//! Those of readers that are nobody else's business stand beside them under names that begin alike:
//! parts, archives, declarations and records in fame-core, numpy's files and pickles in
//! fame-plugins. What was found, and mended, lies in `tests/golden/fuzz/<reader>` and is tried first.

#![allow(clippy::unwrap_used, reason = "a test that cannot prepare its files has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use fame_core::{
    Error, Plan,
    contract::{Backend, Dataset, GradientPlace, LoadRequest},
    plugin::PluginFile,
    recipe::RecipeText,
    registry::{BuildContext, Registry},
    store::{ModelManifest, ModelStore},
    testkit::{FolderFiles, build, fuzz},
    text::Spec,
};
use fame_plugins::{RECIPE_DEFAULTS, pictures};
use fame_tests::root;

/// The files in `folder` of the repository with this ending that are no larger than `most` bytes, by
/// name.
fn seeds(folder: &str, ending: &str, most: u64) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let is_seed = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == ending) && fs::metadata(path).unwrap().len() <= most
    };
    let mut paths: Vec<PathBuf> = entries.filter(is_seed).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder} has seeds");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What was found before and must not come again.
fn found(reader: &str) -> Vec<Vec<u8>> {
    let folder = root().join("tests/golden/fuzz").join(reader);
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn fuzz_recipes() {
    let corpus = [found("recipes"), seeds("recipes", "ron", 4096)].concat();
    let words = [
        "Fame(",
        "Lots(iterations: ",
        "Smooth(",
        "Sum(",
        "\"embedding\"",
        "Index(",
        "plugins: [",
        "size: ",
        "Resize(width: ",
        "(((",
        "r#\"",
        "/*",
        "'\\u{",
        ")",
        "]",
        "}",
        "seed: ",
    ];
    let registry = Registry::builtin().unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Of the repository's models only the manifests: nothing is fetched.
    let store = ModelStore::new(dir.path().join("cache")).with_folder(root().join("models"));
    fuzz("recipes", &corpus, &words, |bytes| {
        let mut recipe = RecipeText::new("r.ron", text(bytes)).with_defaults(RECIPE_DEFAULTS);
        let _ = recipe.set(&text(&bytes[..bytes.len().min(40)]));
        let _ = recipe.set("explain.fame.perturbation.iterations=2");
        if let Ok(plan) = Plan::resolve(recipe, dir.path(), &registry, &store) {
            let _ = plan.record();
        }
    });
}

#[test]
fn fuzz_manifests() {
    let corpus = [found("manifests"), seeds("models", "ron", 4096)].concat();
    let words = [
        "File(",
        "Npm(",
        "PyPi(",
        "Converted(",
        "sha256: ",
        "size: (",
        "mean: ",
        "labels: List([",
        "layers: {",
        "fixed: {",
        "layout: ",
        "(((",
        "\u{0}",
        "../",
    ];
    fuzz("manifests", &corpus, &words, |bytes| {
        if let Ok(manifest) = ModelManifest::parse("net", &text(bytes), Some(Path::new("."))) {
            let _ = (manifest.located_inputs(), manifest.source);
        }
    });
}

/// Every data set that reads lists.
const READERS: [&str; 8] = [
    r#"ImageList(list: "list.txt")"#,
    r#"ImageList(list: "list.txt", columns: ["path", "wnid", "label"], classes: "list.txt")"#,
    r#"Pairs(list: "list.txt")"#,
    r#"LfwPairs(pairs: "list.txt", root: ".")"#,
    r#"CfpPairs(root: ".", protocol: FP)"#,
    r#"BobCsv(protocol: "bob", group: "eval", root: ".")"#,
    r#"ImageNet(root: "val", list: "list.txt", classes: "list.txt", boxes: "val")"#,
    r#"Folder(path: "val")"#,
];

/// Lists that they read.
const LISTS: [&str; 12] = [
    "file,label,box\na.png,3,1 2 30 40\n\"b,c.png\",0,\n",
    "gallery,probe,genuine,fold\na.png,b.png,1,1\nb.png,a.png,0,2\n",
    "G,P,T\na.png,b.png,1\n",
    "a.png b.png 1\n",
    "2\t1\nA\t1\t2\nA\t1\tB\t2\nC\t1\t2\nC\t1\tD\t1\n",
    "1 ../Data/Images/001/frontal/01.jpg\n2 ../Data/Images/001/frontal/02.jpg\n",
    "1,1\n2,1\n",
    "path,template_id,subject\na,tA,A\nb,tB,B\n",
    "enroll_template_id,probe_template_id\ntB,qA\n",
    "ImageId,PredictionString\na,n02 0 0 2 3 \n",
    "n01440764 tench, Tinca tinca\nn01443537 goldfish\n",
    "<annotation><size><width>9</width></size><object><name>n02</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object></annotation>",
];

/// Where they look for them.
const PLACES: [&str; 9] = [
    "list.txt",
    "Protocol/Pair_list_F.txt",
    "Protocol/Pair_list_P.txt",
    "Protocol/Split/FP/01/same.txt",
    "Protocol/Split/FP/01/diff.txt",
    "bob/eval/for_enrolling.csv",
    "bob/eval/for_probing.csv",
    "bob/eval/for_matching.csv",
    "val/a.xml",
];

#[test]
fn fuzz_lists_and_protocols() {
    let corpus: Vec<Vec<u8>> =
        found("lists").into_iter().chain(LISTS.map(std::convert::Into::into)).collect();
    let words =
        [",", "\t", "\n", "\r", "\"", ";", "../", "/etc/passwd", "1e9", "file", "label", "a.png"];
    let registry = Registry::builtin().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = FolderFiles(dir.path());
    let put = |place: &str, bytes: &[u8]| {
        let place = dir.path().join(place);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, bytes).unwrap();
    };
    let mut picture = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(9, 7).write_to(&mut picture, image::ImageFormat::Png).unwrap();
    for name in ["a.png", "b.png", "val/a.png"] {
        put(name, picture.get_ref());
    }
    let readers: Vec<_> = READERS
        .iter()
        .map(|spec| {
            let with = BuildContext::new(&registry, dir.path());
            let built = registry.build::<dyn Dataset>(&Spec::from_text(spec).unwrap(), &with);
            built.unwrap_or_else(|p| panic!("{spec}: {p:?}"))
        })
        .collect();
    fuzz("lists", &corpus, &words, |bytes| {
        PLACES.iter().for_each(|place| put(place, bytes));
        for reader in &readers {
            if let Ok(items) = reader.plugin.index(&files) {
                let _ = (reader.plugin.contents(&items), reader.plugin.notes(&items));
                items.iter().take(3).for_each(|item| drop(reader.plugin.load(item, &files)));
            }
        }
    });
}

#[test]
fn fuzz_pictures() {
    let drawn = image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 99]));
    let drawn = image::DynamicImage::ImageRgb8(drawn);
    let formats = [
        image::ImageFormat::Png,
        image::ImageFormat::Jpeg,
        image::ImageFormat::Bmp,
        image::ImageFormat::Gif,
        image::ImageFormat::Tiff,
        image::ImageFormat::WebP,
    ];
    let mut corpus = found("pictures");
    for format in formats {
        let mut bytes = std::io::Cursor::new(Vec::new());
        drawn.write_to(&mut bytes, format).unwrap();
        corpus.push(bytes.into_inner());
    }
    fuzz("pictures", &corpus, &["IHDR", "IDAT", "acTL", "\u{0}\u{1}"], |bytes| {
        let _ = pictures::decode(bytes, "x");
    });
}

#[test]
fn fuzz_onnx() {
    let mut corpus = found("onnx");
    for family in [
        "activation",
        "conv",
        "move",
        "pool",
        "product",
        "quantised",
        "recurrent",
        "reduce",
        "resize",
        "space",
    ] {
        corpus.extend(
            seeds(&format!("tests/golden/ops/{family}"), "onnx", 1200).into_iter().take(12),
        );
    }
    let words = [
        "Conv",
        "Reshape",
        "Loop",
        "If",
        "Resize",
        "Pad",
        "ConstantOfShape",
        "Range",
        "Tile",
        "Expand",
        "batch",
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("net.onnx");
    let backend = build::<dyn Backend>("Tract()").unwrap().plugin;
    // The guard around every backend would make an error of a panic that the engine's own reader
    // has not caught.
    let looked_at = |result: Result<(), Error>| {
        let error = result.err().filter(|error| error.code == "fame::plugin::panicked");
        assert!(error.is_none(), "{error:?}");
    };
    fuzz("onnx", &corpus, &words, |bytes| {
        fs::write(&file, bytes).unwrap();
        let request = LoadRequest::new(&file);
        looked_at(backend.files(&request).map(|_| ()));
        let network = backend.load(&request);
        if let Ok(network) = &network {
            for layer in network.layers() {
                looked_at(network.check_gradient(&layer.name, &GradientPlace::Input));
            }
        }
        looked_at(network.map(|_| ()));
    });
}

#[test]
fn fuzz_plugin_files() {
    let corpus = [found("plugins"), seeds("tests/golden/fuzz", "so", 1 << 14)].concat();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plugin.so");
    fuzz("plugins", &corpus, &[".fame_plugin", "\u{7f}ELF", ".shstrtab"], |bytes| {
        fs::write(&file, bytes).unwrap();
        if let Ok(plugin) = PluginFile::read(&file) {
            let _ = (plugin.fits(), plugin.record());
        }
    });
}
