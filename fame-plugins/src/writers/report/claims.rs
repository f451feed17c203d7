//! What a method's map shows, and what it does not: one sentence for each explainer.
//!
//! They stand in one table, so that they can be read beside one another and said in the same way.

/// Sentences by the explainer's name.
const CLAIMS: [(&str, &str); 41] = [
    (
        "Fame",
        "Shows which pixels moved most while the picture walked down its own loss, so what the answer rests on along that way; not what would happen if these pixels were taken away, nor that the others do not matter.",
    ),
    (
        "GradCam",
        "Shows which cells of one layer raise the asked value, each channel weighted by its mean gradient; not detail finer than a cell, nor what other layers see.",
    ),
    (
        "GradCamElementwise",
        "Shows which cells of one layer raise the asked value, each value weighted by its own gradient; not detail finer than a cell, nor evidence against.",
    ),
    (
        "HiResCam",
        "Shows which cells of one layer add to the asked value; exact for networks that end in a mean and a linear layer, an estimate for others, and no finer than a cell.",
    ),
    (
        "GradCamPlusPlus",
        "Shows which cells of one layer raise the asked value, with weights that favour several places of the same thing; not how much each of them adds.",
    ),
    (
        "XGradCam",
        "Shows which cells of one layer raise the asked value, channels weighted by their share of it; not detail finer than a cell.",
    ),
    (
        "LayerCam",
        "Shows which cells of one layer raise the asked value, keeping only positive gradients; not evidence against.",
    ),
    (
        "EigenCam",
        "Shows where one layer is active in its main direction; not what the asked value rests on: it does not know what was asked.",
    ),
    (
        "EigenGradCam",
        "Shows the main direction of activations times gradients in one layer; not how much a cell adds to the asked value.",
    ),
    (
        "SegEigenCam",
        "Shows the main direction of one layer's activations, weighted by how much the asked value depends on them either way; not whether a cell speaks for or against it.",
    ),
    (
        "KpcaCam",
        "Shows where one layer is active in its main direction, after a kernel bent its space; not what the asked value rests on: it does not know what was asked.",
    ),
    (
        "ShapleyCam",
        "Shows which cells of one layer raise the asked value, each channel weighted by its mean share of it to second order; not detail finer than a cell, nor what other layers see.",
    ),
    (
        "ScoreCam",
        "Shows which channels' places let the asked value through when all else is covered; not what two places do together.",
    ),
    (
        "AblationCam",
        "Shows which channels' places lower the asked value when the channel is switched off; not detail finer than a cell.",
    ),
    (
        "RandomCam",
        "Shows activations with weights drawn at random: what a CAM looks like that knows nothing, for comparison; it shows nothing about the answer.",
    ),
    (
        "DeepFeatureFactorization",
        "Shows where in the picture each of a layer's recurring patterns is; not what the asked value rests on: it does not know what was asked, and a pattern need not be anything with a name.",
    ),
    (
        "FullGrad",
        "Shows the input's and every bias's share of the asked value put together, smoothed and without sign; not evidence against.",
    ),
    (
        "Saliency",
        "Shows where the asked value changes fastest for tiny changes of a pixel; not what the answer rests on, since a saturated score changes nowhere.",
    ),
    (
        "GradientTimesInput",
        "Shows a first-order share of each pixel in the asked value; not the share of dark pixels, which is zero however much they matter.",
    ),
    (
        "IntegratedGradients",
        "Shows how the difference to the baseline picture adds up over the pixels; what it shows depends on that baseline, and pixels that equal it get nothing.",
    ),
    (
        "Lrp",
        "Shows which pixels the asked value is shared out to, as far as they speak for it, by the rules chosen for each kind of layer; other rules make other maps, what speaks against the value is in the raw field only, and what constants in the network add is nobody's.",
    ),
    (
        "SmoothGrad",
        "Shows the gradient averaged over noisy copies of the picture; not the network's behaviour on the picture itself alone.",
    ),
    (
        "GuidedBackprop",
        "Shows the picture's detail that excites the network forwards and backwards; hardly what was asked: it changes little with the class.",
    ),
    (
        "Rise",
        "Shows where random masks that keep a place keep the asked value; not fine detail, and with few masks much of it is noise.",
    ),
    (
        "KernelShap",
        "Shows each tile's fair share in the asked value among all sets of tiles, estimated from some of them; not detail finer than a tile, and what it shows depends on what stands where tiles are not.",
    ),
    (
        "Lime",
        "Shows the weights of a linear model of the asked value over random tiles kept or filled; not shares that add up, and not more than such a model can say.",
    ),
    (
        "SobolAttribution",
        "Shows each cell's share, alone and with others, in how the asked value varies while cells fade towards a plainer picture; not whether a cell speaks for or against it, and not detail finer than a cell.",
    ),
    (
        "HsicAttribution",
        "Shows how far the asked value depends in any way on whether a cell is there; not whether a cell speaks for or against it, and cells that say nothing are not quite dark.",
    ),
    (
        "Occlusion",
        "Shows where covering a window lowers the asked value; not detail finer than the window, nor evidence that stands in two places at once.",
    ),
    (
        "CorrRise",
        "Shows where seeing a place goes along with more similarity (e+) or with less (e−) over random masks; a correlation, and with few masks much of it is noise.",
    ),
    (
        "Fggb",
        "Shows gradients of each embedding dimension, weighted by what it adds to the match; not what would happen if these pixels were taken away.",
    ),
    (
        "Xssab",
        "Shows gradients of the similarity's shares for a match (e+) and against it (e−); local slopes, and not what would happen if these pixels were taken away.",
    ),
    (
        "DotDecomposition",
        "Shows how the embeddings' dot product adds up over the cells of a feature map; exact where a linear layer follows that map, and no finer than a cell.",
    ),
    (
        "AttentionRollout",
        "Shows how attention could carry each patch to the output; not how much it adds to the asked value, and not what happens between attentions.",
    ),
    (
        "LeGrad",
        "Shows which patches each layer of a transformer would have to attend to more for a higher score of its own; not how much a patch adds to the network's answer.",
    ),
    ("Precomputed", "Shows what another program computed; nothing is known here of how."),
    (
        "RandomMap",
        "Shows noise: the floor that every method must beat; it shows nothing about the answer.",
    ),
    (
        "Randomized",
        "Shows the method on a network with weights drawn anew: if the map looks as before, the method does not show what was learnt.",
    ),
    (
        "Smooth",
        "Shows another method averaged over noisy copies of the picture; what that method shows and does not show holds for it too.",
    ),
    (
        "Sum",
        "Shows where one or another of several methods is high; what each of them does not show holds for it too.",
    ),
    (
        "Product",
        "Shows only where all of several methods are high; a place that one of them misses is dark, however much it matters.",
    ),
];

