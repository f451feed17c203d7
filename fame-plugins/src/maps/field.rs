//! `Field`: one of the fields that a walk recorded, in place of what moved.

use fame_core::{
    AttributionMap, Error, Result,
    contract::{MapSource, MapStep},
    registry::{Assembly, BuildContext, Plugin},
    text::suggestion,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Takes a field that the walk recorded along the way in place of the map so far, usually as the
/// first step: what `MaskWalk` records is in its description. Values are as recorded, signed, in
/// one channel or in the picture's.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// The field's name, such as `"moves_times_gradients"`.
    pub name: String,
}

impl Plugin<dyn MapStep> for Field {
    const NAME: &'static str = "Field";
    const SUMMARY: &'static str = "A field the walk recorded along the way, by name";
    const EXAMPLE: &'static str = r#"Field(name: "moves_times_gradients")"#;

    fn resolve(&mut self, _: &BuildContext<'_>, assembly: &mut Assembly) {
        assembly.check("name", !self.name.is_empty(), "must name a field");
    }

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn MapStep>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Map: Field);

impl MapStep for Field {
    fn apply(&self, _: AttributionMap) -> Result<AttributionMap> {
        Err(MapSource::missing("Field"))
    }

    fn apply_to(&self, map: AttributionMap, source: &MapSource<'_>) -> Result<AttributionMap> {
        let Some(field) = source.recorded.iter().find(|field| field.name == self.name) else {
            return Err(self.unknown(source));
        };
        let values = field.values.clone();
        let channels = match values.rows() {
            1 => vec!["Y".to_owned()],
            n if n == map.channels.len() => map.channels,
            n => {
                return Err(Error::new(
                    "fame::map::channels",
                    format!("field `{}` has {n} channels, which no longer have names.", self.name),
                )
                .with_help("Make Field(…) the first step."));
            }
        };
        Ok(AttributionMap { values, channels })
    }
}

impl Field {
    fn unknown(&self, source: &MapSource<'_>) -> Error {
        let known: Vec<&str> = source.recorded.iter().map(|field| field.name.as_str()).collect();
        let message = format!("the walk recorded no field `{}`.", self.name);
        let mut error = Error::new("fame::map::unknown_field", message);
        error.help = suggestion(&self.name, &known, "field");
        error
    }
}

#[cfg(test)]
mod tests {
    use fame_core::{Tensor, contract::Recorded, data::ChannelOrder, data::InputConvention};

    use super::*;

    #[test]
    fn a_field_is_found_by_its_name_and_refused_with_the_nearest() {
        let convention = InputConvention {
            channels: 1,
            height: 1,
            width: 2,
            order: ChannelOrder::Gray,
            mean: vec![0.0],
            std: vec![1.0],
        };
        let plane = |values: [f32; 2]| Tensor::new([1, 1, 2], values.to_vec()).unwrap();
        let recorded = [Recorded { name: "mask".into(), values: plane([0.5, 0.25]) }];
        let pixels = plane([0.0, 1.0]);
        let source = MapSource { pixels: &pixels, convention: &convention, recorded: &recorded };
        let map = || AttributionMap { values: plane([9.0, 9.0]), channels: vec!["Y".into()] };
        let field = |name: &str| Field { name: name.into() };
        let found = field("mask").apply_to(map(), &source).unwrap();
        assert_eq!(
            (found.values, &found.channels[..]),
            (plane([0.5, 0.25]), &["Y".to_owned()][..])
        );
        let error = field("masks").apply_to(map(), &source).unwrap_err();
        assert_eq!(
            (&*error.code, &*error.help.unwrap()),
            ("fame::map::unknown_field", "did you mean `mask`?")
        );
        assert_eq!(field("mask").apply(map()).unwrap_err().code, "fame::map::no_source");
    }
}
