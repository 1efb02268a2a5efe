//! 外的環境: the countries in which nodes, keys, backups and copies of the ledger are, and where numbers went.

use std::collections::{BTreeMap, BTreeSet};

use fuda_ledger::{Decision, DetailKey, Entry};
use fuda_policy::Action;

use super::{Context, Fold, Parts, Seen, fact};
use crate::document::{Cell, Section, Table};
use crate::{Error, SiteUse, Text};

/// The fold.
#[derive(Default)]
pub(crate) struct Abroad {
    /// Nodes that are members, by name, with the address they were added under.
    members: BTreeMap<String, String>,
    by_id: BTreeMap<String, String>,
}

impl Fold for Abroad {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let entry = seen.entry;
        if entry.item.decision == Decision::Allowed {
            match entry.common.action {
                Action::AddMember | Action::Bootstrap => self.joined(entry),
                Action::RemoveMember => self.left(entry),
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let sites = context.facts.site.iter().map(|site| {
            let words = |value: &Option<String>| Cell::or_missing(value.as_deref(), Text::WhyNoConfiguration);
            vec![
                Cell::text(context.say(usage(site.usage))),
                Cell::text(&site.name),
                Cell::text(&site.country),
                words(&site.region),
                words(&site.operator),
            ]
        });
        let known: BTreeSet<&str> = context.facts.site.iter().map(|site| site.name.as_str()).collect();
        let unknown = self.members.keys().filter(|name| !known.contains(name.as_str())).map(|name| {
            let missing = || Cell::Missing(Text::WhyNoConfiguration);
            vec![Cell::text(context.say(Text::SiteNode)), Cell::text(name), missing(), missing(), missing()]
        });
        let mut sites: Vec<Vec<Cell>> = sites.chain(unknown).collect();
        for place in [SiteUse::Node, SiteUse::Backup, SiteUse::Key, SiteUse::Audit] {
            let named = context.facts.site.iter().any(|site| site.usage == place)
                || (place == SiteUse::Node && !self.members.is_empty());
            if !named {
                let missing = || Cell::Missing(Text::WhyNoConfiguration);
                sites.push(vec![Cell::text(context.say(usage(place))), missing(), missing(), missing(), missing()]);
            }
        }
        let countries: BTreeSet<&str> = context.facts.site.iter().map(|site| site.country.as_str()).collect();
        let table =
            Table::new("sites", &[Text::SiteUse, Text::SiteName, Text::Country, Text::Region, Text::OperatedBy])
                .filled(sites);
        let parties = Table::new("parties_abroad", &[Text::Party, Text::PartyName, Text::Country]).filled(
            context.facts.party.iter().map(|party| {
                let country = Cell::or_missing(party.country.as_deref(), Text::WhyNoConfiguration);
                vec![Cell::text(party.id.as_str()), Cell::text(&party.name), country]
            }),
        );
        let countries: Vec<&str> = countries.into_iter().collect();
        let summary = format!("{}: {}", context.say(Text::Countries), countries.join(", "));
        Parts {
            sections: vec![
                Section::table(Text::SectionSites, table).note(summary).note(context.say(Text::NoteAbroad)),
                Section::table(Text::SectionPartiesAbroad, parties),
            ],
            signatures: vec![Text::SignResponsible],
            ..Parts::default()
        }
    }
}

impl Abroad {
    fn joined(&mut self, entry: &Entry) {
        let address = fact(entry, DetailKey::PeerAddress).unwrap_or_default();
        if let Some(name) = fact(entry, DetailKey::NodeName) {
            self.members.insert(name.to_owned(), address.to_owned());
            if let Some(id) = fact(entry, DetailKey::NodeId) {
                self.by_id.insert(id.to_owned(), name.to_owned());
            }
        }
    }

    fn left(&mut self, entry: &Entry) {
        let by_id = fact(entry, DetailKey::NodeId).and_then(|id| self.by_id.remove(id));
        let name = fact(entry, DetailKey::NodeName).map(str::to_owned).or(by_id);
        if let Some(name) = name {
            self.members.remove(&name);
        }
    }
}

fn usage(usage: SiteUse) -> Text {
    match usage {
        SiteUse::Node => Text::SiteNode,
        SiteUse::Backup => Text::SiteBackup,
        SiteUse::Key => Text::SiteKey,
        SiteUse::Audit => Text::SiteAudit,
    }
}
