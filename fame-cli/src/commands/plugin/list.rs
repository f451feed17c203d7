//! `fame-cli plugin list`: which plugins come from where.

use std::{collections::BTreeMap, process::ExitCode};

use fame_core::registry::{Kind, Registration, Registry};
use serde_json::json;

use crate::{
    commands::Failure,
    setup::Setup,
    terminal::{out, out_line, table},
};

pub(crate) fn list(setup: &Setup) -> Result<ExitCode, Failure> {
    let built_in = Registry::builtin()?;
    let registry = setup.registry()?;
    // A library may have taken the place of what is linked.
    let is_built_in = |r: &Registration| {
        built_in.get(r.kind(), r.name()).is_some_and(|known| known.origin() == r.origin())
    };
    if setup.json {
        let one = |r: &Registration| json!({ "kind": r.kind().word(), "name": r.name(), "origin": r.origin(), "built_in": is_built_in(r) });
        out(&serde_json::to_string_pretty(&registry.iter().map(one).collect::<Vec<_>>())
            .unwrap_or_default())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut by_origin: BTreeMap<(bool, &str), Vec<&Registration>> = BTreeMap::new();
    for r in registry.iter() {
        by_origin.entry((!is_built_in(r), r.origin())).or_default().push(r);
    }
    for ((loaded, origin), plugins) in &by_origin {
        out_line(&format!("{origin}{}", if *loaded { ", loaded" } else { ", built in" }))?;
        let of = |kind: Kind| -> Vec<&str> {
            plugins.iter().filter(|r| r.kind() == kind).map(|r| r.name()).collect()
        };
        let kinds = Kind::ALL.into_iter().filter(|kind| !of(*kind).is_empty());
        let rows: Vec<Vec<String>> =
            kinds.map(|kind| vec![format!("  {:<12}", kind.word()), of(kind).join(", ")]).collect();
        table(&rows).iter().try_for_each(|line| out_line(line))?;
    }
    if setup.plugins.is_empty() {
        out("\nNo other plugin was given: --plugin FILE loads one.")?;
    }
    Ok(ExitCode::SUCCESS)
}
