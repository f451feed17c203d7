//! The question of the command line as the text of a recipe and of a manifest.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fame_core::{
    Error, Result,
    registry::{Kind, Registry},
    text::{Spec, scan},
};
use fame_plugins::pictures;

use super::{conventions::Convention, detector::Detector};
use crate::arguments::QuestionArgs;

/// The preset of a pair, if none is asked for: a first map in seconds. Other walks are the same in
/// it.
const FAST: &str = "Fast";

/// The losses about detections, which have an overlay of their own.
const ABOUT_BOXES: [&str; 2] = ["DetectionScore", "BoxCoordinate"];

/// The rules that name a layer without its tensor's name.
const RULES: [&str; 3] = ["LastConv", "BeforePooling", "Output"];

/// The methods whose attributions add up to the difference from a reference: a cosine's do where
/// its norms take part in the derivative.
const ADD_UP: [&str; 2] = ["DeepLift", "IntegratedGradients"];

/// The method that walks, and so takes --steps.
const WALKS: &str = "Fame";

/// The method that other ones are tested against where it stands beside them.
const FLOOR: &str = "RandomMap";

/// What is asked: a model, pictures or a pair, methods with their target, and what is measured of
/// their maps.
#[derive(Clone)]
pub(super) struct Question {
    model: String,
    pictures: Vec<String>,
    is_pair: bool,
    /// Explainers by their names in the recipe.
    methods: Vec<(String, String)>,
    metrics: Vec<String>,
    preset: Option<String>,
    backend: String,
    /// Whether it is about a detection.
    is_about_boxes: bool,
    /// The detector that a file without a manifest is of.
    detector: Option<Detector>,
    /// The names of the classes, where such a file holds them.
    labels: Vec<String>,
}

impl Question {
    /// Reads the arguments.
    ///
    /// # Errors
    /// When a whole spec is given and a class, a layer or steps beside it, steps for a method that
    /// makes none, or a folder beside other pictures.
    pub(super) fn new(args: &QuestionArgs, registry: &Registry) -> Result<Self> {
        let is_pair = !args.pair.is_empty();
        let folders = args.pictures.iter().any(|p| Path::new(p).is_dir());
        if folders && args.pictures.len() > 1 {
            let message = "a folder of pictures stands alone.";
            return Err(Error::new("fame::explain::folder", message)
                .with_help("Name one folder, or pictures, and not both."));
        }
        Ok(Self {
            model: args.model.clone(),
            pictures: if is_pair { args.pair.clone() } else { args.pictures.clone() },
            is_pair,
            methods: methods(args, registry)?,
            metrics: metrics(args, registry)?,
            preset: args.preset.clone().or_else(|| is_pair.then(|| FAST.to_owned())),
            backend: args.backend.clone(),
            is_about_boxes: false,
            detector: None,
            labels: Vec::new(),
        })
    }

    /// The question to a model that is usually asked this loss.
    pub(super) fn asked(mut self, loss: Option<&str>) -> Self {
        self.is_about_boxes = loss.is_some_and(|loss| ABOUT_BOXES.contains(&loss));
        self
    }

    /// The question to a file without a manifest, which is of this detector and has these names of
    /// classes, if that is known.
    pub(super) fn about(mut self, detector: Option<Detector>, labels: Vec<String>) -> Self {
        self.is_about_boxes = detector.is_some();
        (self.detector, self.labels) = (detector, labels);
        self
    }

    /// The question to a model whose manifest asks none: every method and every metric that asks
    /// about a loss, and does not say which, asks about `loss` at `layer`.
    pub(super) fn asking(mut self, registry: &Registry, loss: &str, layer: &str) -> Self {
        let asking = |kind, spec: &str| {
            if !asks_the_usual(registry, kind, spec) {
                return spec.to_owned();
            }
            let at = loss_layer(registry, kind, spec);
            let set = [Some(("loss", loss)), at.map(|at| (at, layer))];
            let set = set.into_iter().flatten().filter(|(name, _)| !says(spec, name));
            let set: Vec<String> = set.map(|(name, value)| format!("{name}: {value}")).collect();
            put(spec, &set.join(", "))
        };
        for (_, spec) in &mut self.methods {
            *spec = asking(Kind::Explainer, spec);
        }
        for spec in &mut self.metrics {
            *spec = asking(Kind::Metric, spec);
        }
        self
    }

