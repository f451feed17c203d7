//! The arguments of the command line.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use fame_core::{registry::Kind, run::Shard};

use crate::terminal::PreviewWhen;

/// Explains what a vision network looked at.
#[derive(Parser, Debug)]
#[command(name = "fame-cli", version, about, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// A folder of model manifests, looked in before the built-in ones; may be given several times.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) models: Vec<PathBuf>,
    /// Load plugins from this shared library, which runs its code; may be given several times.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) plugin: Vec<PathBuf>,
    /// Load plugins whoever they belong to and whoever can write them.
    #[arg(long, global = true)]
    pub(crate) trust_plugin: bool,
    /// Let model manifests run the Python scripts and package set-up steps that they name, with your
    /// rights. Manifests that came with this program may without.
    #[arg(long, global = true)]
    pub(crate) trust_manifest: bool,
    /// The most memory that one thing may ask for, a picture, a layer, a list: bytes, or as 512MiB,
    /// 8GiB. Default: the memory of the machine, or of the control group that this runs in.
    #[arg(long, global = true, value_name = "SIZE", value_parser = crate::sizes::memory)]
    pub(crate) memory: Option<u64>,
    /// Machine-readable output: one JSON object per line for events, one JSON document for answers.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 error; 2 wrong arguments or a recipe with errors; 3 the run went through, but some items failed, or something differs; 129, 130, 143 ended by SIGHUP, SIGINT, SIGTERM: what is finished is kept.
Models and pictures are cached in $FAME_CACHE, else $XDG_CACHE_HOME/fame, else ~/.cache/fame.";

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Explain pictures with a network, without a recipe: say what is assumed, show what the network
    /// answers, write maps.
    Explain(ExplainArgs),
    /// Write the recipe, and the manifest where there is none, that `explain` would run.
    Init(InitArgs),
    /// Run a recipe: fetch what it needs, explain, write maps and the record.
    Run(RunArgs),
    /// Put the shards of a run together: what one machine would have left, with tables and record.
    Merge(MergeArgs),
    /// Say how far a run is: done, failed, pace and time left, for each of its shards.
    Status(StatusArgs),
    /// Submit a run in shards to a cluster, and the merge after them.
    Submit(SubmitArgs),
    /// Read every file that a run has recorded, and compare sizes and hashes.
    VerifyRun(VerifyRunArgs),
    /// Make the report of a run, OUT/report.html, again from the run's folder: one page with what was
    /// asked, what went wrong, and every method beside every item.
    Report(ReportArgs),
    /// Put runs side by side: how alike their maps are, and whether their measurements differ.
    ///
    /// A table that is wider than the terminal is told row by row; in a pipe or a file every table
    /// is Markdown.
    Compare(CompareArgs),
    /// Check a recipe without running it: names, parameters, layers, classes, sizes and files.
    Check(CheckArgs),
    /// Describe the plugins: kinds, parameters, examples; and every key of a recipe or a manifest.
    Describe(DescribeArgs),
    /// Show a model: its layers with names, operators and shapes, and which can be explained.
    Inspect(InspectArgs),
    /// Verify a model: every layer against onnxruntime, gradients against its slopes.
    Verify(VerifyArgs),
    /// Measure how long a step of a walk takes on this machine, for models and backends in turns, or a
    /// map of each explainer of a recipe.
    Bench(BenchArgs),
    /// List, show or copy the recipes that came with this program.
    Recipes(RecipesArgs),
    /// List, fetch or show models and pictures.
    Models(ModelsArgs),
    /// Look at plugins that can be loaded while fame runs.
    Plugin(PluginArgs),
    /// Align faces to the five-point template, as recipes do with AlignFace().
    Align(AlignArgs),
    /// Draw a synthetic data set, with known truth, in one of the layouts that datasets read.
    Synth(SynthArgs),
    /// Print completions for a shell.
    Completions(CompletionsArgs),
    /// Write man pages, one for each command.
    Man(ManArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RecipeArgs {
    /// The recipe file, or the name of a recipe that came with this program.
    pub(crate) recipe: PathBuf,
    /// Set one value of the recipe: path.to.parameter=VALUE, VALUE in RON; may be given several
    /// times.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
}

/// What is shown while a run is at work.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// Show the maps of each item in the terminal when it is finished, as coloured half blocks.
    /// Nothing is shown where standard error is no terminal, unless --preview=always is given, and
    /// never with --json.
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "auto"
    )]
    pub(crate) preview: Option<PreviewWhen>,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
    /// Output folder. Default: the recipe's `out`, else out/RECIPE-NAME.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Recompute items that are there already.
    #[arg(long)]
    pub(crate) force: bool,
    /// Only N items, at least 1: the first ones; of pairs, genuine and impostor pairs in turn.
    /// Tables and report also cover what an earlier run has finished of the others.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<NonZeroUsize>,
    /// Only the item with this id; may be given several times. Tables and report also cover what
    /// an earlier run has finished of the others.
    #[arg(long, value_name = "ID")]
    pub(crate) only: Vec<String>,
    /// An item that takes longer than this many seconds has failed, and the run goes on. Looked at
    /// before every pass through the network and between the stages of an item: one pass, a
    /// picture's decoder, a writer, or a plugin's own loop is waited for.
    #[arg(long, value_name = "SECONDS", value_parser = crate::sizes::seconds)]
    pub(crate) item_timeout: Option<Duration>,
    /// Only this share of the items, for one of several machines: INDEX/COUNT, counted from 0;
    /// `auto` in a job array of Slurm, `auto/COUNT` in an indexed job of Kubernetes. `merge` puts
    /// the shards together.
    #[arg(long, value_name = "INDEX/COUNT", value_parser = crate::shard::shard)]
    pub(crate) shard: Option<Shard>,
}

