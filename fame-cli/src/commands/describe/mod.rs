//! `fame-cli describe [KIND | NAME | recipe | manifest | commands]`: what there is to choose from,
//! and the keys of the files that choose.

mod commands;
mod keys;
mod markdown;
mod schema;

use std::process::ExitCode;

use fame_core::{
    Error, ErrorKind,
    registry::{Kind, Registration, Registry},
    text::suggestion,
};
use serde_json::{Value, json};

use super::Failure;
use crate::{
    arguments::DescribeArgs,
    setup::Setup,
    terminal::{out, out_line, table},
};
use keys::File;
use schema::{Parameter, parameters, wrapped};

/// The word for the program's own commands.
const COMMANDS: &str = "commands";

pub(crate) fn describe(setup: &Setup, args: &DescribeArgs) -> Result<ExitCode, Failure> {
    let registry = setup.registry()?;
    let file = args.what.as_deref().and_then(File::called);
    let names_a_plugin = |what: &str| registry.iter().any(|r| r.name() == what);
    if let Some(file) = file.filter(|_| !args.what.as_deref().is_some_and(names_a_plugin)) {
        return keys::describe(file, setup.json, args.markdown).map(|()| ExitCode::SUCCESS);
    }
    if args.what.as_deref() == Some(COMMANDS) {
        out(commands::page(args.markdown).trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = choose(&registry, args.what.as_deref())?;
    if args.markdown {
        out(markdown::plugins(&chosen).trim_end())?;
    } else if setup.json {
        let all: Vec<Value> = chosen.iter().map(|r| as_json(r)).collect();
        out(&serde_json::to_string_pretty(&all).unwrap_or_default())?;
    } else {
        print(&chosen, args.what.is_none())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn choose<'a>(registry: &'a Registry, what: Option<&str>) -> Result<Vec<&'a Registration>, Error> {
    let Some(what) = what else { return Ok(registry.iter().collect()) };
    let fits = |r: &&Registration| r.kind().is_called(what) || r.name().eq_ignore_ascii_case(what);
    let chosen: Vec<_> = registry.iter().filter(fits).collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    if let Ok(empty) = what.parse::<Kind>() {
        return Err(Error::new(
            "fame::describe::none",
            format!("no {} is registered.", empty.noun()),
        )
        .of_kind(ErrorKind::WrongRequest));
    }
    let words = Kind::ALL.into_iter().map(Kind::word);
    let files = File::ALL.map(File::word);
    let known: Vec<&str> = words
        .chain(files)
        .chain([COMMANDS])
        .chain(registry.iter().map(Registration::name))
        .collect();
    let mut e = Error::new(
        "fame::describe::unknown",
        format!("there is no kind and no plugin called `{what}`."),
    );
    e.help = suggestion(what, &known, "name");
    Err(e.of_kind(ErrorKind::WrongRequest))
}

fn schema(r: &Registration) -> Value {
    r.schema().ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn as_json(r: &Registration) -> Value {
    json!({
        "kind": r.kind().word(), "name": r.name(), "summary": r.summary(), "example": r.example(), "reference": r.reference(),
        "origin": r.origin(), "schema": schema(r),
    })
}

fn print(chosen: &[&Registration], brief: bool) -> Result<(), Failure> {
    for (n, of_kind) in chosen.chunk_by(|a, b| a.kind() == b.kind()).enumerate() {
        if n > 0 {
            out("")?;
        }
        out(&of_kind[0].kind().plural().to_uppercase())?;
        if brief {
            let row = |r: &&Registration| vec![format!("  {}", r.name()), r.summary().to_owned()];
            let rows: Vec<Vec<String>> = of_kind.iter().map(row).collect();
            table(&rows).iter().try_for_each(|line| out_line(line))?;
        } else {
            of_kind.iter().try_for_each(|r| print_one(r))?;
        }
    }
    if brief {
        out("\n`fame-cli describe NAME` shows parameters and an example; `describe recipe` and \
             `describe manifest` the keys of these files.")?;
    }
    Ok(())
}

fn print_one(r: &Registration) -> Result<(), Failure> {
    out(&format!("\n{}: {}", r.name(), r.summary()))?;
    let schema = schema(r);
    if let Some(text) = schema.get("description").and_then(Value::as_str) {
        out(&wrapped(text, "  "))?;
    }
    for Parameter { name, kind, default, about } in parameters(&schema) {
        let kind =
            [kind, default].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(", ");
        out_line(&format!("  {name}: {kind}"))?;
        out(&wrapped(&about, "      "))?;
    }
    out(&format!("  example    {}", r.example()))?;
    if !r.reference().is_empty() {
        out_line(&format!("  reference  {}", r.reference()))?;
    }
    out_line(&format!("  from       {}", r.origin()))?;
    Ok(())
}
