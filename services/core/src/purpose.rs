//! Purposes: the lawful reasons for using a number, as editable data.
//!
//! The catalogue is written in TOML, checked here, and replicated as state. What is law is a row of data with its
//! basis and the date and person of its verification; none of it is code.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{
    forbidden::ForbiddenUse,
    ids::PurposeCode,
    limits::{CATALOGUE_BYTES_MAX, PURPOSE_TEXT_CHARS_MAX, PURPOSES_PER_CATALOGUE_MAX},
    relation::{Relation, RelationSet},
    retention::RetentionRule,
    text::{contains_my_number, contains_token},
    time::Day,
};

pub use change::{CatalogueChange, ChangeError};

mod change;

/// The code of the only purpose for which a person gets their own number.
pub const DISCLOSE_SELF: &str = "op.disclose_self";
/// The code of the only purpose for which a number crosses to another tenant.
pub const TRANSFER: &str = "op.transfer_19_4";
/// How the codes of copies handed to the person end.
pub const COPY_TO_PERSON: &str = ".copy_to_person";

/// One entry of the catalogue: a duty or procedure (事務 / 手続) for which a number may be used.
///
/// In files it is a table, without the marks that only the vault sets.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct Purpose {
    /// The code requests and grants name.
    #[n(0)]
    pub code: PurposeCode,
    /// The Japanese name, as in reports and notices.
    #[n(1)]
    pub ja: String,
    /// The English name.
    #[n(2)]
    pub en: String,
    /// The legal basis.
    #[n(3)]
    pub basis: String,
    /// Whose numbers the purpose may reveal; empty exactly when it reveals none.
    #[n(4)]
    pub relations: RelationSet,
    /// How long the form must be kept, where that is a rule of dates.
    #[n(5)]
    pub retention: Option<RetentionRule>,
    /// What else is to be known about retention, in words.
    #[n(6)]
    pub retention_text: Option<String>,
    /// Whether a number may be revealed for the purpose at all.
    #[n(7)]
    pub reveals: bool,
    /// When basis and retention were checked against their sources; absent means unverified.
    #[n(8)]
    pub verified_on: Option<Day>,
    /// Who checked them, present exactly when `verified_on` is.
    #[n(9)]
    pub verified_by: Option<String>,
    /// Whether a number is revealed for it only under a grant made for the occasion: approved by a second person,
    /// bounded in time and counted in persons.
    #[n(10)]
    #[cbor(default)]
    pub two_person: bool,
    /// Distinct persons such a grant may cover at most; `None` leaves the number to the grant. Only with `two_person`.
    #[n(11)]
    pub persons_max: Option<u32>,
    /// How a number may leave the vault for it.
    #[n(12)]
    #[cbor(default)]
    pub delivery: Delivery,
    /// Whether it was retired: nothing is revealed for it, and it stays readable because old entries name it.
    #[n(13)]
    #[cbor(default)]
    pub retired: bool,
    /// The forbidden use that two people overrode when they made it. Set by the vault, never by a proposal.
    #[n(14)]
    pub overridden: Option<ForbiddenUse>,
    /// What of a verified row rests on recollection all the same.
    #[n(15)]
    #[cbor(default)]
    pub unverified: Vec<Aspect>,
}

/// How a number may leave the vault for a purpose. The number is stored and never changes its meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
#[repr(u8)]
pub enum Delivery {
    /// Shown to the caller, or compared with the caller's guess.
    #[default]
    #[n(0)]
    Shown = 0,
    /// Encrypted to a recipient's public key only: the caller never sees it.
    #[n(1)]
    Sealed = 1,
    /// Moved into a record of another tenant only: nobody sees it.
    #[n(2)]
    Moved = 2,
}

/// A part of a row that can be verified or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
#[repr(u8)]
pub enum Aspect {
    /// The names.
    #[n(0)]
    Names = 0,
    /// The legal basis.
    #[n(1)]
    Basis = 1,
    /// Whose numbers it may reveal.
    #[n(2)]
    Relations = 2,
    /// The retention.
    #[n(3)]
    Retention = 3,
}

impl Purpose {
    /// Whether somebody has put name and date under the row.
    pub const fn is_verified(&self) -> bool {
        self.verified_on.is_some()
    }

    /// The forbidden use that the row names, if any. A copy for the person is no such use while it reveals nothing.
    pub fn forbidden_use(&self) -> Option<ForbiddenUse> {
        let found = ForbiddenUse::named_in(&[&self.ja, &self.basis], &[self.code.as_str(), &self.en]);
        found.filter(|found| self.reveals || *found != ForbiddenUse::CopyToPerson)
    }

