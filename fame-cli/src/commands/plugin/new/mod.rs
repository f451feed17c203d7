//! `fame-cli plugin new NAME --kind KIND`: a crate with a plugin that builds, passes its tests and
//! runs from a recipe.

mod core;
mod kinds;
mod names;

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    path::Path,
};

use fame_core::{
    Error, Result,
    plugin::Declared,
    registry::{Kind, Registry},
};
use fame_plugins::{pictures, synth::shape};
use serde_json::json;

use self::{core::Core, kinds::Template, names::Names};
use crate::{arguments::NewArgs, commands::Failure, setup::Setup, terminal::out};

/// Of the drawn pictures: one that the network `shapes` was not trained on, and its size.
const SEED: u64 = 2;
const SIZE: u32 = 64;

pub(super) fn new(setup: &Setup, args: &NewArgs) -> std::result::Result<(), Failure> {
    let kind = Kind::ALL.into_iter().find(|k| k.word() == args.kind);
    let Some(kind) = kind else {
        return Err(
            Error::new("fame::plugin::kind", format!("there is no kind `{}`.", args.kind)).into()
        );
    };
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
    out(&format!(
        "{} `{}` in `{}`, built against {}.",
        kind.noun(),
        names.plugin,
        folder.display(),
        core.told()
    ))?;
    for (name, _) in &files {
        out(&format!("  {name}"))?;
    }
    out(&format!(
        "Next: cd {} && cargo test && cargo build && fame-cli run recipe.ron",
        folder.display()
    ))?;
    Ok(())
}

/// A name that recipes or the template use for something else.
fn refuse_taken(registry: &Registry, kind: Kind, names: &Names) -> Result<()> {
    let plugin = &names.plugin;
    if let Some(known) = registry.get(kind, plugin) {
        return Err(Error::new(
            "fame::plugin::name",
            format!(
                "there is a {} called `{plugin}` already, from {}.",
                kind.noun(),
                known.origin()
            ),
        )
        .with_help("Two of one kind and name cannot be in one run. Choose another name."));
    }
    let Template { source, test } = kinds::template(kind);
    let mut words = source
        .split(|c: char| !c.is_alphanumeric())
        .chain(test.split(|c: char| !c.is_alphanumeric()));
    if plugin == "Scaffold" || words.any(|word| word == plugin) {
        let message = format!("the new crate's code uses the word `{plugin}` for something else.");
        return Err(Error::new("fame::plugin::name", message)
            .with_help(format!("Choose another name, such as `my-{}`.", names.package)));
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
    ];
    if kind == Kind::Dataset {
        files.push(("example/list.csv", "# picture, class\ndisc.png,0\nring.png,3\n".into()));
        for (name, row) in [("example/disc.png", 0), ("example/ring.png", 3)] {
            files.push((name, pictures::encode_png(&shape(SEED, row, SIZE, SIZE).picture)?));
        }
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
    plugins: [\"target/debug/{library}\"], // from `cargo build`; for real work `cargo build --release` and target/release
    model: \"shapes\", // a small classifier of drawn shapes that fame carries with it; `fame-cli models list` names larger ones
{})
",
        kind.noun(),
        names.plugin,
        kinds::fields(kind).replace('#', &names.plugin)
    )
}

/// Writes a folder that is not there yet.
fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
    }
    // Not `create_dir_all`: it fails where something is, so nothing is ever overwritten.
    fs::create_dir(folder).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Error::new(
            "fame::plugin::exists",
            format!("`{}` exists already, and nothing is overwritten.", folder.display()),
        )
        .with_help("Choose another name, or another place with --path DIR."),
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
