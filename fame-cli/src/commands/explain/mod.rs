//! `fame-cli explain MODEL PICTURE…` and `fame-cli init MODEL PICTURE…`: a question without a
//! recipe.
//!
//! Both make the same recipe, and a manifest where there is none. `explain` runs it from memory,
//! after it has said what it assumes and shown what the network answers; `init` writes both files.

mod answers;
mod conventions;
mod detector;
mod names;
mod outputs;
mod question;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use fame_core::{
    Error, Layer, Model, Plan,
    contract::Network,
    data::{Value, safe_id, sha256_file, sha256_hex},
    recipe::RecipeText,
    registry::Registry,
    run::{Preview, RunOptions, preview, recipe_of, rehearse_metrics},
    store::ModelStore,
};
use fame_plugins::backends::verify::Graph;

use fame_plugins::writers::REPORT;

use super::{Failure, run::carry_out, write_new};
use crate::{
    arguments::{ExplainArgs, InitArgs, InspectArgs, QuestionArgs},
    setup::Setup,
    terminal::{self, out, out_line},
};
use conventions::Convention;
use question::Question;

/// The losses of models that compare two pictures.
const PAIRED: [&str; 2] = ["Similarity", "Dissimilarity"];

/// The number of steps from which on a walk is told before it begins: a large network takes a tenth
/// of a second for each.
const LONG_WALK: f64 = 100.0;

/// The most pictures whose answers are shown, and by which conventions are compared.
const SHOWN: usize = 8;

pub(crate) fn explain(setup: &Setup, args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let ready = Ready::make(setup, &args.question)?;
    ready.tell(setup)?;
    // A metric that fits nothing of what is asked would fail every item, after it was explained.
    if let Some(problems) = rehearse_metrics(&ready.plan, &ready.preview) {
        return Err(problems.into());
    }
    let folder = match &args.out {
        Some(out) => out.clone(),
        None => PathBuf::from("out").join(folder(args, &ready)?),
    };
    refuse_other_question(&folder, &ready)?;
    let assumed = ready.assumed.iter().map(|line| line.trim().to_owned()).collect();
    let options = RunOptions { stop: setup.stop.clone(), assumed, ..RunOptions::new(folder) };
    let code = carry_out(setup, &ready.plan, &ready.store, &options, args.show.preview)?;
    if !setup.json {
        out_line(&format!("look at {}", options.out.join(REPORT).display()))?;
        if let Some(manifest) = &ready.manifest {
            out("The manifest that was assumed:")?;
            out(manifest)?;
        }
        out("As a recipe, to change and to run again (`fame-cli init` writes it):")?;
        out(&ready.recipe)?;
    }
    Ok(code)
}

/// The name of the output folder where none is given. It ends in a hash of the question: the answer
/// to one of other parameters, pictures or models of the same name must not replace this one.
fn folder(args: &ExplainArgs, ready: &Ready) -> Result<String, Failure> {
    /// Digits of the hash: one in a million of a thousand questions shares a folder with another,
    /// and is then refused.
    const DIGITS: usize = 10;
    /// A model's file may have a name as long as a folder's may be; the hash must fit behind it.
    const LONGEST: usize = 200;
    let question = &args.question;
    let stem = Path::new(&question.model).file_stem().unwrap_or_default().to_string_lossy();
    let methods = ready.question.method_names().join("-");
    let class = question.class.map_or_else(String::new, |class| format!("-{class}"));
    let name = safe_id(&format!("explain-{stem}-{methods}{class}"));
    let mut asked = vec![ready.question.recipe(true), ready.preview.model.sha256.clone()];
    asked.push(format!("{:?}", ready.plan.manifest));
    for picture in ready.question.picture_files()? {
        asked.push(sha256_file(&picture)?);
    }
    let hash = sha256_hex(asked.join("\n").as_bytes());
    let (name, hash): (String, String) =
        (name.chars().take(LONGEST).collect(), hash.chars().take(DIGITS).collect());
    Ok(format!("{name}-{hash}"))
}

/// Refuses a folder that holds the answer to another question: items of the same name would be
/// replaced by this one's.
fn refuse_other_question(folder: &Path, ready: &Ready) -> Result<(), Failure> {
    if recipe_of(folder).is_none_or(|there| there == ready.plan.text.original()) {
        return Ok(());
    }
    let message = format!("`{}` holds the answer to another question.", folder.display());
    Err(Failure::Error(Error::new("fame::explain::other_question", message).with_help(
        "Nothing was touched. Name another folder with --out, or omit --out: every question has one of its own.",
    )))
}

