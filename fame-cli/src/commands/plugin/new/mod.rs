//! `fame-cli plugin new NAME --kind KIND`: a crate with a plugin that builds, passes its tests and
//! runs from a recipe.

mod core;
mod names;
mod templates;

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
use serde_json::json;

use self::{core::Core, names::Names, templates::Template};
use crate::{
    arguments::NewArgs,
    commands::Failure,
    setup::Setup,
    terminal::{out, out_line},
};

pub(super) fn new(setup: &Setup, args: &NewArgs) -> std::result::Result<(), Failure> {
    let kind = args.kind;
    let template = Template::of(kind)
        .ok_or_else(|| Error::bug(format!("there is no template for {}.", kind.a_noun())))?;
    let names = Names::parse(&args.name)?;
    refuse_taken(&setup.registry()?, kind, &template, &names)?;
    let core = Core::find(args.fame_core.as_deref())?;
    let folder = args.path.join(&names.package);
    let files = files(kind, &template, &names, &core);
    write(&folder, &files)?;
    if setup.json {
        let written: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let told = json!({ "event": "new", "folder": folder, "package": names.package, "plugin": names.plugin, "kind": kind.word(), "fame_core": core.told(), "files": written });
        return Ok(out(&told.to_string())?);
    }
    out_line(&format!(
        "{} `{}` in `{}`, built against {}.",
        kind.noun(),
        names.plugin,
        folder.display(),
        core.told()
    ))?;
    for (name, _) in &files {
        out_line(&format!("  {name}"))?;
    }
    out_line(&format!(
        "Next: cd {} && cargo test && cargo build && fame-cli run recipe.ron",
        folder.display()
    ))?;
    Ok(())
}

/// A name that recipes or the template use for something else.
fn refuse_taken(registry: &Registry, kind: Kind, template: &Template, names: &Names) -> Result<()> {
    let plugin = &names.plugin;
    if let Some(known) = registry.get(kind, plugin) {
        return Err(Error::new(
            "fame::plugin::name",
            format!(
                "there is {} called `{plugin}` already, from {}.",
                kind.a_noun(),
                known.origin()
            ),
        )
        .with_help("Two of one kind and name cannot be in one run. Choose another name."));
    }
    if plugin == "Scaffold" || template.uses(plugin) {
        let message = format!("the new crate's code uses the word `{plugin}` for something else.");
        return Err(Error::new("fame::plugin::name", message)
            .with_help(format!("Choose another name, such as `my-{}`.", names.package)));
    }
    Ok(())
}

/// Every file of the new crate with its contents.
fn files(kind: Kind, template: &Template, names: &Names, core: &Core) -> Vec<(String, Vec<u8>)> {
    let library = format!("{DLL_PREFIX}{}{DLL_SUFFIX}", names.library);
    let named = |text: &str| {
        text.replace("SCAFFOLD_LIBRARY", &library)
            .replace("SCAFFOLD_A_NOUN", &kind.a_noun())
            .replace("SCAFFOLD_NOUN", kind.noun())
            .replace("SCAFFOLD_CORE", &core.toml())
            .replace("SCAFFOLD_DEPENDENCIES\n", &template.dependencies())
            .replace("Scaffold", &names.plugin)
            .replace("scaffold_crate", &names.library)
            .replace("scaffold-crate", &names.package)
    };
    let mut files = template.files(named);
    files.push(("rust-toolchain.toml".to_owned(), toolchain().into()));
    files.push((".gitignore".to_owned(), "/target/\n/out/\n".into()));
    files.extend(core.lock().map(|lock| ("Cargo.lock".to_owned(), lock.into())));
    files
}

/// Pins this program's own compiler: a plugin built by another is refused.
fn toolchain() -> String {
    let host = Declared::host().rustc;
    let version = host.split_whitespace().nth(1).unwrap_or("stable");
    format!(
        "# The compiler of the fame-cli that loads this plugin ({host}): Rust promises no binary interface between two versions.\n[toolchain]\nchannel = \"{version}\"\n"
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
