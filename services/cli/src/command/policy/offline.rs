//! Decisions without a vault: a policy text, tenants and grants from files, and a table of what they should come to.

use std::collections::BTreeSet;
use std::path::Path;

use csv::ReaderBuilder;
use fuda_client::guard::{self, FrozenThing};
use fuda_client::purpose::Purpose as WirePurpose;
use fuda_client::tenant as pb;
use fuda_core::limits::PURPOSES_PER_CHANGE_MAX;
use fuda_core::{
    CallerId, Catalogue, CatalogueChange, Kind, PolicyVersion, Purpose, PurposeCode, RecordLabel, Relation, ScopeId,
    SourceZone, SubjectRef, TenantId, Timestamp, Window, Zone,
};
use fuda_policy::{
    Action, EndUserProof, FreezeTarget, Notified, Policy, PolicyData, Proof, RecordFacts, RecoveryChoice, Request,
    Tenant,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::command::purpose::purpose_of;
use crate::failure::Failure;
use crate::grant_table::{GrantTable, all, moment, some, told};

/// Why a forbidden use stands in a file: nobody gets it into a vault without two people and a reason.
const OVERRIDDEN: &str = "two people overrode it in the vault that was exported";
/// Rows of a table.
const CASES_MAX: usize = 10_000;

/// One row of a table: a call, and what it should come to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Case {
    caller: String,
    action: String,
    tenant: String,
    purpose: String,
    scope: String,
    source_zone: String,
    /// The verified end user of the call; empty: none.
    end_user: String,
    /// RFC 3339.
    time: String,
    /// With a kind, the call is about a record with these facts; without, about none.
    kind: String,
    relation: String,
    subject: String,
    label: String,
    /// Purposes notified to the person, parted by `;`; empty: the purpose of the call.
    notified: String,
    /// `allow` or `deny`.
    expect: String,
    /// The reason of a denial; empty: any.
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    case: Vec<Case>,
}

/// Reads a table.
pub(super) fn cases(path: &Path, text: &str) -> Result<Vec<Case>, Failure> {
    let wrong = |problem: String| Failure::Usage(format!("`{}`: {}", path.display(), problem.trim()));
    let cases = if path.extension().is_some_and(|extension| extension == "csv") {
        let rows = ReaderBuilder::new().from_reader(text.as_bytes()).into_deserialize().collect::<Result<Vec<_>, _>>();
        rows.map_err(|error| wrong(error.to_string()))?
    } else {
        toml::from_str::<CaseFile>(text).map_err(|error| wrong(error.to_string()))?.case
    };
    if cases.is_empty() || cases.len() > CASES_MAX {
        return Err(wrong(format!("must hold 1 to {CASES_MAX} cases")));
    }
    Ok(cases)
}

/// One line per case that comes to something else than it should.
pub(super) fn differences(policy: &str, data: &str, cases: &[Case]) -> Result<Vec<String>, Failure> {
    let data = policy_data(policy, data).map_err(Failure::Usage)?;
    let policy = Policy::build(data).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut differences = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let case_number = index + 1;
        let found =
            decide(&policy, case).map_err(|problem| Failure::Usage(format!("case {case_number}: {problem}")))?;
        let expected = expected(case).map_err(|problem| Failure::Usage(format!("case {case_number}: {problem}")))?;
        let same = match (&expected, &found) {
            (Ok(()), Ok(())) => true,
            (Err(reason), Err(found)) => reason.is_empty() || reason == found,
            _ => false,
        };
        if !same {
            let show = |decision: &Result<(), String>| match decision {
                Ok(()) => "allow".to_owned(),
                Err(reason) if reason.is_empty() => "deny".to_owned(),
                Err(reason) => format!("deny ({reason})"),
            };
            differences.push(format!("case {case_number}: expected {}, got {}", show(&expected), show(&found)));
        }
    }
    Ok(differences)
}

fn expected(case: &Case) -> Result<Result<(), String>, String> {
    match case.expect.as_str() {
        "allow" => Ok(Ok(())),
        "deny" => Ok(Err(case.reason.clone())),
        _ => Err("expect must be allow or deny".to_owned()),
    }
}

