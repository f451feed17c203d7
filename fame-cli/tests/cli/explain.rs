//! `explain` and `init`: a first map without a recipe or a manifest.

use super::*;

/// Two steps are enough to see that something came out.
const TWO_STEPS: &str = "Fame(perturbation: Lots(iterations: 2))";

/// The workshop without its manifest.
fn bare() -> tempfile::TempDir {
    let dir = workshop();
    std::fs::remove_file(dir.path().join("net.ron")).unwrap();
    dir
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_pair_is_explained_by_a_network_without_a_manifest() {
    let dir = bare();
    let line = ["explain", "net.onnx", "--pair", "a.png", "b.png", "--method", TWO_STEPS];
    let output = fame(dir.path(), &line);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("no manifest; assumed input: (size: (3, 56, 56)"), "{said}");
    assert!(said.contains("this is a guess"), "{said}");
    assert!(said.contains("a--b: similarity "), "{said}");
    assert!(said.contains("Pair(gallery: \"a.png\", probe: \"b.png\")"), "{said}");
    // Crops of the network's size are taken as they are, and nothing is written beside them.
    let [name] = &answers(dir.path())[..] else { panic!("{said}") };
    let out = dir.path().join("out").join(name);
    assert!(name.starts_with("explain-net-fame-"), "{name}");
    assert!(out.join("items/a--b/item.json").is_file());
    assert!(said.contains(&format!("look at out/{name}/report.html")), "{said}");
    // Whoever is shown the page later did not see the terminal.
    for file in ["run.json", "report.html"] {
        let text = std::fs::read_to_string(out.join(file)).unwrap();
        assert!(text.contains("this is a guess: --input says"), "{file}");
    }
    assert!(!dir.path().join("net.ron").exists());
}

/// The folders of answers in `out`.
fn answers(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("out")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Other parameters, another picture of the same name, another model of the same name: each is a
/// question of its own, and the same question is the same folder.
#[test]
fn no_answer_replaces_that_to_another_question() {
    let dir = workshop();
    let ask = |method: &str| {
        let line = ["explain", "net.onnx", "--pair", "a.png", "b.png", "--method", method];
        let output = fame(dir.path(), &line);
        assert!(output.status.success(), "{}", stderr(&output));
        answers(dir.path()).len()
    };
    assert_eq!(ask(TWO_STEPS), 1);
    assert_eq!(ask(TWO_STEPS), 1, "the same question");
    assert_eq!(ask("Fame(perturbation: Lots(iterations: 3))"), 2);
    std::fs::copy(dir.path().join("b.png"), dir.path().join("a.png")).unwrap();
    assert_eq!(ask(TWO_STEPS), 3, "another picture");
    let model = std::fs::read(dir.path().join("net.onnx")).unwrap();
    // Field 2, `producer_name`: another file, the same network.
    std::fs::write(dir.path().join("net.onnx"), [&model[..], &[0x12, 1, b'x']].concat()).unwrap();
    assert_eq!(ask(TWO_STEPS), 4, "another model");
    // Where the folder is named, it is refused.
    let named = |method: &str| {
        let line = ["explain", "net.onnx", "--pair", "a.png", "b.png", "--out", "mine", "--method"];
        fame(dir.path(), &[&line[..], &[method]].concat())
    };
    assert!(named(TWO_STEPS).status.success());
    assert!(named(TWO_STEPS).status.success());
    let before = std::fs::read(dir.path().join("mine/run.json")).unwrap();
    let refused = named("Saliency(layer: Output, loss: Similarity())");
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("the answer to another question"), "{}", stderr(&refused));
    assert_eq!(std::fs::read(dir.path().join("mine/run.json")).unwrap(), before);
}

