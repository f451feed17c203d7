//! Slurm: a job array of shards, and a job that merges them when all of it has ended.

use std::{fs, path::PathBuf, process::Command};

use fame_core::{Error, Result, data::write_whole};

use super::{Job, quote, quoted};

/// The most tasks of an array where the site does not say: Slurm's own default is 1001, one more
/// than the largest index.
const MAX_TASKS: usize = 1000;

/// How often a task that failed is put back into the queue.
const RETRIES: usize = 3;

/// What `--dry-run`, which runs nothing, says of the time limit.
const LIMIT_TO_COME: &str = "# and --time=MINUTES by a pilot item, which is run when this is submitted; \
                             no pilot where you give --time\n";

/// Two calls of `sbatch` with their scripts.
pub(super) struct Submission {
    /// Scripts and logs lie here.
    folder: PathBuf,
    array: Vec<String>,
    array_script: String,
    merge: Vec<String>,
    merge_script: String,
    /// Whether a pilot is run before the tasks' time limit is known.
    limit_is_to_come: bool,
}

impl Submission {
    /// The calls for `job`.
    pub(super) fn new(job: &Job) -> Self {
        let folder = job.out.join("slurm");
        let tasks = tasks(job.shards);
        // What begins with `%` is a number of the job; the folder's own stands twice.
        let logs = folder.to_string_lossy().replace('%', "%%");
        let log = |name: &str| format!("--output={logs}/{name}");
        let has = |option: &str| job.options.iter().any(|given| given.starts_with(option));
        let mut array = vec![
            format!("--job-name={}", job.name),
            format!("--array=0-{}", tasks - 1),
            "--requeue".to_owned(),
            "--open-mode=append".to_owned(),
            log("%A_%a.log"),
        ];
        if job.wants_gpu && !has("--gres") && !has("--gpus") {
            array.push("--gres=gpu:1".to_owned());
        }
        array.extend(job.minutes.map(|minutes| format!("--time={minutes}")));
        array.extend(job.options.iter().cloned());
        let mut merge = vec![format!("--job-name={}-merge", job.name), log("merge.log")];
        // A merge needs neither a device nor the time of a task; where it may run, it needs.
        let place = ["--partition", "-p", "--account", "-A", "--qos", "--export"];
        let of_place = |option: &&String| place.iter().any(|name| option.starts_with(name));
        merge.extend(job.options.iter().filter(of_place).cloned());
        Self {
            array_script: array_script(job, tasks),
            merge_script: format!("#!/bin/sh\nexec {}\n", quoted(&job.merge)),
            limit_is_to_come: job.minutes.is_none() && job.needs_time_limit(),
            folder,
            array,
            merge,
        }
    }

    /// All of it for a reader, as `--dry-run` prints it.
    pub(super) fn text(&self) -> String {
        let path = |name: &str| quote(&self.folder.join(name).to_string_lossy());
        format!(
            "# {array}\n{}\n# {merge}\n{}\n{limit}sbatch {} {array}\nsbatch --dependency=afterany:ARRAY {} {merge}",
            self.array_script,
            self.merge_script,
            quoted(&self.array),
            quoted(&self.merge),
            array = path("array.sh"),
            merge = path("merge.sh"),
            limit = if self.limit_is_to_come { LIMIT_TO_COME } else { "" },
        )
    }

    /// Writes the scripts and submits both jobs; their numbers.
    ///
    /// # Errors
    /// When a script cannot be written, or `sbatch` is not there or refuses.
    pub(super) fn submit(&self) -> Result<(String, String)> {
        fs::create_dir_all(&self.folder).map_err(|e| Error::io("create", &self.folder, &e))?;
        let write = |name: &str, text: &str| {
            let path = self.folder.join(name);
            write_whole(&path, text.as_bytes()).map(|()| path.to_string_lossy().into_owned())
        };
        let array = sbatch(&self.array, write("array.sh", &self.array_script)?)?;
        let mut merge = self.merge.clone();
        // However it ends: the merge says which shards are missing.
        merge.push(format!("--dependency=afterany:{array}"));
        let merge = sbatch(&merge, write("merge.sh", &self.merge_script)?)?;
        Ok((array, merge))
    }
}

/// What a task does: its shard, and every further one where there are more than the array may have
/// tasks.
fn array_script(job: &Job, tasks: usize) -> String {
    let (run, shards) = (quoted(&job.run), job.shards);
    format!(
        r#"#!/bin/sh
shard=$SLURM_ARRAY_TASK_ID
failed=0
while [ "$shard" -lt {shards} ]; do
  {run} --shard "$shard/{shards}"
  code=$?
  # 3: the shard went through, and some of its items failed.
  case $code in 0|3) ;; *) failed=$code ;; esac
  shard=$((shard + {tasks}))
done
# 2: the recipe is wrong, and stays so. Whatever else ended a task may pass.
if [ $failed -ne 0 ] && [ $failed -ne 2 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {RETRIES} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $failed
"#
    )
}

/// How many tasks so many shards become: an array has no more than the site allows.
pub(super) fn tasks(shards: usize) -> usize {
    shards.min(max_tasks())
}

/// The most tasks that this site lets an array have.
fn max_tasks() -> usize {
    let config = Command::new("scontrol").args(["show", "config"]).output().ok();
    let config = config.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    config.and_then(|config| most_tasks(&config)).unwrap_or(MAX_TASKS)
}