    /// Whether numbers leave the vault for it in no other way than sealed to a recipient.
    pub fn is_export(&self) -> bool {
        self.reveals && self.delivery == Delivery::Sealed
    }

    /// Approvers who must agree to a request for access for it, beside the one who asks: two where all that leaves the
    /// vault leaves it for another system.
    pub const fn approvals_min(&self) -> u8 {
        match self.delivery {
            Delivery::Shown => 1,
            Delivery::Sealed | Delivery::Moved => 2,
        }
    }

    /// Whether the number may be handed to the caller in the clear, or compared with a guess.
    pub fn shows(&self) -> bool {
        self.reveals && self.delivery == Delivery::Shown
    }
}

impl Delivery {
    /// The stable code in the API and the page.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Sealed => "sealed",
            Self::Moved => "moved",
        }
    }
}

impl Aspect {
    /// The stable code in the API and the page.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Basis => "basis",
            Self::Relations => "relations",
            Self::Retention => "retention",
        }
    }
}

/// All purposes of a tenant, by code. Replicated as state; its bytes are deterministic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Catalogue {
    #[n(0)]
    version: u32,
    #[n(1)]
    purposes: BTreeMap<PurposeCode, Purpose>,
}

/// Why a catalogue was refused. The file is an administrator's text without secrets, so rows and syntax are named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The file is too large.
    #[error("the catalogue must have at most {CATALOGUE_BYTES_MAX} bytes")]
    TooLarge,
    /// The text is not the TOML expected, or has an unknown field or a value of the wrong form.
    #[error("the catalogue cannot be read: {0}")]
    Syntax(String),
    /// A row breaks a rule.
    #[error("purpose `{code}` {rule}")]
    Purpose {
        /// The row.
        code: PurposeCode,
        /// The rule, as a phrase that continues the code.
        rule: &'static str,
    },
    /// A row names a use that the law forbids. Only a change with an override makes such a purpose.
    #[error("purpose `{code}` names a forbidden use ({forbidden})")]
    Forbidden {
        /// The row.
        code: PurposeCode,
        /// What it names.
        forbidden: ForbiddenUse,
    },
    /// The catalogue as a whole breaks a rule.
    #[error("the catalogue {0}")]
    Catalogue(&'static str),
}

impl Catalogue {
    /// Reads and checks a catalogue in its TOML form.
    pub fn from_toml(text: &str) -> Result<Self, CatalogueError> {
        if text.len() > CATALOGUE_BYTES_MAX {
            return Err(CatalogueError::TooLarge);
        }
        let file: File = toml::from_str(text).map_err(|error| CatalogueError::Syntax(error.to_string()))?;
        if file.version == 0 {
            return Err(CatalogueError::Catalogue("must have a version of 1 or more"));
        }
        if file.purpose.is_empty() || file.purpose.len() > PURPOSES_PER_CATALOGUE_MAX {
            return Err(CatalogueError::Catalogue("must have 1 to 1024 purposes"));
        }
        let mut purposes = BTreeMap::new();
        for purpose in file.purpose {
            check(&purpose).map_err(|rule| CatalogueError::Purpose { code: purpose.code.clone(), rule })?;
            let code = purpose.code.clone();
            if let Some(forbidden) = purpose.forbidden_use() {
                return Err(CatalogueError::Forbidden { code, forbidden });
            }
            if purposes.insert(code.clone(), purpose).is_some() {
                return Err(CatalogueError::Purpose { code, rule: "must appear once" });
            }
        }
        Ok(Self { version: file.version, purposes })
    }

    /// The catalogue the product ships, as text: the 個人番号関係事務 of an employer or payer under Japanese law.
    pub const fn default_text() -> &'static str {
        include_str!("../data/purposes.toml")
    }

    /// The version of the catalogue, raised by every edit.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The purpose with this code.
    pub fn get(&self, code: &PurposeCode) -> Option<&Purpose> {
        self.purposes.get(code)
    }

    /// The purposes, ordered by code.
    pub fn iter(&self) -> impl Iterator<Item = &Purpose> {
        self.purposes.values()
    }

    /// How many purposes there are.
    pub fn len(&self) -> usize {
        self.purposes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.purposes.is_empty()
    }
}