#[derive(Args, Debug)]
pub(crate) struct MergeArgs {
    /// The output folder that all shards were given.
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// The recipe. Default: the one that the shards were run with, where it lay.
    #[arg(long, value_name = "FILE")]
    pub(crate) recipe: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// The output folder of the run.
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct VerifyRunArgs {
    /// The output folder of the run.
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
}

/// Whoever schedules the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// A job array.
    Slurm,
    /// An indexed job of Kubernetes, printed only.
    K8s,
}

#[derive(Args, Debug)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    /// Output folder, on a file system that all machines share. Default: as `run` has it.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Whoever schedules the tasks.
    #[arg(long, value_enum, default_value = "slurm")]
    pub(crate) engine: Engine,
    /// The number of shards.
    #[arg(long, value_name = "N")]
    pub(crate) tasks: NonZeroUsize,
    /// Print what would be submitted, and submit nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The image of a job of Kubernetes.
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// Options that are passed on to sbatch, such as `-- --partition=big --time=2:00:00`.
    #[arg(last = true, value_name = "SBATCH OPTIONS")]
    pub(crate) options: Vec<String>,
}

/// The question of `explain` and `init`.
#[derive(Args, Debug)]
pub(crate) struct QuestionArgs {
    /// A model's name, or the path of an ONNX file or of its manifest.
    pub(crate) model: String,
    /// The pictures to explain: paths, picture:NAME, or a folder of pictures.
    #[arg(required_unless_present = "pair")]
    pub(crate) pictures: Vec<String>,
    /// Two faces instead: which pixels of each make the pair match.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "pictures")]
    pub(crate) pair: Vec<String>,
    /// The explainer: a name as in `describe explainer`, or a whole spec. Several, each with a
    /// --method of its own, stand beside each other.
    #[arg(long, default_value = "Fame", value_name = "NAME|SPEC")]
    pub(crate) method: Vec<String>,
    /// A measurement of the maps, for a table of the methods: a name as in `describe metric`, or a
    /// whole spec. More with a --metric of their own.
    #[arg(long, value_name = "NAME|SPEC")]
    pub(crate) metric: Vec<String>,
    /// Steps of Fame's walk, each of 1/255, whatever the preset. Default: the preset's walk.
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<NonZeroUsize>,
    /// The class whose logit is explained: its index, counted from 0. Default: the predicted one.
    #[arg(long, value_name = "N", conflicts_with = "pair")]
    pub(crate) class: Option<usize>,
    /// The layer that is explained, one for all methods: a tensor's name, an alias of the manifest,
    /// or LastConv, BeforePooling, Output. One for each method is written into it: --method
    /// 'GradCam(layer: "…")'. Default: what the manifest asks about, else the output; a CAM looks
    /// at the last layer with rows and columns.
    #[arg(long, value_name = "NAME")]
    pub(crate) layer: Option<String>,
    /// The form that defaults follow: Paper, Authors or Fast. Default: Fast for a pair, else Paper.
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,
    /// For an ONNX file without a manifest: how a picture becomes its input, written as `input` of a
    /// manifest. Default: the usual convention by which the network is surest of the pictures.
    #[arg(long, value_name = "(size: …, order: …, mean: …, std: …)")]
    pub(crate) input: Option<String>,
    /// What runs the network.
    #[arg(long, default_value = "Tract()", value_name = "SPEC")]
    pub(crate) backend: String,
}

