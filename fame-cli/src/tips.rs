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
            let priors = match error.get(ContextKind::PriorArg)? {
                ContextValue::String(prior) => std::slice::from_ref(prior),
                ContextValue::Strings(priors) => priors,
                _ => return None,
            };
            if let Some(tip) = beside_methods(option, priors) {
                return Some(tip.to_owned());
            }
            // It stands beside itself.
            (priors == [option]).then_some(())?;
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

/// What `bench --methods` takes in place of what stands beside it, whichever of the two came first.
fn beside_methods(option: &str, priors: &[String]) -> Option<&'static str> {
    const METHODS: &str = "--methods";
    let all = || std::iter::once(option).chain(priors.iter().map(String::as_str));
    all().find(|one| one.starts_with(METHODS))?;
    let other = all().find(|one| !one.starts_with(METHODS))?;
    Some(match other.split(' ').next()? {
        "--backend" => {
            "the recipe says what runs it; another backend: --set 'backend=Tract(threads: 1)'"
        }
        "--rows" | "--steps" => {
            "a recipe's explainers say how far they walk; --items and --rounds say what is timed"
        }
        "--layer" => "the recipe says which layer; another: --set 'explain.NAME.layer=\"…\"'",
        _ => "the recipe names its model; another: --set model=NAME",
    })
}