pub(crate) fn init(setup: &Setup, args: &InitArgs) -> Result<ExitCode, Failure> {
    let ready = Ready::make(setup, &args.question)?;
    let elsewhere = args.recipe.parent().is_some_and(|p| !p.as_os_str().is_empty());
    let recipe = if elsewhere { ready.question.recipe(true) } else { ready.recipe.clone() };
    let place = Path::new(&args.question.model).with_extension("ron");
    let same = std::path::absolute(&place).ok() == std::path::absolute(&args.recipe).ok();
    if ready.manifest.is_some() && same {
        let message = format!("recipe and manifest cannot both be `{}`.", args.recipe.display());
        return Err(Error::new("fame::init::same_name", message)
            .with_help("Nothing was written. Give the recipe another name: --recipe FILE.")
            .into());
    }
    write_new(&args.recipe, recipe.as_bytes())?;
    if let Some(manifest) = &ready.manifest {
        write_new(&place, manifest.as_bytes())?;
        ready.tell(setup)?;
        out_line(&format!("wrote {}: look at `input` and `prepare`", place.display()))?;
    }
    let place = args.recipe.display();
    out_line(&format!("wrote {place}: fame-cli run {place}"))?;
    Ok(ExitCode::SUCCESS)
}

/// A question whose files are there and whose recipe has no mistakes.
struct Ready {
    question: Question,
    recipe: String,
    /// The manifest, if it had to be made up.
    manifest: Option<String>,
    /// What was assumed of the input, one line each.
    assumed: Vec<String>,
    store: ModelStore,
    plan: Plan,
    preview: Preview,
    /// Whether the network's answer is told as numbers: they are no classes, and one of them is
    /// asked about.
    has_numbers: bool,
}

impl Ready {
    fn make(setup: &Setup, args: &QuestionArgs) -> Result<Self, Failure> {
        let registry = setup.registry()?;
        let question = Question::new(args, &registry).map_err(Failure::Arguments)?;
        let store = setup.store()?;
        let Some(file) = question.bare_file().map(Path::to_owned) else {
            return Self::with_manifest(setup, args, question, &registry, store);
        };
        let (question, manifest, mut assumed) = made_up(setup, args, question, &file, &store)?;
        if args.input.is_none() {
            assumed.push("  this is a guess: --input says how the input is really made".to_owned());
        }
        let store = store.with_assumed(&file, manifest.clone());
        let recipe = question.recipe(false);
        let (plan, preview) = look(setup, &recipe, &store)?;
        check_class(args, &preview)?;
        let asked = refuse_no_classes(args, &question, &registry, &preview.model)?;
        let has_numbers = asked.has_numbers;
        assumed.extend(asked.assumed);
        let manifest = Some(manifest);
        Ok(Self { question, recipe, manifest, assumed, store, plan, preview, has_numbers })
    }

    /// The question to a model that has a manifest.
    fn with_manifest(
        setup: &Setup,
        args: &QuestionArgs,
        question: Question,
        registry: &Registry,
        store: ModelStore,
    ) -> Result<Self, Failure> {
        let asked = store.resolve(&args.model, Path::new("."))?.ask;
        if args.input.is_some() {
            return Err(Failure::Arguments(input_is_said(&args.model)));
        }
        if args.pair.is_empty()
            && asked.loss.as_ref().is_some_and(|loss| PAIRED.contains(&loss.name.as_str()))
        {
            let message = format!("`{}` compares two pictures.", args.model);
            return Err(Failure::Arguments(
                Error::new("fame::explain::pair", message)
                    .with_help("Name two: fame-cli explain MODEL --pair A B."),
            ));
        }
        let mut question = question.asked(asked.loss.as_ref().map(|loss| loss.name.as_str()));
        let (mut plan, preview) = look(setup, &question.recipe(false), &store)?;
        check_class(args, &preview)?;
        let (mut assumed, mut has_numbers) = (Vec::new(), false);
        if asked.loss.is_none() && asked.former_task.is_none() {
            (question, assumed) = asked_by_its_outputs(question, registry, &preview.model);
            let asked = refuse_no_classes(args, &question, registry, &preview.model)?;
            has_numbers = asked.has_numbers;
            assumed.extend(asked.assumed);
            plan = resolved(setup, &question.recipe(false), &store)?;
        }
        let (recipe, manifest) = (question.recipe(false), None);
        Ok(Self { question, recipe, manifest, assumed, store, plan, preview, has_numbers })
    }

    /// Says what was assumed, and what the network answers.
    fn tell(&self, setup: &Setup) -> Result<(), Failure> {
        let answers = answers::of(&self.preview, self.has_numbers)?;
        if setup.json {
            let event = serde_json::json!({
                "event": "answers", "assumed": self.assumed, "manifest": self.manifest,
                "recipe": self.recipe, "answers": answers,
            });
            return Ok(out(&event.to_string())?);
        }
        for line in self.assumed.iter().chain(&answers).chain(&self.long_walks()) {
            out_line(line)?;
        }
        for error in &self.preview.left_out {
            let help = error.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
            out_line(&format!("not looked at: {error}{help}"))?;
        }
        Ok(())
    }

