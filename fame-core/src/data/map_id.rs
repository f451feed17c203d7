//! Which map of an explanation a map is: picture, subject, claim and finish as fields, from which
//! its name is made.

use std::fmt;

/// The side a map takes on what was asked about: the class, the match of two pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// High values are evidence for it: what carries the class, what makes two pictures match (e+).
    #[default]
    For,
    /// High values are evidence against it: what keeps two pictures from matching better (e−).
    Against,
    /// Evidence for it above a neutral middle, and against it below.
    Both,
    /// No side: noise, or a map of which nobody has said.
    Neither,
}

impl Claim {
    /// The claim of the negated attribution.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Claim::For => Claim::Against,
            Claim::Against => Claim::For,
            other => other,
        }
    }

    /// The claim as the record spells it.
    pub fn word(self) -> &'static str {
        match self {
            Claim::For => "for",
            Claim::Against => "against",
            Claim::Both => "both",
            Claim::Neither => "neither",
        }
    }
}

/// What a map, and the loss's target behind it, is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// The loss's value as such: a loss with one target needs no more.
    #[default]
    Whole,
    /// The match of this picture with the sample's other one.
    Match,
    /// A class by its index, from 0.
    Class(usize),
    /// A cell of a feature map by row and column, from 0.
    Cell(usize, usize),
    /// A thing that the plugin names, such as a detection (`face_1`). The name must be safe in a
    /// file name; it is written, and compared as a whole, but never taken apart.
    Named(String),
}

impl Subject {
    /// The class meant, if it is one.
    pub fn class(&self) -> Option<usize> {
        if let Subject::Class(class) = self { Some(*class) } else { None }
    }

    /// Its part of a map's name together with `claim`'s; empty where there is nothing to tell.
    fn name(&self, claim: Claim) -> String {
        let subject = self.to_string();
        let side = match (self, claim) {
            (Subject::Match, Claim::For) => "similar",
            (Subject::Match, Claim::Against) => "dissimilar",
            (Subject::Match, Claim::Both) => "combined",
            (_, Claim::Against) => "against",
            (_, Claim::Both) => "both",
            (_, Claim::For | Claim::Neither) => "",
        };
        joined([subject.as_str(), side])
    }
}

/// `class_281`, `cell_3_4`, the plugin's own name; empty for the whole and for a match.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Whole | Subject::Match => Ok(()),
            Subject::Class(class) => write!(f, "class_{class}"),
            Subject::Cell(row, column) => write!(f, "cell_{row}_{column}"),
            Subject::Named(name) => f.write_str(name),
        }
    }
}

/// Which of an explanation's maps a map is. No two maps of one explanation have the same.
///
/// Whoever wants to know what a map claims, or of which cell it speaks, looks here.
/// [`MapId::name`] makes a name of it for files, tables and messages; no code reads a name back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapId {
    /// Role of the picture whose pixels are scored.
    pub role: String,
    /// Whether that is the sample's only picture: then its role tells nothing.
    pub alone: bool,
    /// The class, the cell, the match.
    pub subject: Subject,
    /// The side taken.
    pub claim: Claim,
    /// Which of several finishes of one attribution it is: `k49`. `None`: the only one.
    pub finish: Option<String>,
    /// The altered network it was made on: `last_3` of a randomisation. `None`: the model itself.
    pub stage: Option<String>,
}

impl MapId {
    /// The map of the picture in `role`, for the whole of what was asked.
    pub fn new(role: impl Into<String>) -> Self {
        Self { role: role.into(), ..Self::default() }
    }

    /// Says that there is no other picture (`true`), so that the role is left out of the name.
    #[must_use]
    pub fn alone(self, alone: bool) -> Self {
        Self { alone, ..self }
    }

    /// Says what the map is about.
    #[must_use]
    pub fn about(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }

    /// Says which side the map takes.
    #[must_use]
    pub fn claiming(self, claim: Claim) -> Self {
        Self { claim, ..self }
    }

    /// Says which finish it is, where there are several.
    #[must_use]
    pub fn finished(self, finish: Option<String>) -> Self {
        Self { finish, ..self }
    }

    /// What it says of the picture, in a word: the part of its name that subject and claim make.
    pub fn says(&self) -> String {
        self.subject.name(self.claim)
    }

    /// The name of the map, unique within its explanation: `left_similar`, `class_281`,
    /// `right_cell_3_4_k49`, `image_last_3`. The only place where one is made. The role stands
    /// unless its picture is alone and there is something else to name the map by.
    pub fn name(&self) -> String {
        let says = self.says();
        let role = if self.alone && !says.is_empty() { "" } else { &self.role };
        joined([
            role,
            &says,
            self.finish.as_deref().unwrap_or_default(),
            self.stage.as_deref().unwrap_or_default(),
        ])
    }
}

fn joined<const N: usize>(parts: [&str; N]) -> String {
    let some: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    some.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_fields() {
        let left = || MapId::new("left");
        let image = || MapId::new("image").alone(true);
        let similar = || left().about(Subject::Match);
        let dissimilar = similar().claiming(Claim::Against);
        for (id, name) in [
            (left(), "left"),
            (similar(), "left_similar"),
            (dissimilar.clone(), "left_dissimilar"),
            (dissimilar.finished(Some("k49".into())), "left_dissimilar_k49"),
            (similar().claiming(Claim::Both), "left_combined"),
            (similar().claiming(Claim::Neither), "left"),
            (image(), "image"),
            (image().finished(Some("k9".into())), "image_k9"),
            (image().about(Subject::Class(281)), "class_281"),
            (image().about(Subject::Class(2)).claiming(Claim::Against), "class_2_against"),
            (left().about(Subject::Cell(3, 4)), "left_cell_3_4"),
            (image().about(Subject::Named("face_1".into())), "face_1"),
            (MapId { stage: Some("last_3".into()), ..similar() }, "left_similar_last_3"),
        ] {
            assert_eq!(id.name(), name);
        }
    }

    #[test]
    fn a_claim_has_one_opposite() {
        for claim in [Claim::For, Claim::Against, Claim::Both, Claim::Neither] {
            assert_eq!(claim.opposite().opposite(), claim);
        }
        assert_eq!(Claim::For.opposite(), Claim::Against);
        assert_eq!(Claim::Both.opposite(), Claim::Both);
    }
}