fn decide(policy: &Policy, case: &Case) -> Result<Result<(), String>, String> {
    let action = Action::from_code(&case.action).ok_or("action must be the code of an action")?;
    let caller = CallerId::parse(&case.caller).map_err(told)?;
    let request = match case.tenant.as_str() {
        "" => Request::vault(action, caller),
        tenant => Request::tenant(action, caller, TenantId::parse(tenant).map_err(told)?),
    };
    let purpose = some(&case.purpose, PurposeCode::parse)?;
    let request = Request {
        purpose: purpose.clone(),
        scope: some(&case.scope, ScopeId::parse)?,
        source: some(&case.source_zone, SourceZone::parse)?,
        ..request
    };
    let now = moment(&case.time)?;
    let request = match some(&case.end_user, CallerId::parse)? {
        Some(user) => {
            let end_user = EndUserProof::Verified { user, own: None, until: now };
            request.proven(Proof { end_user, ..Proof::NONE })
        }
        None => request,
    };
    if case.kind.is_empty() {
        return Ok(policy.decide(&request, now).map(|_| ()).map_err(|denial| denial.reason().code().to_owned()));
    }
    let kind = Kind::from_code(&case.kind).map_err(told)?;
    let relation = if case.relation.is_empty() { "self" } else { &case.relation };
    let subject = if case.subject.is_empty() { "E-0" } else { &case.subject };
    let (subject, label) = (SubjectRef::parse(subject).map_err(told)?, some(&case.label, RecordLabel::parse)?);
    let notified = match case.notified.as_str() {
        "" => purpose.into_iter().collect(),
        codes => {
            codes.split(';').map(|code| PurposeCode::parse(code.trim())).collect::<Result<Vec<_>, _>>().map_err(told)?
        }
    };
    let notified: Vec<_> = notified
        .into_iter()
        .map(|purpose| Notified { purpose, window: Window::ALWAYS, notice_version: None })
        .collect();
    let tenant = request.tenant.clone().ok_or("a case about a record needs a tenant")?;
    let record = RecordFacts {
        tenant: &tenant,
        kind,
        subject: &subject,
        label: label.as_ref(),
        relation: Relation::from_code(relation).map_err(told)?,
        scope: request.scope.as_ref(),
        notified: &notified,
        disabled: false,
        verified: false,
    };
    let shares = policy.decide_records(&request, &[Some(record)], now);
    let verdict = shares.first().and_then(|share| share.items.first()).map(|(_, verdict)| *verdict);
    let verdict = verdict.ok_or("a case without a decision")?;
    Ok(verdict.map_err(|reason| reason.code().to_owned()))
}

/// What decisions are made on beside the policy text: the file of `--data`, and what `export` writes.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataFile {
    /// Codes of purposes that are retired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retire: Vec<PurposeCode>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    freeze: Vec<FreezeTable>,
    #[serde(default)]
    tenant: Vec<TenantTable>,
    /// Purposes that the shipped catalogue does not have, or has in another form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    purpose: Vec<Purpose>,
    #[serde(default)]
    grant: Vec<GrantTable>,
}

/// What is frozen, in the words of the API.
#[derive(PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FreezeTable {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cluster: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    caller: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tenant: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    purpose: String,
}

