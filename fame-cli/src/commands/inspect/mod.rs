//! `fame-cli inspect MODEL`: its layers, and which can be explained.

mod kernels;

use std::process::ExitCode;

use fame_core::{GradientPlace, Layer, Model, contract::Network, run::ModelShelf};
use fame_plugins::backends::verify::{Graph, Slopes, check_slopes};
use serde_json::json;

use super::{
    Failure,
    explain::{Proposal, propose},
    verify::{self, inputs, say_slopes},
};
use crate::{
    arguments::InspectArgs,
    setup::Setup,
    terminal::{self, out, out_line, table},
};

pub(crate) fn inspect(setup: &Setup, args: &InspectArgs) -> Result<ExitCode, Failure> {
    // One looks at a foreign model with this: its manifest runs nothing, whatever is trusted.
    let store = setup.store()?.trusting_manifests(false);
    let proposal = propose(setup, args, &store)?;
    let store = proposal.as_ref().map_or(store, |proposal| proposal.store.clone());
    let manifest = store.resolve(&args.model, ".".as_ref())?;
    let backend = setup.backend(&args.backend)?;
    if args.verify {
        verify::in_single_precision(&backend)?;
    }
    let watcher = terminal::watcher(setup.json);
    let on_fetch =
        |p: &fame_core::store::FetchEvent| watcher.event(&fame_core::run::Event::Fetch(p));
    let shelf = ModelShelf::new(&store, backend.plugin.as_ref(), &on_fetch)
        .with_operators(setup.operators()?);
    let file = shelf.fetch(&manifest)?;
    let model = shelf.load(manifest, file)?;
    drop(watcher);
    if args.kernels {
        kernels::tell(setup, &model, &args.backend)?;
        return Ok(ExitCode::SUCCESS);
    }
    let slopes = args.verify.then(|| slopes(&model)).transpose()?;
    if setup.json {
        as_json(&model, slopes.as_ref(), proposal.as_ref())?;
    } else {
        as_text(&model)?;
        proposal.iter().try_for_each(|proposal| say(proposal, &args.model))?;
        slopes.iter().try_for_each(say_slopes)?;
    }
    let differs = slopes.is_some_and(|slopes| !slopes.differences.is_empty());
    Ok(if differs { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// Says which manifest would do.
fn say(proposal: &Proposal, model: &str) -> Result<(), Failure> {
    proposal.assumed.iter().try_for_each(|line| out_line(line))?;
    let place = std::path::Path::new(model).with_extension("ron");
    out_line(&format!("The manifest that would go with it, as `{}`:", place.display()))?;
    Ok(out(proposal.manifest.trim_end())?)
}

/// The gradient at the input against slopes of the network's own forward pass.
fn slopes(model: &Model) -> Result<Slopes, Failure> {
    let network = model.network.as_ref();
    Ok(check_slopes(network, network, &Graph::read(&model.file)?, &inputs(model)?)?)
}

/// Whether a gradient reaches the input from `layer`: nothing, or what stops it.
fn stopped(network: &dyn Network, layer: &Layer) -> Option<String> {
    if !layer.depends_on_input {
        return Some("does not depend on the input".to_owned());
    }
    network.check_gradient(&layer.name, &GradientPlace::Input).err().map(|e| e.to_string())
}

fn aliases(model: &Model, layer: &Layer) -> Vec<String> {
    model
        .manifest
        .layers
        .iter()
        .filter(|(_, tensor)| **tensor == layer.name)
        .map(|(alias, _)| alias.clone())
        .collect()
}

fn as_json(
    model: &Model,
    slopes: Option<&Slopes>,
    proposal: Option<&Proposal>,
) -> Result<(), Failure> {
    let layers: Vec<_> = model
        .network
        .layers()
        .iter()
        .map(|l| {
            let stopped = stopped(model.network.as_ref(), l);
            json!({
                "name": l.name, "op": l.op, "shape": l.shape, "output": l.is_output, "aliases": aliases(model, l),
                "explainable": stopped.is_none(), "why_not": stopped,
            })
        })
        .collect();
    let mut all = json!({ "model": model.manifest.name, "sha256": model.sha256, "notes": model.network.notes(),
        "outputs": model.outputs().map(|(name, form)| json!({ "name": name, "form": form.to_string() })).collect::<Vec<_>>(),
        "layers": layers,
    });
    if let Some(slopes) = slopes {
        all["gradient"] = verify::as_json(slopes)["gradient"].take();
    }
    if let Some(detector) = detector(model) {
        all["detector"] = detector;
    }
    if let Some(proposal) = proposal {
        all["proposed_manifest"] = proposal.manifest.as_str().into();
        all["assumed"] = proposal.assumed.clone().into();
    }
    Ok(out(&serde_json::to_string_pretty(&all).unwrap_or_default())?)
}

/// The detector that the model is by its outputs, and how it is asked.
#[cfg(feature = "detection")]
fn detector(model: &Model) -> Option<serde_json::Value> {
    let found = fame_detection::recognise(model)?;
    Some(json!({
        "family": found.family, "head": found.head_spec(), "layers": found.layers,
        "classes": found.classes, "candidates": found.candidates, "loss": found.loss_spec(),
        "is_decoded": found.is_decoded,
    }))
}

/// Without the feature nobody knows detectors.
#[cfg(not(feature = "detection"))]
fn detector(_: &Model) -> Option<serde_json::Value> {
    None
}

fn as_text(model: &Model) -> Result<(), Failure> {
    let layers = model.network.layers();
    out_line(&format!(
        "{}: {} layers, input {:?}",
        model.manifest.name,
        layers.len(),
        model.network.input_shape()
    ))?;
    for note in model.network.notes() {
        out_line(&format!("note: {note}"))?;
    }
    for (name, form) in model.outputs() {
        out_line(&format!("output `{name}`: {form}."))?;
    }
    #[cfg(feature = "detection")]
    if let Some(detector) = fame_detection::recognise(model) {
        out_line(&format!("This is {detector}"))?;
    }
    let (mut rows, mut unreachable) = (Vec::new(), 0);
    for layer in layers {
        let mut marks =
            aliases(model, layer).into_iter().map(|a| format!("= {a}")).collect::<Vec<_>>();
        if layer.is_output {
            marks.push("(output)".to_owned());
        }
        if let Some(why) = stopped(model.network.as_ref(), layer) {
            unreachable += 1;
            marks.push(format!("— cannot be explained: {why}"));
        }
        let shape = format!("{:?}", layer.shape);
        rows.push(vec![layer.name.clone(), layer.op.clone(), shape, marks.join(" ")]);
    }
    table(&rows).iter().try_for_each(|line| out_line(line))?;
    out(&format!("{} of {} layers can be explained.", layers.len() - unreachable, layers.len()))?;
    Ok(())
}
