//! The names of metrics: a plugin that stands twice in a recipe is told apart by its parameters.

use crate::data::{Value, safe_id};

/// The longest name that parameters may give: it becomes part of file names.
const LONGEST: usize = 60;

/// A name for each of `parts`, given as plugin's name and parameters: the plugin's name, and where
/// several have it the values of those parameters in which they differ; numbered where that is too
/// long, or tells nothing.
pub(super) fn of_parts(parts: &[(&str, &Value)]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (plugin, parameters) in parts {
        let others: Vec<&Value> =
            parts.iter().filter(|(name, _)| name == plugin).map(|(_, p)| *p).collect();
        let mut name = (*plugin).to_owned();
        for value in differing(parameters, &others) {
            name = format!("{name}_{}", word(value));
        }
        let usable = name.len() <= LONGEST && !names.contains(&name);
        let name = if usable { name } else { numbered(plugin, &names) };
        names.push(name);
    }
    names
}

/// The values of the parameters that are not the same in all `others`.
fn differing<'a>(parameters: &'a Value, others: &[&Value]) -> Vec<&'a Value> {
    let Value::Map(own) = parameters else { return Vec::new() };
    let differs = |name: &String, value: &Value| others.iter().any(|o| o.get(name) != Some(value));
    own.iter().filter(|(name, value)| differs(name, value)).map(|(_, value)| value).collect()
}

/// A value as a part of a name.
fn word(value: &Value) -> String {
    match value {
        Value::Text(text) => safe_id(text),
        Value::Null => "none".to_owned(),
        other => {
            let text = serde_json::to_string(other).unwrap_or_default();
            let kept = |c: char| c.is_alphanumeric() || c == '.' || c == '-';
            let words: Vec<&str> = text.split(|c| !kept(c)).filter(|w| !w.is_empty()).collect();
            safe_id(&words.join("-"))
        }
    }
}

/// The plugin's name with the first number from 2 that is free.
fn numbered(plugin: &str, taken: &[String]) -> String {
    let free = |name: &String| !taken.contains(name);
    let names = (2..).map(|n| format!("{plugin}_{n}"));
    std::iter::once(plugin.to_owned()).chain(names).find(free).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::facts;

    fn part(imputer: &str, percents: &[i64]) -> Value {
        let percents = percents.iter().map(|p| Value::Integer(*p)).collect();
        Value::Map(facts([("imputer", imputer.into()), ("percents", Value::List(percents))]))
    }

    #[test]
    fn what_tells_two_apart_stands_in_their_names() {
        let (soft, black) = (part("Soft", &[10]), part("Black", &[10]));
        let more = part("Black", &[10, 30]);
        let of = |parts: &[(&str, &Value)]| of_parts(parts);
        assert_eq!(of(&[("Drop", &soft), ("Mass", &black)]), ["Drop", "Mass"]);
        assert_eq!(of(&[("Drop", &soft), ("Drop", &black)]), ["Drop_Soft", "Drop_Black"]);
        assert_eq!(of(&[("Drop", &soft), ("Drop", &more)]), ["Drop_Soft_10", "Drop_Black_10-30"]);
        // Nothing tells these apart, and too much those.
        assert_eq!(of(&[("Drop", &soft), ("Drop", &soft)]), ["Drop", "Drop_2"]);
        let long = part(&"x".repeat(80), &[1]);
        assert_eq!(of(&[("Drop", &soft), ("Drop", &long)])[1], "Drop");
    }
}
