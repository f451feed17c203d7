//! The layer rules on the slim networks.

use fame_core::LayerChoice;
use fame_core::store::Ask;
use fame_tests::slim;

#[test]
fn before_pooling_is_the_last_map_of_features() {
    for (name, size, shape) in [
        ("resnet50_slim", 64, 2),
        ("swin_slim", 32, 4),
        ("convnext_slim", 64, 2),
        ("vgg_slim", 64, 2),
    ] {
        let model = slim(name, Ask::default(), size);
        let layer = model.layer(&LayerChoice::BeforePooling).unwrap();
        assert!(
            layer.shape.len() == 3 && layer.shape[1] == shape && layer.shape[2] == shape,
            "{name}: {layer:?}"
        );
    }
}

#[test]
fn a_network_that_ends_in_tokens_is_told_what_to_name_instead() {
    let model = slim("vit_slim", Ask::default(), 64);
    let error = model.layer(&LayerChoice::BeforePooling).unwrap_err();
    assert_eq!(error.code, "fame::layer::tokens");
    let help = error.help.unwrap();
    let named = help.split('"').nth(1).unwrap_or_else(|| panic!("{help}"));
    let layer = model.layer(&LayerChoice::Named(named.to_owned())).unwrap();
    // 16 patches and the class token, 30 channels.
    assert_eq!(layer.shape, [17, 30], "{help}");
}
