//! What a run is about to replace: results of another question in its output folder.

use std::{collections::BTreeSet, path::Path};

use super::MODEL;
use crate::data::{Facts, Value};

/// The most differences that are told.
const TOLD: usize = 6;

/// The longest value that is told beside its name, in letters.
const SHORT: usize = 40;

/// Results that lie where a run is going to write, of a recipe that is not its own.
#[derive(Debug)]
pub(in crate::run) struct Replaced {
    /// The file of the other recipe.
    recipe: String,
    /// What the two say differently, every parameter as resolved.
    changed: Vec<String>,
}

impl Replaced {
    /// What the run of the record `there` has left that one of the record `mine` replaces; `None`
    /// where both were asked the same, however it was written.
    pub(super) fn of(there: &Value, mine: &Facts) -> Option<Self> {
        let (other, mine) = (there.get("recipe")?, Value::Map(mine.clone()));
        let mut changed = Vec::new();
        match there.get("plan") {
            Some(plan) => {
                // As it would be read back: numbers are compared as they are written.
                let text = serde_json::to_string(mine.get("plan")?).ok()?;
                note(String::new(), plan, &serde_json::from_str(&text).ok()?, &mut changed);
            }
            // A version that left no plan.
            None if other.get("sha256") != mine.get("recipe")?.get("sha256") => {
                changed.push("the recipe".to_owned());
            }
            None => {}
        }
        // Not known before the model is loaded. What is remarked of it is no part of the question.
        if let (Some(one), Some(two)) = (there.get(MODEL), mine.get(MODEL)) {
            for field in ["sha256", "data_files", "input", "outputs"] {
                let of = |model: &Value| model.get(field).cloned().unwrap_or_default();
                // As it would be read back, too.
                let text = serde_json::to_string(&of(two)).ok()?;
                let mine = serde_json::from_str(&text).ok()?;
                note(format!("{MODEL}.{field}"), &of(one), &mine, &mut changed);
            }
        }
        let recipe = other.get("file").and_then(Value::as_str).unwrap_or_default().to_owned();
        (!changed.is_empty()).then_some(Self { recipe, changed })
    }

    /// What is told of it before anything is replaced; so many `items` of the run are there.
    pub(in crate::run) fn warning(&self, out: &Path, items: usize) -> String {
        let more = self.changed.len().saturating_sub(TOLD);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let told = self.changed.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
        let of_items = match items {
            0 => "No item of this run is there yet: those that are stay, and tables and report are replaced.".to_owned(),
            1 => "Of 1 item of this run that is there what the change touches is made anew and replaced, and so are tables and report.".to_owned(),
            _ => format!("Of {items} items of this run that are there what the change touches is made anew and replaced, and so are tables and report."),
        };
        format!(
            "`{}` holds results of another question, `{}` as it was then; since then changed: {told}{more}. {of_items} To keep what is there, stop and name another folder: --out FOLDER.",
            out.display(),
            self.recipe
        )
    }
}

/// Notes each place at or below `path` where `a` and `b` differ.
fn note(path: String, a: &Value, b: &Value, into: &mut Vec<String>) {
    if a == b {
        return;
    }
    let inside =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (a, b) {
        (Value::Map(one), Value::Map(two)) => match (part(one), part(two)) {
            (Some((name, one)), Some((same, two))) if name == same => note(path, one, two, into),
            (None, None) => {
                for name in one.keys().chain(two.keys()).collect::<BTreeSet<_>>() {
                    let of = |facts: &Facts| facts.get(name).cloned().unwrap_or_default();
                    note(inside(name), &of(one), &of(two), into);
                }
            }
            _ => into.push(format!("{path} {} → {}", word(a), word(b))),
        },
        (Value::List(one), Value::List(two)) => {
            if let (Some(one), Some(two)) = (named(one), named(two)) {
                return note(path, &Value::Map(one), &Value::Map(two), into);
            }
            if one.len() != two.len() {
                return into.push(path);
            }
            for (n, (one, two)) in one.iter().zip(two).enumerate() {
                note(format!("{path}[{n}]"), one, two, into);
            }
        }
        _ => into.push(format!("{path} {} → {}", word(a), word(b))),
    }
}

