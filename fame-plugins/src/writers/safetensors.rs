//! `Safetensors`: raw fields as tensors, with what they are.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use fame_core::{
    Error, NamedMap, Result, Tensor,
    contract::{FinishedItem, Writer},
    data::{Facts, Value, facts, write_whole},
    registry::{Assembly, BuildContext, Plugin},
};
use safetensors::{Dtype, serialize, tensor::TensorView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The raw fields of an item, signed and before any map step, in one file, `raw.safetensors`: a
/// tensor `<explainer>.<map>` for each map, little-endian float32, `[C, H, W]`, channels in the
/// model's order. Python's `safetensors`, candle and others read it without running code, and map
/// it into memory.
///
/// What the fields are stands in the header, as JSON under the key `fame` of its metadata:
///
/// ```text
/// item          the item's id
/// explanations  by the recipe's name of the explainer: layer, loss and what else holds for all
/// maps          by the tensor's name: explainer, map, role, claim, finish and stage, class
/// ```
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Safetensors {}

impl Plugin<dyn Writer> for Safetensors {
    const NAME: &'static str = "Safetensors";
    const SUMMARY: &'static str = "Raw fields of an item as one .safetensors file";
    const EXAMPLE: &'static str = "Safetensors()";
    const REFERENCE: &'static str = "The format safetensors, github.com/huggingface/safetensors";

    fn build(self, _: &BuildContext<'_>, _: &mut Assembly) -> Option<Box<dyn Writer>> {
        Some(Box::new(self))
    }
}

fame_core::register!(Writer: Safetensors);

/// The file in an item's folder.
const FILE: &str = "raw.safetensors";
/// The key of the metadata under which ours stand. It is the only one: the crate keeps them in a
/// hash map, and writes several in another order each time.
const KEY: &str = "fame";

impl Writer for Safetensors {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        let named = |(explainer, map): (&str, &NamedMap)| format!("{explainer}.{}", map.name());
        let fields = super::maps(item).map(|one| (named(one), &one.1.raw)).collect();
        let maps = super::maps(item).map(|one| (named(one), Value::Map(about(one.0, one.1))));
        let explanations = item.explanations.iter();
        let explained = explanations.map(|(name, e)| (name.clone(), Value::Map(e.facts.clone())));
        let said = Value::Map(facts([
            ("item", item.sample.id.as_str().into()),
            ("explanations", Value::Map(explained.collect())),
            ("maps", Value::Map(maps.collect())),
        ]));
        let said = serde_json::to_string(&said)
            .map_err(|e| Error::bug(format!("facts cannot be written as JSON: {e}.")))?;
        write_whole(&super::place(folder, FILE)?, &encode(&fields, said)?)?;
        Ok(vec![FILE.to_owned()])
    }
}

