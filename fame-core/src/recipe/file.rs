//! The recipe as written: fields and specs with their places, nothing resolved.

use std::ops::Range;

use ron::value::RawValue;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};

use crate::text::{Problem, Spec, parse, scan, suggestion};

/// A recipe file, field by field. Slots for plugins are still [`Spec`]s.
#[derive(Clone, Debug)]
pub struct RecipeFile {
    /// Manifest name, or path of a manifest or of an ONNX file with a manifest beside it.
    pub model: Placed<String>,
    /// What runs the network.
    pub backend: Placed<Spec>,
    /// The name of the published form that defaults follow; empty for none.
    pub preset: Placed<String>,
    /// Where samples come from.
    pub data: Placed<Spec>,
    /// From decoded picture to network input. Left out: the model manifest's own steps.
    pub prepare: Option<Vec<Placed<Spec>>>,
    /// Explainers by name, in order.
    pub explain: Vec<(String, Placed<Spec>)>,
    /// A second backend that recomputes what the explanations rest on: `ForwardCheck(backend: …)`.
    pub check: Option<Placed<Spec>>,
    /// Metrics, in order.
    pub metrics: Vec<Placed<Spec>>,
    /// Writers, in order.
    pub write: Vec<Placed<Spec>>,
    /// Libraries to load plugins from, relative to the recipe.
    pub plugins: Vec<Placed<String>>,
    /// Seed of all randomness.
    pub seed: u64,
    /// Whether each explanation is also kept in `parts/`, so that a run with another metric, writer
    /// or explainer computes only what is new. Left out: `true`. It takes the space of the maps,
    /// raw and finished, once more.
    pub parts: bool,
    /// Output folder, relative to the working folder.
    pub out: Option<String>,
}

/// A value and the place it was written.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands in the recipe text; empty at 0 for a default.
    pub span: Range<usize>,
}

impl<T> Placed<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Placed<U> {
        Placed { value: f(self.value), span: self.span }
    }
}

impl<T: Default> Placed<T> {
    fn unwritten() -> Self {
        Self { value: T::default(), span: 0..0 }
    }
}

const FIELDS: [&str; 13] = [
    "model", "plugins", "backend", "preset", "data", "prepare", "explain", "check", "metrics",
    "write", "seed", "parts", "out",
];

impl RecipeFile {
    /// Cuts `text` into fields. `defaults` is RON text of the same form, `(backend: …, write: […])`,
    /// with the fields that a recipe may leave out; `()` for none.
    ///
    /// # Errors
    /// Every problem found: brackets, unknown, missing or repeated fields, values of the wrong
    /// type.
    pub fn parse(text: &str, defaults: &str) -> Result<Self, Vec<Problem>> {
        let entries = scan::entries(text, 0).map_err(|e| {
            let at = e.at..(e.at + 1).min(text.len());
            vec![
                Problem::new("fame::recipe::syntax", format!("{}.", e.message), at)
                    .with_help(Some("a recipe is `(model: …, data: …, explain: {…})`")),
            ]
        })?;
        let mut cut = Cut { text, entries, defaults, problems: Vec::new() };
        cut.unknown_and_repeated();
        let file = cut.file();
        match file {
            Some(file) if cut.problems.is_empty() => Ok(file),
            _ => Err(cut.problems),
        }
    }

    /// Like [`RecipeFile::parse`], but also what could be read despite problems, so that phase two
    /// can report its own.
    pub fn parse_partly(text: &str, defaults: &str) -> (Option<Self>, Vec<Problem>) {
        match scan::entries(text, 0) {
            Err(_) => (None, Self::parse(text, defaults).err().unwrap_or_default()),
            Ok(entries) => {
                let mut cut = Cut { text, entries, defaults, problems: Vec::new() };
                cut.unknown_and_repeated();
                let file = cut.file();
                (file, cut.problems)
            }
        }
    }
}

struct Cut<'a> {
    text: &'a str,
    entries: Vec<scan::Entry>,
    defaults: &'a str,
    problems: Vec<Problem>,
}

