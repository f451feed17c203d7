//! The manifest of one model.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    checks::{Checks, FORM, unsound},
    input::{InputText, check_convention, check_fixed},
    source::Source,
};
use crate::{
    Error, ErrorKind, Result,
    data::{FixedInput, InputConvention, Layout},
    text::{Fields, Key, LayerChoices, Placed, Problem, Spec, scan},
};

/// The question a model is asked where a recipe does not say: the defaults of what an explainer or
/// a metric asks about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// The loss: a plugin of the kind `loss`. Left out: a recipe must name one.
    pub loss: Option<Spec>,
    /// The layer or layers that the loss reads: a tensor's name or an alias of `layers` in quotes,
    /// or a rule. Left out: a recipe must name one.
    pub layer: Option<LayerChoices>,
    /// The word that a manifest of an older form says in `task` instead. Plugins may know it.
    #[serde(skip)]
    pub former_task: Option<String>,
}

impl Ask {
    /// Nothing is said.
    pub const NOTHING: &'static Self = &Self { loss: None, layer: None, former_task: None };
}

/// The names of a model's classes, in the order of its outputs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum Labels {
    /// A list in the manifest itself.
    List(Vec<String>),
    /// A JSON file: an array of names, or an object from `"0"`, `"1"`, … to names.
    Json(Source),
    /// A text file, one name per line.
    Lines(Source),
}

impl Labels {
    /// The file that holds the names, unless the manifest holds them itself.
    pub fn source(&self) -> Option<&Source> {
        match self {
            Self::List(_) => None,
            Self::Json(source) | Self::Lines(source) => Some(source),
        }
    }

    /// Refuses names that cannot be.
    fn check(&self, checks: &mut Checks<'_>) {
        match self {
            Self::List(names) if names.is_empty() => checks.refuse("labels", "is an empty list"),
            Self::List(_) => {}
            Self::Json(source) | Self::Lines(source) => source.check("labels", checks),
        }
    }
}

/// A model's description: all that fame knows before it opens the file.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelManifest {
    /// The name recipes use: the stem of the manifest's file name.
    pub name: String,
    /// One line for lists.
    pub summary: String,
    /// Origin of the ONNX file.
    pub source: Source,
    /// Licence of the weights, and what is known about the training data.
    pub licence: String,
    /// What the model is asked where a recipe does not say.
    pub ask: Ask,
    /// Shape, channel order and normalisation of the input.
    pub input: InputConvention,
    /// The axes of the input in the file.
    pub layout: Layout,
    /// The values of the file's other inputs, by name.
    pub fixed: BTreeMap<String, FixedInput>,
    /// Specs of the prepare steps that bring a picture into the model's form when a recipe names
    /// none, as RON text: `Shrink(size: 64)`.
    pub prepare: Vec<String>,
    /// Names that recipes may use for tensors of the graph: `scores` → `output_1`.
    pub layers: BTreeMap<String, String>,
    /// The names of the classes, where there are any.
    pub labels: Option<Labels>,
    /// The folder that relative paths and scripts of this manifest are relative to; `None` when it
    /// is built into the program.
    pub(super) folder: Option<PathBuf>,
}

/// The keys of a manifest, in the order in which one is usually written.
static KEYS: [Key; 9] = [
    Key::optional::<String>("summary", "One line for lists of models.", "the manifest's name"),
    Key::optional::<Source>(
        "source",
        "The origin of the ONNX file. What is fetched has the checksum that stands here, or is \
         refused.",
        "NAME.onnx beside NAME.ron, with any content",
    ),
    Key::optional::<String>(
        "licence",
        "The licence of the weights, and what is known about the training data. It is copied into \
         the record of every run.",
        "\"not stated\"",
    ),
    Key::optional::<Ask>(
        "ask",
        "The question that explainers and metrics ask where a recipe names no loss or no layer.",
        "nothing is asked: a recipe must name loss and layer",
    ),
    Key::optional::<String>(
        "task",
        "The word of an older form of manifests, of which plugins make a question. Write `ask`.",
        "none",
    ),
    Key::required::<InputText>(
        "input",
        "The form in which the network takes a picture: its size, the order of its channels, and \
         how pixels in 0 to 1 become what the network sees, (pixel - mean) / std.",
    ),
    Key::optional::<Vec<Spec>>(
        "prepare",
        "The way from a decoded picture (RGB, values 0 to 1, any size in pixels) to the size of \
         `input`, where a recipe has no `prepare`: plugins of the kind `prepare`, in this order.",
        "none: pictures must have the size already",
    ),
    Key::optional::<BTreeMap<String, String>>(
        "layers",
        "Names that recipes may use for tensors of the graph. `fame-cli inspect` lists the tensors.",
        "none: recipes name tensors as the file does",
    ),
    Key::optional::<Labels>(
        "labels",
        "The names of all classes, in the order of the network's outputs, counted from 0.",
        "none: classes are numbers",
    ),
];

