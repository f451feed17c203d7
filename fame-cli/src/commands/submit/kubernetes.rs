//! Kubernetes: an indexed job of shards, for whoever has such a cluster. It is printed only.

use fame_core::{Error, Result, data::sha256_hex};
use serde_json::{Value, json};

use super::Job;

/// The job in JSON, which `kubectl apply -f -` reads; the merge is a job of its own, to be applied
/// when the first has ended.
///
/// # Errors
/// Without an `image`.
pub(super) fn manifests(job: &Job, image: Option<&str>) -> Result<String> {
    let image = image.ok_or_else(|| {
        Error::new("fame::submit::no_image", "a job of Kubernetes needs an image.")
            .with_help("Name one that holds fame-cli, the recipe and its files: --image NAME. What --out names must be a volume that all tasks share.")
    })?;
    let mut run = job.run.clone();
    run.extend(["--shard".to_owned(), format!("auto/{}", job.shards)]);
    let indexed = json!({
        "completions": job.shards, "parallelism": job.shards, "completionMode": "Indexed",
        "backoffLimitPerIndex": 3,
    });
    let name = name(&job.name);
    let jobs = [
        manifest(&name, image, &run, indexed, job.wants_gpu),
        manifest(&format!("{name}-merge"), image, &job.merge, json!({}), false),
    ];
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": jobs });
    serde_json::to_string_pretty(&list).map_err(|e| Error::bug(e.to_string()))
}

/// `text` as the name of a job: small letters, digits and dashes, with no dash at its ends. With
/// the number of a task or `-merge` behind it, it may have 63 characters; of a longer one the rest
/// is a hash, so that two recipes stay two jobs.
fn name(text: &str) -> String {
    const LONGEST: usize = 56;
    const DIGITS: usize = 8;
    let dashed = text.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let dashed = dashed.trim_matches('-');
    if dashed.len() <= LONGEST {
        return dashed.to_owned();
    }
    let hash = sha256_hex(text.as_bytes());
    let head = dashed[..LONGEST - DIGITS - 1].trim_end_matches('-');
    format!("{head}-{}", &hash[..DIGITS])
}

/// One job with a container that runs `command`.
fn manifest(name: &str, image: &str, command: &[String], mut spec: Value, gpu: bool) -> Value {
    let limits = if gpu { json!({ "nvidia.com/gpu": 1 }) } else { json!({}) };
    let container = json!({
        "name": "fame", "image": image, "command": command, "resources": { "limits": limits },
    });
    spec["template"] = json!({ "spec": { "restartPolicy": "Never", "containers": [container] } });
    json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name }, "spec": spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kubernetes_takes() {
        assert_eq!(name("fame-_x_"), "fame--x");
        assert_eq!(name("fame-My recipe.2"), "fame-my-recipe-2");
        let long = |last: &str| name(&format!("fame-{}{last}", "a_".repeat(72)));
        for text in [long("b"), long("c")] {
            assert!(text.len() + "-merge".len() <= 63, "{text}");
            let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(text.chars().all(is_fit) && !text.ends_with('-'), "{text}");
        }
        assert_ne!(long("b"), long("c"));
    }

    #[test]
    fn every_index_is_a_shard() {
        let job = Job {
            name: "fame-r".into(),
            shards: 5,
            out: "/out".into(),
            run: vec!["fame-cli".into()],
            merge: vec!["fame-cli".into(), "merge".into()],
            wants_gpu: true,
            options: Vec::new(),
            minutes: None,
        };
        assert_eq!(manifests(&job, None).unwrap_err().code, "fame::submit::no_image");
        let list: Value = serde_json::from_str(&manifests(&job, Some("fame:1")).unwrap()).unwrap();
        let spec = &list["items"][0]["spec"];
        assert_eq!((&spec["completions"], &spec["completionMode"]), (&5.into(), &"Indexed".into()));
        let container = &spec["template"]["spec"]["containers"][0];
        assert_eq!(container["command"], json!(["fame-cli", "--shard", "auto/5"]));
        assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], 1);
    }
}