    /// What is going to take long, and the way to less: a line for each walk of many steps whose
    /// number nobody has chosen.
    fn long_walks(&self) -> Vec<String> {
        let steps = |parameters: &Value| match parameters.get("perturbation")? {
            Value::Map(walk) => walk.values().find_map(|walk| walk.get("iterations")?.as_f64()),
            _ => None,
        };
        let explain = self.plan.explain.iter();
        let long = explain.filter(|(name, _)| self.question.may_be_shortened(name));
        long.filter_map(|(name, built)| Some((name, steps(&built.parameters)?)))
            .filter(|(_, steps)| *steps >= LONG_WALK)
            .map(|(name, steps)| {
                format!("{name} walks {steps} steps for each picture; --steps N takes N of them")
            })
            .collect()
    }
}

/// A manifest for an ONNX file that has none.
pub(super) struct Proposal {
    /// Models, and this file with the manifest.
    pub(super) store: ModelStore,
    /// Its text, complete.
    pub(super) manifest: String,
    /// What was assumed of the input, one line each.
    pub(super) assumed: Vec<String>,
}

/// What `inspect` proposes for `model`; `None` where that is no ONNX file, or has a manifest.
///
/// # Errors
/// A network that cannot be loaded or takes no picture, and a picture that cannot be read.
pub(super) fn propose(
    setup: &Setup,
    args: &InspectArgs,
    store: &ModelStore,
) -> Result<Option<Proposal>, Failure> {
    let InspectArgs { model, pictures, backend, .. } = args;
    let asked = QuestionArgs::of(model.clone(), pictures.clone(), backend.clone());
    let question = Question::new(&asked, &setup.registry()?).map_err(Failure::Arguments)?;
    let Some(file) = question.bare_file() else {
        if pictures.is_empty() {
            return Ok(None);
        }
        let message = "pictures are for an ONNX file without a manifest, and this model has one.";
        let error = Error::new("fame::inspect::pictures", message);
        return Err(Failure::Arguments(error.with_help("Leave them out.")));
    };
    let file = file.to_owned();
    let (_, manifest, mut assumed) = made_up(setup, &asked, question, &file, store)?;
    assumed.push("  this is a guess: look at `input` before you trust a map".to_owned());
    let store = store.clone().with_assumed(&file, manifest.clone());
    Ok(Some(Proposal { store, manifest, assumed }))
}

/// What is asked of `file`, a manifest for it, and what that assumes of the input: what the user
/// says, else the usual convention that makes the network surest of the pictures, else the most
/// usual one.
fn made_up(
    setup: &Setup,
    args: &QuestionArgs,
    question: Question,
    file: &Path,
    store: &ModelStore,
) -> Result<(Question, String, Vec<String>), Failure> {
    let graph = Graph::read(file)?;
    let labels = names::of(&graph);
    // A network that is asked about a pair is no detector, and its numbers are no classes.
    let is_pair = !args.pair.is_empty();
    let detector = |layers: &[Layer], size| {
        if is_pair { None } else { detector::known(layers, labels.len(), size) }
    };
    let (known, layers, detector) = match &args.input {
        Some(input) => {
            let given = Convention::given(input).map_err(Failure::Arguments)?;
            // Some networks load only by their manifest.
            let network = if is_pair { None } else { bare(setup, &args.backend, file).ok() };
            let layers = network.map_or_else(Vec::new, |network| network.layers().to_vec());
            let detector = detector(&layers, given.size);
            (vec![given], layers, detector)
        }
        None => {
            let network = bare(setup, &args.backend, file)?;
            let mut known = Convention::usual(network.input_shape(), graph.is_fed_whole())?;
            let size = known[0].size;
            let detector = detector(network.layers(), size);
            if detector.as_ref().is_some_and(|detector| detector.is_fed_unit) {
                conventions::unit_first(&mut known);
            }
            (known, network.layers().to_vec(), detector)
        }
    };
    let are_classes =
        !is_pair && (detector.is_some() || names::are_of_outputs(labels.len(), &layers));
    let question = question.about(detector, if are_classes { labels } else { Vec::new() });
    let first = question.manifest(&known[0])?;
    if !question.has_pictures() {
        let assumed = known[0].unseen();
        return Ok((question, first, assumed));
    }
    let recipe = question.recipe(false);
    let (_, preview) = look(setup, &recipe, &store.clone().with_assumed(file, first))?;
    let (chosen, assumed) = conventions::choose(&known, &preview, args.pair.is_empty())?;
    let manifest = question.manifest(chosen)?;
    Ok((question, manifest, assumed))
}

