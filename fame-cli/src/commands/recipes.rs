//! `fame-cli recipes list | show | get`: the recipes that came with the program.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::Path,
    process::ExitCode,
};

use fame_core::{Error, ErrorKind as Kind, data::read_ordinary, text::suggestion};
use serde_json::json;

use super::Failure;
use crate::{
    arguments::{RecipesAction, RecipesArgs},
    setup::Setup,
    terminal::{out, out_line, table},
};

mod builtin {
    include!(concat!(env!("OUT_DIR"), "/builtin_recipes.rs"));
}

pub(crate) fn recipes(setup: &Setup, args: &RecipesArgs) -> Result<ExitCode, Failure> {
    match &args.action {
        RecipesAction::List => list(setup)?,
        RecipesAction::Show { name } => out(named(name)?.1.trim_end())?,
        RecipesAction::Get { names, path } => {
            names.iter().try_for_each(|name| get(name, path))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every recipe: name without the extension, and text.
fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    builtin::FILES.iter().filter_map(|(name, text)| Some((name.strip_suffix(".ron")?, *text)))
}

/// The recipe that `path` means where no file lies there: `NAME`, `NAME.ron` or
/// `recipes/NAME.ron`.
pub(crate) fn called(path: &Path) -> Option<(&'static str, &'static str)> {
    let text = path.to_str()?;
    let name = text.strip_prefix("recipes/").unwrap_or(text);
    let name = name.strip_suffix(".ron").unwrap_or(name);
    all().find(|(known, _)| *known == name)
}

/// What to say of a recipe that is not at `path`.
pub(crate) fn instead(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let known: Vec<&str> = all().map(|(name, _)| name).collect();
    suggestion(&name, &known, "recipe").unwrap_or_else(|| {
        "Name a recipe's file, or one that came with this program: `fame-cli recipes list`."
            .to_owned()
    })
}

fn named(name: &str) -> Result<(&'static str, &'static str), Error> {
    called(Path::new(name)).ok_or_else(|| {
        let message = format!("no recipe called `{name}` came with this program.");
        let known: Vec<&str> = all().map(|(name, _)| name).collect();
        let mut error = Error::new("fame::recipes::unknown", message);
        error.help = suggestion(name, &known, "recipe");
        error.of_kind(Kind::WrongRequest)
    })
}

/// The question of a recipe: its first comment.
fn question(text: &str) -> &str {
    let first = text.lines().next().unwrap_or_default().trim_start_matches('/').trim();
    // Behind it comes how to run it.
    let question = first.split("   ").next().unwrap_or(first);
    question.split("fame-cli").next().unwrap_or(question).trim().trim_end_matches(':')
}

fn list(setup: &Setup) -> Result<(), Failure> {
    if setup.json {
        let all: Vec<_> =
            all().map(|(name, text)| json!({ "name": name, "question": question(text) })).collect();
        return Ok(out(&serde_json::to_string_pretty(&all).unwrap_or_default())?);
    }
    let rows: Vec<_> =
        all().map(|(name, text)| vec![name.to_owned(), question(text).to_owned()]).collect();
    Ok(table(&rows).iter().try_for_each(|line| out_line(line))?)
}

/// Copies a recipe into `folder`.
fn get(name: &str, folder: &Path) -> Result<(), Failure> {
    let (name, text) = named(name)?;
    fs::create_dir_all(folder).map_err(|e| Error::io("make", folder, &e))?;
    let place = folder.join(format!("{name}.ron"));
    if read_ordinary(&place).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let opened = fs::OpenOptions::new().write(true).create_new(true).open(&place);
    opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(|e| {
        let help = "It is there already, with other content, and nothing was changed. Name another folder: --path DIR.";
        let error = Error::io("write", &place, &e);
        if e.kind() == ErrorKind::AlreadyExists { error.with_help(help) } else { error }
    })?;
    Ok(out_line(&format!("wrote {}", place.display()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_found_by_name_file_and_path() {
        for path in ["fr_similar", "fr_similar.ron", "recipes/fr_similar.ron"] {
            assert_eq!(called(Path::new(path)).unwrap().0, "fr_similar");
        }
        assert!(called(Path::new("other/fr_similar.ron")).is_none());
        assert!(named("fr_similr").unwrap_err().help.unwrap().contains("fr_similar"));
    }

    #[test]
    fn every_recipe_says_what_it_asks() {
        assert!(all().count() > 10);
        for (name, text) in all() {
            let question = question(text);
            assert!(question.len() > 10 && !question.contains("fame-cli"), "{name}: {question}");
        }
    }
}
