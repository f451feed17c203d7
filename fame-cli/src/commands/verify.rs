//! `fame-cli verify MODEL`: every layer against an independent engine, gradients against slopes.

use std::{path::PathBuf, process::ExitCode};

use fame_core::{
    Error, Model,
    contract::{Backend, PrepareContext, PrepareStep as _},
    data::Value,
    registry::Built,
    run::{Event, ModelShelf},
    store::FetchEvent,
};
use fame_plugins::{
    backends::verify::{
        Graph, Input, SLOPE_TOLERANCE, Slopes, VALUE_TOLERANCE, Values, check_slopes,
        compare_values, pictures, random,
    },
    pictures::load,
    prepare::Resize,
};
use serde_json::json;

use super::Failure;
use crate::{
    arguments::VerifyArgs,
    setup::Setup,
    terminal::{self, out, out_line},
};

/// How many inputs of noise, and how many drawn pictures.
const INPUTS: usize = 2;

/// Refuses a backend that computes in fewer bits than f32: what these leave of a value or a slope is
/// less than a fault is told by, and a right network would be called wrong, or the other way round.
pub(super) fn in_single_precision(backend: &Built<dyn Backend>) -> Result<(), Failure> {
    let Value::Map(parameters) = &backend.parameters else { return Ok(()) };
    let precision = parameters.get("precision").and_then(Value::as_str);
    let Some(precision) = precision.filter(|precision| *precision != "F32") else { return Ok(()) };
    let message = format!(
        "`{}(precision: {precision})` computes in too few bits to be verified: what they round off is \
         more than what tells a fault.",
        backend.name
    );
    Err(Failure::Arguments(
        Error::new("fame::verify::precision", message)
            .with_help("Verify the backend with `precision: F32`; it has the same layers."),
    ))
}

pub(crate) fn verify(setup: &Setup, args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let store = setup.store()?;
    let manifest = store.resolve(&args.model, ".".as_ref())?;
    let (backend, witness) = (setup.backend(&args.backend)?, setup.backend(&args.witness)?);
    [&backend, &witness].into_iter().try_for_each(in_single_precision)?;
    let watcher = terminal::watcher(setup.json);
    let on_fetch = |p: &FetchEvent| watcher.event(&Event::Fetch(p));
    let shelf = ModelShelf::new(&store, backend.plugin.as_ref(), &on_fetch)
        .with_operators(setup.operators()?);
    let file = shelf.fetch(&manifest)?;
    let model = shelf.load(manifest, file)?;
    let mut inputs = inputs(&model)?;
    let input = &model.manifest.input;
    for shown in &args.picture {
        let path = match shown.strip_prefix("picture:") {
            Some(name) => store.picture(name, &mut |p| on_fetch(&p))?,
            None => PathBuf::from(shown),
        };
        let with = PrepareContext {
            models: &shelf,
            input_size: (input.height, input.width),
            role: fame_plugins::datasets::IMAGE,
        };
        let picture = Resize::default().apply(load(&path, shown)?, &with)?;
        inputs.push(Input { name: format!("`{shown}`"), value: input.to_input(&picture.pixels)? });
    }
    drop(watcher);
    let network = witness.plugin.load(&model.load_request())?;
    let graph = Graph::read(&model.file)?;
    let ours = model.network.as_ref();
    // A witness that is fed bytes drops the fractions of what it is fed: it sees whole numbers
    // rightly, and no slope.
    let of_slopes = if graph.is_fed_whole() { ours } else { network.as_ref() };
    if graph.is_fed_whole() {
        inputs.iter_mut().for_each(Input::round);
    }
    let values = compare_values(ours, network.as_ref(), &graph, &inputs)?;
    let slopes = check_slopes(ours, of_slopes, &graph, &inputs)?;
    let differs = !values.differences.is_empty() || !slopes.differences.is_empty();
    if setup.json {
        let mut all = as_json(&slopes);
        all["model"] = json!(model.manifest.name);
        all["values"] = json!({
            "compared": values.compared, "missing": values.missing, "worst": values.worst,
            "rounded": values.rounded,
            "tolerance": VALUE_TOLERANCE, "differences": told(&values.differences),
        });
        out(&serde_json::to_string_pretty(&all).unwrap_or_default())?;
    } else {
        say_values(&model, &values, &args.backend, inputs.len())?;
        say_slopes(&slopes)?;
    }
    Ok(if differs { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// Noise and drawings for `model`.
pub(super) fn inputs(model: &Model) -> Result<Vec<Input>, Failure> {
    let convention = &model.manifest.input;
    let mut inputs = random(convention, INPUTS)?;
    inputs.extend(pictures(convention, INPUTS)?);
    Ok(inputs)
}

fn told(differences: &[fame_plugins::backends::verify::Difference]) -> Vec<serde_json::Value> {
    differences.iter().map(|d| json!({ "layer": d.layer, "sentence": d.sentence })).collect()
}

/// What was found about gradients, as JSON.
pub(super) fn as_json(slopes: &Slopes) -> serde_json::Value {
    json!({ "gradient": {
        "outputs": slopes.outputs, "refused": slopes.refused,
        "straight_through": slopes.straight_through, "measured": slopes.measured,
        "undecided": slopes.undecided, "worst": slopes.worst, "tolerance": SLOPE_TOLERANCE,
        "differences": told(&slopes.differences),
    }})
}

fn say_values(model: &Model, values: &Values, backend: &str, inputs: usize) -> Result<(), Failure> {
    for difference in &values.differences {
        out_line(&difference.sentence)?;
    }
    if !values.missing.is_empty() {
        let (count, first) = (values.missing.len(), &values.missing[0]);
        out_line(&format!(
            "{count} layers of the file are not offered by {backend}, such as `{first}`."
        ))?;
    }
    if values.rounded > 0 {
        out_line(&format!(
            "{} layers lie behind rounding that fell on another side, and agree when they are \
             computed from the witness's values in front of them.",
            values.rounded
        ))?;
    }
    let name = &model.manifest.name;
    out_line(&format!(
        "{name}: {} layers compared on {inputs} inputs, {} differ; the largest distance is {:.1e} of a layer's size, {VALUE_TOLERANCE:.0e} is tolerated.",
        values.compared,
        values.differences.len(),
        values.worst
    ))?;
    Ok(())
}

/// What was found about gradients, in sentences.
pub(super) fn say_slopes(slopes: &Slopes) -> Result<(), Failure> {
    for difference in &slopes.differences {
        out_line(&difference.sentence)?;
    }
    for refused in &slopes.refused {
        out_line(&format!("no gradient to compare of {refused}"))?;
    }
    for sentence in &slopes.straight_through {
        out_line(&format!("{sentence}."))?;
    }
    if slopes.undecided > 0 {
        out_line(&format!(
            "on {} inputs rounding hides the slope: the outputs hardly depend on the input there.",
            slopes.undecided
        ))?;
    }
    if !slopes.outputs.is_empty() {
        out_line(&format!(
            "gradient of `{}` at the input: compared with slopes on {} inputs, {} differ; the largest distance that passed is {:.1e} of the gradient's size, {SLOPE_TOLERANCE:.0e} is tolerated, and as much more as rounding leaves of its slope unknown.",
            slopes.outputs.join("`, `"),
            slopes.measured,
            slopes.differences.len(),
            slopes.worst
        ))?;
    }
    Ok(())
}
