//! Five points as a recipe writes them.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::Point;

/// `[(x, y), …]` for every picture, or `{"gallery": [(x, y), …], "probe": […]}` by role.
#[derive(Clone, Debug, PartialEq)]
pub enum Points {
    /// For the picture of any role.
    All(Vec<Point>),
    /// By role.
    ByRole(BTreeMap<String, Vec<Point>>),
}

impl Points {
    /// The points for a picture in `role`.
    pub fn of(&self, role: &str) -> Option<&[Point]> {
        match self {
            Self::All(points) => Some(points),
            Self::ByRole(roles) => roles.get(role).map(Vec::as_slice),
        }
    }

    /// Whether there is at least one list, and every list has five finite points.
    pub fn are_five(&self) -> bool {
        let five = |points: &Vec<Point>| {
            points.len() == 5 && points.iter().flatten().all(|v| v.is_finite())
        };
        match self {
            Self::All(points) => five(points),
            Self::ByRole(roles) => !roles.is_empty() && roles.values().all(five),
        }
    }
}

// By hand, because an untagged enum would answer every mistake with "did not match any variant".
impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Points;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "five points [(x, y), …], or five points by role {\"gallery\": [(x, y), …], …}",
                )
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Points, A::Error> {
                let mut points = Vec::new();
                while let Some(point) = list.next_element()? {
                    points.push(point);
                }
                Ok(Points::All(points))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Points, A::Error> {
                let mut roles = BTreeMap::new();
                while let Some((role, points)) = map.next_entry()? {
                    roles.insert(role, points);
                }
                Ok(Points::ByRole(roles))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for Points {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All(points) => points.serialize(serializer),
            Self::ByRole(roles) => roles.serialize(serializer),
        }
    }
}

impl JsonSchema for Points {
    fn schema_name() -> Cow<'static, str> {
        "Points".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "title": "[(x, y), …] | {\"role\": [(x, y), …], …}" })
    }
}

#[cfg(test)]
mod tests {
    use fame_core::text::parse;

    use super::*;

    #[derive(Deserialize)]
    struct Holder {
        points: Option<Points>,
    }

    fn read(text: &str) -> Result<Points, String> {
        parse::<Holder>(&format!("(points: {text})"))
            .map(|h| h.points.unwrap())
            .map_err(|p| p.message)
    }

    #[test]
    fn one_list_or_a_list_by_role() {
        let list = "[(38, 51.5), (73, 51), (56, 71), (41, 92), (70, 92)]";
        let all = read(list).unwrap();
        assert!(all.are_five());
        assert_eq!(all.of("anything").unwrap()[0], [38.0, 51.5]);
        let by_role = read(&format!("{{\"probe\": {list}}}")).unwrap();
        assert!(
            by_role.are_five() && by_role.of("probe").is_some() && by_role.of("gallery").is_none()
        );
    }

    #[test]
    fn what_is_not_five_points_is_noticed() {
        assert!(!read("[(1, 2), (3, 4)]").unwrap().are_five());
        assert!(!read("{}").unwrap().are_five());
        assert!(read("\"landmarks.csv\"").unwrap_err().contains("five points"));
        assert!(read("[(1, 2, 3)]").is_err());
    }
}
