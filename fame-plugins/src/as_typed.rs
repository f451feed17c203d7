//! Parameters of the record as a recipe writes them: `Lots(iterations: 16, step: 0.1)` where
//! run.json has `{"Lots": {"iterations": 16, "step": 0.1}}`.

use std::collections::BTreeSet;

use fame_core::Table;
use serde_json::{Map, Value};

/// `value` as a recipe writes it. The record does not tell a choice from a text: a word that begins
/// with a capital letter is taken for a choice. Parameters without a value are left out.
pub(crate) fn as_typed(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if is_choice(text) => text.clone(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(list) => format!("[{}]", joined(list)),
        Value::Object(fields) => match part(fields) {
            Some((name, Value::Object(parameters))) if part(parameters).is_none() => {
                format!("{name}{}", parentheses(parameters))
            }
            Some((name, Value::Null)) => format!("{name}()"),
            Some((name, Value::Array(values))) => format!("{name}({})", joined(values)),
            Some((name, inner)) => format!("{name}({})", as_typed(inner)),
            None => parentheses(fields),
        },
    }
}

fn joined(values: &[Value]) -> String {
    values.iter().map(as_typed).collect::<Vec<_>>().join(", ")
}

fn parentheses(fields: &Map<String, Value>) -> String {
    let given = fields.iter().filter(|(_, value)| !value.is_null());
    let given: Vec<String> =
        given.map(|(name, value)| format!("{name}: {}", as_typed(value))).collect();
    format!("({})", given.join(", "))
}

/// Whether a word is a choice: `MaxNorm`, and no name of a layer or a file.
fn is_choice(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric())
}

/// Name and parameters of a plugin, or of a choice that has some.
fn part(fields: &Map<String, Value>) -> Option<(&String, &Value)> {
    fields.iter().next().filter(|(name, _)| fields.len() == 1 && is_choice(name))
}

/// What the plans of two runs say differently, by the path that `--set` takes; `None` where they
/// say the same.
pub(crate) fn differences(first: &Value, other: &Value) -> Option<Table> {
    let mut rows = Vec::new();
    note(String::new(), first, other, &mut rows);
    let columns: Vec<String> = ["parameter", "first", "other"].map(str::to_owned).into();
    (!rows.is_empty()).then(|| Table {
        name: "recipe".to_owned(),
        title: "What the recipes say differently, every parameter as resolved".to_owned(),
        numbers: Some(fame_core::report::Numbers { columns: columns.clone(), rows: rows.clone() }),
        columns,
        rows,
        ..Table::default()
    })
}

/// Adds a row for each place at or below `path` where `a` and `b` differ.
fn note(path: String, a: &Value, b: &Value, rows: &mut Vec<Vec<String>>) {
    if a == b {
        return;
    }
    if let (Some(one), Some(two)) = (named(a), named(b)) {
        let inside = |name: &str| {
            if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
        };
        for name in one.keys().chain(two.keys()).collect::<BTreeSet<_>>() {
            let at = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or_default();
            note(inside(name), &at(&one), &at(&two), rows);
        }
        return;
    }
    let written = |value: &Value| if value.is_null() { "–".to_owned() } else { as_typed(value) };
    match (a, b) {
        (Value::Object(one), Value::Object(two)) => match (part(one), part(two)) {
            (Some((name, one)), Some((same, two)))
                if name == same && one.is_object() && two.is_object() =>
            {
                note(path, one, two, rows);
            }
            _ => rows.push(vec![path, written(a), written(b)]),
        },
        _ => rows.push(vec![path, written(a), written(b)]),
    }
}

/// Values by name: parameters, or the explainers of a plan.
fn named(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) if part(fields).is_none() => Some(fields.clone()),
        Value::Array(list) if !list.is_empty() => list
            .iter()
            .map(|one| Some((one["name"].as_str()?.to_owned(), one.get("explainer")?.clone())))
            .collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_written_as_in_a_recipe() {
        for (value, text) in [
            (
                json!({"Lots": {"iterations": 16, "step": 0.5, "stop": []}}),
                "Lots(iterations: 16, step: 0.5, stop: [])",
            ),
            (json!({"GradCam": {"layer": "conv_5", "roles": null}}), r#"GradCam(layer: "conv_5")"#),
            (
                json!([{"Gray": {"order": "AbsThenGray"}}, {"Sum": {}}]),
                "[Gray(order: AbsThenGray), Sum()]",
            ),
            (json!({"Logit": {"class": {"Index": 3}}}), "Logit(class: Index(3))"),
            (json!({"Shift": [2, 0]}), "Shift(2, 0)"),
            (
                json!({"root": "/data/A", "columns": ["path"]}),
                r#"(columns: ["path"], root: "/data/A")"#,
            ),
        ] {
            assert_eq!(as_typed(&value), text);
            if part(value.as_object().unwrap_or(&Map::new())).is_some() {
                fame_core::text::Spec::from_text(text).unwrap();
            }
        }
    }

    #[test]
    fn only_what_differs_is_told_and_where() {
        let plan = |step: f64, map: Value, extra: &str| {
            json!({
                "model": "net", "seed": 0,
                "explain": [
                    {"name": "fame", "explainer": {"Fame": {
                        "perturbation": {"Lots": {"iterations": 16, "step": step}}, "map": [map],
                    }}},
                    {"name": extra, "explainer": {"GradCam": {"layer": "a"}}},
                ],
            })
        };
        let one = plan(0.5, json!({"Gray": {}}), "cam");
        assert!(differences(&one, &one).is_none());
        let two = plan(1.0, json!({"Sum": {}}), "grad_cam");
        let rows = differences(&one, &two).unwrap().rows;
        let rows: Vec<String> = rows.into_iter().map(|row| row.join(" | ")).collect();
        assert_eq!(
            rows,
            [
                r#"explain.cam | GradCam(layer: "a") | –"#,
                "explain.fame.map | [Gray()] | [Sum()]",
                "explain.fame.perturbation.step | 0.5 | 1.0",
                r#"explain.grad_cam | – | GradCam(layer: "a")"#,
            ]
        );
    }
}
