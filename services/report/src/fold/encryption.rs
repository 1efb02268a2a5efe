//! The state of encryption, by which an organisation argues 高度な暗号化等 (PPC Q17-14): what is encrypted with what, where
//! keys are and where data is.

use std::collections::BTreeSet;

use fuda_ledger::{Decision, DetailKey};
use fuda_policy::Action;

use super::{Context, Fold, Parts, Seen, fact};
use crate::document::{Cell, Section, Table};
use crate::{Error, SiteUse, Text};

/// The fold.
#[derive(Default)]
pub(crate) struct Encryption {
    vault: Option<String>,
    recovery: Option<String>,
}

impl Fold for Encryption {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let entry = seen.entry;
        if entry.item.decision != Decision::Allowed {
            return Ok(());
        }
        match entry.common.action {
            Action::Bootstrap => self.vault = fact(entry, DetailKey::Vault).map(str::to_owned).or(self.vault.take()),
            Action::CreateTenant => {
                self.recovery = fact(entry, DetailKey::Recovery).map(str::to_owned).or(self.recovery.take());
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let ciphers = Table::new("ciphers", &[Text::CipherUse, Text::Algorithm, Text::ListedIn]).filled(CIPHERS.map(
            |(used_for, algorithm, listed)| {
                vec![Cell::text(context.say(used_for)), Cell::text(algorithm), Cell::text(context.say(listed))]
            },
        ));
        let state = [
            (Text::VaultId, Cell::or_missing(self.vault.clone(), Text::WhyNotRead)),
            (Text::Recovery, Cell::or_missing(self.recovery.clone(), Text::WhyNotRead)),
            (Text::KeySeparation, separation(context)),
            (Text::RemoteDestruction, destroyed(context)),
            (Text::ThirdParties, Cell::text(context.say(Text::ThirdPartiesState))),
        ];
        let state = Table::new("key_state", &[Text::Field, Text::Value])
            .filled(state.into_iter().map(|(name, value)| vec![Cell::text(context.say(name)), value]));
        Parts {
            sections: vec![
                Section::table(Text::SectionCiphers, ciphers).note(context.say(Text::NoteCiphers)),
                Section::table(Text::SectionKeys, keys(context)),
                Section::table(Text::SectionKeyState, state).note(context.say(Text::NoteEncryption)),
            ],
            signatures: vec![Text::SignOperator, Text::SignResponsible],
            ..Parts::default()
        }
    }
}

/// What the product encrypts with; `docs/src/security/keys.md` is the page.
const CIPHERS: [(Text, &str, Text); 5] = [
    (Text::CipherNumbers, "AES-256-GCM", Text::ListedCryptrec),
    (Text::CipherDerivation, "HKDF / HMAC-SHA-256", Text::ListedCryptrec),
    (Text::CipherSealed, "HPKE (RFC 9180): X25519, HKDF-SHA-256, AES-256-GCM", Text::ListedPartly),
    (Text::CipherLedger, "Ed25519, SHA-256", Text::ListedCryptrec),
    (Text::CipherTransport, "TLS 1.3", Text::ListedCryptrec),
];

/// The keys above the store as they are configured.
pub(super) fn keys(context: &Context<'_>) -> Table {
    let columns = [Text::KeyId, Text::Custodian, Text::SiteName, Text::Country, Text::Rotated, Text::DestroyTested];
    let rows = context.facts.key.iter().map(|key| {
        let site = key
            .site
            .as_ref()
            .and_then(|name| context.facts.site.iter().find(|site| site.usage == SiteUse::Key && site.name == *name));
        let day = |day: Option<fuda_core::Day>| day.map_or(Cell::Missing(Text::WhyNoConfiguration), Cell::Day);
        vec![
            Cell::text(&key.id),
            Cell::text(&key.custodian),
            Cell::or_missing(key.site.as_deref(), Text::WhyNoConfiguration),
            Cell::or_missing(site.map(|site| site.country.as_str()), Text::WhyNoConfiguration),
            day(key.rotated),
            day(key.destroy_tested),
        ]
    });
    let mut table = Table::new("keys", &columns).filled(rows);
    if table.rows.is_empty() {
        table.push(columns.map(|_| Cell::Missing(Text::WhyNoKeys)).to_vec());
    }
    table
}

/// Whether a site of data is a site of keys too, by their names.
fn separation(context: &Context<'_>) -> Cell {
    let named = |keys: bool| -> BTreeSet<&str> {
        let wanted = |site: &&crate::Site| match site.usage {
            SiteUse::Key => keys,
            SiteUse::Node | SiteUse::Backup => !keys,
            SiteUse::Audit => false,
        };
        context.facts.site.iter().filter(wanted).map(|site| site.name.as_str()).collect()
    };
    let (keys, data) = (named(true), named(false));
    if keys.is_empty() || data.is_empty() {
        return Cell::Missing(Text::WhyNoConfiguration);
    }
    let shared = keys.intersection(&data).next().is_some();
    Cell::text(context.say(if shared { Text::KeysShared } else { Text::KeysSeparate }))
}

/// When remote destruction was last tested, if it was for every key.
fn destroyed(context: &Context<'_>) -> Cell {
    let tested: Option<Vec<_>> = context.facts.key.iter().map(|key| key.destroy_tested).collect();
    let oldest = tested.and_then(|days| days.into_iter().min());
    oldest.map_or(Cell::Missing(Text::WhyNoKeys), Cell::Day)
}
