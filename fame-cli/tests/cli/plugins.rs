//! Plugins that are loaded: what is refused and why, what a plugin may do wrong without taking fame
//! with it, and that a loaded plugin computes what a linked one does.

use std::{env::consts, fs};

use fame_core::{
    Plan,
    data::sha256_file,
    recipe::RecipeText,
    registry::Registry,
    run::{Event, Observer, RunOptions},
    store::ModelStore,
};
// Linked, to compare with the same plugins loaded.
use fame_fixture_good as _;
// And a second one in the same binary: what they export has names of its own.
use fame_fixture_faulty as _;
use fame_plugins as _;

use super::*;

/// A fixture's library. It is built with these tests and lies beside them.
fn library(name: &str) -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let file =
        folder.join(format!("{}fame_fixture_{name}{}", consts::DLL_PREFIX, consts::DLL_SUFFIX));
    assert!(file.exists(), "{} is not there", file.display());
    file
}

/// A workshop with the fixture `name` in it as `plugin.so`, its bytes changed by `change`.
fn with_plugin(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let dir = workshop();
    let mut bytes = fs::read(library(name)).unwrap();
    change(&mut bytes);
    fs::write(dir.path().join("plugin.so"), bytes).unwrap();
    dir
}

/// Overwrites `field` of the declaration: its text begins with `old`, which is unique after the
/// declaration's first bytes.
fn patch(bytes: &mut [u8], old: &str, new: &str) {
    let start = declaration(bytes);
    let at = start
        + bytes[start..start + 640].windows(old.len()).position(|w| w == old.as_bytes()).unwrap();
    assert_eq!(old.len(), new.len(), "text of the same length");
    bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
}

/// Where the declaration begins.
fn declaration(bytes: &[u8]) -> usize {
    let first = b"fame plugin\0\0\0\0\x01";
    // The constant that the declaration is made from stands elsewhere too, without a size behind
    // it.
    let is_one = |at: &usize| bytes[at + 16..at + 20] == 640u32.to_le_bytes();
    bytes
        .windows(first.len())
        .enumerate()
        .filter(|(_, w)| w == first)
        .map(|(at, _)| at)
        .find(is_one)
        .unwrap()
}

/// Text without the frame around it and without blanks: lines are broken anywhere.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !"│×╭╰─┬·".contains(*c)).collect()
}

/// What fame said on standard error, [`bare`].
fn plainly(output: &Output) -> String {
    bare(&stderr(output))
}

/// Whether fame said this on standard error, wherever its lines are broken.
fn says(output: &Output, part: &str) -> bool {
    plainly(output).contains(&bare(part))
}

/// `fame-cli` refuses with this code of the process, and says all of `parts`. It never dies of it.
fn refused(dir: &Path, arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let output = fame(dir, arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for part in parts {
        assert!(says(&output, part), "`{part}` is missing in: {said}");
    }
    assert!(!said.contains("has a bug and must stop"), "{said}");
    said
}

const RECIPE: &str = r#"(model: "net.onnx", data: Pair(gallery: "a.png", probe: "b.png"), prepare: [], write: [Npy()], explain: {"fame":
    Fame(layer: Output, loss: FixtureLength(weight: 2.0), perturbation: Lots(iterations: 3), map: [Gray(), MaxNormalize()])})"#;

struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: &Event<'_>) {}
}

/// The maps below `out`, by name.
fn maps(out: &Path) -> Vec<(String, Vec<u8>)> {
    let item = out.join("items/a--b");
    let mut all: Vec<(String, Vec<u8>)> = fs::read_dir(item)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "npy"))
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read(p).unwrap()))
        .collect();
    all.sort();
    assert_eq!(all.len(), 2, "one map for each face");
    all
}

