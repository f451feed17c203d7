//! What a network has answered of pictures that many samples share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use crate::{Tensor, data::sha256_hex};

/// Answers that are held at once, in bytes: a hundred thousand embeddings of 512 numbers take three
/// times as much, and a feature map of a megabyte fits 64 times.
const MOST: usize = 64 << 20;

/// The outputs of a model's layers for inputs that it has been given before, bounded in memory:
/// what was asked for longest ago goes first. A picture that is compared with one sample after the
/// other goes through the network once.
///
/// It belongs to one network: whoever puts another into a [`Model`](super::Model) begins with an
/// empty one.
#[derive(Default)]
pub struct Remembered(Mutex<Kept>);

/// An input and the layers that were read.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Known {
    /// SHA-256 of the input's numbers.
    input: String,
    layers: Vec<String>,
}

impl Known {
    /// What is asked of `input`.
    pub fn of(layers: &[String], input: &Tensor) -> Self {
        let bytes: Vec<u8> = input.data().iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { input: sha256_hex(&bytes), layers: layers.to_vec() }
    }
}

#[derive(Default)]
struct Kept {
    /// Each answer with the moment when it was asked for last.
    answers: HashMap<Known, (u64, Vec<Tensor>)>,
    /// The answers by that moment.
    by_use: BTreeMap<u64, Known>,
    /// What all of them take.
    bytes: usize,
    /// The present moment: it counts uses.
    now: u64,
}

impl Remembered {
    /// The answer to `known`, if it was given before.
    pub fn get(&self, known: &Known) -> Option<Vec<Tensor>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut *kept;
        let (used, answer) = kept.answers.get_mut(known)?;
        let answer = answer.clone();
        kept.now += 1;
        kept.by_use.remove(used);
        *used = kept.now;
        kept.by_use.insert(kept.now, known.clone());
        Some(answer)
    }

    /// Remembers the answer to `known`.
    pub fn put(&self, known: Known, answer: &[Tensor]) {
        self.put_within(MOST, known, answer);
    }

    fn put_within(&self, most: usize, known: Known, answer: &[Tensor]) {
        let size = bytes(answer);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if size > most || kept.answers.contains_key(&known) {
            return;
        }
        while kept.bytes + size > most {
            let Some((_, oldest)) = kept.by_use.pop_first() else { break };
            let gone = kept.answers.remove(&oldest);
            kept.bytes -= gone.map_or(0, |(_, answer)| bytes(&answer));
        }
        kept.now += 1;
        let now = kept.now;
        kept.bytes += size;
        kept.by_use.insert(now, known.clone());
        kept.answers.insert(known, (now, answer.to_vec()));
    }
}

/// The size of an answer's numbers.
fn bytes(answer: &[Tensor]) -> usize {
    answer.iter().map(|output| size_of_val(output.data())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(n: u8) -> Known {
        Known::of(&["layer".to_owned()], &Tensor::filled([2], f32::from(n)))
    }

    fn answer(n: u8) -> Vec<Tensor> {
        vec![Tensor::filled([4], f32::from(n))]
    }

    #[test]
    fn the_answer_belongs_to_the_input_and_the_layers() {
        let remembered = Remembered::default();
        remembered.put(known(1), &answer(1));
        assert_eq!(remembered.get(&known(1)), Some(answer(1)));
        assert_eq!(remembered.get(&known(2)), None);
        let elsewhere = Known::of(&["other".to_owned()], &Tensor::filled([2], 1.0));
        assert_eq!(remembered.get(&elsewhere), None);
    }

    #[test]
    fn what_was_asked_for_longest_ago_makes_room() {
        /// Room for three answers of four numbers.
        const ROOM: usize = 3 * 16;
        let remembered = Remembered::default();
        for n in 0..3 {
            remembered.put_within(ROOM, known(n), &answer(n));
        }
        assert!(remembered.get(&known(0)).is_some());
        remembered.put_within(ROOM, known(3), &answer(3));
        let held: Vec<bool> = (0..4).map(|n| remembered.get(&known(n)).is_some()).collect();
        assert_eq!(held, [true, false, true, true]);
        // One that would fill more than there is goes by, and the same one again takes no room.
        remembered.put_within(ROOM, known(9), &[Tensor::zeros([13])]);
        remembered.put_within(ROOM, known(3), &answer(3));
        let kept = remembered.0.lock().unwrap();
        assert_eq!((kept.bytes, kept.answers.len(), kept.by_use.len()), (ROOM, 3, 3));
    }
}
