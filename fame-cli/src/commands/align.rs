//! `fame-cli align IN… --out DIR`: faces on the five-point template, as recipes see them.

use std::{path::PathBuf, process::ExitCode};

use fame_core::{
    Error,
    contract::{PrepareContext, PrepareStep},
    run::{Event, ModelShelf, Observer},
    store::ModelStore,
};
use fame_plugins::pictures;

use super::Failure;
use crate::{
    arguments::AlignArgs,
    setup::Setup,
    terminal::{self, out_line},
};

pub(crate) fn align(setup: &Setup, args: &AlignArgs) -> Result<ExitCode, Failure> {
    if !(1..=8192).contains(&args.size) {
        return Err(Failure::Arguments(Error::new(
            "fame::align::size",
            format!("--size {} is not between 1 and 8192.", args.size),
        )));
    }
    let store = setup.store()?;
    let backend = setup.backend(&args.backend)?;
    let step = setup.part::<dyn PrepareStep>(&args.step)?;
    let watcher = terminal::watcher(setup.json);
    let on_fetch = |p: &fame_core::store::FetchEvent| watcher.event(&Event::Fetch(p));
    let shelf = ModelShelf::new(&store, backend.plugin.as_ref(), &on_fetch)
        .with_operators(setup.operators()?);
    std::fs::create_dir_all(&args.out).map_err(|e| Error::io("create", &args.out, &e))?;
    let mut failed = 0;
    for shown in &args.pictures {
        let with = PrepareContext {
            models: &shelf,
            input_size: (args.size, args.size),
            role: fame_plugins::datasets::IMAGE,
        };
        match one(shown, &store, watcher.as_ref(), &on_fetch, step.plugin.as_ref(), &with, args) {
            Ok(path) => out_line(&path.display().to_string())?,
            Err(e) => {
                failed += 1;
                terminal::say_error(&e);
            }
        }
    }
    drop(watcher);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn one(
    shown: &str,
    store: &ModelStore,
    watcher: &dyn Observer,
    on_fetch: &dyn Fn(&fame_core::store::FetchEvent),
    step: &dyn PrepareStep,
    with: &PrepareContext<'_>,
    args: &AlignArgs,
) -> Result<PathBuf, Error> {
    let path = match shown.strip_prefix("picture:") {
        Some(name) => store.picture(name, &mut |p| on_fetch(&p))?,
        None => PathBuf::from(shown),
    };
    let picture = pictures::load(&path, shown)?;
    let aligned = step.apply(picture, with).map_err(|e| e.at(shown))?;
    for warning in &aligned.warnings {
        watcher.event(&Event::Warning(&format!("{shown}: {warning}")));
    }
    let stem = PathBuf::from(shown.trim_start_matches("picture:"))
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let place = args.out.join(format!("{stem}.png"));
    if std::fs::symlink_metadata(&place).is_ok() {
        let message = format!("`{}` is there already, and was not touched.", place.display());
        return Err(Error::new("fame::align::taken", message)
            .with_help("Name a new folder: --out FOLDER. Pictures of one name need two folders."));
    }
    pictures::save_png(&place, &pictures::to_rgb8(&aligned.pixels)?)?;
    Ok(place)
}