/// The form of a manifest, for messages.
const EXAMPLE: &str = "(input: (size: (3, 112, 112), order: Rgb, mean: 0.5, std: 0.5), …)";

impl ModelManifest {
    /// The keys of a manifest.
    pub const KEYS: &'static [Key] = &KEYS;

    /// Parses and validates the text of `name.ron`, which lies in `folder` (`None`: built into the
    /// program).
    ///
    /// Only `input` is required. Without `source` the model is the file `name.onnx` in the same
    /// folder.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each problem with the characters it marks:
    /// `fame::model::manifest` when it is no manifest, `fame::model::invalid` when values cannot
    /// be.
    pub fn parse(name: &str, text: &str, folder: Option<&Path>) -> Result<Self> {
        let file = format!("{name}.ron");
        let place =
            folder.map_or_else(|| file.clone(), |folder| folder.join(&file).display().to_string());
        if is_recipe(text) {
            let message = format!("`{place}` is a recipe, and no manifest of a model.");
            return Err(Error::new("fame::model::is_recipe", message)
                .of_kind(ErrorKind::WrongRequest)
                .with_help("Name the model that it explains. `run`, `check` and `bench --methods` take a recipe."));
        }
        let mut fields = Fields::cut(text, "manifest", &Key::names(&KEYS), EXAMPLE)
            .map_err(|problem| unsound(&place, text, vec![problem], Vec::new()))?;
        let summary = fields.optional::<String>("summary");
        let source = fields.optional::<Source>("source");
        let licence = fields.optional::<String>("licence");
        let ask = fields.optional::<Ask>("ask");
        let former_task = fields.optional::<Spec>("task").map(|task| task.value.name);
        let mut typed = fields.required::<InputText>("input").map(|input| input.value);
        let layout = typed.as_ref().map(|input| input.layout).unwrap_or_default();
        let fixed =
            typed.as_mut().map(|input| std::mem::take(&mut input.fixed)).unwrap_or_default();
        let input = typed.map(InputText::resolve);
        let prepare = fields.list::<Spec>("prepare", "a list of steps: [Name(…), …]");
        let layers = fields.optional::<BTreeMap<String, String>>("layers");
        let labels = labels_of(&mut fields, text);
        let mut checks = Checks::of(text);
        if let Some(source) = &source {
            source.value.check("source", &mut checks);
        }
        if let Some(input) = &input {
            check_convention(input, &mut checks);
        }
        check_fixed(&fixed, &mut checks);
        if let Some(layers) = &layers {
            check_layers(&layers.value, &mut checks);
        }
        if let Some(labels) = &labels {
            labels.value.check(&mut checks);
        }
        let (form, values) = (fields.problems, checks.into_problems());
        let input = match input {
            Some(input) if form.is_empty() && values.is_empty() => input,
            _ => return Err(unsound(&place, text, form, values)),
        };
        Ok(Self {
            name: name.to_owned(),
            summary: summary.map_or_else(|| name.to_owned(), |summary| summary.value),
            source: source.map_or_else(
                || Source::File { path: format!("{name}.onnx"), sha256: None },
                |source| source.value,
            ),
            licence: licence.map_or_else(|| "not stated".to_owned(), |licence| licence.value),
            ask: Ask { former_task, ..ask.map(|ask| ask.value).unwrap_or_default() },
            input,
            layout,
            fixed,
            prepare: prepare
                .unwrap_or_default()
                .iter()
                .map(|step| step.value.to_string())
                .collect(),
            layers: layers.map(|layers| layers.value).unwrap_or_default(),
            labels: labels.map(|labels| labels.value),
            folder: folder.map(Path::to_path_buf),
        })
    }

    /// A manifest for a bare ONNX file whose convention is known from elsewhere.
    ///
    /// # Errors
    /// `fame::model::invalid` when the convention cannot be.
    pub fn for_file(path: &Path, input: InputConvention) -> Result<Self> {
        let name = path
            .file_stem()
            .map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let mut checks = Checks::of("");
        check_convention(&input, &mut checks);
        let values = checks.into_problems();
        if !values.is_empty() {
            return Err(unsound(&path.display().to_string(), "", Vec::new(), values));
        }
        Ok(Self {
            summary: name.clone(),
            name,
            source: Source::File { path: path.display().to_string(), sha256: None },
            licence: "not stated".to_owned(),
            ask: Ask::default(),
            input,
            layout: Layout::default(),
            fixed: BTreeMap::new(),
            prepare: Vec::new(),
            layers: BTreeMap::new(),
            labels: None,
            folder: Some(PathBuf::new()),
        })
    }

