//! Where a transformer shows its attention, and what the tokens lie over.

use fame_core::{Error, LayerChoice, Model, Result, registry::Assembly};

/// A model's attention layers.
pub(super) struct Attention {
    /// Their names, from the first to the last: each gives heads × tokens × tokens.
    pub(super) layers: Vec<String>,
    /// How many tokens there are.
    pub(super) tokens: usize,
    /// Rows and columns of the picture's tokens.
    pub(super) grid: (usize, usize),
}

/// Checks the parameters `attention` and `grid`.
pub(super) fn check_attention(
    attention: Option<&[String]>,
    grid: Option<(usize, usize)>,
    assembly: &mut Assembly,
) {
    assembly.check(
        "attention",
        attention.is_none_or(|a| !a.is_empty()),
        "must name at least one layer",
    );
    assembly.check("grid", grid.is_none_or(|(r, c)| r > 0 && c > 0), "must have rows and columns");
}

impl Attention {
    /// The attention layers of `model`: those `named`, or every Softmax over tokens × tokens.
    ///
    /// # Errors
    /// When there is none, its shape is none of attention, or the tokens do not fit `grid`.
    pub(super) fn of(
        model: &Model,
        named: Option<&[String]>,
        wanted_grid: Option<(usize, usize)>,
    ) -> Result<Self> {
        let all = model.network.layers();
        let square = |shape: &[usize]| matches!(shape, [_, t, u] if t == u && *t > 1);
        let layers: Vec<(String, Vec<usize>)> = match named {
            Some(names) => {
                let layer = |name: &String| {
                    model
                        .layer(&LayerChoice::Named(name.clone()))
                        .map(|l| (l.name.clone(), l.shape.clone()))
                };
                names.iter().map(layer).collect::<Result<_>>()?
            }
            None => all
                .iter()
                .filter(|l| l.op == "Softmax" && l.depends_on_input && square(&l.shape))
                .map(|l| (l.name.clone(), l.shape.clone()))
                .collect(),
        };
        let refuse = |message: String| {
            Err(Error::new("fame::explain::no_attention", message)
                .with_help("`attention` can name the layers; attention fused into one operator cannot be read."))
        };
        let Some((_, first)) = layers.first() else {
            return refuse(format!(
                "model `{}` has no Softmax over heads × tokens × tokens: it is no transformer that shows its attention.",
                model.manifest.name
            ));
        };
        if let Some((name, shape)) =
            layers.iter().find(|(_, shape)| !square(shape) || shape[1..] != first[1..])
        {
            return refuse(format!(
                "layer `{name}` has shape {shape:?}, but attention is heads × tokens × tokens, with the same tokens everywhere."
            ));
        }
        let tokens = first[1];
        let Some(grid) = grid(tokens, wanted_grid) else {
            return refuse(format!(
                "{tokens} tokens do not fit the grid: `grid` must have that many cells, or one less beside a class token."
            ));
        };
        Ok(Self { layers: layers.into_iter().map(|(name, _)| name).collect(), tokens, grid })
    }

    /// How many tokens in front of the grid belong to no place: 1 where there is a class token,
    /// else 0.
    pub(super) fn in_front(&self) -> usize {
        self.tokens - self.grid.0 * self.grid.1
    }
}

/// Rows and columns of `tokens` tokens, with or without a class token in front.
fn grid(tokens: usize, wanted: Option<(usize, usize)>) -> Option<(usize, usize)> {
    match wanted {
        Some((rows, columns)) => {
            let cells = rows.checked_mul(columns)?;
            (cells == tokens || tokens.checked_sub(1) == Some(cells)).then_some((rows, columns))
        }
        None => [tokens, tokens - 1]
            .into_iter()
            .find(|t| t.isqrt().pow(2) == *t)
            .map(|t| (t.isqrt(), t.isqrt())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_grids_are_found_or_checked() {
        assert_eq!(grid(197, None), Some((14, 14)));
        assert_eq!(grid(49, None), Some((7, 7)));
        assert_eq!(grid(13, None), None);
        assert_eq!(grid(13, Some((3, 4))), Some((3, 4)));
        assert_eq!(grid(13, Some((3, 3))), None);
        assert_eq!(grid(13, Some((usize::MAX, 2))), None);
    }
}
