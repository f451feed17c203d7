//! What was meant by a command line that cannot be read, where clap does not know it.

use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// `error` with a tip, where there is one.
pub(crate) fn with_tip(mut error: clap::Error) -> clap::Error {
    if let Some(tip) = tip(&error) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn tip(error: &clap::Error) -> Option<String> {
    let said = |kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = said(ContextKind::InvalidSubcommand)?;
            let ending = Path::new(word).extension()?.to_str()?.to_ascii_lowercase();
            match ending.as_str() {
                "ron" => Some(format!("a recipe is run by: fame-cli run {word}")),
                "onnx" => Some(format!("a network is asked by: fame-cli explain {word} PICTURE")),
                _ => None,
            }
        }
        ErrorKind::ArgumentConflict => {
            let option = said(ContextKind::InvalidArg)?;
            // It stands beside itself.
            (said(ContextKind::PriorArg)? == option).then_some(())?;
            match option.split(' ').next()? {
                "--layer" => Some(
                    "one --layer is for all methods; write one for each into it: --method 'GradCam(layer: \"…\")'"
                        .to_owned(),
                ),
                "--class" => Some(
                    "one class is explained at a time, and each has a folder of its own: ask again for the other"
                        .to_owned(),
                ),
                _ => None,
            }
        }
        _ => None,
    }
}
