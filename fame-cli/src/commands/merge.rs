//! `fame-cli merge OUT`: the second stage of a run in shards.

use std::{path::Path, process::ExitCode};

use fame_core::{
    Error,
    run::{RunOptions, merge as merge_shards, remove_shards, shards},
};

use super::{Failure, run::carry_out};
use crate::{
    arguments::{MergeArgs, RecipeArgs},
    setup::Setup,
};

pub(crate) fn merge(setup: &Setup, args: &MergeArgs) -> Result<ExitCode, Failure> {
    let states = shards(&args.out)?;
    let started = states.iter().find_map(|state| state.recipe.clone());
    let (recipe, set) = match (&args.recipe, started) {
        (Some(recipe), started) => (recipe.clone(), started.unwrap_or_default().1),
        (None, Some(started)) => started,
        (None, None) => return Err(nothing_to_merge(args).into()),
    };
    // Whatever can fail before anything is moved fails now.
    let (plan, store) = setup.plan(&RecipeArgs { recipe, set })?;
    let now = plan.text.original();
    if let Some(shard) = states.iter().find(|s| s.text.as_deref().is_some_and(|text| text != now)) {
        return Err(other_recipe(&shard.folder).into());
    }
    merge_shards(&args.out)?;
    let options = RunOptions { stop: setup.stop.clone(), ..RunOptions::new(&args.out) };
    let code = carry_out(setup, &plan, &store, &options)?;
    remove_shards(&args.out)?;
    Ok(code)
}

/// The error of a recipe that is not the shards': merged with it, all they did would be done anew.
fn other_recipe(shard: &Path) -> Error {
    let message =
        format!("the recipe has changed since the shard in `{}` read it.", shard.display());
    Error::new("fame::run::other_recipe", message).with_help(
        "Name the recipe as it was, `--recipe FILE` (its text is in the shard's run.json), or run the shards again.",
    )
}

fn nothing_to_merge(args: &MergeArgs) -> Error {
    let message = format!("`{}` holds no shards.", args.out.display());
    Error::new("fame::run::no_shards", message).with_help(
        "They are merged already, or none has started: `fame-cli run RECIPE --out OUT --shard 0/2` does the first of two.",
    )
}