impl Cut<'_> {
    fn unknown_and_repeated(&mut self) {
        for (i, e) in self.entries.iter().enumerate() {
            if !FIELDS.contains(&e.key.as_str()) {
                self.problems.push(
                    Problem::new(
                        "fame::recipe::unknown_field",
                        format!("a recipe has no field `{}`.", e.key),
                        e.key_span.clone(),
                    )
                    .with_label("unknown field")
                    .with_help(suggestion(&e.key, &FIELDS, "field")),
                );
            } else if self.entries[..i].iter().any(|f| f.key == e.key) {
                self.problems.push(Problem::new(
                    "fame::recipe::repeated_field",
                    format!("`{}` is given twice.", e.key),
                    e.key_span.clone(),
                ));
            }
        }
    }

    fn file(&mut self) -> Option<RecipeFile> {
        let model = self.required::<String>("model");
        let data = self.required::<Spec>("data");
        let explain = self.explainers();
        let backend = self.required::<Spec>("backend");
        let prepare = self.list("prepare");
        let check = self.optional("check");
        let metrics = self.list("metrics").unwrap_or_default();
        let plugins = self.list("plugins").unwrap_or_default();
        let write = self.list("write").unwrap_or_default();
        let preset = self.optional::<Name>("preset");
        let seed = self.optional("seed").map_or(0, |p| p.value);
        let parts = self.optional("parts").is_none_or(|p| p.value);
        let out = self.optional("out").map(|p| p.value);
        Some(RecipeFile {
            model: model?,
            backend: backend?,
            preset: preset.map_or_else(Placed::unwritten, |p| p.map(|name| name.0)),
            data: data?,
            prepare,
            explain: explain?,
            check,
            metrics,
            write,
            plugins,
            seed,
            parts,
            out,
        })
    }

    fn required<T: DeserializeOwned>(&mut self, name: &str) -> Option<Placed<T>> {
        if !self.is_there(name) {
            let start = scan::skip_blank(self.text, 0);
            self.problems.push(
                Problem::new(
                    "fame::recipe::missing_field",
                    format!("the recipe has no `{name}`."),
                    start..(start + 1).min(self.text.len()),
                )
                .with_label(format!("add `{name}: …` in here")),
            );
        }
        self.optional(name)
    }

    fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Option<Placed<T>> {
        match self.entries.iter().find(|e| e.key == name).map(|e| e.value_span.clone()) {
            Some(span) => self.value(span),
            None => self.default(name),
        }
    }

    /// Whether the recipe or the defaults have the field.
    fn is_there(&self, name: &str) -> bool {
        self.entries.iter().any(|e| e.key == name) || default_text(self.defaults, name).is_some()
    }

    /// The field of the defaults. What is wrong with it is the caller's fault and has no place in
    /// the recipe.
    fn default<T: DeserializeOwned>(&mut self, name: &str) -> Option<Placed<T>> {
        match parse::<T>(default_text(self.defaults, name)?) {
            Ok(value) => Some(Placed { value, span: 0..0 }),
            Err(p) => {
                let message = format!("the default of `{name}` cannot be used: {}", p.message);
                self.problems.push(Problem::new(&p.code, message, 0..0).with_help(p.help));
                None
            }
        }
    }

    fn value<T: DeserializeOwned>(&mut self, span: Range<usize>) -> Option<Placed<T>> {
        match parse::<T>(&self.text[span.clone()]) {
            Ok(value) => Some(Placed { value, span }),
            Err(p) => {
                self.problems.push(p.shifted(span.start));
                None
            }
        }
    }

    /// A bracketed field's entries. `None` when it is absent or not such a group (which is
    /// reported).
    fn group(&mut self, name: &str, bracket: char, what: &str) -> Option<Vec<scan::Entry>> {
        let span = self.entries.iter().find(|e| e.key == name)?.value_span.clone();
        match scan::entries(self.text, span.start) {
            Ok(entries) if self.text[span.clone()].starts_with(bracket) => Some(entries),
            Ok(_) | Err(_) => {
                self.problems.push(
                    Problem::new(
                        "fame::recipe::wrong_value",
                        format!("`{name}` must be {what}."),
                        span,
                    )
                    .with_label("this value"),
                );
                None
            }
        }
    }

    fn list<T: DeserializeOwned>(&mut self, name: &str) -> Option<Vec<Placed<T>>> {
        let what = if name == "plugins" {
            "a list of files: [\"libmy_plugin.so\", …]"
        } else {
            "a list: [Name(…), …]"
        };
        if !self.entries.iter().any(|e| e.key == name) {
            let all = self.default::<Vec<T>>(name)?.value;
            return Some(all.into_iter().map(|value| Placed { value, span: 0..0 }).collect());
        }
        let entries = self.group(name, '[', what)?;
        Some(entries.into_iter().filter_map(|e| self.value(e.value_span)).collect())
    }

    fn explainers(&mut self) -> Option<Vec<(String, Placed<Spec>)>> {
        if !self.entries.iter().any(|e| e.key == "explain") {
            return self.required::<Spec>("explain").map(|_| Vec::new());
        }
        let entries =
            self.group("explain", '{', "a map of named explainers: {\"name\": Name(…)}")?;
        if entries.is_empty() {
            let span = self.entries.iter().find(|e| e.key == "explain")?.value_span.clone();
            self.problems.push(Problem::new(
                "fame::recipe::wrong_value",
                "`explain` names no explainer.",
                span,
            ));
        }
        let mut named: Vec<(String, Placed<Spec>)> = Vec::new();
        for e in entries {
            let safe = !e.key.is_empty() && crate::data::safe_id(&e.key) == e.key;
            if !safe {
                let message = format!(
                    "`{}` cannot be part of a file name: use letters, digits, `.`, `_` and `-`.",
                    e.key
                );
                self.problems.push(Problem::new(
                    "fame::recipe::wrong_value",
                    message,
                    e.key_span.clone(),
                ));
            }
            if named.iter().any(|(n, _)| *n == e.key) {
                self.problems.push(Problem::new(
                    "fame::recipe::repeated_field",
                    format!("two explainers are called `{}`.", e.key),
                    e.key_span,
                ));
            }
            if let Some(spec) = self.value(e.value_span) {
                named.push((e.key, spec));
            }
        }
        Some(named)
    }
}

