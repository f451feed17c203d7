//! `fame-cli synth OUT --layout NAME`: a data set whose truth is known, on disk.

use std::process::ExitCode;

use fame_core::{Error, text::suggestion};
use fame_plugins::synth::{Layout, Synthetic};

use super::Failure;
use crate::{
    arguments::SynthArgs,
    terminal::{out, out_line},
};

pub(crate) fn synth(args: &SynthArgs) -> Result<ExitCode, Failure> {
    if args.list {
        for (_, name, about) in Layout::all() {
            out(&format!("{name:16} {about}"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some((layout, ..)) = Layout::all().find(|(_, name, _)| *name == args.layout) else {
        let names: Vec<&str> = Layout::all().map(|(_, name, _)| name).collect();
        let mut error =
            Error::new("fame::synth::layout", format!("there is no layout `{}`.", args.layout));
        error.help = suggestion(&args.layout, &names, "layout");
        return Err(Failure::Arguments(error));
    };
    let folder = args.out.clone().unwrap_or_default();
    let side = args.size.unwrap_or(if layout.is_shapes() { 64 } else { 112 });
    let synthetic = Synthetic { layout, count: args.count, seed: args.seed, side };
    synthetic.write(&folder)?;
    let place = std::path::absolute(&folder).unwrap_or(folder);
    out_line(&format!(
        "{} holds {} of seed {}. A recipe reads it with:",
        place.display(),
        args.layout,
        args.seed
    ))?;
    for spec in synthetic.specs(&place.display().to_string()) {
        out_line(&format!("    data: {spec},"))?;
    }
    Ok(ExitCode::SUCCESS)
}
