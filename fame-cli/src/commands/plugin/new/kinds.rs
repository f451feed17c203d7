//! What is written for each kind.

use fame_core::registry::Kind;

use super::core::dependency;

/// The plugin and its tests, with the name `Scaffold` and the crate `scaffold_crate`.
pub(super) struct Template {
    pub(super) source: &'static str,
    pub(super) test: &'static str,
}

macro_rules! template {
    ($kind:literal) => {
        Template {
            source: include_str!(concat!("templates/", $kind, ".rs")),
            test: include_str!(concat!("templates/", $kind, "_test.rs")),
        }
    };
}

pub(super) fn template(kind: Kind) -> Template {
    match kind {
        Kind::Backend => template!("backend"),
        Kind::Dataset => template!("dataset"),
        Kind::Prepare => template!("prepare"),
        Kind::Explainer => template!("explainer"),
        Kind::Loss => template!("loss"),
        Kind::Perturbation => template!("perturbation"),
        Kind::Map => template!("map"),
        Kind::Metric => template!("metric"),
        Kind::Writer => template!("writer"),
    }
}

/// Lines of the manifest beyond fame-core.
pub(super) fn dependencies(kind: Kind) -> String {
    let mut lines = vec![dependency("schemars"), dependency("serde")];
    if kind == Kind::Dataset {
        lines.extend([
            "# Decodes pictures: fame-core itself has no codec.",
            dependency("image"),
            "",
            "[dev-dependencies]",
            dependency("tempfile"),
        ]);
    }
    lines.join("\n") + "\n"
}

/// The recipe's fields from `backend` on: the new plugin, and built-in ones around it. `#` is the
/// plugin's name.
pub(super) fn fields(kind: Kind) -> String {
    const LOSS: &str = "Logit()";
    const WALK: &str = "Lots(iterations: 50)";
    const MAP: &str = "Gray(), GaussianBlur(kernel: 9, sigma: 1.5), MaxNormalize()";
    let fame = |loss: &str, walk: &str, map: &str| {
        format!(
            "\"fame\": Fame(\n            layer: Output,\n            loss: {loss},\n            perturbation: {walk},\n            map: [{map}],\n        )"
        )
    };
    let plain = fame(LOSS, WALK, MAP);
    let (mut data, mut prepare, mut explain) = ("Shapes(count: 2)", "", plain);
    let (mut backend, mut rest) = ("", "    write: [Npy(), Overlay()],");
    match kind {
        Kind::Backend => backend = "    backend: #(inner: Tract(), noise: 0.05),\n",
        Kind::Dataset => data = "#(list: \"example/list.csv\")",
        Kind::Prepare => prepare = "#()",
        Kind::Explainer => "\"mine\": #(loss: Logit(), layer: Output)".clone_into(&mut explain),
        Kind::Loss => explain = fame("#(temperature: 1.0)", WALK, MAP),
        Kind::Perturbation => explain = fame(LOSS, "#(momentum: 0.9, iterations: 50)", MAP),
        Kind::Map => {
            explain = fame(
                LOSS,
                WALK,
                "Gray(), GaussianBlur(kernel: 9, sigma: 1.5), MaxNormalize(), #(gamma: 0.5)",
            )
        }
        Kind::Metric => {
            rest = "    metrics: [#(effective_pixels: true)],\n    write: [Npy(), Overlay()],"
        }
        Kind::Writer => rest = "    write: [#(pixels: 10), Overlay()],",
    }
    format!(
        "{backend}    data: {data},\n    prepare: [{prepare}], // pictures have the network's size already\n    explain: {{\n        {explain},\n    }},\n{rest}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_registers_its_kind_exports_and_is_named_in_its_recipe() {
        for kind in Kind::ALL {
            let Template { source, test } = template(kind);
            assert!(
                source.contains(&format!("fame_core::register!({kind:?}: Scaffold);")),
                "{kind:?}"
            );
            assert!(source.contains("fame_core::export_plugin!();"), "{kind:?}");
            assert!(test.contains("check_plugin::<") && test.contains("Trial::run"), "{kind:?}");
            assert_eq!(fields(kind).matches('#').count(), 1, "{kind:?}");
        }
    }
}
