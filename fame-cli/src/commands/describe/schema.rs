//! JSON schemas in words: parameters with type, default and meaning.

use serde_json::{Value, json};

/// One parameter of a plugin, or one key inside a value.
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) kind: String,
    /// "required", "default …", or nothing where no constant is the default.
    pub(super) default: String,
    pub(super) about: String,
}

/// The parameters of an object's schema, in its order.
pub(super) fn parameters(schema: &Value) -> Vec<Parameter> {
    parameters_within(schema, schema)
}

/// [`parameters`] of a part of the schema `root`.
pub(super) fn parameters_within(part: &Value, root: &Value) -> Vec<Parameter> {
    let Some(properties) = part.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let required: Vec<&str> = part
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
            Parameter { name: name.clone(), kind: type_of(p, root), default, about: about(p) }
        })
        .collect()
}

/// The description of a schema, in one line.
pub(super) fn about(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

/// What the reference `schema` stands for, or itself.
pub(super) fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        None => schema,
        Some("#") => root,
        Some(name) => name
            .strip_prefix("#/$defs/")
            .and_then(|name| root.get("$defs")?.get(name))
            .unwrap_or(schema),
    }
}

/// The alternatives of a schema, without `null`.
pub(super) fn variants(schema: &Value) -> Option<Vec<&Value>> {
    let all = ["oneOf", "anyOf", "allOf"].iter().find_map(|k| schema.get(k)?.as_array())?;
    Some(all.iter().filter(|v| v.get("type") != Some(&json!("null"))).collect())
}

/// Name and content of a variant with data: an object with the variant's name as its only property.
pub(super) fn tagged(schema: &Value) -> Option<(&str, &Value)> {
    let properties = schema.get("properties").and_then(Value::as_object)?;
    let only = properties.len() == 1 && schema.get("required").is_some();
    properties.iter().next().filter(|_| only).map(|(name, inner)| (name.as_str(), inner))
}

/// A JSON schema's type in a word or two.
pub(super) fn type_of(p: &Value, root: &Value) -> String {
    if let Some(title) = p.get("title").and_then(Value::as_str) {
        return title.to_owned();
    }
    if let Some(name) = p.get("$ref").and_then(Value::as_str) {
        let found = resolved(p, root);
        if std::ptr::eq(found, p) {
            return name.to_owned();
        }
        // Long, and it may hold itself: its name says enough.
        let long =
            |v: &&Value| tagged(v).is_some_and(|(_, inner)| inner.get("properties").is_some());
        let is_long = variants(found).is_some_and(|all| all.iter().any(long));
        return match name.strip_prefix("#/$defs/") {
            Some(name) if is_long => name.to_owned(),
            Some(_) => type_of(found, root),
            None => "the same".to_owned(),
        };
    }
    if let Some(variants) = variants(p) {
        let mut names: Vec<String> = variants.into_iter().map(|v| type_of(v, root)).collect();
        names.dedup();
        return names.join(" | ");
    }
    if let Some(choice) = p.get("const").and_then(Value::as_str) {
        return choice.to_owned();
    }
    if let Some(choices) = p.get("enum").and_then(Value::as_array) {
        return choices.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | ");
    }
    if let Some((name, inner)) = tagged(p) {
        return match inner.get("properties") {
            Some(_) => format!("{name}(…)"),
            None => format!("{name}({})", type_of(inner, root)),
        };
    }
    let plain = |t: &str| match t {
        "array" => array(p, root),
        "object" => object(p, root),
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

/// `[number]`, or `(integer, integer)` where there is a fixed number of them.
fn array(p: &Value, root: &Value) -> String {
    if let Some(each) = p.get("prefixItems").and_then(Value::as_array) {
        let each: Vec<String> = each.iter().map(|item| type_of(item, root)).collect();
        return format!("({})", each.join(", "));
    }
    p.get("items").map_or_else(|| "list".to_owned(), |item| format!("[{}]", type_of(item, root)))
}

/// `(size: …, order: …)`, or `{"name": string}` where names are the writer's own.
fn object(p: &Value, root: &Value) -> String {
    if let Some(properties) = p.get("properties").and_then(Value::as_object) {
        let names: Vec<String> = properties.keys().map(|name| format!("{name}: …")).collect();
        return format!("({})", names.join(", "));
    }
    match p.get("additionalProperties") {
        Some(value @ Value::Object(_)) => format!("{{\"name\": {}}}", type_of(value, root)),
        _ => "map".to_owned(),
    }
}

/// `text` in lines of about 100 characters behind `indent`.
pub(super) fn wrapped(text: &str, indent: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_said_in_the_form_in_which_they_are_written() {
        let root = json!({ "$defs": {
            "Where": { "oneOf": [
                { "type": "object", "required": ["File"], "properties": { "File": {
                    "type": "object", "properties": { "path": { "type": "string" } } } } },
            ] },
            "Order": { "oneOf": [{ "const": "Rgb" }, { "const": "Bgr" }] },
        } });
        for (schema, said) in [
            (json!({ "type": "array", "items": { "type": "number" } }), "[number]"),
            (
                json!({ "type": "array", "prefixItems": [{ "type": "integer" }, { "type": "string" }] }),
                "(integer, string)",
            ),
            (json!({ "type": ["string", "null"] }), "string"),
            (json!({ "$ref": "#/$defs/Order" }), "Rgb | Bgr"),
            (json!({ "$ref": "#/$defs/Where" }), "Where"),
            (json!({ "$ref": "#" }), "the same"),
            (
                json!({ "type": "object", "additionalProperties": { "type": "boolean" } }),
                "{\"name\": boolean}",
            ),
            (json!({ "type": "object", "properties": { "a": {}, "b": {} } }), "(a: …, b: …)"),
        ] {
            assert_eq!(type_of(&schema, &root), said, "{schema}");
        }
    }
}
