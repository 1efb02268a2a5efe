//! A change of the catalogue: rows added or edited, rows retired, against one version of it.

use minicbor::{Decode, Encode};
use serde::Deserialize;

use super::{Catalogue, Purpose, check, check_text};
use crate::{
    forbidden::ForbiddenUse,
    ids::PurposeCode,
    limits::{CATALOGUE_BYTES_MAX, OVERRIDE_REASON_CHARS_MIN, PURPOSES_PER_CATALOGUE_MAX, PURPOSES_PER_CHANGE_MAX},
};

/// What two people agree to change. Rows are never removed: old entries and notices name them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct CatalogueChange {
    /// The version the change was made for; another one refuses it.
    #[n(0)]
    pub base: u32,
    /// Rows to add, or to put in place of the rows of their codes. An edit brings a retired row back.
    #[n(1)]
    pub put: Vec<Purpose>,
    /// Codes of rows to retire.
    #[n(2)]
    pub retire: Vec<PurposeCode>,
    /// Why a forbidden use is to be allowed after all; exactly when a row names one.
    #[n(3)]
    pub override_reason: Option<String>,
}

/// Why a change was refused. A change is an administrator's text without secrets, so rows are named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The catalogue moved since the change was made.
    #[error("the change was made for version `{base}` of the catalogue, it is at `{current}`")]
    Moved {
        /// The version of the change.
        base: u32,
        /// The version in force.
        current: u32,
    },
    /// A row breaks a rule.
    #[error("purpose `{code}` {rule}")]
    Purpose {
        /// The row.
        code: PurposeCode,
        /// The rule, as a phrase that continues the code.
        rule: &'static str,
    },
    /// A row names a forbidden use and the change carries no override.
    #[error("purpose `{code}` names a forbidden use ({forbidden}) and the change has no override_reason")]
    Forbidden {
        /// The row.
        code: PurposeCode,
        /// What it names.
        forbidden: ForbiddenUse,
    },
    /// The change as a whole breaks a rule.
    #[error("the change {0}")]
    Change(&'static str),
    /// The text is not the TOML expected.
    #[error("the change cannot be read: {0}")]
    Syntax(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    base: u32,
    #[serde(default)]
    purpose: Vec<Purpose>,
    #[serde(default)]
    retire: Vec<PurposeCode>,
    override_reason: Option<String>,
}

impl CatalogueChange {
    /// Reads a change in its TOML form: `base`, `[[purpose]]` tables as in the catalogue, `retire`, `override_reason`.
    ///
    /// # Errors
    /// [`ChangeError::Syntax`] or [`ChangeError::Change`] for a text that is none. Rows are checked by
    /// [`Catalogue::changed`].
    pub fn from_toml(text: &str) -> Result<Self, ChangeError> {
        if text.len() > CATALOGUE_BYTES_MAX {
            return Err(ChangeError::Change("must have at most 524288 bytes"));
        }
        let file: File = toml::from_str(text).map_err(|error| ChangeError::Syntax(error.to_string()))?;
        Ok(Self { base: file.base, put: file.purpose, retire: file.retire, override_reason: file.override_reason })
    }

    /// How many rows the change touches.
    pub fn len(&self) -> usize {
        self.put.len() + self.retire.len()
    }

    /// Whether it touches none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn check(&self) -> Result<(), ChangeError> {
        if self.is_empty() || self.len() > PURPOSES_PER_CHANGE_MAX {
            return Err(ChangeError::Change("must touch 1 to 64 purposes"));
        }
        let mut codes: Vec<&PurposeCode> = self.put.iter().map(|row| &row.code).chain(&self.retire).collect();
        codes.sort_unstable();
        if let Some(code) = codes.array_windows().find_map(|[one, next]| (one == next).then_some(*one)) {
            return Err(ChangeError::Purpose { code: code.clone(), rule: "must appear once" });
        }
        if let Some(reason) = &self.override_reason {
            check_text(reason).map_err(|_| ChangeError::Change("must have an override_reason of at most 512 characters without control characters, numbers and tokens"))?;
            if reason.trim().chars().count() < OVERRIDE_REASON_CHARS_MIN {
                return Err(ChangeError::Change("must have an override_reason of 20 or more characters"));
            }
        }
        Ok(())
    }

    /// A row as it is stored: its marks are the vault's, not the proposer's.
    fn row(&self, row: &Purpose) -> Result<Purpose, ChangeError> {
        let code = row.code.clone();
        check(row).map_err(|rule| ChangeError::Purpose { code: code.clone(), rule })?;
        let forbidden = row.forbidden_use();
        match forbidden {
            Some(forbidden) if self.override_reason.is_none() => Err(ChangeError::Forbidden { code, forbidden }),
            overridden => Ok(Purpose { retired: false, overridden, ..row.clone() }),
        }
    }
}

impl Catalogue {
    /// The catalogue after a change, one version on.
    ///
    /// # Errors
    /// The first rule that the change breaks; the catalogue is as before.
    pub fn changed(&self, change: &CatalogueChange) -> Result<Self, ChangeError> {
        let moved = ChangeError::Moved { base: change.base, current: self.version };
        if change.base != self.version {
            return Err(moved);
        }
        change.check()?;
        let mut next = self.clone();
        next.version = self.version.checked_add(1).ok_or(moved)?;
        for row in &change.put {
            next.purposes.insert(row.code.clone(), change.row(row)?);
        }
        let overrides = change.put.iter().any(|row| row.forbidden_use().is_some());
        if change.override_reason.is_some() && !overrides {
            return Err(ChangeError::Change("must not have an override_reason without a forbidden use"));
        }
        for code in &change.retire {
            match next.purposes.get_mut(code) {
                Some(row) if !row.retired => row.retired = true,
                Some(_) => return Err(ChangeError::Purpose { code: code.clone(), rule: "is retired already" }),
                None => return Err(ChangeError::Purpose { code: code.clone(), rule: "is not in the catalogue" }),
            }
        }
        if next.len() > PURPOSES_PER_CATALOGUE_MAX {
            return Err(ChangeError::Change("must leave at most 1024 purposes in the catalogue"));
        }
        Ok(next)
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
