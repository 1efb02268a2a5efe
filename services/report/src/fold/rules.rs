//! 取扱規程 annex: the rules in force at the end of the period, and how they came to be.

use std::collections::BTreeSet;

use fuda_core::PurposeCode;
use fuda_ledger::{Decision, DetailKey, Entry};
use fuda_policy::Action;

use super::grants::Grants;
use super::{Context, Fold, Parts, Seen, codes, fact, review, roster};
use crate::document::{Cell, Section, Table};
use crate::{DISTINCT_MAX, Error, Language, Text};

/// The fold.
#[derive(Default)]
pub(crate) struct Rules {
    grants: Grants,
    enabled: BTreeSet<String>,
    demand: Option<String>,
    office_hours: Option<String>,
    policy: Option<(String, Option<String>)>,
    digests: std::collections::BTreeMap<String, String>,
    catalogue_version: Option<String>,
    changes: Vec<Vec<Cell>>,
}

impl Fold for Rules {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        self.grants.take(seen)?;
        let entry = seen.entry;
        if entry.item.decision != Decision::Allowed {
            return Ok(());
        }
        self.learn(entry);
        if seen.in_period && review::changes_rules(entry.common.action) {
            self.changes.push(review::change(entry));
        }
        if self.changes.len() > DISTINCT_MAX / 8 { Err(Error::TooMany(DISTINCT_MAX / 8)) } else { Ok(()) }
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let state = Table::new("rules", &[Text::Field, Text::Value])
            .filled(self.state(context).into_iter().map(|(name, value)| vec![Cell::text(context.say(name)), value]));
        let purposes =
            Table::new("purposes", &PURPOSE_COLUMNS).filled(self.enabled.iter().map(|code| purpose_row(context, code)));
        let live = self.grants.of_tenant(context.request.tenant.as_str());
        let live = live.filter(|(_, held)| held.in_force(context.behind));
        let grants = Table::new("grants", &roster::COLUMNS)
            .filled(live.map(|(id, held)| roster::row(context, &self.grants, id, held)));
        let changes = Table::new("rule_changes", &review::CHANGE_COLUMNS).filled(self.changes.iter().cloned());
        let documents = context.tenant().map(|facts| facts.document.as_slice()).unwrap_or_default();
        let documents = Table::new("documents", &[Text::DocumentTitle, Text::DocumentVersion, Text::Since]).filled(
            documents.iter().map(|document| {
                let version = Cell::or_missing(document.version.as_deref(), Text::WhyNoConfiguration);
                let since = document.since.map_or(Cell::Missing(Text::WhyNoConfiguration), Cell::Day);
                vec![Cell::text(&document.title), version, since]
            }),
        );
        Parts {
            sections: vec![
                Section::table(Text::SectionDocuments, documents),
                Section::table(Text::SectionRules, state).note(context.say(Text::NoteRules)),
                Section::table(Text::SectionPurposes, purposes).note(context.say(Text::NotePurposes)),
                Section::table(Text::SectionGrants, grants),
                Section::table(Text::SectionChanges, changes),
            ],
            signatures: vec![Text::SignResponsible],
            ..Parts::default()
        }
    }
}

impl Rules {
    fn learn(&mut self, entry: &Entry) {
        let known = |key| fact(entry, key).map(str::to_owned);
        match entry.common.action {
            Action::ApprovePurposeOrder | Action::CreateTenant => {
                self.enabled.extend(codes(entry, DetailKey::PurposeEnabled).map(str::to_owned));
                for code in codes(entry, DetailKey::PurposeDisabled) {
                    self.enabled.remove(code);
                }
                self.demand = known(DetailKey::VerificationDemand).or(self.demand.take());
                self.office_hours = known(DetailKey::OfficeHours).or(self.office_hours.take());
                self.catalogue_version = known(DetailKey::CatalogueVersion).or(self.catalogue_version.take());
            }
            Action::ProposePolicy => {
                if let (Some(order), Some(digest)) = (known(DetailKey::Order), known(DetailKey::PolicyDigest)) {
                    self.digests.insert(order, digest);
                }
            }
            Action::ApprovePolicy => {
                let digest = known(DetailKey::PolicyDigest)
                    .or_else(|| known(DetailKey::Order).and_then(|order| self.digests.remove(&order)));
                self.policy = known(DetailKey::PolicyText).map(|version| (version, digest)).or(self.policy.take());
            }
            _ => {}
        }
    }

    fn state(&self, context: &Context<'_>) -> Vec<(Text, Cell)> {
        let policy = self.policy.as_ref().map(|(version, digest)| {
            let digest = digest.as_ref().map(|digest| format!(" (SHA-256 {digest})")).unwrap_or_default();
            format!("v{version}{digest}")
        });
        vec![
            (Text::PolicyText, Cell::or_missing(policy, Text::WhyShippedPolicy)),
            (Text::CatalogueVersion, Cell::or_missing(self.catalogue_version.clone(), Text::WhyShippedCatalogue)),
            (Text::VerificationDemand, Cell::or_missing(self.demand.clone(), Text::WhyNoChange)),
            (Text::OfficeHours, Cell::or_missing(self.office_hours.clone(), Text::WhyNoChange)),
            (Text::Responsible, context.tenant_fact(|facts| &facts.responsible)),
            (Text::Department, context.tenant_fact(|facts| &facts.department)),
            (Text::AuditResponsible, context.tenant_fact(|facts| &facts.audit_responsible)),
            (Text::Contact, context.tenant_fact(|facts| &facts.contact)),
        ]
    }
}

const PURPOSE_COLUMNS: [Text; 7] = [
    Text::PurposeCode,
    Text::PurposeName,
    Text::LegalBasis,
    Text::Relations,
    Text::Retention,
    Text::Delivery,
    Text::TwoPersons,
];

fn purpose_row(context: &Context<'_>, code: &str) -> Vec<Cell> {
    let known = PurposeCode::parse(code).ok().and_then(|code| context.catalogue.get(&code));
    let Some(purpose) = known else {
        let missing = || Cell::Missing(Text::WhyNotInCatalogue);
        return vec![Cell::text(code), missing(), missing(), missing(), missing(), missing(), missing()];
    };
    let name = match context.request.language {
        Language::Japanese => &purpose.ja,
        Language::English => &purpose.en,
    };
    let retention = purpose.retention.map(|rule| rule.to_string()).or_else(|| purpose.retention_text.clone());
    vec![
        Cell::text(code),
        Cell::text(name),
        Cell::text(&purpose.basis),
        Cell::list(purpose.relations.iter().map(fuda_core::Relation::code)),
        Cell::or_missing(retention, Text::WhyNoRetention),
        Cell::text(purpose.delivery.code()),
        Cell::text(context.say(if purpose.two_person { Text::Yes } else { Text::No })),
    ]
}
