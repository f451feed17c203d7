//! Circles between the top-level modules of a crate, read from its `use` lines and inline paths.
//!
//! An arrow goes from the module that writes `crate::other::…` (in a `use`, a list of one, a path
//! in an expression or a macro, or as `super::…` from deep enough) to `other`. What the crate's
//! root re-exports counts as a use of the module that it comes from. Doc comments make no arrow: a
//! room may tell its reader where to go next. Neither do test modules: a test may stand on any
//! floor, above all on the test kit, and nothing can stand on a test.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    SourceFile,
    code::{without_comments_and_strings, without_test_modules},
};

/// Where one module uses another: `path:line`, the first such place.
type Arrows = BTreeMap<String, BTreeMap<String, String>>;

/// One line for every circle, shortest first; empty when all arrows go one way.
pub(crate) fn find(files: &[SourceFile]) -> Vec<String> {
    let arrows = arrows(files);
    let mut circles = BTreeMap::new();
    for start in arrows.keys() {
        if let Some(way) = way_back(&arrows, start) {
            let members: BTreeSet<&String> = way.iter().collect();
            circles.entry(members.into_iter().cloned().collect::<Vec<_>>()).or_insert(way);
        }
    }
    let mut circles: Vec<Vec<String>> = circles.into_values().collect();
    circles.sort_by_key(|way| (way.len(), way.clone()));
    circles.iter().map(|way| describe(&arrows, way)).collect()
}

/// `plan → run → plan: plan uses run at plan/mod.rs:3, run uses plan at run/mod.rs:9`
fn describe(arrows: &Arrows, way: &[String]) -> String {
    let steps = way.iter().zip(way.iter().cycle().skip(1));
    let places: Vec<String> =
        steps.map(|(from, to)| format!("`{from}` uses `{to}` at {}", arrows[from][to])).collect();
    format!("circle {} → {}: {}", way.join(" → "), way[0], places.join(", "))
}