impl QuestionArgs {
    /// The plain question about `pictures`, with nothing said but the backend.
    pub(crate) fn of(model: String, pictures: Vec<String>, backend: String) -> Self {
        Self {
            model,
            pictures,
            pair: Vec::new(),
            method: vec!["Fame".to_owned()],
            metric: Vec::new(),
            steps: None,
            class: None,
            layer: None,
            preset: None,
            input: None,
            backend,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) question: QuestionArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
    /// Output folder. Default: out/explain-MODEL-METHOD-… with a hash of the question, so that no
    /// answer replaces that to another question.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) question: QuestionArgs,
    /// The recipe file to write; it must not exist yet. The manifest goes beside the ONNX file.
    #[arg(long, value_name = "FILE", default_value = "explain.ron")]
    pub(crate) recipe: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The output folder of a run.
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// The output folder of the run that others are compared with.
    #[arg(value_name = "OUT")]
    pub(crate) first: PathBuf,
    /// The output folders that are compared with it.
    #[arg(required = true, value_name = "OTHER")]
    pub(crate) others: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct RecipesArgs {
    #[command(subcommand)]
    pub(crate) action: RecipesAction,
}

#[derive(Subcommand, Debug)]
pub(crate) enum RecipesAction {
    /// Names, and what each asks.
    List,
    /// Print one.
    Show {
        /// Name.
        name: String,
    },
    /// Copy recipes into a folder; nothing is overwritten.
    Get {
        /// Names.
        #[arg(required = true)]
        names: Vec<String>,
        /// The folder.
        #[arg(long, value_name = "DIR", default_value = ".")]
        path: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// The folder they are written into; it is made where it is missing.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
}

fn describe_help() -> String {
    let kinds = Kind::ALL.map(Kind::word).join(", ");
    format!(
        "A kind ({kinds}), a plugin's name, or `recipe` or `manifest` for the keys of these files, or `commands`. Default: everything, in brief"
    )
}

#[derive(Args, Debug)]
pub(crate) struct DescribeArgs {
    #[arg(help = describe_help())]
    pub(crate) what: Option<String>,
    /// In Markdown, as the reference pages of the manual.
    #[arg(long)]
    pub(crate) markdown: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// A model's name, or the path of a manifest or ONNX file.
    pub(crate) model: String,
    /// For an ONNX file without a manifest: pictures by which the usual ways to feed it are
    /// compared for the manifest that is proposed.
    pub(crate) pictures: Vec<String>,
    /// What runs it.
    #[arg(long, default_value = "Tract()", value_name = "SPEC")]
    pub(crate) backend: String,
    /// Also compare the gradient at the input with slopes of the backend's own forward pass.
    #[arg(long)]
    pub(crate) verify: bool,
    /// In place of the layers: which kernel computes each convolution and dense layer, forward and
    /// backward, and what every part of a step takes on this machine.
    #[arg(long, conflicts_with = "verify")]
    pub(crate) kernels: bool,
}

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// A model's name, or the path of a manifest or ONNX file.
    pub(crate) model: String,
    /// What is verified.
    #[arg(long, default_value = "Tract()", value_name = "SPEC")]
    pub(crate) backend: String,
    /// What it is held against.
    #[arg(long, default_value = "Ort(optimize: false)", value_name = "SPEC")]
    pub(crate) witness: String,
    /// Also on this picture, scaled to the model's input: a path, or picture:NAME; may be given
    /// several times.
    #[arg(long, value_name = "PICTURE")]
    pub(crate) picture: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// Model names, or paths of manifests or ONNX files.
    #[arg(required_unless_present = "methods", value_name = "MODEL")]
    pub(crate) networks: Vec<String>,
    /// In place of steps: what a map of each explainer of this recipe takes, a file or the name of a
    /// recipe that came with this program. Nothing is measured of the maps, and nothing is written.
    #[arg(
        long,
        value_name = "RECIPE",
        conflicts_with_all = ["networks", "backend", "rows", "steps", "layer"]
    )]
    pub(crate) methods: Option<PathBuf>,
    /// Set one value of that recipe: path.to.parameter=VALUE, VALUE in RON; may be given several
    /// times.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// How many of the recipe's items are explained. Default: 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) items: Option<u16>,
    /// How often each explainer is timed, in turns. The first time includes that plans are compiled;
    /// the median of three or more does not. Default: 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: Option<u16>,
    /// What runs them, one row of the table for each; may be given several times.
    #[arg(long, default_value = "Tract(threads: 1)", value_name = "SPEC")]
    pub(crate) backend: Vec<String>,
    /// Pictures in a batch.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) rows: u16,
    /// Timed steps of each; the table tells their median.
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) steps: u16,
    /// The layer whose values the walk changes: a tensor's name or an alias of the manifest.
    /// Default: the last output.
    #[arg(long, value_name = "NAME")]
    pub(crate) layer: Option<String>,
}

