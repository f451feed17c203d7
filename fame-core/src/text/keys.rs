//! The keys of a whole file, described for whoever writes one.

use schemars::{JsonSchema, schema_for};
use serde_json::Value;

/// One key of a file `(name: value, …)`: its meaning, its default and the type that reads it.
///
/// [`Fields::cut`](super::Fields::cut) refuses every name that is in no such list, so a file has no
/// key without a description.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The key's name.
    pub name: &'static str,
    /// Its meaning, with units and range, in full sentences.
    pub about: &'static str,
    /// What holds when it is left out, in words; empty when it must be there.
    pub default: &'static str,
    schema: fn() -> Value,
}

impl Key {
    /// A key that must be there, whose value is read as a `T`.
    pub const fn required<T: JsonSchema>(name: &'static str, about: &'static str) -> Self {
        Self { name, about, default: "", schema: schema_of::<T> }
    }

    /// A key that may be left out: `default` says what holds then.
    pub const fn optional<T: JsonSchema>(
        name: &'static str,
        about: &'static str,
        default: &'static str,
    ) -> Self {
        Self { name, about, default, schema: schema_of::<T> }
    }

    /// Whether the key must be there.
    pub fn is_required(&self) -> bool {
        self.default.is_empty()
    }

    /// The JSON schema of its value.
    pub fn schema(&self) -> Value {
        (self.schema)()
    }

    /// The names of `keys`.
    pub fn names<const N: usize>(keys: &'static [Self; N]) -> [&'static str; N] {
        keys.each_ref().map(|key| key.name)
    }
}

/// The schema of `T`, without the name of the Rust type as its title.
fn schema_of<T: JsonSchema>() -> Value {
    let mut schema = schema_for!(T).to_value();
    if let Some(object) = schema.as_object_mut()
        && object.get("title").and_then(Value::as_str) == Some(&*T::schema_name())
    {
        object.remove("title");
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_knows_the_type_that_reads_it() {
        const KEYS: [Key; 2] = [
            Key::required::<String>("name", "The name."),
            Key::optional::<Vec<u32>>("sizes", "The sizes in pixels.", "none"),
        ];
        static LIST: [Key; 2] = KEYS;
        assert_eq!(Key::names(&LIST), ["name", "sizes"]);
        assert!(LIST[0].is_required() && !LIST[1].is_required());
        assert_eq!(LIST[0].schema()["type"], "string");
        assert!(LIST[0].schema().get("title").is_none(), "no name of a Rust type");
        assert_eq!(LIST[1].schema()["items"]["type"], "integer");
    }
}