    /// The file that it was read from, where there is one: not of what was assumed, or is built
    /// into the program.
    pub fn file(&self) -> Option<PathBuf> {
        let file = self.folder.as_ref()?.join(format!("{}.ron", self.name));
        file.is_file().then_some(file)
    }

    /// The values of the file's other inputs, with paths that start from where the program runs.
    pub fn located_inputs(&self) -> BTreeMap<String, FixedInput> {
        let folder = self.folder.as_deref().unwrap_or_else(|| Path::new(""));
        let located = |value: &FixedInput| match value {
            FixedInput::File(path) => FixedInput::File(folder.join(path)),
            other => other.clone(),
        };
        self.fixed.iter().map(|(name, value)| (name.clone(), located(value))).collect()
    }

    /// The tensor of the graph that `layer` means: an alias's target, or `layer` itself.
    pub fn layer<'a>(&'a self, layer: &'a str) -> &'a str {
        self.layers.get(layer).map_or(layer, String::as_str)
    }
}

/// The field `labels`, where a list or a file that forgets to say what it is gets a word of its
/// own.
fn labels_of(fields: &mut Fields<'_>, text: &str) -> Option<Placed<Labels>> {
    let span = fields.entry("labels")?.value_span.clone();
    let bare = &text[span.clone()];
    let (what, way) = match bare.chars().next() {
        Some('[') => ("a bare list", "write `labels: List([…])`"),
        Some('(') => ("names in parentheses", "write `labels: List([…])`"),
        Some('{') => ("a map", "write `labels: List([…])`, the names in the order of the outputs"),
        Some('"') => ("a bare text", "write `labels: Lines(File(path: \"names.txt\"))`"),
        _ => return fields.optional("labels"),
    };
    let problem = Problem::new(FORM, format!("`labels` is {what}."), span)
        .with_label("this value")
        .with_help(Some(way));
    fields.problems.push(problem);
    None
}

/// Refuses aliases and tensors without a name.
fn check_layers(layers: &BTreeMap<String, String>, checks: &mut Checks<'_>) {
    for (alias, tensor) in layers.iter().filter(|(a, t)| a.is_empty() || t.is_empty()) {
        checks.refuse("layers", format!("has an empty name in `{alias}`: `{tensor}`"));
    }
}

/// Whether `text` has what only recipes have.
fn is_recipe(text: &str) -> bool {
    scan::entries(text, scan::skip_blank(text, 0)).is_ok_and(|entries| {
        ["data", "explain"].iter().all(|key| entries.iter().any(|entry| entry.key == *key))
    })
}

#[cfg(test)]
mod tests {
    use super::super::PyPiArchive;
    use super::*;
    use crate::{data::ChannelOrder, text::LayerChoice};

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn a_recipe_is_no_manifest() {
        let error = parse(
            r#"// What?
            (model: "net", data: Image(file: "a.png"), explain: {})"#,
        )
        .unwrap_err();
        assert_eq!(error.code, "fame::model::is_recipe");
        assert!(parse("(summary: \"data and explain\")").unwrap_err().code != error.code);
    }

    fn parse(text: &str) -> Result<ModelManifest> {
        ModelManifest::parse("net", text, None)
    }

    fn error(text: &str) -> String {
        let error = parse(text).unwrap_err();
        format!("[{}] {error}\nhelp: {}", error.code, error.help.as_deref().unwrap_or("-"))
    }

    #[test]
    fn a_short_manifest_gets_its_defaults() {
        let net = parse("(input: (size: (1, 8, 9), order: Gray, mean: 0, std: [1]))").unwrap();
        assert_eq!(net.source, Source::File { path: "net.onnx".into(), sha256: None });
        assert_eq!(
            (net.summary.as_str(), net.licence.as_str(), &net.ask),
            ("net", "not stated", Ask::NOTHING)
        );
        assert_eq!((net.input.order, net.input.shape()), (ChannelOrder::Gray, [1, 8, 9]));
        assert_eq!((net.input.mean, net.input.std), (vec![0.0], vec![1.0]));
    }