impl BenchArgs {
    /// The recipe whose explainers are timed, if there is one.
    pub(crate) fn recipe(&self) -> Option<RecipeArgs> {
        let recipe = self.methods.clone()?;
        Some(RecipeArgs { recipe, set: self.set.clone() })
    }
}

#[derive(Args, Debug)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    pub(crate) action: ModelsAction,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ModelsAction {
    /// Models and pictures, and which are cached.
    List,
    /// Fetch and verify; several names, or `picture:NAME`.
    Get {
        /// Names.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Show one manifest.
    Show {
        /// Name.
        name: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct PluginArgs {
    #[command(subcommand)]
    pub(crate) action: PluginAction,
}

#[derive(Subcommand, Debug)]
pub(crate) enum PluginAction {
    /// Read what a plugin's file says about itself and whether it fits this program, without
    /// running any of its code.
    Check {
        /// The shared library.
        file: PathBuf,
    },
    /// List what is built in, and what the libraries given with --plugin bring.
    List,
    /// Write a crate with a plugin of your own: it builds, passes its tests and runs from its
    /// recipe.
    New(NewArgs),
}

#[derive(Args, Debug)]
pub(crate) struct NewArgs {
    /// The plugin's name, my-loss or MyLoss: the crate becomes my-loss, the plugin MyLoss.
    pub(crate) name: String,
    /// What it is.
    #[arg(
        long,
        value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::word))
            .try_map(|word| word.parse::<Kind>())
    )]
    pub(crate) kind: Kind,
    /// The folder that the crate's folder is made in.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) path: PathBuf,
    /// Which fame-core it is built against: a folder with its source, or a version. Default: the
    /// source that this program was built from, if it is still there.
    #[arg(long, value_name = "PATH|VERSION")]
    pub(crate) fame_core: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct AlignArgs {
    /// Pictures: paths, or picture:NAME.
    #[arg(required = true)]
    pub(crate) pictures: Vec<String>,
    /// Where the aligned crops go, as PNG.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Side of the square crops in pixels.
    #[arg(long, default_value_t = 112)]
    pub(crate) size: usize,
    /// The alignment step, with its parameters.
    #[arg(long, default_value = "AlignFace()", value_name = "SPEC")]
    pub(crate) step: String,
    /// What runs the detector.
    #[arg(long, default_value = "Tract()", value_name = "SPEC")]
    pub(crate) backend: String,
}

#[derive(Args, Debug)]
pub(crate) struct SynthArgs {
    /// The folder to make; it must not exist yet.
    #[arg(required_unless_present = "list")]
    pub(crate) out: Option<PathBuf>,
    /// How it lies on disk; `--list` shows the choices.
    #[arg(long, default_value = "imagenet-flat")]
    pub(crate) layout: String,
    /// Number of pictures of shapes, or of pairs of faces.
    #[arg(long, default_value_t = 60)]
    pub(crate) count: usize,
    /// The same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Shorter side of a picture of a shape, or side of a face, in pixels. Default: 64 or 112.
    #[arg(long)]
    pub(crate) size: Option<u32>,
    /// List the layouts.
    #[arg(long)]
    pub(crate) list: bool,
}
