//! `fame-cli verify-run OUT`: every recorded file by size and hash.

use std::process::ExitCode;

use fame_core::run::{Verified, verify};

use super::Failure;
use crate::{
    arguments::VerifyRunArgs,
    setup::Setup,
    terminal::{out, out_line},
};

pub(crate) fn verify_run(setup: &Setup, args: &VerifyRunArgs) -> Result<ExitCode, Failure> {
    let found = verify(&args.out)?;
    if setup.json {
        let differences: Vec<serde_json::Value> = found
            .differences
            .iter()
            .map(|d| serde_json::json!({ "file": d.file, "what": d.what }))
            .collect();
        let answer = serde_json::json!({
            "status": found.status, "items": found.items, "beside": found.beside, "files": found.files,
            "failed": found.failed, "whole": found.is_whole(), "differences": differences,
        });
        out(&answer.to_string())?;
    } else {
        for difference in &found.differences {
            out_line(&format!("{} {}.", difference.file.display(), difference.what))?;
        }
        let (items, files, status) = (found.items, found.files, state(&found));
        let beside = match found.beside {
            0 => String::new(),
            1 => " (and 1 of an earlier run, which the record leaves out)".to_owned(),
            n => format!(" (and {n} of earlier runs, which the record leaves out)"),
        };
        let noun = if items == 1 { "item" } else { "items" };
        out_line(&format!("{items} {noun}{beside}, {files} files, {status}: {}.", end(&found)))?;
    }
    Ok(if found.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// How the run ended, as its record says; nobody is at work there now.
fn state(found: &Verified) -> String {
    match (found.status.as_str(), found.failed) {
        ("running", _) => "the run was broken off".to_owned(),
        ("incomplete", failed) => {
            let s = if failed == 1 { "" } else { "s" };
            format!("the run is incomplete ({failed} item{s} FAILED)")
        }
        (status, _) => format!("the run is {status}"),
    }
}

/// What follows from what was found.
fn end(found: &Verified) -> String {
    match (found.differences.len(), found.is_whole()) {
        (0, true) => "all of it as it was written".to_owned(),
        (0, false) => {
            "what is there is as it was written, and it is NOT ALL. Run the recipe again: it keeps what is there and goes on".to_owned()
        }
        (n, _) if found.differences.iter().all(|d| d.is_left_over) => {
            format!(
                "{n} DIFFER. They are of an earlier recipe: delete their folder if nobody needs it"
            )
        }
        (n, _) => {
            format!("{n} DIFFER. Remove what differs and run the recipe again: it makes that anew")
        }
    }
}