    #[test]
    fn a_full_manifest_is_read_whole() {
        let net = parse(&format!(
            r#"(
                summary: "a net",
                source: Converted(
                    from: PyPi(package: "p", version: "1.0", archive: Sdist, archive_sha256: "{A}", file: "p-1.0/w.pth", sha256: "{A}"),
                    script: "exporters/p.py", requirements: ["numpy==2.4.6"], sha256: "{A}",
                ),
                licence: "MIT",
                ask: (loss: Score(of: Best), layer: "scores"),
                input: (size: (3, 4, 4), order: Rgb, mean: (0.485, 0.456, 0.406), std: 0.5),
                prepare: [Shrink(to: 256, filter: Sharp), /* then */ Cut(to: 224)],
                layers: {{ "scores": "out" }},
                labels: List(["cat", "dog"]),
            )"#
        ))
        .unwrap();
        assert_eq!(net.ask.loss.as_ref().unwrap().to_string(), "Score(of: Best)");
        assert_eq!(net.ask.layer, Some(LayerChoices(vec![LayerChoice::Named("scores".into())])));
        assert_eq!(net.prepare.len(), 2);
        assert_eq!(net.prepare[0], "Shrink(to: 256, filter: Sharp)");
        assert_eq!((net.layer("scores"), net.layer("other")), ("out", "other"));
        assert_eq!(net.labels, Some(Labels::List(vec!["cat".into(), "dog".into()])));
        assert_eq!(net.input.std, [0.5; 3]);
        let Source::Converted { from, .. } = &net.source else { panic!() };
        assert!(matches!(**from, Source::PyPi { archive: PyPiArchive::Sdist, .. }));
    }

    #[test]
    fn the_task_of_an_older_manifest_is_handed_on() {
        let old = "(input: (size: (3, 1, 1), order: Rgb, mean: 0, std: 1), task: Sorting)";
        assert_eq!(parse(old).unwrap().ask.former_task.as_deref(), Some("Sorting"));
    }

    #[test]
    fn mistakes_of_form_are_marked_and_get_the_nearest_name() {
        insta::assert_snapshot!(error("(\n  input: (size: (3, 1, 1), order: Rgb, mean: 0, std: 1),\n  labls: List([\"a\"]),\n)"), @r#"
        [fame::model::manifest] `net.ron` has 1 error:
          3:3: a manifest has no field `labls`. (did you mean `labels`?)
        help: -
        "#);
        insta::assert_snapshot!(error("(input: (size: (3, 1, 1), order: Rgb, mean: 0, std: 1), ask: (los: A()))"), @r#"
        [fame::model::manifest] `net.ron` has 1 error:
          1:63: there is no parameter `los`. (did you mean `loss`?)
        help: -
        "#);
        insta::assert_snapshot!(error("(input: (size: (3, 1, 1), order: Rbg, mean: 0, std: 1))"), @r#"
        [fame::model::manifest] `net.ron` has 1 error:
          1:34: `Rbg` is not a choice at `order`. (did you mean `Rgb`? known: `Rgb`, `Bgr`, `Gray`)
        help: -
        "#);
        insta::assert_snapshot!(error("(input: (size: (3, 1), order: Rgb, mean: 0, std: 1))"), @r#"
        [fame::model::manifest] `net.ron` has 1 error:
          1:16: Expected a tuple of size 3 but found 2 elements instead at `size`.
        help: -
        "#);
        insta::assert_snapshot!(error("(input: (size: (3, 1, 1), order: Rgb, mean: \"half\", std: 1))"), @r#"
        [fame::model::manifest] `net.ron` has 1 error:
          1:46: Expected a number or one number per channel but found the string "half" instead at `mean`.
        help: -
        "#);
        insta::assert_snapshot!(error("(summary: \"no input\")"), @r#"
        [fame::model::manifest] `net.ron` has 1 error:
          1:1: the manifest has no `input`.
        help: -
        "#);
        insta::assert_snapshot!(error("(input: (size: (3, 1, 1), order: Rgb, mean: 0, std: 1)) and more"), @r#"
        [fame::model::manifest] `net.ron` has 1 error:
          1:57: the manifest ends before this.
        help: -
        "#);
        insta::assert_snapshot!(error(""), @r#"
        [fame::model::manifest] `net.ron` cannot be used: expected `(`, `[` or `{`.
        help: -
        "#);
        insta::assert_snapshot!(error("(input: (size: (3, 1, 1)"), @r#"
        [fame::model::manifest] `net.ron` has 1 error:
          1:9: this bracket is never closed. (a manifest is `(input: (size: (3, 112, 112), order: Rgb, mean: 0.5, std: 0.5), …)`)
        help: -
        "#);
    }

    #[test]
    fn labels_that_do_not_say_what_they_are_are_told_how() {
        let input = "(input: (size: (3, 1, 1), order: Rgb, mean: 0, std: 1), labels: ";
        insta::assert_snapshot!(error(&format!("{input}[\"cat\", \"dog\"])")), @r#"
        [fame::model::manifest] `net.ron` has 1 error:
          1:65: `labels` is a bare list. (write `labels: List([…])`)
        help: -
        "#);
        insta::assert_snapshot!(error(&format!("{input}\"names.txt\")")), @r#"
        [fame::model::manifest] `net.ron` has 1 error:
          1:65: `labels` is a bare text. (write `labels: Lines(File(path: "names.txt"))`)
        help: -
        "#);
        assert!(error(&format!("{input}{{0: \"cat\"}})")).contains("is a map"));
    }

    #[test]
    fn mistakes_of_form_and_of_value_are_reported_together() {
        let text = r#"(
    summary: 7,
    source: File(path: "", sha256: "ab"),
    input: (size: (3, 1, 1), order: Rgb, mean: 0, std: 0),
    layers: { "embedding": "" },
    prepare: [Shrink(), "Resize"],
)"#;
        insta::assert_snapshot!(error(text), @r#"
        [fame::model::manifest] `net.ron` has 6 errors:
          2:14: Expected string.
          3:24: source.path is empty.
          3:36: source.sha256 `ab` is not 64 lower-case hex digits.
          4:56: input.std holds 0; it divides, so it must be positive.
          5:13: layers has an empty name in `embedding`: ``.
          6:25: a plugin is written `Name(param: value)`.
        help: -
        "#);
        let marked: Vec<String> = parse(text)
            .unwrap_err()
            .problems
            .iter()
            .map(|p| text[p.problem().span.clone()].to_owned())
            .collect();
        assert_eq!(marked, ["7", "\"\"", "\"ab\"", "0", "{ \"embedding\": \"\" }", "\"Resize\""]);
    }

    #[test]
    fn impossible_values_are_reported_together() {
        insta::assert_snapshot!(error(
            r#"(
                source: Npm(package: "user/repo", version: "--x", archive_sha256: "12", file: "../evil", sha256: "ZZ"),
                input: (size: (3, 0, 112), order: Gray, mean: [0.5, inf], std: 0),
                layers: { "": "x" },
                labels: Json(File(path: "", sha256: "no")),
            )"#
        ), @r#"
        [fame::model::invalid] `net.ron` has 14 errors:
          2:38: source.package `user/repo` is not a package name.
          2:60: source.version `--x` is not an exact version.
          2:83: source.archive_sha256 `12` is not 64 lower-case hex digits.
          2:95: source.file `../evil` is not a plain relative path.
          2:114: source.sha256 `ZZ` is not 64 lower-case hex digits.
          3:31: input.size [3, 0, 112] has an extent of 0.
          3:31: input.size has 3 channels, but order Gray has 1.
          3:63: input.mean has 2 values for 3 channels; give one number, or one per channel.
          3:63: input.mean holds inf, which is not a finite number.
          3:80: input.std has 1 values for 3 channels; give one number, or one per channel.
          3:80: input.std holds 0; it divides, so it must be positive.
          4:25: layers has an empty name in ``: `x`.
          5:41: labels.path is empty.
          5:53: labels.sha256 `no` is not 64 lower-case hex digits.
        help: -
        "#);
        insta::assert_snapshot!(error(
            r#"(
                source: Converted(from: File(path: "w.pth"), script: "/bin/sh", requirements: ["numpy", "x==1 --index y"], sha256: "1"),
                input: (size: (3, 1, 1), order: Rgb, mean: 0, std: -1),
            )"#
        ), @r#"
        [fame::model::invalid] `net.ron` has 5 errors:
          2:70: source.script `/bin/sh` is not a plain relative path.
          2:96: source.requirements[0] `numpy` is not of the form `name==version`.
          2:105: source.requirements[1] `x==1 --index y` is not of the form `name==version`.
          2:132: source.sha256 `1` is not 64 lower-case hex digits.
          3:68: input.std holds -1; it divides, so it must be positive.
        help: -
        "#);
    }

    #[test]
    fn a_bare_file_can_have_a_convention_without_a_manifest() {
        let convention = InputConvention {
            channels: 3,
            height: 8,
            width: 8,
            order: ChannelOrder::Rgb,
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
        };
        let net =
            ModelManifest::for_file("/data/my net.onnx".as_ref(), convention.clone()).unwrap();
        assert_eq!(net.name, "my net");
        let error = ModelManifest::for_file(
            "x.onnx".as_ref(),
            InputConvention { std: vec![0.0; 3], ..convention },
        )
        .unwrap_err();
        insta::assert_snapshot!(error, @r#"`x.onnx` cannot be used: input.std holds 0; it divides, so it must be positive."#);
    }
}
