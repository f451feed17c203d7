//! `fame-cli plugin list`: which plugins come from where.

use std::{collections::BTreeMap, process::ExitCode};

use fame_core::registry::{Kind, Registration, Registry};
use serde_json::json;

use crate::{
    commands::Failure,
    setup::Setup,
    terminal::{out, out_line},
};

pub(crate) fn list(setup: &Setup) -> Result<ExitCode, Failure> {
    let built_in = Registry::builtin()?;
    let registry = setup.registry()?;
    let is_built_in = |r: &Registration| built_in.get(r.kind(), r.name()).is_some();
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
        for kind in Kind::ALL {
            let names: Vec<&str> =
                plugins.iter().filter(|r| r.kind() == kind).map(|r| r.name()).collect();
            if !names.is_empty() {
                out_line(&format!("  {:<13} {}", kind.word(), names.join(", ")))?;
            }
        }
    }
    if setup.plugins.is_empty() {
        out("\nNo other plugin was given: --plugin FILE loads one.")?;
    }
    Ok(ExitCode::SUCCESS)
}
