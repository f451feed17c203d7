//! The reference pages of the manual: plugins in Markdown.

#![allow(clippy::format_push_string, reason = "a page is written once")]

use fame_core::registry::Registration;
use serde_json::Value;

use super::schema::{Parameter, parameters};

/// A section for each plugin.
pub(super) fn plugins(chosen: &[&Registration]) -> String {
    chosen.iter().map(|registration| plugin(registration)).collect::<Vec<_>>().join("\n")
}

fn plugin(r: &Registration) -> String {
    let schema = super::schema(r);
    let mut text = format!("## {}\n\n{}.\n", r.name(), r.summary());
    if let Some(about) = schema.get("description").and_then(Value::as_str) {
        text.push_str(&format!("\n{about}\n"));
    }
    text.push_str(&format!("\n```ron\n{}\n```\n", r.example()));
    let all = parameters(&schema);
    if !all.is_empty() {
        text.push('\n');
    }
    for Parameter { name, kind, default, about } in all {
        let default = if default.is_empty() { String::new() } else { format!(", {default}") };
        text.push_str(&format!("- `{name}`: `{kind}`{default}. {about}\n"));
    }
    if !r.reference().is_empty() {
        text.push_str(&format!("\nReference: {}\n", r.reference()));
    }
    text
}
