//! What heatmaps lie over: the photograph where that is known, else the prepared picture.

use std::borrow::Cow;

use fame_core::{Error, NamedMap, Picture, Result, Tensor, data::Affine};
use image::GrayImage;

use crate::{
    pictures::to_byte,
    writers::colour::{check_size, plane, sample},
};

/// What heatmaps of a picture lie over.
pub(super) struct Frame<'a> {
    /// The picture that is shown.
    pub(super) shown: &'a Tensor,
    /// The prepared picture, rows and columns.
    prepared: (usize, usize),
    /// The photograph's rows and columns and the way from it to the prepared picture; `None`: the
    /// prepared picture itself.
    photograph: Option<((usize, usize), Affine)>,
    /// Whether the prepared picture is the photograph.
    is_unchanged: bool,
}

impl<'a> Frame<'a> {
    pub(super) fn of(picture: &'a Picture) -> Self {
        let prepared = (picture.height(), picture.width());
        let known = picture.original.as_ref().filter(|_| picture.geometry.inverse().is_some());
        Self {
            shown: known.map_or(&picture.pixels, |original| &original.pixels),
            prepared,
            photograph: known.map(|original| (original.size, picture.geometry)),
            is_unchanged: picture.original.is_none() && picture.geometry == Affine::IDENTITY,
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        let is_photograph = self.photograph.is_some() || self.is_unchanged;
        if is_photograph { "photograph" } else { "prepared" }
    }

    /// The finished map in this frame as bytes, and its values at 0 and 255. Of channels the mean.
    pub(super) fn gray(&self, map: &NamedMap) -> Result<(GrayImage, [f32; 2])> {
        let (h, w, values) = plane(map)?;
        check_size(self.prepared, map, (h, w))?;
        // Of the map itself: one that reaches 1 has the same scale in every photograph.
        let low = values.iter().copied().fold(0.0, f32::min);
        let high = values.iter().copied().fold(0.0, f32::max);
        let range = (high - low).max(f32::MIN_POSITIVE);
        let ((rows, columns), values) = match &self.photograph {
            None => ((h, w), values),
            Some((size, there)) => {
                (*size, Cow::Owned(laid_back(&values, self.prepared, *size, there)))
            }
        };
        let bytes = values.iter().map(|v| to_byte((v - low) / range)).collect();
        GrayImage::from_raw(columns as u32, rows as u32, bytes)
            .map(|gray| (gray, [low, high]))
            .ok_or_else(|| Error::bug("a map has other values than pixels."))
    }
}

/// The map `values` over `prepared`, as it lies over a photograph of `size`: each pixel's middle is
/// taken `there`, and the map read between its own pixels' middles; 0 outside of it.
fn laid_back(
    values: &[f32],
    prepared: (usize, usize),
    (rows, columns): (usize, usize),
    there: &Affine,
) -> Vec<f32> {
    let mut all = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let seen = there.apply([column as f32 + 0.5, row as f32 + 0.5]);
            all.push(sample(values, prepared, seen).unwrap_or(0.0));
        }
    }
    all
}