/// Both names make the item's id, which is a folder: it has at most 255 bytes, and its files are
/// called after their pictures in no other place.
#[test]
fn two_pictures_with_long_names_are_explained() {
    let dir = bare();
    let long = |name: &str| format!("{}.png", name.repeat(150));
    for name in ["a", "b"] {
        let place = dir.path().join(format!("{name}.png"));
        std::fs::rename(place, dir.path().join(long(name))).unwrap();
    }
    let line = ["explain", "net.onnx", "--pair", &long("a"), &long("b"), "--method", TWO_STEPS];
    let output = fame(dir.path(), &[&line[..], &["--out", "out"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let record = record(&dir.path().join("out"));
    let item = &record["items"][0];
    assert!(item["id"].as_str().is_some_and(|id| id.len() <= 200), "{item}");
    assert_eq!(item["pictures"]["gallery"]["source"], long("a"), "the record tells the whole name");
}

/// Whoever wants a face network explained, whose output is called by a number, learns that it was
/// taken for a classifier, and how to ask what was meant.
#[test]
fn numbers_of_unknown_meaning_are_said_to_be_taken_for_classes() {
    let dir = bare();
    let path = dir.path().join("net.onnx");
    let mut net = std::fs::read(&path).unwrap();
    let (name, other) = (b"embedding", b"a_number_");
    let places = (0..net.len() - name.len()).filter(|at| net[*at..].starts_with(name));
    for at in places.collect::<Vec<usize>>() {
        net[at..at + name.len()].copy_from_slice(other);
    }
    std::fs::write(&path, net).unwrap();
    let told = "its output `a_number_` holds 48 numbers, and nothing says of what";
    for manifest in [None, Some(NO_ASK)] {
        if let Some(text) = manifest {
            std::fs::write(dir.path().join("net.ron"), text).unwrap();
        }
        let output = fame(dir.path(), &["explain", "net.onnx", "a.png", "--method", "Saliency"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stdout(&output);
        assert!(said.contains(told) && said.contains("--pair A B"), "{said}");
    }
    // A pair is what was meant.
    let line = ["explain", "net.onnx", "--pair", "a.png", "b.png", "--method", "Saliency"];
    let said = stdout(&fame(dir.path(), &line));
    assert!(said.contains("similarity") && !said.contains("nothing says of what"), "{said}");
}

const NO_ASK: &str = "(input: (size: (3, 56, 56), order: Bgr, mean: 0.5, std: 0.5))";

/// The numbers of an embedding, or of points, are no scores of classes, with and without a
/// manifest: nobody is told a class that is none.
#[test]
fn what_is_plainly_no_class_is_not_asked_as_one() {
    let dir = bare();
    for manifest in [None, Some(NO_ASK)] {
        if let Some(text) = manifest {
            std::fs::write(dir.path().join("net.ron"), text).unwrap();
        }
        for command in ["explain", "init"] {
            let output = fame(dir.path(), &[command, "net.onnx", "a.png"]);
            assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
            let said = flat(&output);
            for told in ["says nothing of classes", "`embedding`", "--pair A B", "--class N"] {
                assert!(said.contains(told), "{told}: {said}");
            }
        }
        // Whoever says what is asked is given it.
        for asked in [
            &["--class", "3", "--method", "Saliency"][..],
            &["--method", "Saliency(layer: Output, loss: Logit(class: Index(3)))"],
        ] {
            let by_class = asked[0] == "--class";
            let line = [&["explain", "net.onnx", "a.png"], asked].concat();
            let output = fame(dir.path(), &line);
            assert!(output.status.success(), "{}", stderr(&output));
            let said = stdout(&output);
            assert_eq!(said.contains("a: ") && said.contains(" numbers from "), by_class, "{said}");
            let assumed = "number 3 is explained as if it were a class: by its name its output";
            assert_eq!(said.contains(assumed), by_class, "{said}");
        }
    }
    // A pair is asked about its match by every method.
    let line = ["init", "net.onnx", "--pair", "a.png", "b.png", "--method", "Saliency"];
    assert!(fame(dir.path(), &line).status.success());
    let recipe = std::fs::read_to_string(dir.path().join("explain.ron")).unwrap();
    assert!(recipe.contains("Saliency(loss: Similarity(), layer: Output)"), "{recipe}");
}

#[test]
fn init_writes_what_explain_runs_and_overwrites_nothing() {
    let dir = bare();
    let line = ["init", "net.onnx", "--pair", "a.png", "b.png", "--method", TWO_STEPS];
    let output = fame(dir.path(), &line);
    assert!(output.status.success(), "{}", stderr(&output));
    let run = fame(dir.path(), &["run", "explain.ron", "--out", "out"]);
    assert!(run.status.success(), "{}", stderr(&run));
    std::fs::write(dir.path().join("explain.ron"), "mine").unwrap();
    let again = fame(dir.path(), &line);
    assert_eq!(again.status.code(), Some(1), "{}", stdout(&again));
    assert!(stderr(&again).contains("nothing was changed"), "{}", stderr(&again));
    assert_eq!(std::fs::read_to_string(dir.path().join("explain.ron")).unwrap(), "mine");
}

#[test]
fn a_manifest_beside_the_network_is_taken_and_the_answer_told() {
    let dir = workshop();
    let manifest = MANIFEST.replace("Similarity()", "Logit()");
    std::fs::write(dir.path().join("net.ron"), manifest).unwrap();
    let saliency =
        ["explain", "net.onnx", "a.png", "b.png", "--method", "Saliency", "--class", "3"];
    let output = fame(dir.path(), &saliency);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(!said.contains("assumed"), "{said}");
    assert!(said.lines().any(|l| l.starts_with("a: [") && l.contains(" %, [")), "{said}");
    assert!(said.contains("Saliency(loss: Logit(class: Index(3)))"), "{said}");
}

/// An empty table would look as if something had been measured.
#[test]
fn a_metric_that_has_nothing_to_measure_says_what_it_needs() {
    let dir = workshop();
    let line = ["explain", "net.onnx", "a.png", "--class", "3", "--method", "Saliency", "--out"];
    let line = [&line[..], &["out", "--metric", "PointingGame", "--metric", "Sparseness"]].concat();
    std::fs::write(dir.path().join("net.ron"), MANIFEST.replace("Similarity()", "Logit()"))
        .unwrap();
    let output = fame(dir.path(), &line);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = "metric `PointingGame` measured nothing: it needs the true boxes of a picture";
    assert!(flat(&output).contains(told), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains(told) && !said.contains("|  |"), "no empty table: {said}");
    assert!(!said.contains("`Sparseness` measured nothing"), "{said}");
    let record = record(&dir.path().join("out"));
    assert!(record["warnings"][0].as_str().is_some_and(|w| w.contains(told)), "{record}");
}

/// It would fail every item, after an hour of explaining.
#[test]
fn a_metric_that_does_not_fit_the_question_is_told_before_anything_runs() {
    let dir = workshop();
    let manifest = MANIFEST.replace("Similarity()", "Logit()");
    std::fs::write(dir.path().join("net.ron"), manifest).unwrap();
    let line = ["explain", "net.onnx", "a.png", "--method", "Saliency", "--out", "out", "--metric"];
    let ask = |metric: &str| fame(dir.path(), &[&line[..], &[metric]].concat());
    let output = ask("Road(loss: Similarity())");
    assert_eq!(output.status.code(), Some(2), "{}{}", stdout(&output), stderr(&output));
    let said = flat(&output);
    assert!(
        said.contains("metric `Road`: ") && said.contains("error that a run would find"),
        "{said}"
    );
    assert!(!dir.path().join("out").exists(), "nothing ran");
    assert!(ask("Road").status.success());
}

/// One broken file among many is one failed item, as in a run; alone it is told at once.
#[test]
fn a_broken_picture_does_not_take_the_others_with_it() {
    let dir = bare();
    let whole = std::fs::read(dir.path().join("a.png")).unwrap();
    std::fs::create_dir(dir.path().join("all")).unwrap();
    for (name, bytes) in [("a", &whole[..]), ("b", &whole[..whole.len() / 2]), ("c", &whole)] {
        std::fs::write(dir.path().join(format!("all/{name}.png")), bytes).unwrap();
    }
    let rest = ["--class", "3", "--method", "Saliency"];
    for pictures in [&["all"][..], &["all/b.png", "all/a.png", "all/c.png"]] {
        let output = fame(dir.path(), &[&["explain", "net.onnx"], pictures, &rest].concat());
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stdout(&output).contains("2 done, 1 FAILED"), "{}", stdout(&output));
        assert!(stderr(&output).contains("b.png"), "{}", stderr(&output));
        // Already before anything runs, with a way out.
        let told = stdout(&output);
        let not_seen = told.lines().find(|line| line.starts_with("not looked at: ")).unwrap();
        assert!(not_seen.contains("b.png") && not_seen.contains("Get the file again"), "{told}");
    }
    let line = [&["explain", "net.onnx", "all/b.png"], &rest[..]].concat();
    let output = fame(dir.path(), &line);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).contains("b.png"), "{}", stderr(&output));
}

#[test]
fn a_class_cannot_be_added_to_a_whole_method() {
    let dir = workshop();
    let line = ["explain", "net.onnx", "a.png", "--method", TWO_STEPS, "--class", "3"];
    let output = fame(dir.path(), &line);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Write them into it"), "{}", stderr(&output));
}

#[test]
fn a_network_that_compares_two_pictures_asks_for_two() {
    let dir = workshop();
    let output = fame(dir.path(), &["explain", "net.onnx", "a.png"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--pair A B"), "{}", stderr(&output));
}

#[test]
fn an_input_of_ones_own_brings_its_way_to_that_size() {
    let dir = bare();
    picture(80, 3).save(dir.path().join("large.png")).unwrap();
    let input = "(size: (3, 56, 56), order: Bgr, mean: 0.5, std: 0.5)";
    let line = [
        "explain",
        "net.onnx",
        "large.png",
        "--method",
        "Saliency",
        "--class",
        "3",
        "--input",
        input,
    ];
    let output = fame(dir.path(), &line);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("ResizeShorter(size: 64), CenterCrop(size: 56)"), "{said}");
    // A manifest says it already.
    std::fs::write(dir.path().join("net.ron"), MANIFEST).unwrap();
    let output = fame(dir.path(), &line);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Change `input` in the manifest"), "{}", stderr(&output));
}

#[test]
fn recipe_and_manifest_need_two_names() {
    let dir = bare();
    let line = ["init", "net.onnx", "--pair", "a.png", "b.png", "--recipe", "net.ron"];
    let output = fame(dir.path(), &line);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("Nothing was written"), "{}", stderr(&output));
    assert!(!dir.path().join("net.ron").exists());
}

#[test]
fn bad_options_are_told_before_anything_runs() {
    let dir = workshop();
    let manifest = MANIFEST.replace("Similarity()", "Logit()");
    std::fs::write(dir.path().join("net.ron"), manifest).unwrap();
    for (options, told) in [
        (&["--method", "Saliency", "--class", "99999"][..], "class 99999 does not exist"),
        (&["--method", "Saliency(channels: Mean)", "--class", "1"], "given as a whole"),
        (&["--input", "(size: (3, 56, 56))"], "--input is for an ONNX file without a manifest"),
    ] {
        let output = fame(dir.path(), &[&["explain", "net.onnx", "a.png"], options].concat());
        assert_eq!(output.status.code(), Some(2), "{options:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{options:?}: {}", stderr(&output));
    }
    assert!(!dir.path().join("out").exists());
}

#[test]
fn what_is_odd_about_a_manifest_is_told() {
    let dir = workshop();
    let odd = "(input: (size: (3, 56, 56), order: Bgr, mean: 127.5, std: 0.5), ask: (loss: Logit(), layer: Output), labels: List([\"a\", \"b\"]))";
    std::fs::write(dir.path().join("net.ron"), odd).unwrap();
    let line = ["explain", "net.onnx", "a.png", "--method", "Saliency"];
    let output = fame(dir.path(), &line);
    let said = stderr(&output);
    assert!(said.contains("`mean` 127.5 seems to count pixels from 0 to 255"), "{said}");
    assert!(said.contains("the manifest has 2 labels, but the network gives"), "{said}");
}

/// There is no recipe to write anything into.
#[test]
fn a_manifest_without_prepare_steps_is_named_where_a_picture_needs_some() {
    let dir = workshop();
    picture(80, 3).save(dir.path().join("big.png")).unwrap();
    let line = ["explain", "net.onnx", "--pair", "a.png", "big.png", "--method", TWO_STEPS];
    let output = fame(dir.path(), &line);
    assert_eq!(output.status.code(), Some(1));
    let said = flat(&output);
    assert!(said.contains("is 80×80 pixels, but model `net` takes 56×56"), "{said}");
    let file = dir.path().join("net.ron").canonicalize().unwrap();
    // The message is wrapped, wherever that is.
    let bare = |text: &str| text.replace(' ', "");
    let place = format!("into the manifest `{}`", file.display());
    assert!(bare(&said).contains(&bare(&place)), "{said}");
    // A recipe's own steps are changed there.
    let text = recipe("net.onnx", "a.png", "big.png", FAME);
    let said = flat(&run(dir.path(), &text));
    assert!(said.contains("into the recipe's `prepare`"), "{said}");
}

/// Whatever a map of them shows, it is nothing of theirs.
#[test]
fn pictures_with_nothing_in_them_are_explained_with_a_warning() {
    let dir = bare();
    image::RgbImage::from_pixel(56, 56, image::Rgb([90, 60, 30]))
        .save(dir.path().join("plain.png"))
        .unwrap();
    picture(1, 1).save(dir.path().join("one.png")).unwrap();
    std::fs::copy(dir.path().join("a.png"), dir.path().join("copy.png")).unwrap();
    let warnings = |line: &[&str]| {
        let out = dir.path().join("out");
        let _ = std::fs::remove_dir_all(&out);
        let input = "(size: (3, 56, 56), order: Bgr, mean: 0.5, std: 0.5)";
        let rest = ["--input", input, "--method", "Saliency", "--out", "out"];
        let output = fame(dir.path(), &[&["explain", "net.onnx"], line, &rest].concat());
        let record = std::fs::read_dir(out.join("items")).ok().and_then(|mut items| {
            let item = items.next()?.ok()?.path().join("item.json");
            std::fs::read_to_string(item).ok()
        });
        (stderr(&output), record.unwrap_or_default())
    };
    for (line, warning) in [
        (&["plain.png", "--class", "3"][..], "`plain.png` has one colour everywhere"),
        (&["one.png", "--class", "3"], "`one.png` is a single pixel"),
        (&["--pair", "a.png", "a.png"], "`a.png` is the same picture as that of gallery"),
        (&["--pair", "a.png", "copy.png"], "`copy.png` is the same picture as that of gallery"),
    ] {
        let (said, record) = warnings(line);
        assert!(said.contains("warning: ") && said.contains(warning), "{line:?}: {said}");
        assert!(record.is_empty() || record.contains(warning), "{line:?}: {record}");
    }
    let (said, record) = warnings(&["--pair", "a.png", "b.png"]);
    assert!(!said.contains("warning: ") && record.contains("\"maps\""), "{said}");
}
