//! Succession: when the approvers are gone, k of n offline keys of the owner appoint new ones, after a delay in which
//! anybody who is still there can cancel. It appoints and does nothing else: no grant that reveals, no policy.

use std::collections::BTreeSet;

use fuda_core::time::HOUR;
use fuda_core::{CallerId, Timestamp, VaultId, Window, limits};
use fuda_crypto::sha256;
use fuda_ledger::{SignedNote, VerifierKey};
use fuda_policy::{Grant, GrantId, Role};
use minicbor::{Decode, Encode};

use crate::key::{self, Meta};
use crate::row::{Act, Row};
use crate::{Refusal, Table, TableError, View, reader};

/// The first line of a statement.
const TITLE: &str = "fuda succession";

/// The offline keys that may appoint approvers: public Ed25519 keys, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SuccessionKeys {
    /// The public keys, 1 to [`limits::SUCCESSION_KEYS_MAX`], none twice.
    #[n(0)]
    pub keys: Vec<PublicKey>,
    /// How many must sign, at least 2 and at most all.
    #[n(1)]
    pub threshold: u8,
    /// Hours between a statement and its effect, from [`limits::SUCCESSION_DELAY_HOURS_MIN`].
    #[n(2)]
    pub delay_hours: u32,
}

/// A public Ed25519 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct PublicKey(
    /// The 32 bytes.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 32],
);

/// The keys in force, and what they have signed already.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SuccessionKeysRow {
    /// The keys.
    #[n(0)]
    pub keys: SuccessionKeys,
    /// The act that registered them: the bootstrap, or the approval of an order.
    #[n(1)]
    pub registered: Act,
}

/// The newest succession.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SuccessionRow {
    /// Its serial; the next statement must have a greater one, so that none can be used twice.
    #[n(0)]
    pub serial: u64,
    /// Whom it appoints.
    #[n(1)]
    pub approvers: Vec<CallerId>,
    /// The act that handed it in.
    #[n(2)]
    pub started: Act,
    /// From when it can be brought into force.
    #[n(3)]
    pub effective: Timestamp,
    /// The approver's act that cancelled it.
    #[n(4)]
    pub cancelled: Option<Act>,
    /// The act that brought it into force.
    #[n(5)]
    pub finished: Option<Act>,
}

impl Row for SuccessionKeysRow {
    const TABLE: Table = Table::Meta;
}

impl Row for SuccessionRow {
    const TABLE: Table = Table::Meta;
}

impl SuccessionKeys {
    /// Checks number, threshold and delay.
    ///
    /// # Errors
    /// [`Refusal::SuccessionInvalid`].
    pub fn check(&self) -> Result<(), Refusal> {
        let distinct: BTreeSet<_> = self.keys.iter().collect();
        let fits = self.keys.len() <= limits::SUCCESSION_KEYS_MAX
            && distinct.len() == self.keys.len()
            && (2..=self.keys.len()).contains(&usize::from(self.threshold))
            && (limits::SUCCESSION_DELAY_HOURS_MIN..=limits::SUCCESSION_DELAY_HOURS_MAX).contains(&self.delay_hours);
        if fits { Ok(()) } else { Err(Refusal::SuccessionInvalid) }
    }

    /// When a statement handed in now takes effect.
    pub(crate) fn effective(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(HOUR * self.delay_hours)
    }
}

impl SuccessionRow {
    /// Whether it still waits: neither cancelled nor in force.
    pub fn waits(&self) -> bool {
        self.cancelled.is_none() && self.finished.is_none()
    }

    /// The grants it makes: approvers of the whole vault, without an end. The ids follow from vault and serial.
    pub(crate) fn grants(&self, vault: &VaultId) -> Vec<Grant> {
        let id = |place: usize| {
            let digest = sha256(&[
                b"fuda/succession grant\0",
                vault.as_bytes(),
                &self.serial.to_be_bytes(),
                &(place as u64).to_be_bytes(),
            ]);
            let mut id = [0; 16];
            id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
            GrantId(id)
        };
        let approver = |(place, caller): (usize, &CallerId)| Grant {
            id: id(place),
            caller: caller.clone(),
            role: Role::Approver,
            tenant: None,
            actions: Role::Approver.actions().to_vec(),
            kinds: Vec::new(),
            purposes: Vec::new(),
            scopes: Vec::new(),
            window: Window::ALWAYS,
            budget: None,
            verify_guesses_per_day: 0,
            end_user: None,
            conditions: fuda_policy::Conditions::default(),
            circumstances: None,
        };
        self.approvers.iter().enumerate().map(approver).collect()
    }
}