/// Name and parameters of a plugin, or of a choice that has some: a recipe's paths leave it out.
fn part(facts: &Facts) -> Option<(&String, &Value)> {
    let is_choice = |name: &String| name.starts_with(|c: char| c.is_ascii_uppercase());
    facts.iter().next().filter(|(name, _)| facts.len() == 1 && is_choice(name))
}

/// The explainers of a plan by their names.
fn named(list: &[Value]) -> Option<Facts> {
    let one = |value: &Value| {
        Some((value.get("name")?.as_str()?.to_owned(), value.get("explainer")?.clone()))
    };
    list.iter().map(one).collect()
}

/// A value in a word or two.
fn word(value: &Value) -> String {
    let whole = match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(is_so) => is_so.to_string(),
        Value::Integer(number) => number.to_string(),
        // Most parameters are of the shorter kind, whose digits are those that somebody typed.
        Value::Number(number) if f64::from(*number as f32) == *number => {
            (*number as f32).to_string()
        }
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::List(list) => format!("[{}]", list.len()),
        Value::Map(facts) => {
            part(facts).map_or_else(|| "…".to_owned(), |(name, _)| format!("{name}(…)"))
        }
    };
    if whole.chars().count() <= SHORT {
        return whole;
    }
    format!("{}…", whole.chars().take(SHORT - 1).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(plan: &str) -> Value {
        let text = format!(r#"{{"recipe": {{"file": "r.ron", "sha256": "a"}}, "plan": {plan}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn between(one: &str, two: &str) -> Option<Replaced> {
        let Value::Map(mine) = record(two) else { panic!("a record") };
        Replaced::of(&record(one), &mine)
    }

    #[test]
    fn what_two_recipes_say_differently_is_told_by_its_path() {
        let plan = |steps: usize, seed: u64, others: &str| {
            format!(
                r#"{{"seed": {seed}, "metrics": [{others}], "explain": [{{"name": "fame", "explainer": {{"Maker": {{"perturbation": {{"Walker": {{"iterations": {steps}, "step": 0.1}}}}}}}}}}]}}"#
            )
        };
        let first = plan(16, 0, "");
        assert!(between(&first, &first).is_none());
        let changed = between(&first, &plan(32, 7, r#"{"Iou": {}}"#)).unwrap().changed;
        let told = ["explain.fame.perturbation.iterations 16 → 32", "metrics", "seed 0 → 7"];
        assert_eq!(changed, told);
        let other = first.replace("Walker", "Descent");
        let changed = between(&first, &other).unwrap().changed;
        assert_eq!(changed, ["explain.fame.perturbation Walker(…) → Descent(…)"]);
        let other = first.replace(r#""fame""#, r#""mine""#);
        let changed = between(&first, &other).unwrap().changed;
        assert_eq!(changed, ["explain.fame Maker(…) → nothing", "explain.mine nothing → Maker(…)"]);
    }

    #[test]
    fn the_warning_counts_and_shows_the_way_out() {
        let replaced = between(r#"{"seed": 0}"#, r#"{"seed": 7}"#).unwrap();
        let said = replaced.warning(Path::new("out"), 3);
        for told in ["`out` holds", "`r.ron`", "seed 0 → 7", "Of 3 items", "--out FOLDER"] {
            assert!(said.contains(told), "{told}: {said}");
        }
        let all: Vec<String> = (0..9).map(|n| format!(r#""k{n}": 0"#)).collect();
        let all = format!("{{{}}}", all.join(", "));
        let said = between(&all, "{}").unwrap().warning(Path::new("out"), 0);
        assert!(said.contains("k5 0 → nothing, and 3 more. No item"), "{said}");
    }
}
