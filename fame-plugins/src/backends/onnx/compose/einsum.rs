//! `Einsum` with an ellipsis, with an implied output or with a diagonal, which tract reads wrongly
//! or gives no gradient. The equation gets a letter for every axis.

use std::collections::{BTreeMap, BTreeSet};

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::tract_core::internal::*;

use super::op::{Outputs, composed};
use super::writer::Writer;

pub(super) fn register(known: &mut OnnxOpRegister) {
    known.insert("Einsum", |ctx, node| composed(ctx, node, &[], einsum));
}

const ELLIPSIS: &str = "...";

fn einsum(w: &mut Writer) -> TractResult<Outputs> {
    let equation: String = w.text("equation").unwrap_or_default().split_whitespace().collect();
    let mut inputs: Vec<OutletId> =
        (0..w.arity()).map(|ix| w.needed(ix)).collect::<TractResult<_>>()?;
    let shapes = inputs.iter().map(|x| w.shape(*x)).collect::<TractResult<Vec<_>>>()?;
    let ranks: Vec<usize> = shapes.iter().map(Vec::len).collect();
    let (mut terms, output) = spelled_out(&equation, &ranks)?;
    let mut extents: BTreeMap<char, usize> = BTreeMap::new();
    for ix in 0..inputs.len() {
        (inputs[ix], terms[ix]) = without_repeats(w, inputs[ix], &terms[ix])?;
        for (letter, extent) in terms[ix].iter().zip(w.shape(inputs[ix])?) {
            let known = extents.entry(*letter).or_insert(extent);
            *known = (*known).max(extent);
        }
    }
    let distinct: BTreeSet<&char> = output.iter().collect();
    ensure!(distinct.len() == output.len(), "an axis is repeated in the output of `{equation}`");
    // A letter that only one operand has, and not the output, is summed first: products then have
    // two or three letters a side.
    let joined = |letters: &[char]| letters.iter().collect::<String>();
    let left: Vec<String> = terms.iter().map(|term| joined(term)).collect();
    let expression = format!("{}->{}", left.join(","), joined(&output));
    let shape: Vec<usize> = output.iter().map(|letter| extents[letter]).collect();
    let y = match (inputs.as_slice(), terms.as_slice()) {
        ([x], [term]) => alone(w, *x, term, &output)?,
        _ => w.einsum(&expression, &inputs)?,
    };
    Ok(tvec!(Some(w.broadcast(y, &shape)?)))
}

/// The letters of every operand and of the output.
type Spelled = (Vec<Vec<char>>, Vec<char>);

/// A letter for every axis of operands with `ranks` axes. The axes of an ellipsis are aligned at
/// its end.
fn spelled_out(equation: &str, ranks: &[usize]) -> TractResult<Spelled> {
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation, None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    ensure!(terms.len() == ranks.len(), "`{equation}` is of {} operands", terms.len());
    let letters = |term: &str| term.replace(ELLIPSIS, "").chars().collect::<Vec<char>>();
    let hidden = |term: &str, rank: usize| -> TractResult<usize> {
        let own = letters(term).len();
        let hidden = rank.checked_sub(own);
        let hidden = hidden.filter(|n| *n == 0 || term.contains(ELLIPSIS));
        hidden.with_context(|| format!("`{term}` of an operand with {rank} axes"))
    };
    let counts: Vec<usize> = terms
        .iter()
        .zip(ranks)
        .map(|(term, rank)| hidden(term, *rank))
        .collect::<TractResult<_>>()?;
    let most = counts.iter().copied().max().unwrap_or_default();
    let fresh: Vec<char> =
        ('a'..='z').chain('A'..='Z').filter(|c| !equation.contains(*c)).take(most).collect();
    ensure!(fresh.len() == most, "`{equation}` needs more letters than there are");
    let whole = |term: &str, count: usize| -> Vec<char> {
        let (before, after) = term.split_once(ELLIPSIS).unwrap_or((term, ""));
        let ellipsis = &fresh[most - count..];
        before.chars().chain(ellipsis.iter().copied()).chain(after.chars()).collect()
    };
    let spelled = terms.iter().zip(&counts).map(|(term, count)| whole(term, *count)).collect();
    let output = match right {
        Some(right) => whole(right, if right.contains(ELLIPSIS) { most } else { 0 }),
        None => {
            let all: Vec<char> = terms.iter().flat_map(|term| letters(term)).collect();
            let once: BTreeSet<char> = all
                .iter()
                .filter(|c| all.iter().filter(|d| d == c).count() == 1)
                .copied()
                .collect();
            fresh.iter().copied().chain(once).collect()
        }
    };
    Ok((spelled, output))
}

