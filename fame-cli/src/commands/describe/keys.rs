//! `fame-cli describe recipe` and `describe manifest`: every key of these files, from the types
//! that read them.

#![allow(clippy::format_push_string, clippy::format_collect, reason = "a page is written once")]

use fame_core::{
    recipe::RecipeFile,
    store::ModelManifest,
    text::{Key, scan},
};
use fame_plugins::{MANIFEST_EXAMPLE, RECIPE_DEFAULTS, RECIPE_EXAMPLE};
use serde_json::{Value, json};

use super::{
    super::Failure,
    schema::{Parameter, about, parameters_within, resolved, tagged, type_of, variants, wrapped},
};
use crate::terminal::out;

/// A file whose keys can be described.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    Recipe,
    Manifest,
}

impl File {
    pub(super) const ALL: [Self; 2] = [Self::Recipe, Self::Manifest];

    /// Its name on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Recipe => "recipe",
            Self::Manifest => "manifest",
        }
    }

    /// The file of this name.
    pub(super) fn called(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.word().eq_ignore_ascii_case(word))
    }

    fn summary(self) -> &'static str {
        match self {
            Self::Recipe => {
                "A recipe: one question, in RON. `fame-cli run RECIPE` answers it. Everything of \
                 the form `Name(…)` is a plugin: `fame-cli describe NAME`."
            }
            Self::Manifest => {
                "A manifest: all that fame knows of a network before it opens the file, in RON. \
                 NAME.ron beside NAME.onnx, or in a folder that --models names."
            }
        }
    }

    fn keys(self) -> &'static [Key] {
        match self {
            Self::Recipe => RecipeFile::KEYS,
            Self::Manifest => ModelManifest::KEYS,
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Recipe => RECIPE_EXAMPLE,
            Self::Manifest => MANIFEST_EXAMPLE,
        }
    }

    /// What holds where `key` is left out.
    fn default_of(self, key: &Key) -> String {
        let own = match self {
            Self::Recipe => value_of(RECIPE_DEFAULTS, key.name),
            Self::Manifest => None,
        };
        own.unwrap_or_else(|| key.default.to_owned())
    }
}

/// The text of the value of `key` in the RON text of a file.
fn value_of(text: &str, key: &str) -> Option<String> {
    let entries = scan::entries(text, 0).ok()?;
    let entry = entries.into_iter().find(|entry| entry.key == key)?;
    Some(text[entry.value_span].to_owned())
}

/// A key, a choice or a field in it, with what it holds itself.
struct Row {
    name: String,
    kind: String,
    default: String,
    about: String,
    inside: Vec<Row>,
}

/// The rows of a file: one for each key.
fn rows(file: File) -> Vec<Row> {
    let row = |key: &Key| {
        let schema = key.schema();
        let default = if key.is_required() {
            "required".to_owned()
        } else {
            format!("default: {}", file.default_of(key))
        };
        Row {
            name: key.name.to_owned(),
            kind: type_of(&schema, &schema),
            default,
            about: key.about.to_owned(),
            inside: inside(&schema, &schema, &mut Vec::new()),
        }
    };
    file.keys().iter().map(row).collect()
}

/// What a value of the form `schema` holds: its fields, or its choices. Each type is shown where it
/// comes first: `shown` are those that were.
fn inside<'a>(schema: &'a Value, root: &'a Value, shown: &mut Vec<&'a str>) -> Vec<Row> {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        if name == "#" || shown.contains(&name) {
            return Vec::new();
        }
        shown.push(name);
        return inside(resolved(schema, root), root, shown);
    }
    if let Some(variants) = variants(schema) {
        return variants.into_iter().flat_map(|v| choices(v, root, shown)).collect();
    }
    let item = schema
        .get("items")
        .or_else(|| schema.get("additionalProperties").filter(|value| value.is_object()));
    if let Some(item) = item {
        return inside(item, root, shown);
    }
    fields(schema, root, shown)
}

/// The fields of an object.
fn fields<'a>(schema: &'a Value, root: &'a Value, shown: &mut Vec<&'a str>) -> Vec<Row> {
    let row = |Parameter { name, kind, default, about }| {
        let held = schema.get("properties").and_then(|all| all.get(&name));
        let inside = held.map_or_else(Vec::new, |held| inside(held, root, shown));
        Row { name, kind, default, about, inside }
    };
    parameters_within(schema, root).into_iter().map(row).collect()
}

/// The choices of one alternative: plain words, or one that holds something.
fn choices<'a>(variant: &'a Value, root: &'a Value, shown: &mut Vec<&'a str>) -> Vec<Row> {
    let plain = |name: &str| Row {
        name: name.to_owned(),
        kind: String::new(),
        default: String::new(),
        about: about(variant),
        inside: Vec::new(),
    };
    if let Some(name) = variant.get("const").and_then(Value::as_str) {
        return vec![plain(name)];
    }
    if let Some(names) = variant.get("enum").and_then(Value::as_array) {
        return names.iter().filter_map(Value::as_str).map(plain).collect();
    }
    match tagged(variant) {
        Some((_, held)) => {
            let name = type_of(variant, root);
            vec![Row { inside: inside(held, root, shown), ..plain(&name) }]
        }
        None => inside(variant, root, shown),
    }
}

