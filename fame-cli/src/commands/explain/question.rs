//! The question of the command line as the text of a recipe and of a manifest.

use std::path::{Path, PathBuf};

use fame_core::{Error, Result};
use fame_plugins::pictures;

use super::conventions::Convention;
use crate::arguments::QuestionArgs;

/// The preset of a pair, if none is asked for: a first map in seconds. Other walks are the same in it.
const FAST: &str = "Fast";

/// The rules that name a layer without its tensor's name.
const RULES: [&str; 3] = ["LastConv", "BeforePooling", "Output"];

/// What is asked: a model, pictures or a pair, a method with its target.
pub(super) struct Question {
    model: String,
    pictures: Vec<String>,
    is_pair: bool,
    explainer: String,
    preset: Option<String>,
    backend: String,
}

impl Question {
    /// Reads the arguments.
    ///
    /// # Errors
    /// When a whole spec is given and a class or layer beside it.
    pub(super) fn new(args: &QuestionArgs) -> Result<Self> {
        let is_pair = !args.pair.is_empty();
        Ok(Self {
            model: args.model.clone(),
            pictures: if is_pair { args.pair.clone() } else { args.pictures.clone() },
            is_pair,
            explainer: explainer(args)?,
            preset: args.preset.clone().or_else(|| is_pair.then(|| FAST.to_owned())),
            backend: args.backend.clone(),
        })
    }

    /// The ONNX file, if the model is one that has no manifest beside it.
    pub(super) fn bare_file(&self) -> Option<&Path> {
        let path = Path::new(&self.model);
        let is_onnx = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
        (is_onnx && path.is_file() && !path.with_extension("ron").exists()).then_some(path)
    }

    /// Whether it is about any picture.
    pub(super) fn has_pictures(&self) -> bool {
        !self.pictures.is_empty()
    }

    /// The pictures that are files of the user, and not fetched by name.
    pub(super) fn picture_files(&self) -> impl Iterator<Item = &Path> {
        self.pictures.iter().filter(|p| !p.starts_with("picture:")).map(Path::new)
    }

    /// The recipe. With `absolute` its files are named by their whole paths, for a recipe that
    /// lies in another folder.
    pub(super) fn recipe(&self, absolute: bool) -> String {
        let file = |text: &str| {
            let is_path = !text.starts_with("picture:");
            let whole = || std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text));
            let text =
                if absolute && is_path { whole().display().to_string() } else { text.into() };
            format!("{text:?}")
        };
        let model = if self.model.contains(['/', '.']) {
            file(&self.model)
        } else {
            format!("{:?}", self.model)
        };
        let pictures: Vec<String> = self.pictures.iter().map(|p| file(p)).collect();
        let (question, data) = if self.is_pair {
            let data = format!("Pair(gallery: {}, probe: {})", pictures[0], pictures[1]);
            ("Which pixels make these two match?", data)
        } else {
            ("Which pixels carry this class?", format!("Images(files: [{}])", pictures.join(", ")))
        };
        let name = self.explainer.split('(').next().unwrap_or_default().to_lowercase();
        let mut lines = vec![format!("// {question}"), "(".into(), format!("    model: {model},")];
        lines.extend(self.preset.iter().map(|preset| {
            match preset.as_str() {
                FAST => {
                    "    preset: Fast, // 16 long steps; `Paper` takes the paper's 500 short ones"
                        .into()
                }
                preset => format!("    preset: {preset},"),
            }
        }));
        if self.backend != "Tract()" {
            lines.push(format!("    backend: {},", self.backend));
        }
        lines.push(format!("    data: {data},"));
        lines.push("    explain: {".into());
        lines.push(format!("        \"{name}\": {},", self.explainer));
        lines.push("    },".into());
        lines.push("    write: [Npy(), Overlay(), Picture(), Report()],".into());
        lines.push(")\n".into());
        lines.join("\n")
    }

    /// A manifest for the bare file, fed by `convention`.
    ///
    /// # Errors
    /// A picture of a pair that cannot be read.
    pub(super) fn manifest(&self, convention: &Convention) -> Result<String> {
        let loss = if self.is_pair { "Similarity()" } else { "Logit()" };
        let prepare = self.prepare(convention)?;
        let Convention { text: input, .. } = convention;
        Ok(format!(
            "// Made by fame-cli, which was told nothing about the network: look at `input` and `prepare`. With a wrong\n\
             // mean, deviation or channel order the maps explain what the network makes of wrong pictures.\n\
             (\n    ask: (loss: {loss}, layer: Output),\n    input: {input},\n    prepare: [{prepare}],\n)\n"
        ))
    }

    /// The usual way from a picture to the network's size.
    fn prepare(&self, convention: &Convention) -> Result<String> {
        let (height, width) = convention.size;
        if self.is_pair {
            let cut = self.pictures.iter().map(|p| has_size(p, height, width));
            let all_cut = cut.collect::<Result<Vec<_>>>()?.into_iter().all(|cut| cut);
            return Ok(if all_cut { String::new() } else { "AlignFace()".to_owned() });
        }
        if height != width {
            return Ok(format!("Resize(height: {height}, width: {width})"));
        }
        // The crop of seven eighths of the shorter side: 224 of 256.
        let shorter = (height * 8).div_ceil(7);
        Ok(format!("ResizeShorter(size: {shorter}), CenterCrop(size: {height})"))
    }
}

/// Whether `picture` is of the network's size already: a crop that somebody aligned.
fn has_size(picture: &str, height: usize, width: usize) -> Result<bool> {
    if picture.starts_with("picture:") {
        return Ok(false);
    }
    let picture = pictures::load(Path::new(picture), picture)?;
    Ok((picture.height(), picture.width()) == (height, width))
}

/// The explainer's spec.
fn explainer(args: &QuestionArgs) -> Result<String> {
    let named: Vec<String> = [
        args.layer.as_ref().map(|layer| {
            if RULES.contains(&layer.as_str()) {
                format!("layer: {layer}")
            } else {
                format!("layer: {layer:?}")
            }
        }),
        args.class.map(|class| format!("loss: Logit(class: Index({class}))")),
        // Whatever the model is usually asked: a pair is asked about its match.
        (!args.pair.is_empty() && args.method == "Fame").then(|| "loss: Similarity()".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !args.method.contains('(') {
        return Ok(format!("{}({})", args.method, named.join(", ")));
    }
    if named.is_empty() {
        return Ok(args.method.clone());
    }
    let message = "--layer and --class cannot be added to a method that is given as a whole.";
    Err(Error::new("fame::explain::method", message).with_help(format!(
        "Write them into it: {}(…, {})",
        method_name(args),
        named.join(", ")
    )))
}

fn method_name(args: &QuestionArgs) -> &str {
    args.method.split('(').next().unwrap_or_default()
}
