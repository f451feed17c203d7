//! `fame-cli plugin check FILE`: what a plugin says about itself, and whether it would be loaded.
//! Nothing of it runs.

use std::{path::Path, process::ExitCode};

use fame_core::{
    Error,
    plugin::{Declared, PluginFile},
};
use serde_json::{Value, json};

use crate::{
    commands::Failure,
    setup::Setup,
    terminal::{out, out_line},
};

pub(crate) fn check(setup: &Setup, file: &Path) -> Result<ExitCode, Failure> {
    let file = PluginFile::read(file)?;
    let place = if setup.trust_plugin { Ok(()) } else { file.check_place() };
    let verdict = place.and_then(|()| file.fits());
    if setup.json {
        // The verdict is in the answer.
        out(&serde_json::to_string_pretty(&as_json(&file, verdict.as_ref().err()))
            .unwrap_or_default())?;
        return Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    as_text(&file)?;
    verdict?;
    out("\nIt fits this fame and would be loaded. Nothing of it was run.")?;
    Ok(ExitCode::SUCCESS)
}

fn as_text(file: &PluginFile) -> Result<(), Failure> {
    out_line(&file.path.display().to_string())?;
    out_line(&format!("sha256            {}", file.sha256))?;
    for declared in &file.declared {
        out("")?;
        out_line(&format!("plugin            {} {}", declared.name, declared.version))?;
        for (what, theirs, ours) in declared.comparison() {
            let differs =
                if theirs == ours { String::new() } else { format!("   (this fame: {ours})") };
            out_line(&format!("{what:<17} {theirs}{differs}"))?;
        }
        out_line(&format!("entry             {}", declared.entry))?;
    }
    Ok(())
}

fn as_json(file: &PluginFile, refused: Option<&Error>) -> Value {
    let one = |d: &Declared| {
        let compared: Vec<Value> = d
            .comparison()
            .into_iter()
            .map(|(what, theirs, ours)| json!({ "what": what, "plugin": theirs, "fame": ours }))
            .collect();
        json!({ "name": d.name, "version": d.version, "entry": d.entry, "compared": compared })
    };
    json!({
        "file": file.path, "sha256": file.sha256, "plugins": file.declared.iter().map(one).collect::<Vec<_>>(),
        "fits": refused.is_none(), "refused": refused.map(|e| json!({ "code": e.code, "message": e.message, "help": e.help })),
    })
}