    /// Whether a method asks about a class at the output, because nobody says anything else.
    pub(super) fn asks_for_classes(&self, registry: &Registry) -> bool {
        let says_layer = |spec: &str| {
            let at = loss_layer(registry, Kind::Explainer, spec);
            at.is_some_and(|at| says(spec, at))
        };
        let mut specs = self.methods.iter().map(|(_, spec)| spec.as_str());
        specs.any(|spec| asks_the_usual(registry, Kind::Explainer, spec) && !says_layer(spec))
    }

    /// Whether it is about two pictures.
    pub(super) fn is_pair(&self) -> bool {
        self.is_pair
    }

    /// Whether it is about a detection.
    pub(super) fn is_about_boxes(&self) -> bool {
        self.is_about_boxes
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

    /// The names of the methods in the recipe.
    pub(super) fn method_names(&self) -> Vec<&str> {
        self.methods.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether --steps would set the steps of the method that is called `name` in the recipe.
    pub(super) fn may_be_shortened(&self, name: &str) -> bool {
        let spec = self.methods.iter().find(|(known, _)| known == name);
        spec.is_some_and(|(_, spec)| head(spec) == WALKS && !spec.contains("perturbation"))
    }

    /// The pictures that are files of the user, and not fetched by name.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(super) fn picture_files(&self) -> Result<Vec<PathBuf>> {
        let own = self.pictures.iter().filter(|p| !p.starts_with("picture:")).map(PathBuf::from);
        let mut files = Vec::new();
        for path in own {
            if !path.is_dir() {
                files.push(path);
                continue;
            }
            let entries = fs::read_dir(&path).map_err(|e| Error::io("read", &path, &e))?;
            files.extend(entries.flatten().map(|e| e.path()).filter(|p| p.is_file()));
        }
        files.sort();
        Ok(files)
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
            ("Which pixels make these two match?".to_owned(), data)
        } else {
            let data = match self.pictures.as_slice() {
                [folder] if Path::new(folder).is_dir() => format!("Folder(path: {})", pictures[0]),
                _ => format!("Images(files: [{}])", pictures.join(", ")),
            };
            let about =
                if self.is_about_boxes { "make this detection" } else { "carry this class" };
            (format!("Which pixels {about}?"), data)
        };
        let mut lines = vec![format!("// {question}"), "(".into(), format!("    model: {model},")];
        lines.extend(self.preset.iter().map(|preset| {
            // Only of a walk that follows the preset: --steps and whole specs say their own.
            let follows = self.methods.iter().any(|(name, _)| self.may_be_shortened(name));
            let told = if preset == FAST && follows {
                " // 16 long steps; `Paper` takes the paper's 500 short ones"
            } else {
                ""
            };
            format!("    preset: {preset},{told}")
        }));
        if self.backend != "Tract()" {
            lines.push(format!("    backend: {},", self.backend));
        }
        lines.push(format!("    data: {data},"));
        lines.push("    explain: {".into());
        lines
            .extend(self.methods.iter().map(|(name, spec)| format!("        \"{name}\": {spec},")));
        lines.push("    },".into());
        if !self.metrics.is_empty() {
            lines.push(format!("    metrics: [{}],", self.metrics.join(", ")));
        }
        let boxes = if self.is_about_boxes { " DetectionOverlay()," } else { "" };
        lines.push(format!("    write: [Npy(), Overlay(),{boxes} Picture(), Report()],"));
        lines.push(")\n".into());
        lines.join("\n")
    }