/// A succession statement: what the offline keys sign.
///
/// ```text
/// fuda succession
/// vault 00112233445566778899aabbccddeeff
/// serial 1
/// approver spiffe://example.org/person/one
/// approver spiffe://example.org/person/two
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The vault it is for.
    pub vault: VaultId,
    /// Greater than any before.
    pub serial: u64,
    /// Whom it appoints, at least two.
    pub approvers: Vec<CallerId>,
}

impl Statement {
    /// The name the keys of a vault sign under, as in signed notes.
    pub fn key_name(vault: &VaultId) -> String {
        format!("fuda/{vault}/succession")
    }

    /// The text that is signed.
    pub fn text(&self) -> String {
        let approvers: String = self.approvers.iter().map(|caller| format!("approver {caller}\n")).collect();
        format!("{TITLE}\nvault {}\nserial {}\n{approvers}", self.vault, self.serial)
    }

    /// Reads the text; only the way [`Statement::text`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let vault = VaultId::parse(lines.next()?.strip_prefix("vault ")?).ok()?;
        let serial = lines.next()?.strip_prefix("serial ")?.parse().ok()?;
        let approver = |line: &str| CallerId::parse(line.strip_prefix("approver ")?).ok();
        let approvers: Vec<CallerId> = lines.map(approver).collect::<Option<_>>()?;
        let distinct: BTreeSet<_> = approvers.iter().collect();
        let many = (limits::APPROVERS_MIN..=limits::APPROVERS_MAX).contains(&approvers.len());
        let statement = Self { vault, serial, approvers: approvers.clone() };
        (many && distinct.len() == approvers.len() && statement.text() == text).then_some(statement)
    }

    /// Reads a signed statement and counts the registered keys that signed it.
    pub(crate) fn open(note: &[u8], vault: &VaultId, keys: &SuccessionKeys) -> Option<Self> {
        let note = SignedNote::parse(note).ok()?;
        let statement = Self::parse(note.unverified_text()).filter(|statement| statement.vault == *vault)?;
        let name = Self::key_name(vault);
        let signed = |key: &&PublicKey| VerifierKey::new(&name, key.0).is_ok_and(|key| note.verify(&key).is_ok());
        (keys.keys.iter().filter(signed).count() >= usize::from(keys.threshold)).then_some(statement)
    }
}

/// The offline keys; `None` where none are registered, and no succession is possible.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn keys(view: &impl View) -> Result<Option<SuccessionKeysRow>, TableError> {
    reader::meta(view, Meta::SuccessionKeys)
}

/// The newest succession.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn newest(view: &impl View) -> Result<Option<SuccessionRow>, TableError> {
    reader::meta(view, Meta::Succession)
}

/// Key of the newest succession.
pub(crate) fn newest_key() -> Vec<u8> {
    key::meta(Meta::Succession)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::caller;

    #[test]
    fn a_statement_reads_only_the_way_it_is_written() {
        let vault = VaultId::from_bytes([0xaa; 16]);
        let statement = Statement { vault, serial: 7, approvers: vec![caller("one"), caller("two")] };
        let text = statement.text();
        assert_eq!(Statement::parse(&text), Some(statement));
        for wrong in [
            text.replace("succession", "cession"),
            text.replace("serial 7", "serial 07"),
            text.replace("serial 7", "serial -7"),
            text.replace("demo/two", "demo/one"),
            text.replace("vault aa", "vault "),
            text.trim_end().to_owned(),
            format!("{text}owner spiffe://fuda.test/demo/three\n"),
            text.lines().take(4).map(|line| format!("{line}\n")).collect(),
            String::new(),
        ] {
            assert_eq!(Statement::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn keys_have_a_threshold_and_a_delay_with_a_floor() {
        let keys = |count: u8, threshold, delay_hours| SuccessionKeys {
            keys: (0..count).map(|seed| PublicKey([seed; 32])).collect(),
            threshold,
            delay_hours,
        };
        assert_eq!(keys(3, 2, 72).check(), Ok(()));
        for wrong in [keys(3, 1, 72), keys(3, 4, 72), keys(1, 1, 72), keys(17, 2, 72), keys(3, 2, 23), keys(3, 2, 721)]
        {
            assert_eq!(wrong.check(), Err(Refusal::SuccessionInvalid), "{wrong:?}");
        }
        let twice = SuccessionKeys { keys: vec![PublicKey([1; 32]); 2], ..keys(2, 2, 72) };
        assert_eq!(twice.check(), Err(Refusal::SuccessionInvalid));
        // Its code promises that the rule is named.
        assert_eq!(Refusal::SuccessionInvalid.broken().map(|broken| broken.field), Some("succession"));
    }
}