/// The text of a field of the defaults.
fn default_text<'a>(defaults: &'a str, name: &str) -> Option<&'a str> {
    let entries = scan::entries(defaults, 0).unwrap_or_default();
    entries.into_iter().find(|e| e.key == name).map(|e| &defaults[e.value_span])
}

/// A bare word, such as a preset's name.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = <&'de RawValue>::deserialize(deserializer)?.get_ron().trim();
        if word.is_empty() || scan::identifier(word) != word.len() {
            return Err(D::Error::custom(format!("`{word}` is no name: write one bare word")));
        }
        Ok(Self(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_with_their_places() {
        let text = r#"// Which pixels?
(
    model: "net",
    data: Two(left: "a", right: "b"),
    explain: { "walk": Walk(layer: "x"), "other": Walk() },
)"#;
        let file = RecipeFile::parse(text, "(backend: Mine(), write: [Csv(), Png()])").unwrap();
        assert_eq!(&text[file.data.span.clone()], "Two(left: \"a\", right: \"b\")");
        assert_eq!(
            file.explain.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(),
            ["walk", "other"]
        );
        assert_eq!((file.backend.value.to_string(), file.backend.span), ("Mine()".into(), 0..0));
        assert_eq!((file.write.len(), file.preset.value.as_str()), (2, ""));
        // Without defaults there are none: what runs the network must be said.
        let missing = RecipeFile::parse(text, "()").unwrap_err();
        assert_eq!(missing[0].message, "the recipe has no `backend`.");
        let preset = RecipeFile::parse(
            "(model: \"m\", backend: B(), data: D(), explain: {\"e\": E()}, preset: Loud)",
            "(preset: Quiet)",
        )
        .unwrap()
        .preset;
        assert_eq!((preset.value.as_str(), preset.span), ("Loud", 72..76));
    }

    #[test]
    fn every_problem_of_the_frame_is_reported() {
        let text = r#"(modle: "net", data: 7, seed: "x", explain: {"a/b": Walk(), "c": Walk()}, preset: "x", write: Csv())"#;
        let problems = RecipeFile::parse(text, "(backend: B(), seed: \"y\")").unwrap_err();
        let codes: Vec<_> = problems
            .iter()
            .map(|p| (p.code.rsplit(':').next().unwrap(), &text[p.span.clone()]))
            .collect();
        assert_eq!(
            codes,
            [
                ("unknown_field", "modle"),
                ("missing_field", "("),
                ("wrong_value", "7"),
                ("wrong_value", "\"a/b\""),
                ("wrong_value", "Csv()"),
                ("wrong_value", "\"x\""),
                ("wrong_value", "\"x\""),
            ]
        );
    }
}
