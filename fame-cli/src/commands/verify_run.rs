//! `fame-cli verify-run OUT`: every recorded file by size and hash.

use std::process::ExitCode;

use fame_core::run::verify;

use super::Failure;
use crate::{arguments::VerifyRunArgs, setup::Setup, terminal::out};

pub(crate) fn verify_run(setup: &Setup, args: &VerifyRunArgs) -> Result<ExitCode, Failure> {
    let found = verify(&args.out)?;
    let is_right = found.differences.is_empty();
    if setup.json {
        let differences: Vec<serde_json::Value> = found
            .differences
            .iter()
            .map(|d| serde_json::json!({ "file": d.file, "what": d.what }))
            .collect();
        let answer = serde_json::json!({
            "status": found.status, "items": found.items, "files": found.files,
            "differences": differences,
        });
        out(&answer.to_string())?;
    } else {
        for difference in &found.differences {
            out(&format!("{} {}.", difference.file.display(), difference.what))?;
        }
        let (items, files, status) = (found.items, found.files, &found.status);
        let end = match found.differences.len() {
            0 => "all of it as it was written".to_owned(),
            n => format!(
                "{n} DIFFER. Remove what differs and run the recipe again: it makes that anew"
            ),
        };
        out(&format!("{items} items, {files} files, the run is {status}: {end}."))?;
    }
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