/// Sentences about explainers of the crates that the program may have linked beside this one.
const BESIDE: [(&str, &str); 1] = [(
    "DRise",
    "Shows where random masks that keep a place keep a detection, its box and its class together; not for which of the two a place matters, and not fine detail.",
)];

/// What a map of the explainer called `plugin` shows, and what it does not: one sentence.
pub fn of(plugin: &str) -> &'static str {
    let found = CLAIMS.iter().chain(&BESIDE).find(|(name, _)| *name == plugin);
    found
        .map_or("Nobody has said what a map of this method shows: ask whoever made it.", |(_, c)| c)
}

#[cfg(test)]
mod tests {
    use fame_core::registry::{Kind, Registry};

    use super::*;

    #[test]
    fn every_explainer_says_what_it_shows() {
        let registry = Registry::builtin().unwrap();
        let names = registry.names(Kind::Explainer);
        for name in &names {
            assert!(CLAIMS.iter().any(|(known, _)| known == name), "{name} has no sentence");
        }
        for (name, claim) in CLAIMS {
            assert!(names.contains(&name), "{name} is no explainer");
            let is_sentence = claim.starts_with("Shows ") && claim.ends_with('.');
            assert!(is_sentence, "{name}: {claim}");
        }
        for (name, claim) in BESIDE {
            assert!(!names.contains(&name), "{name} is built in: it belongs into the other table");
            assert!(claim.starts_with("Shows ") && claim.ends_with('.'), "{name}: {claim}");
        }
        assert!(of("Mine").contains("Nobody has said"));
    }
}
