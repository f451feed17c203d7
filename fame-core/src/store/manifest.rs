//! The manifest of one model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ron::value::RawValue;
use serde::{Deserialize, Serialize};

use super::input::{InputText, note_problems};
use super::source::Source;
use super::text::{self, Problems};
use crate::{
    Result,
    data::InputConvention,
    text::{LayerChoices, Spec},
};

/// The question a model is asked where a recipe does not say: the defaults of what an explainer or
/// a metric asks about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    /// The loss.
    pub loss: Option<Spec>,
    /// The layer or layers that the loss reads.
    pub layer: Option<LayerChoices>,
}

impl Ask {
    /// Nothing is said.
    pub const NOTHING: &'static Self = &Self { loss: None, layer: None };
}

/// Where the names of a model's classes are, in the order of its outputs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Labels {
    /// In the manifest itself.
    List(Vec<String>),
    /// In a JSON file: an array of names, or an object from `"0"`, `"1"`, … to names.
    Json(Source),
    /// In a text file, one name per line.
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
}

/// Everything fame knows about a model before it opens the file.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelManifest {
    /// The name recipes use: the stem of the manifest's file name.
    pub name: String,
    /// One line for lists.
    pub summary: String,
    /// Where the ONNX file comes from.
    pub source: Source,
    /// Under which terms, and what is known about the training data.
    pub licence: String,
    /// What the model is asked where a recipe does not say.
    pub ask: Ask,
    /// Shape, channel order and normalisation of the input.
    pub input: InputConvention,
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

/// The file as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "ModelManifest")]
struct ManifestText {
    summary: Option<String>,
    source: Option<Source>,
    licence: Option<String>,
    #[serde(default)]
    ask: Ask,
    input: InputText,
    #[serde(default)]
    prepare: Vec<Box<RawValue>>,
    #[serde(default)]
    layers: BTreeMap<String, String>,
    labels: Option<Labels>,
}

impl ModelManifest {
    /// Parses and validates the text of `name.ron`, which lies in `folder` (`None`: built into the
    /// program).
    ///
    /// Only `input` is required. Without `source` the model is the file `name.onnx` in the same
    /// folder.
    ///
    /// # Errors
    /// `fame::model::manifest` with line and column when the text is no manifest;
    /// `fame::model::invalid` with all values that cannot be.
    pub fn parse(name: &str, text: &str, folder: Option<&Path>) -> Result<Self> {
        let file = format!("{name}.ron");
        let place =
            folder.map_or_else(|| file.clone(), |folder| folder.join(&file).display().to_string());
        let typed: ManifestText = text::parse(&place, text)?;
        let manifest = Self {
            name: name.to_owned(),
            summary: typed.summary.unwrap_or_else(|| name.to_owned()),
            source: typed
                .source
                .unwrap_or_else(|| Source::File { path: format!("{name}.onnx"), sha256: None }),
            licence: typed.licence.unwrap_or_else(|| "not stated".to_owned()),
            ask: typed.ask,
            input: typed.input.resolve(),
            prepare: typed.prepare.iter().map(|step| step.trim().get_ron().to_owned()).collect(),
            layers: typed.layers,
            labels: typed.labels,
            folder: folder.map(Path::to_path_buf),
        };
        manifest.validate(&place)?;
        Ok(manifest)
    }

    /// A manifest for a bare ONNX file whose convention is known from elsewhere.
    ///
    /// # Errors
    /// `fame::model::invalid` when the convention cannot be.
    pub fn for_file(path: &Path, input: InputConvention) -> Result<Self> {
        let name = path
            .file_stem()
            .map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let manifest = Self {
            summary: name.clone(),
            name,
            source: Source::File { path: path.display().to_string(), sha256: None },
            licence: "not stated".to_owned(),
            ask: Ask::default(),
            input,
            prepare: Vec::new(),
            layers: BTreeMap::new(),
            labels: None,
            folder: Some(PathBuf::new()),
        };
        manifest.validate(&path.display().to_string())?;
        Ok(manifest)
    }

    /// The tensor of the graph that `layer` means: an alias's target, or `layer` itself.
    pub fn layer<'a>(&'a self, layer: &'a str) -> &'a str {
        self.layers.get(layer).map_or(layer, String::as_str)
    }

