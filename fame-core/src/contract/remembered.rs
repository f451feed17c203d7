//! What a network has answered of pictures that many samples share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use crate::{Tensor, data::sha256_hex};

/// What is held at once, in bytes: a hundred thousand embeddings of 512 numbers take four times as
/// much, and a feature map of a megabyte fits 63 times.
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
    /// SHA-256 of the input's shape and numbers.
    input: String,
    layers: Vec<String>,
}

impl Known {
    /// What is asked of `input`.
    pub fn of(layers: &[String], input: &Tensor) -> Self {
        let shape = input.shape();
        let shape = [shape.len()].into_iter().chain(shape.iter().copied());
        let numbers = input.data().iter().flat_map(|v| v.to_le_bytes());
        let bytes: Vec<u8> = shape.flat_map(usize::to_le_bytes).chain(numbers).collect();
        Self { input: sha256_hex(&bytes), layers: layers.to_vec() }
    }

    /// What it takes in memory.
    fn bytes(&self) -> usize {
        let layers = self.layers.iter().map(|layer| size_of_val(layer) + layer.len());
        size_of_val(self) + self.input.len() + layers.sum::<usize>()
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
        let size = bytes(&known, answer);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if size > most || kept.answers.contains_key(&known) {
            return;
        }
        while kept.bytes + size > most {
            let Some((_, oldest)) = kept.by_use.pop_first() else { break };
            let gone = kept.answers.remove(&oldest);
            kept.bytes -= gone.map_or(0, |(_, answer)| bytes(&oldest, &answer));
        }
        kept.now += 1;
        let now = kept.now;
        kept.bytes += size;
        kept.by_use.insert(now, known.clone());
        kept.answers.insert(known, (now, answer.to_vec()));
    }
}

/// What an answer takes in memory, with its key, which stands in both maps.
fn bytes(known: &Known, answer: &[Tensor]) -> usize {
    let outputs = answer.iter().map(|output| size_of_val(output) + size_of_val(output.data()));
    2 * known.bytes() + outputs.sum::<usize>()
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
        let turned = Known::of(&["layer".to_owned()], &Tensor::filled([1, 2], 1.0));
        assert_eq!(remembered.get(&turned), None);
    }

    #[test]
    fn what_was_asked_for_longest_ago_makes_room() {
        let room = 3 * bytes(&known(0), &answer(0));
        let remembered = Remembered::default();
        for n in 0..3 {
            remembered.put_within(room, known(n), &answer(n));
        }
        assert!(remembered.get(&known(0)).is_some());
        remembered.put_within(room, known(3), &answer(3));
        let held: Vec<bool> = (0..4).map(|n| remembered.get(&known(n)).is_some()).collect();
        assert_eq!(held, [true, false, true, true]);
        // One that would fill more than there is goes by, and the same one again takes no room.
        remembered.put_within(room, known(9), &[Tensor::zeros([room])]);
        remembered.put_within(room, known(3), &answer(3));
        let kept = remembered.0.lock().unwrap();
        assert_eq!((kept.bytes, kept.answers.len(), kept.by_use.len()), (room, 3, 3));
    }
}