/// The file of `fields` by name, with what is `said` of them.
fn encode(fields: &BTreeMap<String, &Tensor>, said: String) -> Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = fields
        .values()
        .map(|field| field.data().iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = fields.iter().zip(&bytes).map(|((name, field), bytes)| {
        let view = TensorView::new(Dtype::F32, field.shape().to_vec(), bytes);
        Ok((name.as_str(), view.map_err(|e| failed(&e))?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([(KEY.to_owned(), said)]);
    serialize(views, Some(metadata)).map_err(|e| failed(&e))
}

/// What the field of `map` is.
fn about(explainer: &str, map: &NamedMap) -> Facts {
    let id = &map.id;
    let mut about = facts([
        ("explainer", explainer.into()),
        ("map", map.name().into()),
        ("role", id.role.as_str().into()),
        ("claim", id.claim.word().into()),
    ]);
    let words = [("finish", &id.finish), ("stage", &id.stage)];
    about.extend(
        words
            .into_iter()
            .filter_map(|(name, word)| Some((name.to_owned(), word.as_deref()?.into()))),
    );
    about.extend(id.subject.class().map(|class| ("class".to_owned(), class.into())));
    about
}

/// Numbers that are no tensor, or more of them than a header can tell of.
fn failed(why: &safetensors::SafeTensorError) -> Error {
    let message = format!("raw fields cannot be written as `{FILE}`: {why}.");
    Error::new("fame::writer::safetensors", message)
        .with_help("Use Npy(raw: true), which writes a file for each.")
}

#[cfg(test)]
mod tests {
    use fame_core::{Claim, Explanation, MapId, Subject};
    use safetensors::SafeTensors;

    use super::{
        super::testing::{explanation, map_of, sample, write},
        *,
    };

    fn explained() -> [(String, Explanation); 1] {
        let side = |claim, values| {
            let id = MapId::new("probe").about(Subject::Match).claiming(claim);
            map_of(id, Tensor::new([1, 2], values).unwrap())
        };
        let maps = vec![
            side(Claim::For, vec![0.1, -3.5]),
            side(Claim::Against, vec![f32::MIN_POSITIVE, 0.0]),
        ];
        let all = facts([("layers", vec!["embedding"].into()), ("loss", "Similarity".into())]);
        [("fame".to_owned(), Explanation { facts: all, ..explanation(maps) })]
    }

    /// What Python's safetensors 0.8.0 makes of the same: `safetensors.numpy.save({"fame.probe":
    /// numpy.array([[[0.1, -3.5]]], numpy.float32)}, metadata={"fame": '{"item":"s"}'})`.
    #[test]
    fn the_file_is_what_python_writes() {
        const LENGTH: u8 = 112;
        const HEADER: &str = r#"{"__metadata__":{"fame":"{\"item\":\"s\"}"},"fame.probe":{"dtype":"F32","shape":[1,1,2],"data_offsets":[0,8]}}"#;
        let field = Tensor::new([1, 1, 2], vec![0.1, -3.5]).unwrap();
        let fields = BTreeMap::from([("fame.probe".to_owned(), &field)]);
        let mut expected = vec![LENGTH, 0, 0, 0, 0, 0, 0, 0];
        expected.extend(HEADER.as_bytes());
        expected.resize(8 + usize::from(LENGTH), b' ');
        expected.extend([0xcd, 0xcc, 0xcc, 0x3d, 0, 0, 0x60, 0xc0]);
        assert_eq!(encode(&fields, r#"{"item":"s"}"#.to_owned()).unwrap(), expected);
    }

    #[test]
    fn fields_come_back_bit_by_bit_with_what_they_are() {
        let explained = explained();
        let (dir, files) = write("Safetensors()", &sample(&["probe"], 1, 2), &explained);
        assert_eq!(files.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), [FILE]);
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        let all = SafeTensors::deserialize(&bytes).unwrap();
        let mut names = all.names();
        names.sort_unstable();
        assert_eq!(names, ["fame.probe_dissimilar", "fame.probe_similar"]);
        for map in &explained[0].1.maps {
            let field = all.tensor(&format!("fame.{}", map.name())).unwrap();
            assert_eq!((field.dtype(), field.shape()), (Dtype::F32, &[1, 1, 2][..]));
            let values: Vec<f32> = field
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            assert_eq!(values, map.raw.data());
        }
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().as_ref().unwrap();
        assert_eq!(metadata.len(), 1);
        let said: serde_json::Value = serde_json::from_str(&metadata[KEY]).unwrap();
        assert_eq!(said["item"], "s");
        assert_eq!(said["explanations"]["fame"]["loss"], "Similarity");
        assert_eq!(said["explanations"]["fame"]["layers"][0], "embedding");
        let about = &said["maps"]["fame.probe_dissimilar"];
        let told = ["explainer", "map", "role", "claim"].map(|name| about[name].as_str().unwrap());
        assert_eq!(told, ["fame", "probe_dissimilar", "probe", "against"]);
    }

    #[test]
    fn an_item_without_maps_has_a_file_without_tensors() {
        let (dir, _) = write("Safetensors()", &sample(&["image"], 1, 2), &[]);
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        assert!(SafeTensors::deserialize(&bytes).unwrap().is_empty());
    }
}