/// The same out of what `scontrol show config` prints.
fn most_tasks(config: &str) -> Option<usize> {
    let line = config.lines().find(|line| line.trim_start().starts_with("MaxArraySize"))?;
    let size: usize = line.split('=').nth(1)?.trim().parse().ok()?;
    // The size is one more than the largest index, and indices begin at 0.
    (size > 1).then(|| size - 1)
}

/// Submits `script`; the number of the job.
fn sbatch(options: &[String], script: String) -> Result<String> {
    let failed = |message: String| {
        Error::new("fame::submit::sbatch", format!("sbatch submitted nothing: {message}"))
            .with_help("Is this a host from which jobs are submitted? `--dry-run` prints what would be submitted.")
    };
    let output = Command::new("sbatch")
        .arg("--parsable")
        .args(options)
        .arg(script)
        .output()
        .map_err(|e| failed(format!("it cannot be started: {e}.")))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    // On a cluster of clusters the number is followed by the cluster's name.
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(said.trim().split(';').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(shards: usize) -> Job {
        Job {
            name: "fame-r".into(),
            shards,
            out: "/data/my out".into(),
            run: ["fame-cli", "run", "/data/r.ron"].map(str::to_owned).to_vec(),
            merge: ["fame-cli", "merge", "/data/my out"].map(str::to_owned).to_vec(),
            wants_gpu: true,
            options: ["--partition=big", "--time=1:00:00"].map(str::to_owned).to_vec(),
            minutes: None,
        }
    }

    #[test]
    fn an_array_larger_than_the_site_allows_is_folded() {
        assert_eq!(most_tasks("A = 1\nMaxArraySize            = 101\nB = 2"), Some(100));
        // The script does its shards for real, with a program that only says which.
        let mut done = Vec::new();
        for task in 0..3 {
            let script = array_script(&Job { run: vec!["echo".into()], ..job(8) }, 3);
            let said = Command::new("/bin/sh")
                .args(["-c", &script])
                .env("SLURM_ARRAY_TASK_ID", task.to_string())
                .output()
                .unwrap();
            assert!(said.status.success());
            let said = String::from_utf8(said.stdout).unwrap();
            done.extend(said.lines().map(|line| line.strip_prefix("--shard ").unwrap().to_owned()));
        }
        done.sort();
        assert_eq!(done, (0..8).map(|shard| format!("{shard}/8")).collect::<Vec<_>>());
    }

    #[test]
    fn only_what_may_pass_goes_back_into_the_queue() {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let program = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let file = folder.path().join(name);
            fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        };
        program("scontrol", "echo requeued");
        for (code, restarts, again) in [
            (0, "0", false),
            (3, "0", false),
            (2, "0", false),
            (1, "0", true),
            (143, "2", true),
            (1, "3", false),
        ] {
            program("task", &format!("exit {code}"));
            let script = array_script(&Job { run: vec!["task".into()], ..job(1) }, 1);
            let said = Command::new("/bin/sh")
                .args(["-c", &script])
                .env("PATH", &path)
                .env("SLURM_ARRAY_TASK_ID", "0")
                .env("SLURM_JOB_ID", "9")
                .env("SLURM_RESTART_COUNT", restarts)
                .output()
                .unwrap();
            let said_so = String::from_utf8(said.stdout).unwrap().contains("requeued");
            assert_eq!(said_so, again, "code {code} after {restarts} restarts");
            assert_eq!(said.status.code(), Some(if code == 3 { 0 } else { code }));
        }
    }

    #[test]
    fn the_tasks_get_the_time_limit_of_the_pilot_unless_the_user_has_set_one() {
        let own = job(2);
        assert!(!own.needs_time_limit() && !Submission::new(&own).text().contains("pilot"));
        let mut job = Job { options: vec!["--partition=big".into()], ..job(2) };
        assert!(Submission::new(&job).text().contains("by a pilot item"));
        job.minutes = Some(42);
        let said = Submission::new(&job).text();
        let calls: Vec<&str> = said.lines().filter(|line| line.starts_with("sbatch")).collect();
        assert!(calls[0].contains("--time=42 ") && !calls[1].contains("--time"), "{said}");
    }

    #[test]
    fn a_percent_sign_of_the_folder_is_no_number_of_the_job() {
        let said = Submission::new(&Job { out: "/data/50%j".into(), ..job(2) }).text();
        assert!(said.contains("--output=/data/50%%j/slurm/%A_%a.log"), "{said}");
        assert!(said.contains("--output=/data/50%%j/slurm/merge.log"), "{said}");
        assert!(said.ends_with(" /data/50%j/slurm/merge.sh"), "{said}");
    }

    #[test]
    fn both_jobs_are_told_where_to_run_and_only_tasks_what_they_need() {
        let said = Submission::new(&job(16)).text();
        let calls: Vec<&str> = said.lines().filter(|line| line.starts_with("sbatch")).collect();
        assert!(calls[0].contains("--array=0-15") && calls[0].contains("--gres=gpu:1"), "{said}");
        assert!(calls[0].contains("--time=1:00:00") && calls[0].contains("--partition=big"));
        assert!(calls[1].contains("--partition=big") && !calls[1].contains("--time"), "{said}");
        assert!(
            calls[1].contains("afterany") && calls[1].ends_with("'/data/my out/slurm/merge.sh'")
        );
    }
}