    /// A manifest for the bare file, fed by `convention`.
    ///
    /// # Errors
    /// A picture of a pair that cannot be read.
    pub(super) fn manifest(&self, convention: &Convention) -> Result<String> {
        let (loss, layer) = match &self.detector {
            Some(detector) => (detector.loss.as_str(), format!("{:?}", detector.layers)),
            None if self.is_pair => ("Similarity()", "Output".to_owned()),
            None => ("Logit()", "Output".to_owned()),
        };
        let labels = match self.labels.as_slice() {
            [] => String::new(),
            labels => format!("    labels: List({labels:?}),\n"),
        };
        let prepare = self.prepare(convention)?;
        let Convention { text: input, .. } = convention;
        Ok(format!(
            "// Made by fame-cli, which was told nothing about the network: look at `input` and `prepare`. With a wrong\n\
             // mean, deviation or channel order the maps explain what the network makes of wrong pictures.\n\
             (\n    ask: (loss: {loss}, layer: {layer}),\n    input: {input},\n    prepare: [{prepare}],\n{labels})\n"
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
        if self.detector.is_some() {
            // The whole picture: what lies at its edge is to be found too.
            return Ok("Letterbox()".to_owned());
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

/// A parameter that an option of the command line sets: its name, and `name: value`.
type Set = (&'static str, String);

/// The explainers' names and specs, in the order in which they are asked for.
fn methods(args: &QuestionArgs, registry: &Registry) -> Result<Vec<(String, String)>> {
    let layer = args.layer.as_ref().map(|layer| {
        let is_rule = RULES.contains(&layer.as_str());
        if is_rule { format!("layer: {layer}") } else { format!("layer: {layer:?}") }
    });
    let steps = args.steps.map(|steps| format!("perturbation: Lots(iterations: {steps})"));
    let heads: Vec<&str> = args.method.iter().map(|method| head(method)).collect();
    // A method that nobody knows is told where the recipe is read, with the one that was meant.
    let are_known = heads.iter().all(|head| registry.get(Kind::Explainer, head).is_some());
    if steps.is_some() && are_known && !heads.contains(&WALKS) {
        let message = format!("--steps is for {WALKS}, and {} makes none.", heads.join(", "));
        return Err(Error::new("fame::explain::method", message).with_help("Leave --steps out."));
    }
    let mut named: Vec<(String, String)> = Vec::new();
    for method in &args.method {
        let walks = head(method) == WALKS;
        let mut set: Vec<Set> = Vec::new();
        set.extend(layer.clone().map(|layer| ("layer", layer)));
        set.extend(class(args));
        set.extend(steps.clone().filter(|_| walks).map(|steps| ("perturbation", steps)));
        // Where several methods are asked, each takes what it has a parameter for, and one at
        // least does.
        if args.method.len() > 1 {
            let has = |spec: &str, name| takes(registry, Kind::Explainer, spec, name);
            set.retain(|(name, _)| has(method, name) || !args.method.iter().any(|m| has(m, name)));
        }
        // Whatever the model is usually asked: a pair is asked about its match.
        if !args.pair.is_empty() && method == WALKS {
            set.push(("loss", "loss: Similarity()".to_owned()));
        }
        if !args.pair.is_empty() && ADD_UP.contains(&method.as_str()) {
            set.push(("loss", "loss: Similarity(norms: Live)".to_owned()));
        }
        let name = head(method).to_lowercase();
        let same = heads[..named.len()].iter().filter(|other| **other == head(method)).count();
        let name = if same == 0 { name } else { format!("{name}_{}", same + 1) };
        named.push((name, with(method, &set)?));
    }
    Ok(named)
}

/// The metrics' specs. They ask about the class that is explained, and test against random maps
/// where such are there.
fn metrics(args: &QuestionArgs, registry: &Registry) -> Result<Vec<String>> {
    let has_floor = args.method.len() > 1 && args.method.iter().any(|m| m == FLOOR);
    let spec = |metric: &String| {
        let mut set: Vec<Set> = Vec::new();
        set.extend(class(args));
        if has_floor && !metric.contains('(') {
            set.push(("against", format!("against: [{:?}]", FLOOR.to_lowercase())));
        }
        set.retain(|(name, _)| takes(registry, Kind::Metric, metric, name));
        with(metric, &set)
    };
    args.metric.iter().map(spec).collect()
}

/// The class that is asked about, as a parameter.
fn class(args: &QuestionArgs) -> Option<Set> {
    args.class.map(|class| ("loss", format!("loss: Logit(class: Index({class}))")))
}

/// The name of what a spec names.
fn head(spec: &str) -> &str {
    spec.split('(').next().unwrap_or_default().trim()
}

/// Whether the plugin that `spec` names has this parameter. One that nobody knows is told where the
/// recipe is read, and until then has every parameter.
fn takes(registry: &Registry, kind: Kind, spec: &str, parameter: &str) -> bool {
    let schema = registry.get(kind, head(spec)).and_then(|known| known.schema().ok());
    let schema = schema.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    schema.is_none_or(|schema| schema["properties"].get(parameter).is_some())
}

/// Whether `spec` is of a plugin that asks about a loss and does not say which.
fn asks_the_usual(registry: &Registry, kind: Kind, spec: &str) -> bool {
    let is_known = registry.get(kind, head(spec)).is_some();
    is_known && takes(registry, kind, spec, "loss") && !says(spec, "loss")
}

/// The parameter by which the plugin that `spec` names is told at which layer its loss is: a CAM
/// has another layer of its own.
fn loss_layer(registry: &Registry, kind: Kind, spec: &str) -> Option<&'static str> {
    ["loss_layer", "layer"].into_iter().find(|name| takes(registry, kind, spec, name))
}

/// Whether `spec` sets this parameter.
fn says(spec: &str, parameter: &str) -> bool {
    let body = Spec::from_text(spec).map(|spec| spec.body).unwrap_or_default();
    scan::entries(&body, 0).is_ok_and(|all| all.iter().any(|entry| entry.key == parameter))
}

/// The spec with `set` in front of what stands between its parentheses.
fn put(spec: &str, set: &str) -> String {
    let Ok(Spec { name, body, .. }) = Spec::from_text(spec) else { return spec.to_owned() };
    let rest = body.strip_prefix('(').unwrap_or(&body);
    let gap = if rest.trim_start().starts_with(')') || set.is_empty() { "" } else { ", " };
    format!("{name}({set}{gap}{rest}")
}

/// The spec with these parameters set.
///
/// # Errors
/// A spec that is given as a whole: nothing is written into it.
fn with(spec: &str, set: &[Set]) -> Result<String> {
    let named = set.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(", ");
    if !spec.contains('(') {
        return Ok(format!("{spec}({named})"));
    }
    if named.is_empty() {
        return Ok(spec.to_owned());
    }
    let message = format!(
        "--layer, --class and --steps cannot be added to a spec that is given as a whole: `{spec}`."
    );
    Err(Error::new("fame::explain::method", message)
        .with_help(format!("Write them into it: {}(…, {named})", head(spec))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(methods: &[&str], metrics: &[&str]) -> QuestionArgs {
        let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let plain = QuestionArgs::of("net.onnx".into(), vec!["a.png".into()], "Tract()".into());
        QuestionArgs { method: of(methods), metric: of(metrics), ..plain }
    }

    fn recipe(args: &QuestionArgs) -> String {
        Question::new(args, &Registry::builtin().unwrap()).unwrap().recipe(false)
    }

    #[test]
    fn several_methods_take_what_they_have_a_parameter_for() {
        let mut args = asked(&["Fame", "GradCam", "RandomMap", "Fame"], &["Road", "Sparseness"]);
        (args.class, args.steps) = (Some(3), std::num::NonZeroUsize::new(20));
        let text = recipe(&args);
        for line in [
            r#""fame": Fame(loss: Logit(class: Index(3)), perturbation: Lots(iterations: 20)),"#,
            r#""gradcam": GradCam(loss: Logit(class: Index(3))),"#,
            r#""randommap": RandomMap(loss: Logit(class: Index(3))),"#,
            r#""fame_2": Fame("#,
            r#"metrics: [Road(loss: Logit(class: Index(3)), against: ["randommap"]), Sparseness()],"#,
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn nothing_is_written_into_what_is_given_as_a_whole() {
        for (methods, metrics, whole) in [
            (["Fame", "RandomMap"], ["Road(percents: [5])"], "Road(percents: [5])"),
            (["Fame", "RandomMap(map: [])"], ["Sparseness"], "RandomMap(map: [])"),
        ] {
            let mut args = asked(&methods, &metrics);
            let text = recipe(&args);
            assert!(text.contains(whole), "{text}");
            args.class = Some(3);
            let refused = Question::new(&args, &Registry::builtin().unwrap()).err().unwrap();
            assert!(refused.to_string().contains(&format!("`{whole}`")), "{refused}");
        }
        let mut args = asked(&["GradCam"], &[]);
        args.steps = std::num::NonZeroUsize::new(20);
        let refused = Question::new(&args, &Registry::builtin().unwrap()).err().unwrap();
        assert!(refused.to_string().contains("GradCam makes none"), "{refused}");
        args.method = vec!["Fane".into()];
        assert!(recipe(&args).contains(r#""fane": Fane(),"#), "told where the recipe is read");
    }

    #[test]
    fn what_no_method_has_a_parameter_for_is_left_to_be_refused() {
        let mut args = asked(&["Sum", "Product"], &[]);
        args.layer = Some("conv".into());
        assert!(recipe(&args).contains(r#""sum": Sum(layer: "conv"),"#), "{}", recipe(&args));
        args.method.push("GradCam".into());
        let text = recipe(&args);
        assert!(text.contains("Sum()") && text.contains(r#"GradCam(layer: "conv")"#), "{text}");
    }

    #[test]
    fn the_preset_of_a_pair_is_explained_only_where_a_walk_follows_it() {
        let mut args = asked(&["Fame"], &[]);
        (args.pictures, args.pair) = (Vec::new(), vec!["a.png".into(), "b.png".into()]);
        assert!(recipe(&args).contains("preset: Fast, // 16 long steps"), "{}", recipe(&args));
        args.steps = std::num::NonZeroUsize::new(20);
        assert!(recipe(&args).contains("preset: Fast,\n"), "{}", recipe(&args));
        (args.steps, args.method) = (None, vec!["GradCam".into()]);
        assert!(recipe(&args).contains("preset: Fast,\n"), "{}", recipe(&args));
    }

    #[test]
    fn what_a_manifest_does_not_ask_is_asked_of_those_who_ask_for_a_loss() {
        let registry = Registry::builtin().unwrap();
        let of = |methods: &[&str], metrics: &[&str]| {
            let question = Question::new(&asked(methods, metrics), &registry).unwrap();
            let asks = question.asks_for_classes(&registry);
            let asked = question.asking(&registry, "Boxes(a: 1)", r#"["s", "b"]"#);
            assert!(!asked.asks_for_classes(&registry));
            (asks, asked.recipe(false))
        };
        let whole = "Fame(perturbation: Lots(iterations: 2))";
        let (asks, text) = of(&[whole, "GradCam", "Saliency()"], &["Road", "Sparseness"]);
        assert!(asks);
        for line in [
            r#"Fame(loss: Boxes(a: 1), layer: ["s", "b"], perturbation: Lots(iterations: 2)),"#,
            r#"GradCam(loss: Boxes(a: 1), loss_layer: ["s", "b"]),"#,
            r#"Saliency(loss: Boxes(a: 1), layer: ["s", "b"]),"#,
            r#"Road(loss: Boxes(a: 1), layer: ["s", "b"])"#,
            "Sparseness()",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        // What somebody says stays.
        let said = "GradCam(loss: Logit(), layer: LastConv)";
        let (asks, text) = of(&[said], &[]);
        assert!(!asks && text.contains(said), "{text}");
        let (asks, text) = of(&[r#"Fame(layer: "late")"#], &[]);
        assert!(!asks && text.contains(r#"Fame(loss: Boxes(a: 1), layer: "late")"#), "{text}");
        // A CAM's layer is not the one that is asked about.
        assert!(of(&[r#"GradCam(layer: "late")"#], &[]).0);
    }

    #[test]
    fn a_pair_is_asked_with_live_norms_where_attributions_add_up() {
        let mut args = asked(&["DeepLift", "IntegratedGradients", "Saliency", "Fame"], &[]);
        (args.pictures, args.pair) = (Vec::new(), vec!["a.png".into(), "b.png".into()]);
        let text = recipe(&args);
        for line in [
            "DeepLift(loss: Similarity(norms: Live)),",
            "IntegratedGradients(loss: Similarity(norms: Live)),",
            "Saliency(),",
            "Fame(loss: Similarity()),",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn a_folder_is_a_dataset_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.png"), "").unwrap();
        let place = folder.path().display().to_string();
        let mut args = asked(&["Fame"], &[]);
        args.pictures = vec![place.clone()];
        assert!(recipe(&args).contains(&format!("data: Folder(path: {place:?})")));
        let question = Question::new(&args, &Registry::builtin().unwrap()).unwrap();
        assert_eq!(question.picture_files().unwrap(), [folder.path().join("a.png")]);
        args.pictures.push("b.png".into());
        assert!(Question::new(&args, &Registry::builtin().unwrap()).is_err());
    }
}
