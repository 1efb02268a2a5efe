//! 特定個人情報ファイル管理台帳: one line per kind of number that the tenant has stored.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::{Kind, LegalClass, PurposeCode};
use fuda_ledger::{Decision, DetailKey, Entry};
use fuda_policy::Action;

use super::grants::Grants;
use super::{Context, Distinct, Fold, Parts, Seen, codes, remember};
use crate::document::{Cell, Section, Table};
use crate::{Error, SiteUse, Text};

/// The numbers of one kind.
#[derive(Default)]
struct File {
    records: Distinct,
    persons: Distinct,
    disabled: Distinct,
    superseded: Distinct,
    used_for: BTreeSet<String>,
}

/// The fold.
#[derive(Default)]
pub(crate) struct Register {
    grants: Grants,
    files: BTreeMap<String, File>,
    enabled: BTreeSet<String>,
}

impl Fold for Register {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        self.grants.take(seen)?;
        let entry = seen.entry;
        if entry.item.decision != Decision::Allowed {
            return Ok(());
        }
        match entry.common.action {
            Action::ApprovePurposeOrder | Action::CreateTenant => {
                self.enabled.extend(codes(entry, DetailKey::PurposeEnabled).map(str::to_owned));
                for code in codes(entry, DetailKey::PurposeDisabled) {
                    self.enabled.remove(code);
                }
                Ok(())
            }
            _ => self.records(entry),
        }
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let table = Table::new("files", &COLUMNS)
            .filled(self.files.iter().map(|(kind, file)| row(context, &self.grants, &self.enabled, kind, file)));
        Parts {
            sections: vec![Section::table(Text::SectionFiles, table).note(context.say(Text::NoteFiles))],
            signatures: vec![Text::SignResponsible],
            ..Parts::default()
        }
    }
}

impl Register {
    fn records(&mut self, entry: &Entry) -> Result<(), Error> {
        let (Some(kind), Some(record)) = (entry.item.kind, entry.item.record) else { return Ok(()) };
        let record = record.to_string();
        let file = self.files.entry(kind.code().to_owned()).or_default();
        match entry.common.action {
            Action::Tokenize | Action::AcceptTransfer => {
                file.records.insert(record.as_bytes())?;
                file.persons.person(entry)?;
            }
            Action::Disable => file.disabled.insert(record.as_bytes())?,
            Action::Enable => file.disabled.remove(record.as_bytes()),
            Action::Supersede => {
                file.disabled.remove(record.as_bytes());
                file.superseded.insert(record.as_bytes())?;
            }
            action if action.reveals() => {
                entry.common.purpose.iter().for_each(|purpose| remember(&mut file.used_for, purpose.as_str()));
            }
            _ => {}
        }
        Ok(())
    }
}

const COLUMNS: [Text; 14] = [
    Text::FileKind,
    Text::LegalClass,
    Text::Responsible,
    Text::Department,
    Text::PurposesOfUse,
    Text::LegalBasis,
    Text::Retention,
    Text::Records,
    Text::Persons,
    Text::DeletionState,
    Text::AccessHolders,
    Text::PurposesUsed,
    Text::Location,
    Text::Contact,
];

fn row(context: &Context<'_>, grants: &Grants, enabled: &BTreeSet<String>, kind: &str, file: &File) -> Vec<Cell> {
    let class = Kind::from_code(kind).map(Kind::legal_class);
    let holders: BTreeSet<&str> = grants
        .of_tenant(context.request.tenant.as_str())
        .filter(|(_, held)| held.in_force(context.behind) && held.kinds.contains(kind))
        .map(|(_, held)| held.caller.as_str())
        .collect();
    let named = |of: fn(&fuda_core::Purpose) -> Option<String>| {
        let known = |code: &String| PurposeCode::parse(code).ok().and_then(|code| context.catalogue.get(&code));
        enabled.iter().filter_map(known).filter_map(of).collect::<BTreeSet<String>>()
    };
    let basis = named(|purpose| Some(purpose.basis.clone()));
    let retention =
        named(|purpose| purpose.retention.map(|rule| rule.to_string()).or_else(|| purpose.retention_text.clone()));
    let or_missing = |set: BTreeSet<String>| {
        if set.is_empty() { Cell::Missing(Text::WhyNoPurposes) } else { Cell::list(set) }
    };
    let state = format!(
        "{}: {} / {}: {} / {}: {}",
        context.say(Text::MethodDisabled),
        file.disabled.len(),
        context.say(Text::MethodSuperseded),
        file.superseded.len(),
        context.say(Text::Erased),
        context.say(Text::NotRecorded),
    );
    vec![
        Cell::text(context.kind(kind)),
        class.map_or(Cell::Empty, |class| Cell::text(context.say(legal_class(class)))),
        context.tenant_fact(|facts| &facts.responsible),
        context.tenant_fact(|facts| &facts.department),
        if enabled.is_empty() { Cell::Missing(Text::WhyNoPurposes) } else { context.purposes(enabled) },
        or_missing(basis),
        or_missing(retention),
        file.records.cell(),
        file.persons.cell(),
        Cell::text(state),
        if holders.is_empty() { Cell::Missing(Text::WhyGrantUntold) } else { Cell::list(holders) },
        context.purposes(&file.used_for),
        location(context),
        context.tenant_fact(|facts| &facts.contact),
    ]
}

/// The countries and regions of the nodes.
fn location(context: &Context<'_>) -> Cell {
    let nodes = context.facts.site.iter().filter(|site| site.usage == SiteUse::Node);
    let places: BTreeSet<String> = nodes
        .map(|site| site.region.as_ref().map_or_else(|| site.country.clone(), |at| format!("{} {at}", site.country)))
        .collect();
    if places.is_empty() { Cell::Missing(Text::WhyNoConfiguration) } else { Cell::list(places) }
}

fn legal_class(class: LegalClass) -> Text {
    match class {
        LegalClass::Tokutei => Text::ClassTokutei,
        LegalClass::RestrictedInquiry => Text::ClassRestricted,
        LegalClass::Personal => Text::ClassPersonal,
        LegalClass::Public => Text::ClassPublic,
    }
}
