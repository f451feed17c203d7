//! `fame-cli plugin new NAME --kind KIND`: a crate with a plugin that builds, passes its tests and runs from a recipe.

mod core;
mod kinds;
mod names;

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    path::Path,
};

use fame_core::{
    Error, Result, Tensor,
    plugin::Declared,
    registry::{Kind, Registry},
};
use fame_plugins::pictures;
use serde_json::json;

use self::{core::Core, kinds::Template, names::Names};
use crate::{arguments::NewArgs, commands::Failure, setup::Setup, terminal::out};

/// The example's network: a small SqueezeNet for 64 × 64 pictures with random weights of our own.
const NETWORK: &[u8] = include_bytes!("../../../../../tests/golden/nets/squeezenet_slim.onnx");
const NETWORK_SIZE: usize = 64;
const MANIFEST: &str = "// What fame must know about net.onnx: how it wants its pictures.
(summary: \"A small SqueezeNet with random weights\", task: Classification, input: (size: (3, 64, 64), order: Rgb, mean: 0.5, std: 0.5))
";

pub(super) fn new(setup: &Setup, args: &NewArgs) -> std::result::Result<(), Failure> {
    let kind = Kind::ALL.into_iter().find(|k| k.word() == args.kind);
    let Some(kind) = kind else { return Err(Error::new("fame::plugin::kind", format!("there is no kind `{}`.", args.kind)).into()) };
    let names = Names::parse(&args.name)?;
    refuse_taken(&setup.registry()?, kind, &names)?;
    let core = Core::find(args.fame_core.as_deref())?;
    let folder = args.path.join(&names.package);
    let files = files(kind, &names, &core)?;
    write(&folder, &files)?;
    if setup.json {
        let written: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let told = json!({ "event": "new", "folder": folder, "package": names.package, "plugin": names.plugin, "kind": kind.word(), "fame_core": core.told(), "files": written });
        return Ok(out(&told.to_string())?);
    }
    out(&format!("{} `{}` in `{}`, built against {}.", kind.noun(), names.plugin, folder.display(), core.told()))?;
    for (name, _) in &files {
        out(&format!("  {name}"))?;
    }
    out(&format!("Next: cd {} && cargo test && fame-cli run recipe.ron", folder.display()))?;
    Ok(())
}

/// A name that recipes or the template use for something else.
fn refuse_taken(registry: &Registry, kind: Kind, names: &Names) -> Result<()> {
    let plugin = &names.plugin;
    if let Some(known) = registry.get(kind, plugin) {
        return Err(Error::new(
            "fame::plugin::name",
            format!("there is a {} called `{plugin}` already, from {}.", kind.noun(), known.origin()),
        )
        .with_help("Two of one kind and name cannot be in one run. Choose another name."));
    }
    let Template { source, test } = kinds::template(kind);
    let mut words = source.split(|c: char| !c.is_alphanumeric()).chain(test.split(|c: char| !c.is_alphanumeric()));
    if plugin == "Scaffold" || words.any(|word| word == plugin) {
        let message = format!("the new crate's code uses the word `{plugin}` for something else.");
        return Err(Error::new("fame::plugin::name", message).with_help(format!("Choose another name, such as `my-{}`.", names.package)));
    }
    Ok(())
}

/// Every file of the new crate with its contents.
fn files(kind: Kind, names: &Names, core: &Core) -> Result<Vec<(String, Vec<u8>)>> {
    let Template { source, test } = kinds::template(kind);
    let library = format!("{DLL_PREFIX}{}{DLL_SUFFIX}", names.library);
    let article = if kind == Kind::Explainer { "an" } else { "a" };
    let named = |text: &str| {
        text.replace("SCAFFOLD_LIBRARY", &library)
            .replace("SCAFFOLD_ARTICLE", article)
            .replace("SCAFFOLD_NOUN", kind.noun())
            .replace("SCAFFOLD_CORE", &core.toml())
            .replace("SCAFFOLD_DEPENDENCIES", &kinds::dependencies(kind))
            .replace("Scaffold", &names.plugin)
            .replace("scaffold_crate", &names.library)
            .replace("scaffold-crate", &names.package)
    };
    let mut files: Vec<(&str, Vec<u8>)> = vec![
        ("Cargo.toml", named(include_str!("templates/Cargo.toml.txt")).into()),
        ("rust-toolchain.toml", toolchain().into()),
        ("src/lib.rs", named(source).into()),
        ("tests/promises.rs", named(test).into()),
        ("recipe.ron", recipe(kind, names, &library).into()),
        ("README.md", named(include_str!("templates/README.md")).into()),
        (".gitignore", "/target/\n/out/\n".into()),
        ("example/net.onnx", NETWORK.to_vec()),
        ("example/net.ron", MANIFEST.into()),
        ("example/picture.png", pictures::encode_png(&pictures::to_rgb8(&picture()?)?)?),
    ];
    if kind == Kind::Dataset {
        files.push(("example/list.csv", "# picture, class\npicture.png,3\n".into()));
    }
    files.extend(core.lock().map(|lock| ("Cargo.lock", lock.into())));
    Ok(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect())
}

/// Pins this program's own compiler: a plugin built by another is refused.
fn toolchain() -> String {
    let host = Declared::host().rustc;
    let version = host.split_whitespace().nth(1).unwrap_or("stable");
    format!(
        "# The compiler of the fame-cli that loads this plugin ({host}): Rust promises no binary interface between two versions.\n[toolchain]\nchannel = \"{version}\"\n"
    )
}

fn recipe(kind: Kind, names: &Names, library: &str) -> String {
    format!(
        "// The {} {} at work: fame-cli run recipe.ron
(
    plugins: [\"target/debug/{library}\"], // from `cargo build` or `cargo test`; for real work `cargo build --release` and target/release
    model: \"example/net.onnx\", // random weights, so the map means nothing: `fame-cli models list` names real networks
{})
",
        kind.noun(),
        names.plugin,
        kinds::fields(kind).replace('#', &names.plugin)
    )
}

/// A light disc on a dark ground with a colour ramp, so that no gradient vanishes, `[3, 64, 64]`.
fn picture() -> Result<Tensor> {
    const N: usize = NETWORK_SIZE;
    let value = |i: usize| {
        let (channel, y, x) = (i / (N * N), (i / N % N) as f32, (i % N) as f32);
        let inside = (x - 26.0).hypot(y - 34.0) < 15.0;
        let ramp = if channel == 1 { y } else { x } / N as f32;
        0.15 + 0.25 * ramp + if inside { 0.45 - 0.1 * channel as f32 } else { 0.0 }
    };
    Tensor::new([3, N, N], (0..3 * N * N).map(value).collect())
}

/// Writes a folder that is not there yet.
fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
    }
    // Not `create_dir_all`: it fails where something is, so nothing is ever overwritten.
    fs::create_dir(folder).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new("fame::plugin::exists", format!("`{}` exists already, and nothing is overwritten.", folder.display()))
                .with_help("Choose another name, or another place with --path DIR.")
        }
        _ => Error::io("create", folder, &e),
    })?;
    for (name, bytes) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
        }
        fs::write(&path, bytes).map_err(|e| Error::io("write", &path, &e))?;
    }
    Ok(())
}
