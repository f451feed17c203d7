//! Kubernetes: an indexed job of shards, for whoever has such a cluster. It is printed only.

use fame_core::{Error, Result};
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
    let jobs = [
        manifest(&job.name, image, &run, indexed, job.wants_gpu),
        manifest(&format!("{}-merge", job.name), image, &job.merge, json!({}), false),
    ];
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": jobs });
    serde_json::to_string_pretty(&list).map_err(|e| Error::bug(e.to_string()))
}

/// One job with a container that runs `command`.
fn manifest(name: &str, image: &str, command: &[String], mut spec: Value, gpu: bool) -> Value {
    let limits = if gpu { json!({ "nvidia.com/gpu": 1 }) } else { json!({}) };
    let container = json!({
        "name": "fame", "image": image, "command": command, "resources": { "limits": limits },
    });
    spec["template"] = json!({ "spec": { "restartPolicy": "Never", "containers": [container] } });
    // Names there are letters of the small alphabet, digits and dashes.
    let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name }, "spec": spec })
}

#[cfg(test)]
mod tests {
    use super::*;

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
