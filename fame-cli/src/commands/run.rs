//! `fame-cli run RECIPE`: the main job.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

use fame_core::{
    Error, ErrorKind, Plan, Table,
    run::{Rehearsal, RunOptions, RunStatus, rehearse, run as run_plan},
    store::ModelStore,
};

use super::Failure;
use crate::{
    arguments::{RecipeArgs, RunArgs},
    setup::Setup,
    terminal::{self, Preview, PreviewWhen, out, out_line, output_columns},
};

pub(crate) fn run(setup: &Setup, args: &RunArgs) -> Result<ExitCode, Failure> {
    let (plan, store) = setup.plan(&args.recipe)?;
    let options = RunOptions {
        force: args.force,
        limit: args.limit.map(NonZeroUsize::get),
        only: args.only.clone(),
        shard: args.shard,
        item_timeout: args.item_timeout,
        stop: setup.stop.clone(),
        ..RunOptions::new(out_folder(&plan, &args.recipe, args.out.as_deref()))
    };
    carry_out(setup, &plan, &store, &options, args.show.preview)
}

/// Runs `plan` and says how it went. `preview` says whether finished maps are shown.
pub(super) fn carry_out(
    setup: &Setup,
    plan: &Plan,
    store: &ModelStore,
    options: &RunOptions,
    preview: Option<PreviewWhen>,
) -> Result<ExitCode, Failure> {
    let preview = Preview::wanted(preview, setup.json);
    let watcher = terminal::watcher_with(setup.json, preview);
    let summary = run_plan(plan, store, options, watcher.as_ref());
    drop(watcher);
    let summary = summary.map_err(|error| at_its_place(plan, store, error))?;
    let complete = summary.status == RunStatus::Complete;
    if setup.json {
        let status = if complete { "complete" } else { "incomplete" };
        let event = serde_json::json!({
            "event": "end", "status": status, "done": summary.done, "kept": summary.kept, "failed": summary.failed,
            "seconds": summary.seconds, "out": summary.out,
        });
        out(&event.to_string())?;
    } else {
        for table in summary.tables.iter().filter(|t| !t.is_list) {
            show(table, &summary.out)?;
        }
        let kept =
            if summary.kept > 0 { format!(", {} kept", summary.kept) } else { String::new() };
        let failed =
            if summary.failed > 0 { format!(", {} FAILED", summary.failed) } else { String::new() };
        out_line(&format!(
            "{} done{kept}{failed} in {:.1} s → {}",
            summary.done,
            summary.seconds,
            summary.out.display()
        ))?;
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// `error` as `check` shows it, at its place in the recipe, if the recipe asks for something that is
/// not there to be had.
fn at_its_place(plan: &Plan, store: &ModelStore, error: Error) -> Failure {
    if error.kind == ErrorKind::WrongRequest
        && let Ok(Rehearsal { problems: Some(problems), .. }) = rehearse(plan, store)
    {
        return problems.into();
    }
    error.into()
}

/// The widest table that is shown where the output is no terminal, in characters.
const WIDEST: usize = 200;

/// Prints a table, or where a wide one is.
fn show(table: &Table, out_folder: &Path) -> Result<(), Failure> {
    if table.width() <= output_columns().unwrap_or(WIDEST) {
        return Ok(out(&table.markdown())?);
    }
    let place = out_folder.join("tables").join(format!("{}.md", table.name));
    out_line(&format!("### {}", table.title))?;
    out_line("")?;
    out_line(&format!("(wide: see {})", place.display()))?;
    Ok(table.notes.iter().try_for_each(|note| out_line("").and_then(|()| out_line(note)))?)
}

/// Where a recipe is run: as said, as the recipe says, or in a folder of its name.
pub(super) fn out_folder(plan: &Plan, recipe: &RecipeArgs, said: Option<&Path>) -> PathBuf {
    let stem = recipe.recipe.file_stem().unwrap_or_default();
    let said = said.map(Path::to_owned).or_else(|| plan.out.clone());
    said.unwrap_or_else(|| PathBuf::from("out").join(stem))
}