/// Refuses a class that the network does not have, before anything is explained.
fn check_class(args: &QuestionArgs, preview: &Preview) -> Result<(), Failure> {
    let Some(class) = args.class else { return Ok(()) };
    if detector::is_one(&preview.model) {
        let message = "--class is for classifiers, and this network is a detector.";
        let help = "Write it into the loss of a recipe, which `fame-cli init` makes: Detections(head: …, class: Index(3)).";
        return Err(Failure::Arguments(
            Error::new("fame::explain::class", message).with_help(help),
        ));
    }
    let (layer, _) = answers::answers_layer(&preview.model)?;
    let classes: usize = layer.shape.iter().product();
    if layer.shape.len() != 1 || class < classes {
        return Ok(());
    }
    let message = format!("class {class} does not exist: the network has {classes} classes.");
    let help = format!("Classes are counted from 0 to {}.", classes.saturating_sub(1));
    Err(Failure::Arguments(Error::new("fame::explain::class", message).with_help(help)))
}

/// The error of an --input beside a manifest.
fn input_is_said(model: &str) -> Error {
    let beside = Path::new(model).with_extension("ron");
    let place = if beside.is_file() { format!(", `{}`", beside.display()) } else { String::new() };
    let message = format!("--input is for an ONNX file without a manifest, and `{model}` has one.");
    let help = "Leave --input out. Change `input` in the manifest";
    Error::new("fame::explain::input", message)
        .with_help(format!("{help}{place}, to feed the network otherwise."))
}

/// The question to `model`, whose manifest asks none: what is asked of the same file without a
/// manifest. The lines tell what was taken for what.
fn asked_by_its_outputs(
    question: Question,
    registry: &Registry,
    model: &Model,
) -> (Question, Vec<String>) {
    if question.is_pair() {
        return (question.asking(registry, "Similarity()", "Output"), Vec::new());
    }
    let Some(detector) = detector::of(model) else { return (question, Vec::new()) };
    let layers = format!("{:?}", detector.layers);
    let told = format!(
        "the manifest asks nothing; by its outputs this is a detector, asked with ask: (loss: {}, layer: {layers})",
        detector.loss
    );
    let question = question.asking(registry, &detector.loss, &layers);
    (question.about(Some(detector), Vec::new()), vec![told])
}

/// What the numbers are that a question for a class is about.
#[derive(Default)]
struct Asked {
    /// Whether one of them is asked about that is no class.
    has_numbers: bool,
    /// What is assumed of them, where nothing tells.
    assumed: Option<String>,
}

/// Refuses to ask for a class where the network's answer is plainly none, unless one number of it is
/// asked about, as --class does. Returns what is assumed of the numbers otherwise.
fn refuse_no_classes(
    args: &QuestionArgs,
    question: &Question,
    registry: &Registry,
    model: &Model,
) -> Result<Asked, Failure> {
    let class = args.class.filter(|_| args.layer.is_none());
    if question.is_pair()
        || question.is_about_boxes()
        || !(class.is_some() || question.asks_for_classes(registry))
    {
        return Ok(Asked::default());
    }
    match (outputs::no_classes(model)?, class) {
        (None, _) => Ok(Asked { has_numbers: false, assumed: outputs::taken_for_classes(model)? }),
        (Some(told), Some(class)) if told.has_numbers => {
            Ok(Asked { has_numbers: true, assumed: Some(told.told_of_number(class)) })
        }
        (Some(told), _) => Err(Failure::Arguments(told.error(&args.model))),
    }
}

/// The recipe's plan.
fn resolved(setup: &Setup, recipe: &str, store: &ModelStore) -> Result<Plan, Failure> {
    let text = RecipeText::new("explain", recipe).with_defaults(fame_plugins::RECIPE_DEFAULTS);
    Ok(Plan::resolve(text, Path::new("."), &setup.registry()?, store)?)
}

/// The recipe's plan, and its first pictures as the network sees them.
fn look(setup: &Setup, recipe: &str, store: &ModelStore) -> Result<(Plan, Preview), Failure> {
    let plan = resolved(setup, recipe, store)?;
    let watcher = terminal::watcher(setup.json);
    let preview = preview(&plan, store, SHOWN, watcher.as_ref());
    drop(watcher);
    Ok((plan, preview?))
}

/// The network of an ONNX file as it is, without a manifest.
fn bare(setup: &Setup, backend: &str, file: &Path) -> Result<Box<dyn Network>, Failure> {
    let request = fame_core::LoadRequest::new(file);
    let network = setup.backend(backend)?.plugin.load(&request).map_err(|e| {
        let help = "Say how the input is made: --input '(size: (3, 224, 224), order: Rgb, mean: 0.5, std: 0.5)', with your numbers.";
        if e.help.is_some() { e } else { e.with_help(help) }
    })?;
    Ok(network)
}