impl FreezeTable {
    fn to_policy(&self) -> Result<FreezeTarget, String> {
        let tenant = some(&self.tenant, TenantId::parse)?;
        let (scope, purpose) = (some(&self.scope, ScopeId::parse)?, some(&self.purpose, PurposeCode::parse)?);
        match (self.cluster, some(&self.caller, CallerId::parse)?, tenant, scope, purpose) {
            (true, None, None, None, None) => Ok(FreezeTarget::Cluster),
            (false, Some(caller), None, None, None) => Ok(FreezeTarget::Caller(caller)),
            (false, None, Some(tenant), None, None) => Ok(FreezeTarget::Tenant(tenant)),
            (false, None, Some(tenant), Some(scope), None) => Ok(FreezeTarget::Scope(tenant, scope)),
            (false, None, Some(tenant), None, Some(purpose)) => Ok(FreezeTarget::Purpose(tenant, purpose)),
            _ => Err("freeze must name cluster, caller, tenant, or tenant with scope or purpose".to_owned()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantTable {
    tenant: String,
    #[serde(default)]
    time_zone: String,
    purposes: Vec<String>,
}

impl DataFile {
    /// Adds a tenant of the vault.
    pub(super) fn add_tenant(&mut self, tenant: pb::Tenant) {
        let pb::Tenant { tenant, time_zone, purposes, .. } = tenant;
        self.tenant.push(TenantTable { tenant, time_zone, purposes });
    }

    /// Adds grants of the vault.
    pub(super) fn add_grants(&mut self, grants: Vec<pb::Grant>) {
        self.grant.extend(grants.into_iter().map(GrantTable::from));
    }

    /// Adds what is frozen in the vault. A freeze of a tenant may come with the vault's and with the tenant's.
    pub(super) fn add_freezes(&mut self, freezes: Vec<FrozenThing>) {
        for target in freezes.into_iter().filter_map(|freeze| freeze.target) {
            let guard::FreezeTarget { cluster, caller, tenant, scope, purpose } = target;
            let table = FreezeTable { cluster, caller, tenant, scope, purpose };
            if !self.freeze.contains(&table) {
                self.freeze.push(table);
            }
        }
    }

    /// Adds what differs between the vault's catalogue and the shipped one. A row that the vault never had is as good as
    /// retired.
    pub(super) fn add_catalogue(&mut self, rows: &[WirePurpose]) -> Result<(), Failure> {
        let shipped = shipped().map_err(Failure::Internal)?;
        let mut known = BTreeSet::new();
        for row in rows {
            let purpose = purpose_of(row)?;
            known.insert(purpose.code.clone());
            if row.retired {
                self.retire.push(purpose.code.clone());
            }
            if shipped.get(&purpose.code) != Some(&purpose) {
                self.purpose.push(purpose);
            }
        }
        self.retire.extend(shipped.iter().map(|row| &row.code).filter(|code| !known.contains(*code)).cloned());
        Ok(())
    }

    /// How much of everything there is.
    pub(super) fn counts(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("tenants", json!(self.tenant.len())),
            ("grants", json!(self.grant.len())),
            ("freezes", json!(self.freeze.len())),
            ("purposes", json!(self.purpose.len())),
            ("retired", json!(self.retire.len())),
        ]
    }

    /// The file.
    pub(super) fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string(self).map_err(|error| Failure::Internal(error.to_string()))
    }
}

#[allow(clippy::needless_update, reason = "a later field shall not need a change here")]
fn policy_data(text: &str, data: &str) -> Result<PolicyData, String> {
    let file: DataFile = toml::from_str(data).map_err(|error| error.to_string())?;
    let catalogue = catalogue(&file.purpose, &file.retire)?;
    let freezes = (1..)
        .zip(&file.freeze)
        .map(|(number, table)| table.to_policy().map_err(|problem: String| format!("freeze {number}: {problem}")));
    let grants = (1..)
        .zip(&file.grant)
        .map(|(number, table)| table.to_policy(number).map_err(|problem| format!("grant {number}: {problem}")));
    Ok(PolicyData {
        version: PolicyVersion(1),
        text: text.to_owned(),
        tenants: file.tenant.into_iter().map(tenant).collect::<Result<_, _>>()?,
        grants: grants.collect::<Result<_, _>>()?,
        catalogue: catalogue.clone(),
        freezes: freezes.collect::<Result<_, _>>()?,
        ..fuda_policy::samples::policy_data(catalogue, Timestamp::EPOCH).map_err(told)?
    })
}

fn shipped() -> Result<Catalogue, String> {
    Catalogue::from_toml(Catalogue::default_text()).map_err(|error| error.to_string())
}

/// The shipped catalogue under as many changes as it takes, each by the rules of a change in the vault.
fn catalogue(put: &[Purpose], retire: &[PurposeCode]) -> Result<Catalogue, String> {
    let puts = put.chunks(PURPOSES_PER_CHANGE_MAX).map(|put| CatalogueChange {
        put: put.to_vec(),
        override_reason: put.iter().any(|row| row.forbidden_use().is_some()).then(|| OVERRIDDEN.to_owned()),
        ..CatalogueChange::default()
    });
    let retires = retire
        .chunks(PURPOSES_PER_CHANGE_MAX)
        .map(|retire| CatalogueChange { retire: retire.to_vec(), ..CatalogueChange::default() });
    puts.chain(retires).try_fold(shipped()?, |catalogue, change| {
        let change = CatalogueChange { base: catalogue.version(), ..change };
        catalogue.changed(&change).map_err(|error| error.to_string())
    })
}

#[allow(clippy::needless_update, reason = "a later field shall not need a change here")]
fn tenant(table: TenantTable) -> Result<Tenant, String> {
    let zone = if table.time_zone.is_empty() { Ok(Zone::tokyo()) } else { Zone::parse(&table.time_zone) };
    Ok(Tenant {
        id: TenantId::parse(&table.tenant).map_err(told)?,
        name: table.tenant,
        time_zone: zone.map_err(told)?,
        key_domain: fuda_core::KeyDomainId::SHARED,
        recovery: RecoveryChoice::None,
        purposes: all(&table.purposes, PurposeCode::parse)?,
        created: Timestamp::EPOCH,
        ..fuda_policy::samples::tenant(Timestamp::EPOCH).map_err(told)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = r#"
        [[tenant]]
        tenant = "acme"
        purposes = ["tax.withholding_slip"]

        [[grant]]
        caller = "spiffe://fuda.test/payroll"
        role = "workload"
        tenant = "acme"
        actions = ["detokenize"]
        kinds = ["my_number"]
        purposes = ["tax.withholding_slip"]
        scopes = ["payroll"]
        end_user = "approved_job"
        approved_job = { job = "monthly", handler = "oidc:corp/tanaka" }
        hours = [{ days = ["mon"], from = "09:00", to = "18:00" }]
    "#;

    const TABLE: &str = r#"
        [[case]]
        caller = "spiffe://fuda.test/payroll"
        action = "detokenize"
        tenant = "acme"
        purpose = "tax.withholding_slip"
        scope = "payroll"
        kind = "my_number"
        time = "2026-11-23T09:00:00+09:00"
        expect = "allow"

        [[case]]
        caller = "spiffe://fuda.test/payroll"
        action = "detokenize"
        tenant = "acme"
        purpose = "tax.withholding_slip"
        scope = "payroll"
        kind = "my_number"
        relation = "payee"
        time = "2026-11-23T09:00:00+09:00"
        expect = "deny"
        reason = "relation_not_revealable"

        [[case]]
        caller = "spiffe://fuda.test/payroll"
        action = "detokenize"
        tenant = "acme"
        purpose = "tax.withholding_slip"
        time = "2026-11-23T18:00:00+09:00"
        expect = "deny"
        reason = "outside_hours"
    "#;

    fn run(policy: &str, table: &str) -> Vec<String> {
        let cases = cases(Path::new("table.toml"), table).ok().unwrap();
        differences(policy, DATA, &cases).ok().unwrap()
    }

    #[test]
    fn a_table_holds_or_names_what_differs() {
        assert!(run(Policy::DEFAULT_TEXT, TABLE).is_empty());
        let wrong = TABLE.replacen("expect = \"allow\"", "expect = \"deny\"", 1);
        assert_eq!(run(Policy::DEFAULT_TEXT, &wrong), ["case 1: expected deny, got allow"]);
        let other = TABLE.replace("outside_hours", "no_grant");
        assert_eq!(run(Policy::DEFAULT_TEXT, &other), ["case 3: expected deny (no_grant), got deny (outside_hours)"]);
        let closed = format!("{}\n@id(\"stop\") forbid (principal, action, resource);", Policy::DEFAULT_TEXT);
        // What no grant could carry under this text is denied by the text, whatever else is wrong with it.
        let found = run(&closed, TABLE);
        assert_eq!(found.first().map(String::as_str), Some("case 1: expected allow, got deny (forbidden_by_policy)"));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn an_export_decides_as_what_was_exported() {
        let mut exported = DataFile::default();
        let file: DataFile = toml::from_str(DATA).unwrap();
        exported.add_grants(file.grant.into_iter().map(|table| table.into_wire().unwrap()).collect());
        exported.add_tenant(pb::Tenant {
            tenant: "acme".to_owned(),
            time_zone: "Asia/Tokyo".to_owned(),
            purposes: vec!["tax.withholding_slip".to_owned()],
            ..pb::Tenant::default()
        });
        assert_eq!(exported.counts()[..2], [("tenants", json!(1)), ("grants", json!(1))]);
        let cases = cases(Path::new("table.toml"), TABLE).ok().unwrap();
        let found = differences(Policy::DEFAULT_TEXT, &exported.to_toml().ok().unwrap(), &cases);
        assert!(found.ok().unwrap().is_empty());
    }

    /// What a vault that knows the shipped catalogue says of it.
    fn rows() -> Vec<WirePurpose> {
        shipped().unwrap().iter().map(crate::command::purpose::purpose).collect()
    }

    /// What the first case comes to in a vault with these freezes and purposes.
    fn first_case(freezes: Vec<guard::FreezeTarget>, rows: &[WirePurpose]) -> String {
        let mut exported: DataFile = toml::from_str(DATA).unwrap();
        let frozen = freezes.into_iter().map(|target| FrozenThing { target: Some(target), ..FrozenThing::default() });
        exported.add_freezes(frozen.collect());
        exported.add_catalogue(rows).unwrap();
        let file = exported.to_toml().unwrap();
        let cases = cases(Path::new("table.toml"), TABLE).unwrap();
        let found = differences(Policy::DEFAULT_TEXT, &file, &cases[..1]).unwrap();
        found.into_iter().next().unwrap_or_default()
    }

    #[test]
    fn what_is_frozen_is_exported_and_denied() {
        let tenant = || "acme".to_owned();
        let frozen = [
            guard::FreezeTarget { cluster: true, ..guard::FreezeTarget::default() },
            guard::FreezeTarget { tenant: tenant(), ..guard::FreezeTarget::default() },
            guard::FreezeTarget { tenant: tenant(), scope: "payroll".to_owned(), ..guard::FreezeTarget::default() },
            guard::FreezeTarget {
                tenant: tenant(),
                purpose: "tax.withholding_slip".to_owned(),
                ..guard::FreezeTarget::default()
            },
        ];
        assert_eq!(first_case(Vec::new(), &rows()), "");
        for target in frozen {
            // The vault and the tenant both name it.
            let found = first_case(vec![target.clone(), target], &rows());
            assert_eq!(found, "case 1: expected allow, got deny (frozen)");
        }
        let caller =
            guard::FreezeTarget { caller: "spiffe://fuda.test/payroll".to_owned(), ..guard::FreezeTarget::default() };
        assert_eq!(first_case(vec![caller], &rows()), "case 1: expected allow, got deny (caller_frozen)");
        let other = guard::FreezeTarget { tenant: "other".to_owned(), ..guard::FreezeTarget::default() };
        assert_eq!(first_case(vec![other], &rows()), "");
        let vague = "[[freeze]]\ntenant = \"acme\"\ncluster = true\n";
        assert!(policy_data(Policy::DEFAULT_TEXT, vague).unwrap_err().starts_with("freeze 1: freeze must name"));
    }

    #[test]
    fn a_changed_catalogue_is_exported_and_decides() {
        let changed = |change: &dyn Fn(&mut WirePurpose)| {
            let mut rows = rows();
            rows.iter_mut().filter(|row| row.code == "tax.withholding_slip").for_each(change);
            rows
        };
        let mut untouched = DataFile::default();
        untouched.add_catalogue(&rows()).unwrap();
        assert!(untouched.purpose.is_empty() && untouched.retire.is_empty(), "a shipped catalogue needs no rows");

        let retired = changed(&|row| row.retired = true);
        assert_eq!(first_case(Vec::new(), &retired), "case 1: expected allow, got deny (purpose_retired)");
        let narrowed = changed(&|row| row.relations = vec!["spouse".to_owned()]);
        assert_eq!(first_case(Vec::new(), &narrowed), "case 1: expected allow, got deny (relation_not_revealable)");
        let both = changed(&|row| (row.retired, row.relations) = (true, vec!["self".to_owned()]));
        assert_eq!(first_case(Vec::new(), &both), "case 1: expected allow, got deny (purpose_retired)");
        let missing: Vec<_> = rows().into_iter().filter(|row| row.code != "tax.withholding_slip").collect();
        assert_eq!(first_case(Vec::new(), &missing), "case 1: expected allow, got deny (purpose_retired)");
        // Two people may have overridden what the law forbids; the file keeps it without asking again.
        let overridden = changed(&|row| row.ja = "社員番号としての利用".to_owned());
        assert_eq!(first_case(Vec::new(), &overridden), "");
    }

    #[test]
    fn a_table_may_be_csv() {
        let text = "caller,action,tenant,purpose,time,expect,reason\n\
                    spiffe://fuda.test/nobody,get_record,acme,,2026-11-23T09:00:00+09:00,deny,no_grant\n";
        let cases = cases(Path::new("table.csv"), text).ok().unwrap();
        assert!(differences(Policy::DEFAULT_TEXT, DATA, &cases).ok().unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        assert!(cases(Path::new("t.toml"), "[[case]]\ncolour = \"red\"").is_err());
        assert!(cases(Path::new("t.toml"), "case = []").is_err());
        let case = Case { action: "fly".to_owned(), expect: "allow".to_owned(), ..Case::default() };
        assert!(differences(Policy::DEFAULT_TEXT, DATA, &[case]).is_err());
    }
}
