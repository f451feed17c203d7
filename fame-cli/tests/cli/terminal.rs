//! What a terminal, a log and a program see of a run: lines that fit, answers, warnings once, the
//! time that is left, and maps.

use std::fs;

use console::{measure_text_width, strip_ansi_codes};

use super::{
    killed::{finished, many, measured},
    *,
};

/// Long enough that bars are drawn while it is at work.
const WALK: &str = "Fame(layer: Output, loss: Logit(class: Index(0)), perturbation: Lots(iterations: 40), map: [Gray(), MaxNormalize()])";

const SALIENCY: &str = "Saliency(loss: Logit(class: Index(0)), layer: Output)";

/// A half block in its own 24-bit colour over another.
const BLOCK: &str = "m▀";

#[test]
fn the_line_of_an_item_says_what_the_network_answered() {
    let dir = workshop();
    let output = run(dir.path(), &recipe("net.onnx", "a.png", "b.png", FAME));
    let said = stderr(&output);
    let line = said.lines().find(|line| line.starts_with("a--b: ")).unwrap_or_default();
    assert!(line.starts_with("a--b: similarity "), "{said}");
    assert!(line.contains("; fame: ") && line.contains(" loss "), "{said}");
    let output = fame(dir.path(), &["--json", "run", "r.ron", "--out", "out", "--force"]);
    let told = stdout(&output);
    let mut events =
        told.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let item = events.find(|event| event["event"] == "item").unwrap();
    let answer = item["answers"][0].as_str().unwrap();
    assert!(line.contains(answer), "{answer}: {line}");
}

