//! `--shard`: which share of a run, as said or as a scheduler's environment has it.

use fame_core::{Error, Result, run::Shard};

/// The shard that `text` means: `i/n`, counted from 0, or `auto` for what a job array of Slurm
/// says, or `auto/n` for the index of a job of Kubernetes, which does not say how many there are.
///
/// # Errors
/// When it means none, or `auto` and the environment says nothing.
pub(crate) fn shard(text: &str) -> std::result::Result<Shard, String> {
    // The parser of arguments shows one text.
    shard_from(text, |name| std::env::var(name).ok()).map_err(|e| match &e.help {
        Some(help) => format!("{e} {help}"),
        None => e.to_string(),
    })
}

fn shard_from(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Shard> {
    let Some(count) = text.strip_prefix("auto") else { return text.parse() };
    let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
    let count = match count.strip_prefix('/') {
        Some(count) => count.parse().ok(),
        None => number("SLURM_ARRAY_TASK_COUNT"),
    };
    // An array need not begin at 0.
    let first = number("SLURM_ARRAY_TASK_MIN").unwrap_or(0);
    let index = number("SLURM_ARRAY_TASK_ID").and_then(|id| id.checked_sub(first));
    let index = index.or_else(|| number("JOB_COMPLETION_INDEX"));
    let Some((index, count)) = index.zip(count) else {
        return Err(Error::new("fame::run::no_shard", format!("`--shard {text}` finds no shard in the environment."))
            .with_help("In a job array of Slurm say `--shard auto`, in an indexed job of Kubernetes `--shard auto/COUNT`, elsewhere `--shard INDEX/COUNT`, counted from 0."));
    };
    Shard::new(index, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_says_which_shard() {
        let slurm = |name: &str| {
            let said = [
                ("SLURM_ARRAY_TASK_ID", "7"),
                ("SLURM_ARRAY_TASK_MIN", "5"),
                ("SLURM_ARRAY_TASK_COUNT", "4"),
            ];
            said.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        let kubernetes = |name: &str| (name == "JOB_COMPLETION_INDEX").then(|| "3".to_owned());
        assert_eq!(shard_from("auto", slurm).unwrap(), Shard::new(2, 4).unwrap());
        assert_eq!(shard_from("auto/9", kubernetes).unwrap(), Shard::new(3, 9).unwrap());
        assert_eq!(shard_from("1/2", slurm).unwrap(), Shard::new(1, 2).unwrap());
        for wrong in ["auto", "auto/x", "auto/3"] {
            assert_eq!(
                shard_from(wrong, kubernetes).unwrap_err().code,
                "fame::run::no_shard",
                "{wrong}"
            );
        }
    }
}