/// Prints the keys of `file`.
pub(super) fn describe(file: File, json: bool, markdown: bool) -> Result<(), Failure> {
    if markdown {
        out(as_markdown(file).trim_end())?;
    } else if json {
        out(&serde_json::to_string_pretty(&as_json(file)).unwrap_or_default())?;
    } else {
        out(&as_text(file))?;
    }
    Ok(())
}

fn as_text(file: File) -> String {
    let mut text = wrapped(file.summary(), "");
    for row in rows(file) {
        text.push('\n');
        write_row(&row, "  ", &mut text);
        if let Some(example) = value_of(file.example(), &row.name) {
            // Lines behind the first stand in the file as deep as one key; here below the key.
            let example = example.replace("\n    ", "\n                 ");
            text.push_str(&format!("\n      example    {}: {example}", row.name));
        }
    }
    text.push_str(&format!("\n\n{}", file.example().trim_end()));
    text
}

fn write_row(row: &Row, indent: &str, text: &mut String) {
    let kind: Vec<&str> =
        [row.kind.as_str(), &row.default].into_iter().filter(|part| !part.is_empty()).collect();
    let colon = if kind.is_empty() { "" } else { ": " };
    text.push_str(&format!("\n{indent}{}{colon}{}", row.name, kind.join(", ")));
    let deeper = format!("{indent}    ");
    if !row.about.is_empty() {
        text.push_str(&format!("\n{}", wrapped(&row.about, &deeper)));
    }
    row.inside.iter().for_each(|inner| write_row(inner, &deeper, text));
}

fn as_json(file: File) -> Value {
    let key = |key: &Key| {
        json!({
            "name": key.name, "about": key.about, "required": key.is_required(),
            "default": (!key.is_required()).then(|| file.default_of(key)),
            "example": value_of(file.example(), key.name), "schema": key.schema(),
        })
    };
    let keys: Vec<Value> = file.keys().iter().map(key).collect();
    json!({ "file": file.word(), "summary": file.summary(), "keys": keys, "example": file.example() })
}

fn as_markdown(file: File) -> String {
    let mut text = format!("{}\n\n```ron\n{}```\n", file.summary(), file.example());
    for row in rows(file) {
        text.push_str(&format!("\n## `{}`\n\n", row.name));
        text.push_str(&format!("`{}`, {}.\n\n{}\n", row.kind, row.default, row.about));
        if let Some(example) = value_of(file.example(), &row.name) {
            text.push_str(&format!("\n```ron\n{}: {example}\n```\n", row.name));
        }
        if !row.inside.is_empty() {
            text.push('\n');
            row.inside.iter().for_each(|inner| write_item(inner, "", &mut text));
        }
    }
    text
}

fn write_item(row: &Row, indent: &str, text: &mut String) {
    let kind: String = [format!("`{}`", row.kind), row.default.clone()]
        .into_iter()
        .filter(|part| !part.is_empty() && part != "``")
        .map(|part| format!(", {part}"))
        .collect();
    text.push_str(&format!("{indent}- `{}`{kind}: {}\n", row.name, row.about));
    let deeper = format!("{indent}  ");
    row.inside.iter().for_each(|inner| write_item(inner, &deeper, text));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row, those inside of others too.
    fn all(rows: &[Row]) -> Vec<&Row> {
        rows.iter().flat_map(|row| [vec![row], all(&row.inside)].concat()).collect()
    }

    #[test]
    fn every_key_and_every_choice_says_what_it_means() {
        for file in File::ALL {
            let rows = rows(file);
            assert_eq!(rows.len(), file.keys().len());
            for row in all(&rows) {
                assert!(
                    row.about.len() > 8,
                    "{}: `{}` says {:?}",
                    file.word(),
                    row.name,
                    row.about
                );
            }
            for row in &rows {
                assert!(row.about.ends_with('.') && !row.default.is_empty(), "`{}`", row.name);
            }
        }
        // What the types hold is there, down to a field of a choice of a field.
        let manifest = rows(File::Manifest);
        let names: Vec<&str> = all(&manifest).into_iter().map(|row| row.name.as_str()).collect();
        for name in
            ["size", "Bgr", "ChannelsLast", "Npm(…)", "archive_sha256", "requirements", "loss"]
        {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
    }

    #[test]
    fn every_key_is_in_the_example_and_nothing_else() {
        for file in File::ALL {
            let entries = scan::entries(file.example(), 0).unwrap();
            let used: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
            // The word of an older form is described, and not shown to be copied.
            let keys = file.keys().iter().map(|key| key.name).filter(|name| *name != "task");
            assert_eq!(used, keys.collect::<Vec<_>>(), "{}", file.word());
        }
    }
}
