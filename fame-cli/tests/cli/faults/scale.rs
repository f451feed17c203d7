//! Many items: what a run, a resume and the tables of them take, in seconds and bytes.

use super::*;

/// The number of items, if it is not the usual one.
const ITEMS: &str = "FAME_ITEMS";

/// A cheap explanation of drawn pictures, measured.
const RECIPE: &str = r#"(model: "shapes", data: Shapes(count: COUNT), prepare: [], parts: false,
    explain: {"random": RandomMap()}, metrics: [PointingGame()], write: [])"#;

/// Seconds and peak bytes of a process of `work`.
fn measured_run(work: &Work<'_>) -> (f64, f64) {
    let began = Instant::now();
    let output = work.run("out");
    assert!(output.status.success(), "{}", stderr(&output));
    let seconds = began.elapsed().as_secs_f64();
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(work.folder.join("out/run.json")).unwrap()).unwrap();
    (seconds, record["peak_memory_bytes"].as_f64().unwrap())
}

#[test]
#[ignore = "30,000 items, or as many as FAME_ITEMS says, and a third of them: minutes"]
fn time_and_memory_grow_with_the_items_and_no_faster() {
    let items: usize = std::env::var(ITEMS).ok().and_then(|n| n.parse().ok()).unwrap_or(30_000);
    for count in [items / 3, items] {
        let dir = tempfile::tempdir().unwrap();
        let recipe = RECIPE.replace("COUNT", &count.to_string());
        fs::write(dir.path().join("r.ron"), recipe).unwrap();
        let work = Work { is_own: false, ..work(dir.path()) };
        let whole = measured_run(&work);
        let resumed = measured_run(&work);
        let began = Instant::now();
        assert!(fame(dir.path(), &["status", "out"]).status.success());
        let status = began.elapsed().as_secs_f64();
        let began = Instant::now();
        assert!(fame(dir.path(), &["verify-run", "out"]).status.success());
        let verified = began.elapsed().as_secs_f64();
        let bytes = |name: &str| fs::metadata(dir.path().join("out").join(name)).unwrap().len();
        println!(
            "{count} items: run {:.1} s, {:.0} MB; resume with tables {:.1} s, {:.0} MB; status {status:.1} s; verify-run {verified:.1} s; run.json {} bytes, items.jsonl {:.1} MB",
            whole.0,
            whole.1 / 1e6,
            resumed.0,
            resumed.1 / 1e6,
            bytes("run.json"),
            bytes("items.jsonl") as f64 / 1e6
        );
        assert!(bytes("run.json") < 100_000, "it does not grow with the items");
        let lines = fs::read_to_string(dir.path().join("out/items.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), count);
    }
}
