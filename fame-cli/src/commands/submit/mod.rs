//! `fame-cli submit RECIPE`: a run in shards on a cluster, whose scheduler does the scheduling.

mod kubernetes;
mod pilot;
mod slurm;

use std::{path::PathBuf, process::ExitCode};

use fame_core::{
    Error, Plan,
    run::{RunOptions, claim, fetch},
};

use self::pilot::{Pilot, largest_share};
use super::{Failure, run::out_folder};
use crate::{
    arguments::{Engine, SubmitArgs},
    setup::Setup,
    terminal::{out, out_line, watcher},
};

pub(crate) fn submit(setup: &Setup, args: &SubmitArgs) -> Result<ExitCode, Failure> {
    let (plan, store) = setup.plan(&args.recipe)?;
    let mut job = Job::new(setup, args, &plan)?;
    if args.dry_run {
        match args.engine {
            Engine::Slurm => out(&slurm::Submission::new(&job).text())?,
            Engine::K8s => out(&kubernetes::manifests(&job, args.image.as_deref())?)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.engine == Engine::K8s {
        return Err(Error::new(
            "fame::submit::only_dry",
            "jobs of Kubernetes are printed, not submitted.",
        )
        .with_help("Say --dry-run, and give what it prints to `kubectl apply -f -`.")
        .into());
    }
    // Before scripts and logs lie there: a folder of somebody else's files is refused now.
    claim(&job.out)?;
    // Once and here: tasks need no network then.
    let watching = watcher(setup.json);
    let ids = fetch(&plan, &store, watching.as_ref())?;
    if job.needs_time_limit() {
        let options = RunOptions { stop: setup.stop.clone(), ..RunOptions::new(job.out.clone()) };
        let pilot = Pilot::run(&plan, &store, &options, watching.as_ref())?;
        let tasks = slurm::tasks(job.shards);
        let share = largest_share(&ids, job.shards, tasks);
        job.minutes = Some(pilot.minutes(job.shards.div_ceil(tasks), share));
    }
    drop(watching);
    let (array, merge) = slurm::Submission::new(&job).submit()?;
    if setup.json {
        let answer = serde_json::json!({
            "array": array, "merge": merge, "out": job.out, "minutes": job.minutes,
        });
        out(&answer.to_string())?;
    } else {
        let folder = job.out.display();
        let limit = job.minutes.map_or_else(String::new, |minutes| {
            format!(", {minutes} minutes for each task by the pilot item,")
        });
        out_line(&format!(
            "Job array {array} is submitted{limit} and job {merge} merges its shards. How far they are: `fame-cli status {folder}`."
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What both engines are told.
struct Job {
    /// The recipe's name: jobs are called after it.
    name: String,
    /// The number of shards.
    shards: usize,
    /// The output folder, absolute.
    out: PathBuf,
    /// The command of a task, without `--shard`.
    run: Vec<String>,
    /// The command of the merge.
    merge: Vec<String>,
    /// Whether the backend wants a GPU.
    wants_gpu: bool,
    /// What the user passes on to the scheduler.
    options: Vec<String>,
    /// The time limit of a task by the pilot, once it has run.
    minutes: Option<u64>,
}

impl Job {
    fn new(setup: &Setup, args: &SubmitArgs, plan: &Plan) -> Result<Self, Failure> {
        let absolute = |path: &std::path::Path| {
            std::path::absolute(path).map_err(|e| Error::io("find", path, &e))
        };
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let program = std::env::current_exe()
            .map_err(|e| Error::io("find", std::path::Path::new("fame-cli"), &e))?;
        let recipe = absolute(&args.recipe.recipe)?;
        let folder = absolute(&out_folder(plan, &args.recipe, args.out.as_deref()))?;
        let mut global = vec![text(program)];
        for (option, paths) in [("--models", &setup.models), ("--plugin", &setup.plugins)] {
            for path in paths {
                global.extend([option.to_owned(), text(absolute(path)?)]);
            }
        }
        for (option, is_given) in
            [("--trust-plugin", setup.trust_plugin), ("--trust-manifest", setup.trust_manifest)]
        {
            global.extend(is_given.then(|| option.to_owned()));
        }
        // In bytes: whatever the unit was, the tasks are told the same.
        global.extend(setup.memory.iter().flat_map(|m| ["--memory".to_owned(), m.to_string()]));
        let name = recipe.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut run = global.clone();
        run.extend([
            "run".to_owned(),
            text(recipe.clone()),
            "--out".to_owned(),
            text(folder.clone()),
        ]);
        args.recipe.set.iter().for_each(|set| run.extend(["--set".to_owned(), set.clone()]));
        let mut merge = global;
        merge.extend([
            "merge".to_owned(),
            text(folder.clone()),
            "--recipe".to_owned(),
            text(recipe),
        ]);
        Ok(Self {
            name: format!("fame-{}", fame_core::data::safe_id(&name).to_lowercase()),
            shards: args.tasks.get(),
            out: folder,
            run,
            merge,
            wants_gpu: wants_gpu(&plan.backend.record()),
            options: args.options.clone(),
            minutes: None,
        })
    }

    /// Whether the user has set no time limit for the tasks.
    fn needs_time_limit(&self) -> bool {
        !self.options.iter().any(|option| option.starts_with("--time") || option.starts_with("-t"))
    }
}

/// Whether a backend with these parameters computes on a GPU.
fn wants_gpu(backend: &fame_core::data::Value) -> bool {
    serde_json::to_string(backend).is_ok_and(|text| text.contains("\"Cuda\""))
}

/// `words` as a shell reads them again.
fn quoted(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it again.
fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,%+@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_task_as_they_were_given() {
        let words = ["plain", "", "two words", "it's", "$HOME `x` \"y\" \\", "--set=a=b"];
        let words = words.map(str::to_owned);
        let script = format!("printf '<%s>' {}", quoted(&words));
        let said = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        let wanted = words.iter().fold(String::new(), |all, word| all + "<" + word + ">");
        assert_eq!(String::from_utf8(said.stdout).unwrap(), wanted);
    }
}
