//! The recipe as written: fields and specs with their places, nothing resolved.

use std::collections::BTreeMap;

use ron::value::RawValue;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};

use crate::text::{Fields, Key, Placed, Problem, Spec, scan};

/// A recipe file, field by field. Slots for plugins are still [`Spec`]s.
#[derive(Clone, Debug)]
pub struct RecipeFile {
    /// Manifest name, or path of a manifest or of an ONNX file with a manifest beside it.
    pub model: Placed<String>,
    /// What runs the network.
    pub backend: Placed<Spec>,
    /// The name of the published form that defaults follow; empty for none.
    pub preset: Placed<String>,
    /// The dataset: the source of the samples.
    pub data: Placed<Spec>,
    /// From decoded picture to network input. Left out: the model manifest's own steps.
    pub prepare: Option<Vec<Placed<Spec>>>,
    /// Explainers by name, in order.
    pub explain: Vec<(String, Placed<Spec>)>,
    /// What recomputes a part of every explanation, such as `ForwardCheck(backend: …)`.
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

/// The keys of a recipe, in the order in which one is usually written.
static KEYS: [Key; 13] = [
    Key::required::<String>(
        "model",
        "The network that is explained: a manifest's name, or the path of a manifest or of an ONNX \
         file with a manifest beside it. Paths start from the recipe's folder.",
    ),
    Key::optional::<Vec<String>>(
        "plugins",
        "Shared libraries to load plugins from, as paths that start from the recipe's folder. \
         Loading one runs its code.",
        "none",
    ),
    Key::optional::<Spec>(
        "backend",
        "What runs the network: a plugin of the kind `backend`.",
        "the program's own",
    ),
    Key::optional::<String>(
        "preset",
        "The published form that the defaults of all plugins follow: one bare word. Parameters \
         that the recipe names hold whatever the preset.",
        "the program's own",
    ),
    Key::required::<Spec>(
        "data",
        "The source of the pictures: a plugin of the kind `dataset`. Its paths start from the \
         recipe's folder; `picture:NAME` is a picture that fame can fetch.",
    ),
    Key::optional::<Vec<Spec>>(
        "prepare",
        "The way from a decoded picture (RGB, values 0 to 1, any size in pixels) to the network's \
         size: plugins of the kind `prepare`, run in this order. `[]` leaves pictures as they are.",
        "the `prepare` of the model's manifest",
    ),
    Key::required::<BTreeMap<String, Spec>>(
        "explain",
        "The explainers by names of your own, in order. A name becomes part of file names: letters, \
         digits, `.`, `_` and `-`, at most 100 of them.",
    ),
    Key::optional::<Spec>(
        "check",
        "What recomputes a part of every explanation and fails the item where it differs: a plugin \
         of the kind `check`.",
        "none",
    ),
    Key::optional::<Vec<Spec>>(
        "metrics",
        "What turns maps into numbers: plugins of the kind `metric`.",
        "none",
    ),
    Key::optional::<Vec<Spec>>(
        "write",
        "What is written for each item: plugins of the kind `writer`, each at most once.",
        "the program's own",
    ),
    Key::optional::<u64>(
        "seed",
        "The seed of all randomness, a whole number from 0. The same seed gives the same bytes.",
        "0",
    ),
    Key::optional::<bool>(
        "parts",
        "Whether each explanation is also kept in `OUT/parts`, so that a changed recipe computes \
         only what is new. It takes the space of the maps, raw and finished, once more.",
        "true",
    ),
    Key::optional::<String>(
        "out",
        "The output folder. Its path starts from the working folder, not from the recipe's; `--out` \
         on the command line comes before it.",
        "out/RECIPE-NAME",
    ),
];

/// The most letters of an explainer's name. A file's name has at most 255 bytes on most systems,
/// and the name of the map and what was drawn of it stand behind the explainer's.
const LONGEST_NAME: usize = 100;

/// The form of a recipe, for messages.
const EXAMPLE: &str = "(model: …, data: …, explain: {…})";

impl RecipeFile {
    /// The keys of a recipe.
    pub const KEYS: &'static [Key] = &KEYS;

    /// Cuts `text` into fields. `defaults` is RON text of the same form, `(backend: …, write: […])`,
    /// with the fields that a recipe may leave out; `()` for none.
    ///
    /// # Errors
    /// Every problem found: brackets, unknown, missing or repeated fields, values of the wrong
    /// type.
    pub fn parse(text: &str, defaults: &str) -> Result<Self, Vec<Problem>> {
        match Self::parse_partly(text, defaults) {
            (Some(file), problems) if problems.is_empty() => Ok(file),
            (_, problems) => Err(problems),
        }
    }

    /// Like [`RecipeFile::parse`], but also what could be read despite problems, so that phase two
    /// can report its own.
    pub fn parse_partly(text: &str, defaults: &str) -> (Option<Self>, Vec<Problem>) {
        match Fields::cut(text, "recipe", &Key::names(&KEYS), EXAMPLE) {
            Err(problem) => (None, vec![problem]),
            Ok(fields) => {
                let mut cut = Cut { fields: fields.with_defaults(defaults) };
                let file = cut.file();
                (file, cut.fields.problems)
            }
        }
    }
}

/// The fields of a recipe, while they are read.
struct Cut<'a> {
    fields: Fields<'a>,
}