    fn validate(&self, place: &str) -> Result<()> {
        let mut problems = Problems::default();
        self.source.problems("source", &mut problems);
        note_problems(&self.input, &mut problems);
        for step in
            self.prepare.iter().filter(|step| !step.starts_with(|c: char| c.is_ascii_alphabetic()))
        {
            problems.add(format!("prepare holds `{step}`, which is not a step such as `Name()`"));
        }
        for (alias, tensor) in
            self.layers.iter().filter(|(alias, tensor)| alias.is_empty() || tensor.is_empty())
        {
            problems.add(format!("layers has an empty name in `{alias}`: `{tensor}`"));
        }
        match &self.labels {
            Some(Labels::List(names)) if names.is_empty() => {
                problems.add("labels is an empty list")
            }
            Some(Labels::Json(source) | Labels::Lines(source)) => {
                source.problems("labels", &mut problems)
            }
            Some(Labels::List(_)) | None => {}
        }
        problems.into_result(place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PyPiArchive;
    use super::*;
    use crate::{data::ChannelOrder, text::LayerChoice};

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

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
    fn mistakes_of_form_name_the_line_and_the_nearest_field() {
        insta::assert_snapshot!(error("(\n  input: (size: (3, 1, 1), order: Rgb, mean: 0, std: 1),\n  labls: List([\"a\"]),\n)"), @r#"
        [fame::model::manifest] `net.ron`:3:3: Unexpected field named `labls` in `ModelManifest`, expected one of `summary`, `source`, `licence`, `ask`, `input`, `prepare`, `layers`, or `labels` instead.
        help: Did you mean `labels`?
        "#);
        insta::assert_snapshot!(error("(input: (size: (3, 1, 1), order: Rgb, mean: 0, std: 1), task: Sorting)"), @"");
        insta::assert_snapshot!(error("(input: (size: (3, 1, 1), order: Rgb, mean: 0, std: 1), ask: (los: A()))"), @"");
        insta::assert_snapshot!(error("(input: (size: (3, 1, 1), order: Rbg, mean: 0, std: 1))"), @r#"
        [fame::model::manifest] `net.ron`:1:34: Unexpected variant named `Rbg` in enum `ChannelOrder`, expected one of `Rgb`, `Bgr`, or `Gray` instead.
        help: Did you mean `Rgb`?
        "#);
        insta::assert_snapshot!(error("(input: (size: (3, 1), order: Rgb, mean: 0, std: 1))"), @r#"
        [fame::model::manifest] `net.ron`:1:21: Expected a tuple of size 3 but found 2 elements instead.
        help: -
        "#);
        insta::assert_snapshot!(error("(input: (size: (3, 1, 1), order: Rgb, mean: \"half\", std: 1))"), @r#"
        [fame::model::manifest] `net.ron`:1:46: Expected a number or one number per channel but found the string "half" instead.
        help: -
        "#);
        insta::assert_snapshot!(error("(summary: \"no input\")"), @r#"
        [fame::model::manifest] `net.ron`:1:21: the field `input` is missing.
        help: -
        "#);
        insta::assert_snapshot!(error("(input: (size: (3, 1, 1), order: Rgb, mean: 0, std: 1)) and more"), @r#"
        [fame::model::manifest] `net.ron`:1:56: Non-whitespace trailing characters.
        help: -
        "#);
        insta::assert_snapshot!(error(""), @r#"
        [fame::model::manifest] `net.ron`:1:1: Expected opening `(` for struct `ModelManifest`.
        help: -
        "#);
    }

    #[test]
    fn impossible_values_are_reported_together() {
        insta::assert_snapshot!(error(
            r#"(
                source: Npm(package: "user/repo", version: "--x", archive_sha256: "12", file: "../evil", sha256: "ZZ"),
                input: (size: (3, 0, 112), order: Gray, mean: [0.5, inf], std: 0),
                prepare: ["Resize"],
                layers: { "": "x" },
                labels: Json(File(path: "", sha256: "no")),
            )"#
        ), @r#"
        [fame::model::invalid] `net.ron` has 15 problems:
          - source.package `user/repo` is not a package name.
          - source.version `--x` is not an exact version.
          - source.archive_sha256 `12` is not 64 lower-case hex digits.
          - source.file `../evil` is not a plain relative path.
          - source.sha256 `ZZ` is not 64 lower-case hex digits.
          - input.size [3, 0, 112] has an extent of 0.
          - input.size has 3 channels, but order Gray has 1.
          - input.mean has 2 values for 3 channels; give one number, or one per channel.
          - input.mean holds inf, which is not a finite number.
          - input.std has 1 values for 3 channels; give one number, or one per channel.
          - input.std holds 0; it divides, so it must be positive.
          - prepare holds `"Resize"`, which is not a step such as `Name()`.
          - layers has an empty name in ``: `x`.
          - labels.sha256 `no` is not 64 lower-case hex digits.
          - labels.path is empty.
        help: -
        "#);
        insta::assert_snapshot!(error(
            r#"(
                source: Converted(from: File(path: "w.pth"), script: "/bin/sh", requirements: ["numpy", "x==1 --index y"], sha256: "1"),
                input: (size: (3, 1, 1), order: Rgb, mean: 0, std: -1),
            )"#
        ), @r#"
        [fame::model::invalid] `net.ron` has 5 problems:
          - source.sha256 `1` is not 64 lower-case hex digits.
          - source.script `/bin/sh` is not a plain relative path.
          - source.requirements holds `numpy`, which is not of the form `name==version`.
          - source.requirements holds `x==1 --index y`, which is not of the form `name==version`.
          - input.std holds -1; it divides, so it must be positive.
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
