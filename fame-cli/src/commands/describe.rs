//! `fame-cli describe [KIND | NAME]`: what there is to choose from.

use std::process::ExitCode;

use fame_core::{
    Error,
    registry::{Kind, Registration, Registry},
    text::suggestion,
};
use serde_json::{Value, json};

use super::Failure;
use crate::{arguments::DescribeArgs, setup::Setup, terminal::out};

pub(crate) fn describe(setup: &Setup, args: &DescribeArgs) -> Result<ExitCode, Failure> {
    let registry = setup.registry()?;
    let chosen = choose(&registry, args.what.as_deref())?;
    if setup.json {
        let all: Vec<Value> = chosen.iter().map(|r| as_json(r)).collect();
        out(&serde_json::to_string_pretty(&all).unwrap_or_default())?;
    } else {
        print(&chosen, args.what.is_none())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn choose<'a>(registry: &'a Registry, what: Option<&str>) -> Result<Vec<&'a Registration>, Error> {
    let Some(what) = what else { return Ok(registry.iter().collect()) };
    let fits = |r: &&Registration| r.kind().is_called(what) || r.name().eq_ignore_ascii_case(what);
    let chosen: Vec<_> = registry.iter().filter(fits).collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    if let Ok(empty) = what.parse::<Kind>() {
        return Err(Error::new(
            "fame::describe::none",
            format!("no {} is registered.", empty.noun()),
        ));
    }
    let words = Kind::ALL.into_iter().map(Kind::word);
    let known: Vec<&str> = words.chain(registry.iter().map(Registration::name)).collect();
    let mut e = Error::new(
        "fame::describe::unknown",
        format!("there is no kind and no plugin called `{what}`."),
    );
    e.help = suggestion(what, &known, "name");
    Err(e)
}

/// Parameters as `(name, type, default, description)`.
fn parameters(schema: &Value) -> Vec<(String, String, String, String)> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    properties
        .iter()
        .map(|(name, p)| {
            let default = match p.get("default") {
                _ if required.contains(&name.as_str()) => "required".to_owned(),
                Some(Value::Null) | None => String::new(),
                // Defaults are single-precision; JSON shows the tail of their double-precision
                // image.
                Some(Value::Number(v)) if v.is_f64() => {
                    format!("default {}", v.as_f64().unwrap_or_default() as f32)
                }
                Some(v) => format!("default {v}"),
            };
            let text =
                p.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
            (name.clone(), type_of(p, schema), default, text)
        })
        .collect()
}

/// A JSON schema's type in a word or two.
fn type_of(p: &Value, root: &Value) -> String {
    if let Some(title) = p.get("title").and_then(Value::as_str) {
        return title.to_owned();
    }
    if let Some(name) = p.get("$ref").and_then(Value::as_str) {
        let found = name.strip_prefix("#/$defs/").and_then(|n| root.get("$defs")?.get(n));
        return found.map_or_else(|| name.to_owned(), |d| type_of(d, root));
    }
    if let Some(variants) = ["oneOf", "anyOf", "allOf"].iter().find_map(|k| p.get(k)?.as_array()) {
        let mut names: Vec<String> = variants
            .iter()
            .filter(|v| v.get("type") != Some(&json!("null")))
            .map(|v| type_of(v, root))
            .collect();
        names.dedup();
        return names.join(" | ");
    }
    if let Some(choice) = p.get("const").and_then(Value::as_str) {
        return choice.to_owned();
    }
    if let Some(choices) = p.get("enum").and_then(Value::as_array) {
        return choices.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | ");
    }
    // A variant with data: an object with the variant's name as its only property.
    if let Some(only) = p
        .get("properties")
        .and_then(Value::as_object)
        .filter(|o| o.len() == 1 && p.get("required").is_some())
        && let Some((name, inner)) = only.iter().next()
    {
        return format!("{name}({})", type_of(inner, root));
    }
    let plain = |t: &str| match t {
        "array" => {
            p.get("items").map_or_else(|| "list".to_owned(), |i| format!("[{}]", type_of(i, root)))
        }
        "object" => "map".to_owned(),
        other => other.to_owned(),
    };
    match p.get("type") {
        Some(Value::String(t)) => plain(t),
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .filter(|t| *t != "null")
            .map(plain)
            .collect::<Vec<_>>()
            .join(" | "),
        _ => "any".to_owned(),
    }
}

fn schema(r: &Registration) -> Value {
    r.schema().ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn as_json(r: &Registration) -> Value {
    json!({
        "kind": r.kind().word(), "name": r.name(), "summary": r.summary(), "example": r.example(), "reference": r.reference(),
        "origin": r.origin(), "schema": schema(r),
    })
}

fn print(chosen: &[&Registration], brief: bool) -> Result<(), Failure> {
    let mut kind = None;
    for r in chosen {
        if kind != Some(r.kind()) {
            if kind.is_some() {
                out("")?;
            }
            kind = Some(r.kind());
            out(&r.kind().plural().to_uppercase())?;
        }
        if brief {
            out(&format!("  {:<20} {}", r.name(), r.summary()))?;
        } else {
            print_one(r)?;
        }
    }
    if brief {
        out("\n`fame-cli describe NAME` shows parameters and an example.")?;
    }
    Ok(())
}

fn print_one(r: &Registration) -> Result<(), Failure> {
    out(&format!("\n{}: {}", r.name(), r.summary()))?;
    let schema = schema(r);
    if let Some(text) = schema.get("description").and_then(Value::as_str) {
        out(&wrapped(text, "  "))?;
    }
    for (name, kind, default, text) in parameters(&schema) {
        let about =
            [kind, default].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(", ");
        out(&format!("  {name}: {about}"))?;
        out(&wrapped(&text, "      "))?;
    }
    out(&format!("  example    {}", r.example()))?;
    if !r.reference().is_empty() {
        out(&format!("  reference  {}", r.reference()))?;
    }
    out(&format!("  from       {}", r.origin()))?;
    Ok(())
}

/// `text` in lines of about 100 characters behind `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    const WIDTH: usize = 100;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |l| l.chars().count());
        if line > 0 && line + 1 + word.chars().count() > WIDTH {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.iter().map(|l| format!("{indent}{l}")).collect::<Vec<_>>().join("\n")
}
