//! Recipes with mistakes: all of them at once, each at its place, with a way out.

use super::*;

const FIVE: &str = r#"// Five mistakes.
(
    model: "mobilefacenet",
    backend: Tract(thread: 2),
    data: Pair(gallery: "picture:obamma", probe: "picture:obama2"),
    explain: {
        "fame": Fame(
            layer: "embedding",
            loss: Similarty(),
            perturbation: Lots(step: -1.0),
            map: [Gray(order: AbsThenGrey), MaxNormalize()],
        ),
    },
)
"#;

#[test]
fn five_mistakes_are_all_shown() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("five.ron"), FIVE).unwrap();
    let output = fame(dir.path(), &["check", "five.ron"]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output));
}

#[test]
fn mistakes_on_the_command_line_are_shown_there() {
    let dir = tempfile::tempdir().unwrap();
    let good = FIVE
        .replace("thread:", "threads:")
        .replace("obamma", "obama")
        .replace("Similarty", "Similarity")
        .replace("-1.0", "1.0");
    std::fs::write(dir.path().join("r.ron"), good.replace("AbsThenGrey", "AbsThenGray")).unwrap();
    let output = fame(dir.path(), &["check", "r.ron"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let set = "explain.fame.perturbation=Lots(steps: 3)";
    let output = fame(dir.path(), &["check", "r.ron", "--set", set]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output));
    let output = fame(
        dir.path(),
        &["check", "r.ron", "--set", "explain.fam.perturbation=Lots()", "--set", "seed=(1"],
    );
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output));
}

#[test]
fn what_is_not_a_recipe_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("empty.ron", &b""[..]),
        ("cut.ron", b"(model: \"x\", data: Pair("),
        ("binary.ron", b"\xff\xfe\x00"),
        ("deep.ron", &vec![b'('; 100_000]),
    ] {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        let output = fame(dir.path(), &["run", name]);
        let said = stderr(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{name}: {said}");
        assert!(said.contains(name) && !said.contains("panicked"), "{name}: {said}");
    }
    let output = fame(dir.path(), &["run", "missing.ron"]);
    assert!(stderr(&output).contains("cannot read `missing.ron`"), "{}", stderr(&output));
}