fn check(purpose: &Purpose) -> Result<(), &'static str> {
    let texts = [&purpose.ja, &purpose.en, &purpose.basis].into_iter().chain(&purpose.retention_text);
    texts.chain(&purpose.verified_by).try_for_each(|text| check_text(text))?;
    // 番号法 names every lawful use; a purpose "other" would be a hole in all of them.
    if purpose.code.as_str().split('.').any(|segment| matches!(segment, "other" | "others" | "misc" | "any")) {
        return Err("must name a use; there is no purpose `other`");
    }
    if purpose.reveals == purpose.relations.is_empty() {
        return Err("must name relations exactly when it reveals");
    }
    if purpose.retention.is_some_and(|rule| !(1..=100).contains(&rule.years)) {
        return Err("must be kept for 1 to 100 years");
    }
    if purpose.verified_on.is_some() != purpose.verified_by.is_some() {
        return Err("must have both verified_on and verified_by, or neither");
    }
    check_rules_of_law(purpose)
}

/// Rules that no override loosens.
fn check_rules_of_law(purpose: &Purpose) -> Result<(), &'static str> {
    // The person's copy carries no number; one's own number is given out on request for disclosure only.
    if purpose.code.as_str().ends_with(COPY_TO_PERSON) && purpose.reveals {
        return Err("must not reveal: it is a copy handed to the person");
    }
    let own_by_two = purpose.relations == own_only() && purpose.two_person;
    if purpose.code.as_str() == DISCLOSE_SELF && purpose.reveals && !own_by_two {
        return Err("must reveal one's own number only, by two people");
    }
    // 番号法19条4号 is the only way to another tenant: for an employee, under his consent, and by two people.
    let moves = purpose.reveals && purpose.code.as_str() == TRANSFER;
    if moves != (purpose.delivery == Delivery::Moved) {
        return Err("must be moved to another tenant exactly if it is `op.transfer_19_4`");
    }
    if moves && !own_by_two {
        return Err("must move one's own number only, by two people");
    }
    if purpose.persons_max.is_some_and(|persons| persons == 0 || !purpose.two_person) {
        return Err("must have persons_max of 1 or more, and only with two_person");
    }
    if (purpose.two_person || purpose.delivery != Delivery::Shown) && !purpose.reveals {
        return Err("must reveal to need two people or a delivery of its own");
    }
    Ok(())
}

/// Whoever has the number, and nobody of his family.
fn own_only() -> RelationSet {
    [Relation::SelfRelation].into_iter().collect()
}

/// A text of an administrator: bounded, on one line, and without anything that could be a number or a token.
fn check_text(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() || text.chars().count() > PURPOSE_TEXT_CHARS_MAX {
        return Err("must have texts of 1 to 512 characters");
    }
    if text.chars().any(char::is_control) {
        return Err("must not have control characters in its texts");
    }
    if contains_my_number(text) || contains_token(text) {
        return Err("must not have a number or a token in its texts");
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    purpose: Vec<Purpose>,
}

/// The table is the last field: TOML wants values before tables.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    code: PurposeCode,
    ja: String,
    en: String,
    basis: String,
    relations: Vec<Relation>,
    reveals: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_on: Option<Day>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_by: Option<String>,
    #[serde(default)]
    two_person: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    persons_max: Option<u32>,
    #[serde(default)]
    delivery: Delivery,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unverified: Vec<Aspect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<RetentionRule>,
}

impl From<Purpose> for Row {
    fn from(purpose: Purpose) -> Self {
        Self {
            code: purpose.code,
            ja: purpose.ja,
            en: purpose.en,
            basis: purpose.basis,
            relations: purpose.relations.iter().collect(),
            reveals: purpose.reveals,
            retention_text: purpose.retention_text,
            verified_on: purpose.verified_on,
            verified_by: purpose.verified_by,
            two_person: purpose.two_person,
            persons_max: purpose.persons_max,
            delivery: purpose.delivery,
            unverified: purpose.unverified,
            retention: purpose.retention,
        }
    }
}

impl From<Row> for Purpose {
    fn from(row: Row) -> Self {
        Self {
            code: row.code,
            ja: row.ja,
            en: row.en,
            basis: row.basis,
            relations: row.relations.into_iter().collect(),
            retention: row.retention,
            retention_text: row.retention_text,
            reveals: row.reveals,
            verified_on: row.verified_on,
            verified_by: row.verified_by,
            two_person: row.two_person,
            persons_max: row.persons_max,
            delivery: row.delivery,
            retired: false,
            overridden: None,
            unverified: row.unverified,
        }
    }
}

#[cfg(test)]
#[path = "purpose_tests.rs"]
mod tests;
