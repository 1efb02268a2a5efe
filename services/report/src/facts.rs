//! What entries do not hold and a document still needs: names, countries, keys, and what the process itself knows.

use std::collections::BTreeMap;

use fuda_core::{Day, Invalid, PartyId, TenantId, Timestamp, text};
use serde::Deserialize;

use crate::Error;

/// What the configuration and the process add. In files it is the section `[report]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    /// What is known of the legal persons, by tenant id.
    pub tenant: BTreeMap<String, TenantFacts>,
    /// Where nodes, backups, keys and audit copies are.
    pub site: Vec<Site>,
    /// The keys above the store, by name; never a key itself.
    pub key: Vec<Key>,
    /// Entrusted parties.
    pub party: Vec<Party>,
    /// The catalogue of purposes, in its TOML form; absent: the one the product ships.
    pub catalogue_toml: Option<String>,
    /// Witnesses and their newest cosignatures. Set by the process.
    #[serde(skip)]
    pub witnesses: Vec<Witness>,
    /// Periods that somebody signed off (責任者確認). Set by the process.
    #[serde(skip)]
    pub sign_offs: Vec<SignOff>,
}

/// What is known of one legal person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantFacts {
    /// Its name.
    pub name: Option<String>,
    /// Who is responsible (特定個人情報責任者).
    pub responsible: Option<String>,
    /// Which department handles the numbers (取扱部署).
    pub department: Option<String>,
    /// Who audits (個人情報保護監査責任者).
    pub audit_responsible: Option<String>,
    /// Where people ask (苦情・相談窓口).
    pub contact: Option<String>,
    /// The rules and policies in force, by title.
    pub document: Vec<PolicyDocument>,
}

/// A document of the owner.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// Its title (特定個人情報等取扱規程).
    pub title: String,
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
    /// Since when it is in force.
    #[serde(default)]
    pub since: Option<Day>,
}

/// What a place is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteUse {
    /// A node of the vault.
    Node,
    /// Copies of the vault's state.
    Backup,
    /// The custodian of keys.
    Key,
    /// A copy of the ledger.
    Audit,
}

/// A place where something of the vault is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// What for.
    #[serde(rename = "use")]
    pub usage: SiteUse,
    /// Its name; for a node that of the member.
    pub name: String,
    /// The country, in words or as its code.
    pub country: String,
    /// The region or the data centre.
    #[serde(default)]
    pub region: Option<String>,
    /// Who operates it.
    #[serde(default)]
    pub operator: Option<String>,
}

/// A key above the store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its id at the custodian.
    pub id: String,
    /// The sort of custodian (AWS KMS, PKCS#11, Transit, file).
    pub custodian: String,
    /// The place of the custodian, by the name of its site.
    #[serde(default)]
    pub site: Option<String>,
    /// When it was last rotated.
    #[serde(default)]
    pub rotated: Option<Day>,
    /// When its remote destruction was last tested.
    #[serde(default)]
    pub destroy_tested: Option<Day>,
}

/// An entrusted party.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// Its id, as in grants.
    pub id: PartyId,
    /// Its name.
    pub name: String,
    /// The country in which it handles.
    #[serde(default)]
    pub country: Option<String>,
    /// The contract.
    #[serde(default)]
    pub contract: Option<String>,
    /// When its newest certificate of deletion came in.
    #[serde(default)]
    pub deletion_certificate: Option<Day>,
}

/// A witness, and the newest head it cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Its name.
    pub name: String,
    /// Entries under the head.
    pub size: u64,
    /// When it cosigned.
    pub at: Timestamp,
}

/// A period that somebody signed off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOff {
    /// The tenant.
    pub tenant: TenantId,
    /// The first day.
    pub from: Day,
    /// The last day.
    pub until: Day,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Facts {
    /// Characters of one fact.
    pub const TEXT_CHARS_MAX: usize = 256;
    /// Rows of one list.
    pub const ROWS_MAX: usize = 1_000;

    /// Checks every text.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is empty, too long, or holds a control character, a My Number or a token, for
    /// lists that are too long, and for a catalogue that cannot be read.
    pub fn check(&self) -> Result<(), Error> {
        let lists = [self.tenant.len(), self.site.len(), self.key.len(), self.party.len()];
        if lists.into_iter().any(|rows| rows > Self::ROWS_MAX) {
            return Err(Invalid::new("report", "must have at most 1000 rows in a list").into());
        }
        for (tenant, facts) in &self.tenant {
            TenantId::parse(tenant)?;
            facts.check()?;
        }
        let sites = self
            .site
            .iter()
            .flat_map(|site| [Some(&site.name), Some(&site.country), site.region.as_ref(), site.operator.as_ref()]);
        let keys = self.key.iter().flat_map(|key| [Some(&key.id), Some(&key.custodian), key.site.as_ref()]);
        let parties =
            self.party.iter().flat_map(|party| [Some(&party.name), party.country.as_ref(), party.contract.as_ref()]);
        sites.chain(keys).chain(parties).flatten().try_for_each(|value| check_text(value))?;
        self.witnesses.iter().try_for_each(|witness| check_text(&witness.name))?;
        self.sign_offs.iter().try_for_each(|sign_off| check_text(&sign_off.by))?;
        self.catalogue().map(drop)
    }

    /// The catalogue that names purposes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the configured one cannot be read.
    pub(crate) fn catalogue(&self) -> Result<fuda_core::Catalogue, Error> {
        let text = self.catalogue_toml.as_deref().unwrap_or(fuda_core::Catalogue::default_text());
        let catalogue = fuda_core::Catalogue::from_toml(text);
        catalogue.map_err(|_| Invalid::new("catalogue_toml", "must be a catalogue of purposes").into())
    }
}

impl TenantFacts {
    fn check(&self) -> Result<(), Error> {
        let own = [&self.name, &self.responsible, &self.department, &self.audit_responsible, &self.contact];
        let documents = self.document.iter().flat_map(|document| [Some(&document.title), document.version.as_ref()]);
        own.into_iter().map(Option::as_ref).chain(documents).flatten().try_for_each(|value| check_text(value))
    }
}

fn check_text(value: &str) -> Result<(), Error> {
    Ok(text::check_short("report", value, Facts::TEXT_CHARS_MAX, "must have texts of 1 to 256 characters")?)
}
