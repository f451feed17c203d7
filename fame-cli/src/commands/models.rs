//! `fame-cli models list | get | show`.

use std::process::ExitCode;

use fame_core::store::{FetchEvent, ModelStore};
use serde_json::json;

use super::Failure;
use crate::{
    arguments::{ModelsAction, ModelsArgs},
    setup::Setup,
    terminal::{self, out, out_line, table},
};

pub(crate) fn models(setup: &Setup, args: &ModelsArgs) -> Result<ExitCode, Failure> {
    let store = setup.store()?;
    match &args.action {
        ModelsAction::List => list(setup, &store),
        ModelsAction::Get { names } => get(setup, &store, names),
        ModelsAction::Show { name } => show(setup, &store, name),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn list(setup: &Setup, store: &ModelStore) -> Result<(), Failure> {
    let models = store.list()?;
    let pictures = store.pictures()?;
    if setup.json {
        let models = models.iter().map(|(name, m)| match m {
            Ok(m) => json!({ "name": name, "summary": m.summary, "licence": m.licence, "cached": store.is_cached(name).unwrap_or(false) }),
            Err(e) => json!({ "name": name, "error": e.to_string() }),
        });
        let pictures = pictures
            .iter()
            .map(|p| json!({ "name": p.name, "credit": p.credit, "rights": p.rights }));
        let all = json!({ "models": models.collect::<Vec<_>>(), "pictures": pictures.collect::<Vec<_>>() });
        return Ok(out(&serde_json::to_string_pretty(&all).unwrap_or_default())?);
    }
    let models = models.into_iter().map(|(name, manifest)| match manifest {
        Ok(m) => {
            let cached = if store.is_cached(&name).unwrap_or(false) { "cached" } else { "" };
            vec![name, cached.to_owned(), format!("{} [{}]", m.summary, m.licence)]
        }
        Err(e) => vec![name, "BROKEN".to_owned(), e.to_string()],
    });
    let pictures = pictures
        .iter()
        .map(|p| vec![format!("picture:{}", p.name), format!("{} [{}]", p.credit, p.rights)]);
    for rows in [models.collect::<Vec<_>>(), pictures.collect()] {
        table(&rows).iter().try_for_each(|line| out_line(line))?;
    }
    Ok(())
}

fn get(setup: &Setup, store: &ModelStore, names: &[String]) -> Result<(), Failure> {
    for name in names {
        let watcher = terminal::watcher(setup.json);
        let mut on = |p: FetchEvent| watcher.event(&fame_core::run::Event::Fetch(&p));
        let path = match name.strip_prefix("picture:") {
            Some(picture) => store.picture(picture, &mut on)?,
            None => {
                let manifest = store.manifest(name)?;
                store.labels(&manifest, &mut on)?;
                store.fetch_model(&manifest, &mut on)?
            }
        };
        drop(watcher);
        if setup.json {
            out(&json!({ "event": "got", "name": name, "path": path }).to_string())?;
        } else {
            out_line(&path.display().to_string())?;
        }
    }
    Ok(())
}

fn show(setup: &Setup, store: &ModelStore, name: &str) -> Result<(), Failure> {
    let m = store.resolve(name, ".".as_ref())?;
    let labels = store.labels(&m, &mut |_| ()).ok().flatten().map_or(0, |l| l.len());
    if setup.json {
        let all = json!({
            "name": m.name, "summary": m.summary, "licence": m.licence, "ask": m.ask,
            "source": format!("{:?}", m.source), "input": m.input, "prepare": m.prepare, "layers": m.layers, "labels": labels,
        });
        return Ok(out(&serde_json::to_string_pretty(&all).unwrap_or_default())?);
    }
    let input = &m.input;
    out_line(&format!("{}: {}", m.name, m.summary))?;
    out_line(&format!("licence  {}", m.licence))?;
    let asked = [
        m.ask.loss.as_ref().map(|loss| format!("loss: {loss}")),
        m.ask.layer.as_ref().map(|layer| format!("layer: {layer}")),
    ];
    let asked: Vec<String> = asked.into_iter().flatten().collect();
    out_line(&format!("ask      ({})", asked.join(", ")))?;
    out(&format!("source   {:#?}", m.source).replace('\n', "\n         "))?;
    out_line(&format!(
        "input    {}×{}×{} {:?}, (pixel − {:?}) / {:?}",
        input.channels, input.height, input.width, input.order, input.mean, input.std
    ))?;
    out_line(&format!("prepare  [{}]", m.prepare.join(", ")))?;
    for (alias, tensor) in &m.layers {
        out_line(&format!("layer    {alias} = {tensor}"))?;
    }
    if labels > 0 {
        out_line(&format!("labels   {labels}"))?;
    }
    Ok(())
}