#[test]
fn a_warning_that_many_items_share_is_told_once_with_a_count() {
    let dir = many(0, SALIENCY);
    for n in 0..5 {
        // A corner that the picture hides, the same in each.
        let opaque = picture(56, 3 + n);
        let clear = image::RgbaImage::from_fn(56, 56, |x, y| {
            let image::Rgb([r, g, b]) = *opaque.get_pixel(x, y);
            image::Rgba([r, g, b, if x < 8 && y < 8 { 0 } else { 255 }])
        });
        clear.save(dir.path().join(format!("pictures/p{n}.png"))).unwrap();
    }
    let output = fame(dir.path(), &["run", "r.ron", "--out", "out"]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let warnings: Vec<&str> = said.lines().filter(|line| line.starts_with("warning")).collect();
    let [first, last] = warnings[..] else { panic!("{warnings:#?}") };
    let text = first.strip_prefix("warning: p0: ").unwrap_or_else(|| panic!("{first}"));
    assert_eq!(last, format!("warning, 4 more like it: {text}"));
    // Programs are told of each, and of which item it is.
    let output = fame(dir.path(), &["--json", "run", "r.ron", "--out", "again"]);
    let told = stdout(&output);
    let warned: Vec<&str> = told.lines().filter(|line| line.contains(r#""warning""#)).collect();
    assert!(warned.len() == 5 && warned[4].contains(r#""item":"p4""#), "{warned:#?}");
}

#[test]
fn maps_are_shown_where_somebody_sees_them_and_never_to_programs() {
    let dir = workshop();
    fs::write(dir.path().join("r.ron"), recipe("net.onnx", "a.png", "b.png", FAME)).unwrap();
    let run = |arguments: &[&str]| {
        let all = [&["run", "r.ron", "--out", "out", "--force"], arguments].concat();
        let output = fame(dir.path(), &all);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        (stdout(&output), stderr(&output))
    };
    let (out, shown) = run(&["--preview=always"]);
    assert!(!out.contains('▀'), "standard output is for results");
    let drawn: Vec<&str> = shown.lines().filter(|line| line.contains('▀')).collect();
    assert!(!drawn.is_empty() && drawn[0].contains(BLOCK), "{shown:?}");
    // Gallery and probe, beside one another under their names, in 80 columns.
    assert_eq!(drawn.len(), 38 / 2);
    assert!(drawn.iter().all(|line| line.matches('▀').count() == 2 * 38));
    assert!(shown.lines().all(|line| !line.contains('▀') || measure_text_width(line) <= 80));
    let names = "fame: gallery_similar";
    assert!(shown.lines().any(|line| line.contains(names) && line.contains("probe")), "{shown}");
    for quiet in [&["--preview"][..], &["--preview=auto"], &[], &["--json", "--preview=always"]] {
        let (out, err) = run(quiet);
        assert!(!out.contains('▀') && !err.contains('▀'), "{quiet:?}");
    }
    let wrong = fame(dir.path(), &["run", "r.ron", "--preview=sometimes"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_forced_run_that_is_stopped_says_how_to_keep_what_is_there() {
    let dir = measured(30, WALK);
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_fame-cli"))
        .current_dir(dir.path())
        .args(["run", "r.ron", "--out", "out", "--force"])
        .env("FAME_CACHE", dir.path().join("cache"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    while finished(&dir.path().join("out")) == 0 {
        assert!(began.elapsed().as_secs() < 120, "no item came");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let said = stderr(&ended);
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("items are finished and kept in out"), "{said}");
    assert!(said.contains("The same command without --force goes on from there"), "{said}");
}

/// What a terminal of 80 columns shows of `fame-cli` with these arguments: its lines, whatever was
/// drawn over them later included. `None` where the system has no `script` to make a terminal with.
#[cfg(target_os = "linux")]
fn on_a_terminal(folder: &Path, arguments: &str) -> Option<Vec<String>> {
    let program = env!("CARGO_BIN_EXE_fame-cli");
    let line = format!("stty cols 80 rows 40; exec '{program}' {arguments}");
    let started = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .current_dir(folder)
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .env("FAME_CACHE", folder.join("cache"))
        .stdin(std::process::Stdio::null())
        .output();
    let Ok(output) = started else {
        eprintln!("left out: there is no `script`");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    // Before its colours are gone: a bar that is drawn again begins its line anew.
    let lines = said.split(['\r', '\n']).map(|line| strip_ansi_codes(line).into_owned());
    Some(lines.filter(|line| !line.trim().is_empty()).collect())
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_wider_than_eighty_columns_whatever_names_are_long() {
    let dir = many(0, WALK);
    let long = "a_very_long_name_of_a_picture_as_cameras_and_data_sets_have_them_".repeat(2);
    for n in 10..40 {
        let place = dir.path().join(format!("pictures/{long}{n}.png"));
        picture(56, 3 + n % 11).save(place).unwrap();
    }
    let text = fs::read_to_string(dir.path().join("r.ron")).unwrap();
    let name = "an_explainer_with_a_name_of_more_than_twelve_letters";
    fs::write(dir.path().join("r.ron"), text.replace(r#""e""#, &format!("{name:?}"))).unwrap();
    let Some(lines) = on_a_terminal(dir.path(), "run r.ron --out out --preview") else { return };
    for line in &lines {
        // Bars that fill a row exactly follow one another without a new line.
        let (columns, bars) = (measure_text_width(line), line.contains(['░', '█']));
        assert!(columns <= 80 || bars && columns % 80 == 0, "{columns} columns: {line:?}");
    }
    let all = lines.join("\n");
    assert!(all.contains('▀'), "a terminal sees the maps: {all}");
    assert!(all.contains(" of 30 items, "), "how far it is: {all}");
    assert!(all.contains(" s each, about "), "how long it takes: {all}");
    let bare: String = all.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(bare.contains(&format!("{long}39:")), "a name is broken, not cut: {all}");
}

#[cfg(target_os = "linux")]
#[test]
fn lists_line_up_in_eighty_columns() {
    let dir = workshop();
    for arguments in ["inspect ./net.onnx", "recipes list", "models list", "describe"] {
        let Some(lines) = on_a_terminal(dir.path(), arguments) else { return };
        let wide = lines.iter().filter(|line| measure_text_width(line) > 80);
        // What is not in columns is a sentence, and may be as long as it is.
        let wide: Vec<&String> = wide.filter(|line| line.contains("  ")).collect();
        assert!(lines.len() > 5 && wide.is_empty(), "{arguments}: {wide:#?}");
    }
    // For programs a layer is a line.
    let layers = stdout(&fame(dir.path(), &["inspect", "./net.onnx"]));
    assert!(layers.lines().any(|line| line.contains("PRelu") && line.contains('[')), "{layers}");
}
