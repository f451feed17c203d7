//! One recipe and one manifest in which every key is used: what `fame-cli describe recipe` and
//! `describe manifest` show, key by key.

/// A recipe with every key. It resolves, without its plugin library.
pub const RECIPE_EXAMPLE: &str = r#"(
    model: "mobilefacenet",
    plugins: ["target/release/libmy_plugin.so"],
    backend: Tract(threads: 4),
    preset: Fast,
    data: Pair(gallery: "picture:obama", probe: "picture:obama2"),
    prepare: [AlignFace()],
    explain: {
        "fame": Fame(layer: "embedding", loss: Similarity()),
        "grad_cam": GradCam(layer: "feature_map"),
    },
    check: ForwardCheck(backend: Ort(), tolerance: 1e-3),
    metrics: [MapSimilarity(to: "grad_cam")],
    write: [Npy(), Overlay(colormap: "jet"), Report()],
    seed: 7,
    parts: false,
    out: "out/first",
)
"#;

/// A manifest with every key that is still written.
pub const MANIFEST_EXAMPLE: &str = r#"(
    summary: "Tells cats from dogs",
    source: File(path: "pets.onnx"),
    licence: "CC BY 4.0; trained on photographs of my own",
    ask: (loss: Logit(), layer: "logits"),
    input: (
        size: (3, 224, 224),
        order: Rgb,
        mean: (0.485, 0.456, 0.406),
        std: (0.229, 0.224, 0.225),
        layout: ChannelsFirst,
        fixed: {"training": Fill(0)},
    ),
    prepare: [ResizeShorter(size: 256), CenterCrop(size: 224)],
    layers: {"logits": "output", "feature_map": "/layer4/Relu_output_0"},
    labels: List(["cat", "dog"]),
)
"#;