#[test]
fn a_loaded_plugin_gives_the_bytes_of_a_linked_one() {
    let dir = with_plugin("good", |_| ());
    let folder = dir.path();
    fs::write(folder.join("r.ron"), RECIPE).unwrap();
    let unknown = fame(folder, &["check", "r.ron"]);
    assert!(
        says(&unknown, "no loss is named `FixtureLength`"),
        "fame-cli itself has no fixture: {}",
        stderr(&unknown)
    );
    let by_option = fame(folder, &["run", "r.ron", "--out", "option", "--plugin", "plugin.so"]);
    assert!(by_option.status.success(), "{}", stderr(&by_option));
    fs::create_dir(folder.join("recipes")).unwrap();
    let naming = RECIPE
        .replace("(model: \"net", "(plugins: [\"../plugin.so\"], model: \"../net")
        .replace(": \"a.png", ": \"../a.png")
        .replace(": \"b.png", ": \"../b.png");
    fs::write(folder.join("recipes/r.ron"), naming).unwrap();
    let by_recipe = fame(folder, &["run", "recipes/r.ron", "--out", "recipe"]);
    assert!(by_recipe.status.success(), "{}", stderr(&by_recipe));

    let store = ModelStore::new(folder.join("cache"));
    let plan = Plan::resolve(
        RecipeText::new("r.ron", RECIPE).with_defaults(fame_plugins::RECIPE_DEFAULTS),
        folder,
        &Registry::builtin().unwrap(),
        &store,
    )
    .unwrap();
    let options = RunOptions::new(folder.join("linked"));
    fame_core::run::run(&plan, &store, &options, &Nobody).unwrap();

    let linked = maps(&folder.join("linked"));
    assert!(
        maps(&folder.join("option")) == linked && maps(&folder.join("recipe")) == linked,
        "the same bytes all three ways"
    );
}

