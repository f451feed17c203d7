//! The recipes that come with the program, far from the repository.

use serde_json::Value;

use super::fame;

/// Recipes about data of one's own. Where that is not there, a file is missing, and nothing else is
/// wrong.
const OWN_DATA: [&str; 4] =
    ["coco_folder", "table1_imagenet", "table2_verification", "table_fame_plus_faces"];

/// What a missing file is called.
const MISSING: [&str; 2] = ["fame::data::missing_file", "fame::model::missing_file"];

#[test]
fn every_recipe_of_the_program_is_right_in_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    let listed = fame(folder.path(), &["recipes", "list", "--json"]);
    let all: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let names: Vec<&str> = all.iter().map(|recipe| recipe["name"].as_str().unwrap()).collect();
    assert!(names.len() > 15 && OWN_DATA.iter().all(|own| names.contains(own)), "{names:?}");
    for name in names {
        let output = fame(folder.path(), &["check", name, "--json"]);
        let said = String::from_utf8_lossy(&output.stdout);
        if !OWN_DATA.contains(&name) {
            assert!(output.status.success(), "{name}: {said}");
            continue;
        }
        let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        // One that ends the look at once has no list of problems.
        let problems = last["problems"].as_array().filter(|all| !all.is_empty()).cloned();
        for problem in problems.unwrap_or_else(|| vec![last.clone()]) {
            let code = problem["code"].as_str().unwrap();
            assert!(MISSING.contains(&code), "{name}: {said}");
        }
    }
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "looking leaves nothing behind");
}
