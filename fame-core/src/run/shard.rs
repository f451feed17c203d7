//! Shards: the shares of one run that machines do side by side, and where they leave them.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{Error, Result, data::seed_of};

/// The folder of the shards below the output folder of the whole run.
pub(super) const SHARDS: &str = "shards";

/// A share of a run's items, the `index`-th of `count`, counted from 0. An item belongs to the
/// shard that the hash of its id names, so nobody has to know the whole list to know its own share,
/// and a list that grows moves no item to another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// The `index`-th of `count` shards, counted from 0.
    ///
    /// # Errors
    /// When there is no such shard.
    pub fn new(index: usize, count: usize) -> Result<Self> {
        if index < count {
            return Ok(Self { index, count });
        }
        let message = format!("there is no shard {index} of {count}: shards are counted from 0.");
        Err(Error::new("fame::run::no_shard", message))
    }

    /// Its number, counted from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// The number of shards.
    pub fn count(self) -> usize {
        self.count
    }

    /// Whether the item called `id` belongs to it.
    pub fn has(self, id: &str) -> bool {
        // No seed: the shares of a run must not change with its recipe.
        seed_of(0, id) % self.count as u64 == self.index as u64
    }

    /// Its output folder below `out`.
    pub fn folder(self, out: &Path) -> PathBuf {
        out.join(SHARDS).join(format!("{:05}-of-{:05}", self.index, self.count))
    }

    /// The shard that a folder is named after, if it is.
    pub(super) fn of_folder(name: &str) -> Option<Self> {
        let (index, count) = name.split_once("-of-")?;
        Self::new(index.parse().ok()?, count.parse().ok()?).ok()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers =
            text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        let (index, count) = numbers.ok_or_else(|| {
            Error::new("fame::run::no_shard", format!("`{text}` names no shard.")).with_help(
                "Write the number of the shard, counted from 0, and how many there are: 2/8.",
            )
        })?;
        Self::new(index, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_one_shard_and_the_shares_are_alike() {
        let shards: Vec<Shard> = (0..7).map(|i| Shard::new(i, 7).unwrap()).collect();
        let mut sizes = [0; 7];
        for n in 0..7000 {
            let id = format!("item_{n}");
            let of: Vec<usize> = (0..7).filter(|i| shards[*i].has(&id)).collect();
            assert_eq!(of.len(), 1, "{id}");
            sizes[of[0]] += 1;
        }
        // Four standard deviations of a fair draw of 1000 in 7000.
        assert!(sizes.iter().all(|n| (880..1120).contains(n)), "{sizes:?}");
        // The shares stay what they are: somebody's half-done run depends on it.
        assert_eq!(sizes, [965, 1015, 1000, 1022, 980, 990, 1028]);
    }

    #[test]
    fn a_shard_is_written_and_read() {
        let shard: Shard = "3/16".parse().unwrap();
        assert_eq!((shard.index(), shard.count(), shard.to_string()), (3, 16, "3/16".to_owned()));
        let folder = shard.folder(Path::new("out"));
        assert_eq!(folder, Path::new("out/shards/00003-of-00016"));
        assert_eq!(Shard::of_folder("00003-of-00016"), Some(shard));
        for wrong in ["16/16", "3", "a/b", "-1/4", "0/0", ""] {
            assert_eq!(wrong.parse::<Shard>().unwrap_err().code, "fame::run::no_shard", "{wrong}");
        }
    }
}