#[test]
fn the_record_says_which_plugin_it_was_and_a_rebuilt_one_computes_again() {
    let dir = with_plugin("good", |_| ());
    let folder = dir.path();
    fs::write(folder.join("r.ron"), RECIPE).unwrap();
    let run = |status: &str| {
        let output = fame(folder, &["run", "r.ron", "--out", "out", "--plugin", "plugin.so"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let record = record(&folder.join("out"));
        assert_eq!(record["items"][0]["status"], status);
        record["plan"]["plugins"][0].clone()
    };
    let plugin = run("done");
    let sha256 = sha256_file(&folder.join("plugin.so")).unwrap();
    let name = concat!("fame-fixture-good ", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        plugin,
        serde_json::json!({ "plugins": [name], "file": "plugin.so", "sha256": sha256 })
    );
    run("kept");
    // Another build of the same source: other bytes, and nobody knows what changed.
    let mut bytes = fs::read(folder.join("plugin.so")).unwrap();
    bytes.push(0);
    fs::remove_file(folder.join("plugin.so")).unwrap();
    fs::write(folder.join("plugin.so"), bytes).unwrap();
    assert_ne!(run("done"), plugin);
}

#[test]
fn a_plugin_serves_every_command_that_knows_plugins() {
    let dir = with_plugin("good", |_| ());
    let plugin = ["--plugin", "plugin.so"];
    let ok = |arguments: &[&str]| {
        let output = fame(dir.path(), &[arguments, &plugin].concat());
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    fs::write(dir.path().join("r.ron"), RECIPE).unwrap();
    assert!(ok(&["check", "r.ron"]).contains("is fine"));
    let described = ok(&["describe", "FixtureLength"]);
    for part in [
        "weight: number, default 1",
        "any number above 0",
        "from       fame-fixture-good",
        "(plugin.so)",
    ] {
        assert!(described.contains(part), "{part}: {described}");
    }
    assert!(ok(&["inspect", "./net.onnx"]).contains("can be explained"));
    let listed = ok(&["plugin", "list"]);
    assert!(
        listed.contains("fame-plugins 0.1.0, built in")
            && listed.contains("(plugin.so), loaded\n  loss          FixtureLength"),
        "{listed}"
    );
    let listed: serde_json::Value =
        serde_json::from_str(&ok(&["plugin", "list", "--json"])).unwrap();
    let is_built_in = |name: &str| {
        listed.as_array().unwrap().iter().find(|p| p["name"] == name).unwrap()["built_in"].clone()
    };
    assert_eq!((is_built_in("FixtureLength"), is_built_in("Lots")), (false.into(), true.into()));
    refused(
        dir.path(),
        &["align", "a.png", "--out", "x", "--plugin", "nowhere.so"],
        1,
        &["there is no plugin `nowhere.so`"],
    );
}

/// Code that cannot run: every byte of the machine code is a breakpoint.
#[test]
fn checking_a_plugin_runs_nothing_of_it() {
    let dir = with_plugin("good", |bytes| {
        let (at, len) = {
            let elf = object::File::parse(&**bytes).unwrap();
            object::ObjectSection::file_range(
                &object::Object::section_by_name(&elf, ".text").unwrap(),
            )
            .unwrap()
        };
        bytes[at as usize..(at + len) as usize].fill(0xCC);
    });
    let output = fame(dir.path(), &["plugin", "check", "plugin.so"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    for part in [
        "fame-fixture-good 0.1.0",
        "compiler          rustc 1.",
        "fame-core source",
        "It fits this fame and would be loaded. Nothing of it was run.",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// What must be refused, by whichever way it comes in, and the same by `plugin check`.
fn refused_every_way(dir: &Path, parts: &[&str]) {
    refused(dir, &["plugin", "check", "plugin.so"], 1, parts);
    refused(dir, &["describe", "--plugin", "plugin.so"], 1, parts);
    fs::write(dir.join("r.ron"), RECIPE.replace("(model", "(plugins: [\"plugin.so\"], model"))
        .unwrap();
    let said = refused(dir, &["run", "r.ron", "--out", "out"], 2, parts);
    assert!(
        said.contains("this plugin is not loaded") && said.contains("r.ron:1:12"),
        "the place in the recipe: {said}"
    );
    assert!(
        said.contains("1 error") && !said.contains("no loss is named"),
        "what follows from it is not said again: {said}"
    );
    assert!(!dir.join("out").exists(), "nothing ran");
}

#[test]
fn a_plugin_of_another_compiler_is_refused() {
    let dir = with_plugin("good", |bytes| patch(bytes, "rustc 1.95", "rustc 1.97"));
    refused_every_way(
        dir.path(),
        &[
            "plugin `fame-fixture-good 0.1.0` was built by `rustc 1.97.0",
            "and this fame by `rustc 1.95.0",
            "Build the plugin with this fame's compiler: `cargo +1.95.0 build --release`",
        ],
    );
}

#[test]
fn a_plugin_of_another_fame_core_is_refused() {
    let source = fame_core::plugin::Declared::host().source;
    let dir = with_plugin("good", |bytes| patch(bytes, &source, "0123456789abcdef"));
    refused_every_way(
        dir.path(),
        &[
            "was built against fame-core 0.1.0 with the source 0123456789abcdef, and this fame's has the source",
            &source,
            "Build the plugin again against the fame-core of this program",
        ],
    );
    let layout = fame_core::plugin::Declared::host().layout;
    let dir = with_plugin("good", |bytes| patch(bytes, &layout, "0123456789abcdef"));
    refused_every_way(
        dir.path(),
        &["lays out fame-core's types as 0123456789abcdef", &layout, "compiler flags"],
    );
    let target = fame_core::plugin::Declared::host().target;
    let other = target.replace("linux", "beosx");
    let dir = with_plugin("good", |bytes| patch(bytes, &target, &other));
    refused_every_way(
        dir.path(),
        &[&format!("was built for `{other}`, and this fame runs on `{target}`")],
    );
}

#[test]
fn a_damaged_declaration_is_refused() {
    let dir = with_plugin("good", |bytes| {
        let at = declaration(bytes);
        bytes[at] = b'F';
    });
    refused_every_way(
        dir.path(),
        &[
            "`plugin.so`",
            "does not begin as a declaration of a plugin does",
            "Build the plugin again",
        ],
    );
    let dir = with_plugin("good", |bytes| {
        let at = declaration(bytes);
        bytes[at + 16..at + 20].copy_from_slice(&600u32.to_le_bytes());
    });
    refused_every_way(
        dir.path(),
        &[
            "its declaration has 600 bytes, and this fame 0.1.0 reads declarations of 640 bytes",
            "Build the plugin again against",
        ],
    );
}

/// A library that this process has open: the C library's mathematics, or the C library itself.
fn a_system_library() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let files = || maps.lines().filter_map(|l| l.split_whitespace().nth(5));
    let found = files()
        .find(|f| f.contains("/libm.so") || f.contains("/libm-"))
        .or_else(|| files().find(|f| f.contains("/libc.so")));
    PathBuf::from(found.unwrap())
}

#[test]
fn what_is_no_plugin_is_refused() {
    let dir = workshop();
    let put = |bytes: Vec<u8>| fs::write(dir.path().join("plugin.so"), bytes).unwrap();
    put(fs::read(a_system_library()).unwrap());
    refused_every_way(
        dir.path(),
        &[
            "it is a library, but not a plugin of fame: it has no declaration",
            "fame_core::export_plugin!();",
        ],
    );
    let whole = fs::read(library("good")).unwrap();
    put(whole[..whole.len() / 2].to_vec());
    refused_every_way(
        dir.path(),
        &["`plugin.so`: it is not a shared library, or it is cut short", "cdylib"],
    );
    put(whole[..30].to_vec());
    refused_every_way(dir.path(), &["it is not a shared library, or it is cut short"]);
    put(b"I am a text.\n".to_vec());
    refused_every_way(dir.path(), &["it is not a shared library, or it is cut short"]);
    put(Vec::new());
    refused_every_way(dir.path(), &["it is not a shared library, or it is cut short"]);
    fs::remove_file(dir.path().join("plugin.so")).unwrap();
    fs::write(dir.path().join("plugins.so"), whole).unwrap();
    refused_every_way(
        dir.path(),
        &["there is no plugin `", "plugin.so`", "did you mean `plugins.so`?"],
    );
    fs::create_dir(dir.path().join("plugin.so")).unwrap();
    refused_every_way(dir.path(), &["plugin.so` is not a file", "A plugin is a shared library"]);
}

#[test]
fn a_name_that_is_taken_is_refused_with_both_origins() {
    let dir = with_plugin("good", |_| ());
    fs::copy(dir.path().join("plugin.so"), dir.path().join("again.so")).unwrap();
    let origins = [
        "two plugins are called loss `FixtureLength`: one from fame-fixture-good 0.1.0 (plugin.so), one from fame-fixture-good 0.1.0 (again.so)",
    ];
    refused(
        dir.path(),
        &["plugin", "list", "--plugin", "plugin.so", "--plugin", "again.so"],
        1,
        &origins,
    );
    fs::write(
        dir.path().join("r.ron"),
        RECIPE.replace("(model", "(plugins: [\"plugin.so\", \"again.so\"], model"),
    )
    .unwrap();
    refused(
        dir.path(),
        &["check", "r.ron"],
        2,
        &["two plugins are called loss `FixtureLength`", "again.so"],
    );
    // The same file twice is the same plugin.
    fs::write(
        dir.path().join("r.ron"),
        RECIPE.replace("(model", "(plugins: [\"plugin.so\"], model"),
    )
    .unwrap();
    let output = fame(dir.path(), &["check", "r.ron", "--plugin", "./plugin.so"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn what_others_can_write_is_refused_unless_trusted() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = with_plugin("good", |_| ());
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let (file, folder) = (dir.path().join("plugin.so"), dir.path().to_owned());
    mode(&file, 0o666);
    refused_every_way(
        dir.path(),
        &[
            "the plugin `",
            "plugin.so` can be written by every user of this machine",
            "chmod o-w",
            "--trust-plugin",
        ],
    );
    let trusted =
        fame(dir.path(), &["describe", "FixtureLength", "--plugin", "plugin.so", "--trust-plugin"]);
    assert!(trusted.status.success(), "{}", stderr(&trusted));
    mode(&file, 0o644);
    for (open, way_out) in [(0o777, "chmod o-w"), (0o1777, "copy it to a folder")] {
        mode(&folder, open);
        refused_every_way(
            dir.path(),
            &["the folder `", "` can be written by every user of this machine", way_out],
        );
    }
    mode(&folder, 0o700);
    // A group counts as the user only if it has the user's own number, and root's never does.
    if std::os::unix::fs::chown(&file, None, Some(12345)).is_ok() {
        let members = "can be written by every member of the group 12345";
        mode(&file, 0o664);
        refused_every_way(dir.path(), &["the plugin `", members, "chmod g-w"]);
        mode(&file, 0o644);
        std::os::unix::fs::chown(&folder, None, Some(12345)).unwrap();
        mode(&folder, 0o770);
        refused_every_way(dir.path(), &["the folder `", members, "chmod g-w"]);
    }
    // A folder above is open as /tmp is: nobody else can take away what lies in it.
    mode(&folder, 0o700);
    fs::create_dir_all(folder.join("shared/mine")).unwrap();
    fs::copy(&file, folder.join("shared/mine/plugin.so")).unwrap();
    mode(&folder.join("shared"), 0o1777);
    let output = fame(dir.path(), &["plugin", "check", "shared/mine/plugin.so"]);
    assert!(output.status.success(), "{}", stderr(&output));
    mode(&folder.join("shared"), 0o777);
    refused(
        dir.path(),
        &["plugin", "check", "shared/mine/plugin.so"],
        1,
        &["the folder `", "/shared` can be written by every user"],
    );
}

/// Only root can give a file away, so only root can see this.
#[cfg(unix)]
#[test]
fn a_plugin_of_another_user_is_refused_unless_trusted() {
    let dir = with_plugin("good", |_| ());
    if std::os::unix::fs::chown(dir.path().join("plugin.so"), Some(12345), None).is_err() {
        eprintln!("not run as root: nothing was tested");
        return;
    }
    refused_every_way(
        dir.path(),
        &["belongs to another user (uid 12345), and fame runs as uid", "--trust-plugin"],
    );
    let trusted =
        fame(dir.path(), &["describe", "FixtureLength", "--plugin", "plugin.so", "--trust-plugin"]);
    assert!(trusted.status.success(), "{}", stderr(&trusted));
    // Whoever owns the folder can put another file there, whoever owns this one.
    std::os::unix::fs::chown(dir.path().join("plugin.so"), Some(0), None).unwrap();
    std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
    refused_every_way(dir.path(), &["the folder `", "belongs to another user (uid 12345)"]);
}

/// A recipe with one part put in.
fn with_part(data: &str, explainer: &str, metrics: &str) -> String {
    format!(
        r#"(plugins: ["plugin.so"], model: "net.onnx", data: {data}, prepare: [], metrics: [{metrics}], write: [Npy()], explain: {{"e": {explainer}}})"#
    )
}

fn of_fame(loss: &str, perturbation: &str, step: &str) -> String {
    with_part(
        "Faulty(fault: None)",
        &format!("Fame(layer: Output, loss: {loss}, perturbation: {perturbation}, map: [{step}])"),
        "",
    )
}

const ORIGIN: &str = "(fame-fixture-faulty 0.1.0 (plugin.so))";

#[test]
fn whatever_a_plugin_does_wrong_fails_what_asked_for_it_and_nothing_else() {
    let dir = with_plugin("faulty", |_| ());
    let loss = |fault: &str| {
        of_fame(&format!("Faulty(fault: {fault})"), "Lots(iterations: 2)", "Gray(), MaxNormalize()")
    };
    let walk = |fault: &str| {
        of_fame("Faulty(fault: None)", &format!("Faulty(fault: {fault})"), "Gray(), MaxNormalize()")
    };
    let step = |fault: &str| {
        of_fame(
            "Faulty(fault: None)",
            "Lots(iterations: 2)",
            &format!("Faulty(fault: {fault}), Gray()"),
        )
    };
    let explainer =
        |fault: &str| with_part("Faulty(fault: None)", &format!("Faulty(fault: {fault})"), "");
    let dataset =
        |fault: &str| with_part(&format!("Faulty(fault: {fault})"), "Faulty(fault: None)", "");
    let metric = |fault: &str| {
        with_part("Faulty(fault: None)", "Faulty(fault: None)", &format!("Faulty(fault: {fault})"))
    };
    let cases: [(&str, String, i32, &str); 27] = [
        (
            "loss",
            loss("Factory"),
            2,
            "panicked in its factory: there is no factory here (tests/plugins/faulty/src/lib.rs:",
        ),
        ("loss", loss("Asked"), 2, "panicked in `reference`: do not ask"),
        (
            "loss",
            loss("Call"),
            3,
            "panicked in `evaluate`: called at a bad time (tests/plugins/faulty/src/lib.rs:",
        ),
        ("loss", loss("Thread"), 3, "panicked in `evaluate`: the thread ends well"),
        (
            "loss",
            loss("Shape"),
            3,
            "returned from `evaluate` a cotangent of shape [1, 2] instead of [",
        ),
        (
            "loss",
            loss("NotANumber"),
            3,
            "returned from `evaluate` a cotangent with NaN at position 1",
        ),
        ("loss", loss("Count"), 3, "returned from `evaluate` 0 values for "),
        (
            "loss",
            loss("Name"),
            3,
            "returned from `targets` a target `../../etc`, which cannot be a part of a file name",
        ),
        ("perturbation", walk("Factory"), 2, "panicked in its factory"),
        ("perturbation", walk("Asked"), 2, "panicked in `max_steps`: do not ask"),
        ("perturbation", walk("Call"), 3, "panicked in `observe`: called at a bad time"),
        (
            "perturbation",
            walk("Shape"),
            3,
            "returned from `image` a picture of shape [3, 1, 1] instead of [3, 56, 56]",
        ),
        (
            "perturbation",
            walk("NotANumber"),
            3,
            "returned from `image` a picture with NaN at position 0",
        ),
        ("map step", step("Call"), 3, "panicked in `apply`: called at a bad time"),
        (
            "map step",
            step("Shape"),
            3,
            "returned from `apply` a map of shape [1, 2, 3] for one of [3, 56, 56]; rows and columns must stay",
        ),
        ("map step", step("NotANumber"), 3, "returned from `apply` a map with NaN at position 0"),
        (
            "map step",
            step("Count"),
            3,
            "returned from `apply` names for 4 channels of a map that has 3",
        ),
        ("explainer", explainer("Call"), 3, "panicked in `explain`: called at a bad time"),
        (
            "explainer",
            explainer("Shape"),
            3,
            "returned from `explain` a map `image` of shape [2, 2] for a picture of 56 rows and 56 columns",
        ),
        ("explainer", explainer("Count"), 3, "returned from `explain` 0 results for 1 samples"),
        (
            "explainer",
            explainer("Name"),
            3,
            "returned from `explain` a map `a/b`, which cannot be a part of a file name",
        ),
        ("dataset", dataset("Call"), 1, "panicked in `index`: called at a bad time"),
        (
            "dataset",
            dataset("Name"),
            1,
            "returned from `index` an item `../../escape`, which cannot be a part of a file name",
        ),
        ("dataset", dataset("Count"), 1, "returned from `index` two items called `a`"),
        (
            "dataset",
            dataset("Shape"),
            3,
            "returned from `load` a picture of shape [1, 56, 56] instead of [3, H, W]",
        ),
        (
            "dataset",
            dataset("NotANumber"),
            3,
            "returned from `load` a picture with NaN at position 7",
        ),
        ("metric", metric("NotANumber"), 3, "returned from `measure` NaN for `one` of map `image`"),
    ];
    for (noun, recipe, code, expected) in cases {
        fs::write(dir.path().join("r.ron"), &recipe).unwrap();
        let text = format!("{noun} `Faulty` {ORIGIN} {expected}");
        let said = refused(
            dir.path(),
            &["run", "r.ron", "--out", "out"],
            code,
            &[&text, "This is a bug in the plugin"],
        );
        // Said once, in the error; only a thread of the plugin's own is out of the guard's sight.
        assert!(!said.contains(" panicked at ") || recipe.contains("Thread"), "{said}");
        let items = dir.path().join("out/items");
        let left = fs::read_dir(&items).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{recipe}: something was left behind");
        let _ = fs::remove_dir_all(dir.path().join("out"));
    }
}

#[test]
fn a_panic_on_one_item_fails_that_item_only() {
    let dir = with_plugin("faulty", |_| ());
    for (data, explainer) in [("None", "OneItem"), ("OneItem", "None")] {
        let recipe = with_part(
            &format!("Faulty(fault: {data})"),
            &format!("Faulty(fault: {explainer})"),
            "",
        );
        fs::write(
            dir.path().join("r.ron"),
            recipe.replace("model:", "backend: Tract(threads: 3), model:"),
        )
        .unwrap();
        refused(dir.path(), &["run", "r.ron", "--out", "out"], 3, &["panicked in", "not this one"]);
        let mut left: Vec<String> = fs::read_dir(dir.path().join("out/items"))
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, ["a", "c"]);
        fs::remove_dir_all(dir.path().join("out")).unwrap();
    }
}

#[test]
fn a_panic_while_being_dropped_is_said_and_survived() {
    let dir = with_plugin("faulty", |_| ());
    let walk = of_fame("Faulty(fault: Drop)", "Faulty(fault: Drop)", "Gray(), MaxNormalize()");
    fs::write(dir.path().join("r.ron"), walk).unwrap();
    let output = fame(dir.path(), &["run", "r.ron", "--out", "out"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "what it made is made: {said}");
    for noun in ["loss", "perturbation"] {
        let expected = format!(
            "warning: {noun} `Faulty` {ORIGIN} panicked while it was dropped: it would not go (tests/plugins/faulty/src/lib.rs:"
        );
        assert!(says(&output, &expected), "{expected}: {said}");
    }
    assert!(!said.contains(" panicked at "), "{said}");
}