/// The shortest way from `start` back to it.
fn way_back(arrows: &Arrows, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in &ways {
            let last = way.last().map(String::as_str).unwrap_or_default();
            for to in arrows.get(last).into_iter().flat_map(BTreeMap::keys) {
                if to == start {
                    return Some(way.clone());
                }
                if seen.insert(to.clone()) {
                    longer.push([&way[..], std::slice::from_ref(to)].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

fn arrows(files: &[SourceFile]) -> Arrows {
    let code: Vec<(&str, String)> = files
        .iter()
        .map(|(path, text)| {
            (path.as_str(), without_test_modules(&without_comments_and_strings(text)))
        })
        .collect();
    let modules: BTreeSet<&str> = code.iter().map(|(path, _)| top(path)).collect();
    let mut at_root = exported_macros(&code);
    for (path, text) in &code {
        if *path == "lib.rs" {
            at_root.extend(re_exports(text, &modules));
        }
    }
    let mut arrows = Arrows::new();
    for (path, text) in code.iter().filter(|(path, _)| is_counted(path)) {
        let from = top(path);
        for (name, offset) in names_at_root(path, text) {
            let to = if modules.contains(name.as_str()) {
                name
            } else if let Some(module) = at_root.get(&name) {
                module.clone()
            } else {
                continue;
            };
            if to != from {
                let line = text[..offset].matches('\n').count() + 1;
                let place = format!("{path}:{line}");
                arrows.entry(from.to_owned()).or_default().entry(to).or_insert(place);
            }
        }
    }
    arrows
}

/// The root has no say in the order of the rooms, and files of tests are not part of it.
fn is_counted(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    path != "lib.rs" && path != "main.rs" && file != "tests.rs" && !path.contains("/tests/")
}

/// The top-level module that the file at `path` belongs to.
fn top(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The depth of the file's module: 1 for `store/mod.rs` and `store.rs`, 2 for `store/cache.rs`.
fn depth(path: &str) -> usize {
    let parts: Vec<&str> = path.split('/').collect();
    if parts.last() == Some(&"mod.rs") { parts.len() - 1 } else { parts.len() }
}

/// Macros are exported at the root wherever they stand.
fn exported_macros(code: &[(&str, String)]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (path, text) in code {
        for (at, _) in text.match_indices("#[macro_export]") {
            if let Some(name) = text[at..].find("macro_rules!").map(|i| {
                let rest = text[at + i + "macro_rules!".len()..].trim_start();
                identifier(rest).to_owned()
            }) {
                found.insert(name, top(path).to_owned());
            }
        }
    }
    found
}

/// What the root re-exports, by its name there: `pub use data::{Error, …}`.
fn re_exports(root: &str, modules: &BTreeSet<&str>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (at, _) in root.match_indices("pub use ") {
        let path = root[at + "pub use ".len()..].split(';').next().unwrap_or_default();
        let path = path.trim_start().trim_start_matches("crate::").trim_start_matches("self::");
        let module = identifier(path);
        if modules.contains(module) {
            for name in leaves(path) {
                found.insert(name, module.to_owned());
            }
        }
    }
    found
}

/// The names that a `use` path brings in: `a::{b, c as d}` brings `b` and `d`.
fn leaves(path: &str) -> Vec<String> {
    path.split(['{', '}', ','])
        .map(|part| {
            let part = part.rsplit(" as ").next().unwrap_or(part);
            part.rsplit("::").next().unwrap_or(part).trim().to_owned()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// Every name that `text` takes from the crate's root, with the offset where it stands.
fn names_at_root(path: &str, text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if !part_of_word(text, at) {
            heads(text, at + "crate::".len(), &mut found);
        }
    }
    let climb = "super::".repeat(depth(path));
    for (at, _) in text.match_indices(&climb) {
        let higher = text[..at].ends_with("super::");
        if !part_of_word(text, at) && !higher {
            heads(text, at + climb.len(), &mut found);
        }
    }
    found
}

fn part_of_word(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
}

/// The first name of the path at `at`, or of each path in the list `{…}` there.
fn heads(text: &str, at: usize, found: &mut Vec<(String, usize)>) {
    let rest = &text[at..];
    let trimmed = rest.trim_start();
    let at = at + rest.len() - trimmed.len();
    if !trimmed.starts_with('{') {
        let name = identifier(trimmed);
        if !name.is_empty() {
            found.push((name.to_owned(), at));
        }
        return;
    }
    let mut level = 0;
    let mut expects = false;
    for (i, c) in trimmed.char_indices() {
        match c {
            '{' => {
                level += 1;
                expects = level == 1;
            }
            '}' if level == 1 => return,
            '}' => level -= 1,
            ',' => expects = level == 1,
            c if expects && !c.is_whitespace() => {
                found.push((identifier(&trimmed[i..]).to_owned(), at + i));
                expects = false;
            }
            _ => {}
        }
    }
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::{super::made_up, *};

    #[test]
    fn a_house_without_circles_passes() {
        let files = made_up(&[
            ("lib.rs", "mod data; mod plan; mod run;\npub use data::Error;"),
            ("data.rs", "pub struct Error; //! see crate::run\n"),
            ("plan/mod.rs", "use crate::{Error, data};\n/// [`crate::run::go`]\nfn f() {}"),
            ("run/mod.rs", "use crate::plan;\nfn f() -> &'static str { \"crate::run\" }"),
            ("data/tests.rs", "use crate::run;"),
        ]);
        assert_eq!(find(&files), Vec::<String>::new());
    }

    #[test]
    fn every_way_round_is_named_with_its_places() {
        for (what, plan, run) in [
            ("use lines", "\nuse crate::run;", "use crate::{data, plan::{self, Plan}};"),
            ("an inline path", "\nfn f() { crate::run::go() }", "use crate::plan::Plan;"),
            ("a re-export of the root", "\nuse crate::{data, Go};", "use crate::plan;"),
            ("super, from the module's own file", "\nuse super::run;", "use crate::plan;"),
            ("a macro of the root", "\nfn f() { crate::gone!() }", "use crate::plan;"),
        ] {
            let run = format!("#[macro_export]\nmacro_rules! gone {{ () => {{}} }}\n{run}");
            let files = made_up(&[
                ("lib.rs", "mod data; mod plan; mod run;\npub use run::{Go, Other as Else};"),
                ("data.rs", "#[cfg(test)]\nmod tests { use crate::run::go; }"),
                ("plan/mod.rs", plan),
                ("run/mod.rs", &run),
            ]);
            let said = find(&files);
            assert_eq!(
                said,
                [
                    "circle plan → run → plan: `plan` uses `run` at plan/mod.rs:2, `run` uses `plan` at run/mod.rs:3"
                ],
                "{what}"
            );
        }
    }

    #[test]
    fn a_longer_circle_is_found_from_deep_inside_a_room() {
        let files = made_up(&[
            ("a/mod.rs", "mod deep;"),
            ("a/deep/mod.rs", "mod deeper;"),
            ("a/deep/deeper.rs", "use super::super::super::b::B;"),
            ("b.rs", "use crate::{\n    c,\n};"),
            ("c.rs", "type T = $crate::a::A;"),
        ]);
        assert_eq!(
            find(&files),
            [
                "circle a → b → c → a: `a` uses `b` at a/deep/deeper.rs:1, `b` uses `c` at b.rs:2, `c` uses `a` at c.rs:1"
            ]
        );
    }
}