/// An operand of which every letter names one axis: of two axes with the same letter the diagonal
/// is taken.
fn without_repeats(
    w: &mut Writer,
    x: OutletId,
    term: &[char],
) -> TractResult<(OutletId, Vec<char>)> {
    let (mut x, mut term) = (x, term.to_vec());
    let twice = |term: &[char]| {
        term.iter()
            .enumerate()
            .find_map(|(j, letter)| Some((term[..j].iter().position(|other| other == letter)?, j)))
    };
    while let Some((i, j)) = twice(&term) {
        // Both axes go to the front, become one, and every (n + 1)-th element of it is kept.
        let rest: Vec<usize> = (0..term.len()).filter(|axis| *axis != i && *axis != j).collect();
        let order: Vec<usize> = [i, j].into_iter().chain(rest.iter().copied()).collect();
        x = w.transpose(x, &order)?;
        let shape = w.shape(x)?;
        let extent = shape[0];
        ensure!(extent == shape[1], "a diagonal of {extent} by {} elements", shape[1]);
        let mut flat = vec![extent * extent];
        flat.extend(&shape[2..]);
        x = w.reshape(x, &flat)?;
        let places: Vec<i64> = (0..extent).map(|n| (n * (extent + 1)) as i64).collect();
        x = w.pick(x, 0, &places)?;
        term = std::iter::once(term[i]).chain(rest.iter().map(|axis| term[*axis])).collect();
    }
    Ok((x, term))
}

/// One operand: what the output lacks is summed, the rest put in order.
fn alone(w: &mut Writer, x: OutletId, term: &[char], output: &[char]) -> TractResult<OutletId> {
    let summed: Vec<usize> =
        (0..term.len()).filter(|axis| !output.contains(&term[*axis])).collect();
    let mut x = if summed.is_empty() { x } else { w.sum(x, &summed)? };
    let shape = w.shape(x)?;
    let kept: Vec<usize> = (0..term.len()).filter(|axis| !summed.contains(axis)).collect();
    let extents: Vec<usize> = kept.iter().map(|axis| shape[*axis]).collect();
    x = w.reshape(x, &extents)?;
    let letters: Vec<char> = kept.iter().map(|axis| term[*axis]).collect();
    let place = |letter: &char| letters.iter().position(|own| own == letter);
    let order: Option<Vec<usize>> = output.iter().map(place).collect();
    w.transpose(x, &order.context("a letter of the output that no operand has")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(equation: &str, ranks: &[usize]) -> String {
        let (terms, output) = spelled_out(equation, ranks).unwrap();
        let word = |letters: &Vec<char>| letters.iter().collect::<String>();
        let terms: Vec<String> = terms.iter().map(word).collect();
        format!("{}->{}", terms.join(","), word(&output))
    }

    #[test]
    fn every_axis_gets_a_letter() {
        assert_eq!(told("ij,jk->ik", &[2, 2]), "ij,jk->ik");
        assert_eq!(told("...w,wd->...d", &[4, 2]), "abcw,wd->abcd");
        assert_eq!(told("...ij,...jk", &[4, 3]), "abij,bjk->abik");
        assert_eq!(told("ba", &[2]), "ba->ab");
        assert_eq!(told("...ii->...i", &[3]), "aii->ai");
        assert!(spelled_out("ij->i", &[3]).is_err());
        assert!(spelled_out("ij,jk->ik", &[2]).is_err());
    }
}
