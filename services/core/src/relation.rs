//! How the person of a record relates to the principal subject.

use core::fmt;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::error::Invalid;

/// The relation of a record's person to its principal subject. Numbers are stored and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Relation {
    /// The principal subject in person (本人), code `self`.
    SelfRelation = 1,
    /// The spouse (配偶者).
    Spouse = 2,
    /// A dependant (扶養親族).
    Dependant = 3,
    /// A payee of fees, not employed (支払先).
    Payee = 4,
    /// A landlord or seller of real estate (不動産の貸主等).
    Landlord = 5,
    /// A shareholder (株主).
    Shareholder = 6,
}

impl Relation {
    /// All relations, in ascending order.
    pub const ALL: [Relation; 6] = [
        Relation::SelfRelation,
        Relation::Spouse,
        Relation::Dependant,
        Relation::Payee,
        Relation::Landlord,
        Relation::Shareholder,
    ];

    /// The stable code, as in the API and in policies.
    pub const fn code(self) -> &'static str {
        match self {
            Relation::SelfRelation => "self",
            Relation::Spouse => "spouse",
            Relation::Dependant => "dependant",
            Relation::Payee => "payee",
            Relation::Landlord => "landlord",
            Relation::Shareholder => "shareholder",
        }
    }

    /// The relation with this code.
    pub fn from_code(code: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|relation| relation.code() == code);
        found.ok_or(Invalid::new("relation", "must be self, spouse, dependant, payee, landlord or shareholder"))
    }

    /// The stored number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The relation with this stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|relation| relation.number() == number)
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl<C> Encode<C> for Relation {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.u8(self.number())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Relation {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::from_number(d.u8()?).ok_or_else(|| decode::Error::message("unknown relation"))
    }
}

impl serde::Serialize for Relation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> serde::Deserialize<'de> for Relation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_code(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A set of relations. Stored as one byte in which relation `n` is bit `n - 1`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationSet(u8);

impl RelationSet {
    /// The set without members.
    pub const EMPTY: RelationSet = RelationSet(0);
    /// The set of all relations.
    pub const ALL: RelationSet = RelationSet((1 << Relation::ALL.len()) - 1);

    /// Whether the relation is a member.
    pub const fn contains(self, relation: Relation) -> bool {
        self.0 & Self::bit(relation) != 0
    }

    /// The set with one more member.
    #[must_use]
    pub const fn with(self, relation: Relation) -> Self {
        Self(self.0 | Self::bit(relation))
    }

    /// Whether there are no members.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every member is also a member of `other`.
    pub const fn is_subset(self, other: RelationSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// The members, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Relation> {
        Relation::ALL.into_iter().filter(move |relation| self.contains(*relation))
    }

    const fn bit(relation: Relation) -> u8 {
        1 << (relation.number() - 1)
    }
}

impl FromIterator<Relation> for RelationSet {
    fn from_iter<I: IntoIterator<Item = Relation>>(relations: I) -> Self {
        relations.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for RelationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Relation::code)).finish()
    }
}

impl<C> Encode<C> for RelationSet {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.u8(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for RelationSet {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let set = Self(d.u8()?);
        if set.is_subset(Self::ALL) { Ok(set) } else { Err(decode::Error::message("unknown relation in set")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_numbers_are_stable() {
        let listed: Vec<_> = Relation::ALL.iter().map(|r| (r.number(), r.code())).collect();
        assert_eq!(
            listed,
            [(1, "self"), (2, "spouse"), (3, "dependant"), (4, "payee"), (5, "landlord"), (6, "shareholder")]
        );
        for relation in Relation::ALL {
            assert_eq!(Relation::from_code(relation.code()), Ok(relation));
            let bytes = minicbor::to_vec(relation).unwrap();
            assert_eq!(bytes, [relation.number()]);
            assert_eq!(decode::<Relation>(&bytes).unwrap(), relation);
        }
        assert!(Relation::from_code("other").is_err());
        assert!(decode::<Relation>(&[0]).is_err());
        assert!(decode::<Relation>(&[7]).is_err());
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let family = RelationSet::from_iter([Relation::Dependant, Relation::Spouse]);
        assert!(family.contains(Relation::Spouse) && !family.contains(Relation::SelfRelation));
        assert_eq!(family.iter().collect::<Vec<_>>(), [Relation::Spouse, Relation::Dependant]);
        assert!(family.is_subset(RelationSet::ALL) && !RelationSet::ALL.is_subset(family));
        assert!(RelationSet::EMPTY.is_empty() && RelationSet::EMPTY.is_subset(family));
        assert_eq!(format!("{family:?}"), r#"{"spouse", "dependant"}"#);
        assert_eq!(minicbor::to_vec(family).unwrap(), [0b110]);
        assert_eq!(decode::<RelationSet>(&[0b110]).unwrap(), family);
        assert!(decode::<RelationSet>(&[0x18, 0x40]).is_err());
    }
}