impl Cut<'_> {
    /// The recipe, if all that it needs could be read.
    fn file(&mut self) -> Option<RecipeFile> {
        let model = self.fields.required::<String>("model");
        let data = self.fields.required::<Spec>("data");
        let explain = self.explainers();
        let backend = self.fields.required::<Spec>("backend");
        let prepare = self.list("prepare");
        let check = self.fields.optional("check");
        let metrics = self.list("metrics").unwrap_or_default();
        let plugins = self.list("plugins").unwrap_or_default();
        let write = self.list("write").unwrap_or_default();
        let preset = self.fields.optional::<Name>("preset");
        let seed = self.fields.optional("seed").map_or(0, |p| p.value);
        let parts = self.fields.optional("parts").is_none_or(|p| p.value);
        let out = self.fields.optional("out").map(|p| p.value);
        Some(RecipeFile {
            model: model?,
            backend: backend?,
            preset: preset.map_or_else(
                || Placed { value: String::new(), span: 0..0 },
                |p| Placed { value: p.value.0, span: p.span },
            ),
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

    /// The values of a field that is a list.
    fn list<T: DeserializeOwned>(&mut self, name: &str) -> Option<Vec<Placed<T>>> {
        let what = if name == "plugins" {
            "a list of files: [\"libmy_plugin.so\", …]"
        } else {
            "a list: [Name(…), …]"
        };
        self.fields.list(name, what)
    }

    /// The explainers by name. A name becomes part of file names, so it must be fit for one.
    fn explainers(&mut self) -> Option<Vec<(String, Placed<Spec>)>> {
        if self.fields.entry("explain").is_none() {
            return self.fields.required::<Spec>("explain").map(|_| Vec::new());
        }
        let entries =
            self.fields.group("explain", '{', "a map of named explainers: {\"name\": Name(…)}")?;
        if entries.is_empty() {
            let span = self.fields.entry("explain")?.value_span.clone();
            self.fields.problems.push(Problem::new(
                "fame::recipe::wrong_value",
                "`explain` names no explainer.",
                span,
            ));
        }
        let mut named: Vec<(String, Placed<Spec>)> = Vec::new();
        for e in entries {
            let safe = !e.key.is_empty() && crate::data::safe_name(&e.key) == e.key;
            if !safe {
                let message = format!(
                    "`{}` cannot be part of a file name: use letters, digits, `.`, `_` and `-`.",
                    e.key
                );
                self.fields.problems.push(Problem::new(
                    "fame::recipe::wrong_value",
                    message,
                    e.key_span.clone(),
                ));
            }
            if e.key.len() > LONGEST_NAME {
                let message = format!(
                    "the name of this explainer has {} letters, and at most {LONGEST_NAME} fit \
                     into the names of its files.",
                    e.key.len()
                );
                let problem =
                    Problem::new("fame::recipe::wrong_value", message, e.key_span.clone());
                self.fields.problems.push(problem.with_help(Some("Give it a shorter name.")));
            }
            if named.iter().any(|(n, _)| *n == e.key) {
                self.fields.problems.push(Problem::new(
                    "fame::recipe::repeated_field",
                    format!("two explainers are called `{}`.", e.key),
                    e.key_span,
                ));
            }
            if let Some(spec) = self.fields.value(e.value_span) {
                named.push((e.key, spec));
            }
        }
        Some(named)
    }
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
        assert_eq!((preset.value.as_str(), preset.span), ("Loud", 67..71));
    }

    #[test]
    fn text_behind_the_recipe_is_not_ignored() {
        let text = "(model: \"net\", data: Two(), explain: {\"walk\": Walk()}), seed: 7 // more";
        let problems = RecipeFile::parse(text, "(backend: B())").unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].message, "the recipe ends before this.");
        assert_eq!(&text[problems[0].span.clone()], ", seed: 7 // more");
        let commented =
            format!("/* before */ {} // after\n", &text[..text.find(", seed").unwrap()]);
        assert!(RecipeFile::parse(&commented, "(backend: B())").is_ok());
    }

    #[test]
    fn a_name_that_no_file_can_have_is_refused() {
        let recipe = |letters| {
            let name = "e".repeat(letters);
            format!("(model: \"m\", data: D(), explain: {{\"{name}\": E()}})")
        };
        assert!(RecipeFile::parse(&recipe(LONGEST_NAME), "(backend: B())").is_ok());
        let text = recipe(300);
        let problems = RecipeFile::parse(&text, "(backend: B())").unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("has 300 letters"), "{}", problems[0].message);
        assert_eq!(problems[0].help.as_deref(), Some("Give it a shorter name."));
        assert_eq!(text[problems[0].span.clone()].len(), 302);
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
