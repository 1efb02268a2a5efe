//! Decisions without a vault: a policy text, tenants and grants from files, and a table of what they should come to.

use std::path::Path;

use csv::ReaderBuilder;
use fuda_core::{
    CallerId, Catalogue, Kind, PolicyVersion, PurposeCode, RecordLabel, Relation, ScopeId, SourceZone, SubjectRef,
    TenantId, Timestamp, Window, WorkReference, Zone,
};
use fuda_policy::{
    Action, ApprovedJob, Budget, Conditions, EndUserProof, EndUserRule, Grant, GrantId, Hours, Notified, Policy,
    PolicyData, Proof, RecordFacts, RecoveryChoice, Request, Role, Subjects, Tenant,
};
use serde::Deserialize;

use crate::failure::Failure;
use crate::wire;

/// Rows of a table.
const CASES_MAX: usize = 10_000;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

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
            let end_user = EndUserProof::Verified { user, until: now };
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
    };
    let shares = policy.decide_records(&request, &[Some(record)], now);
    let verdict = shares.first().and_then(|share| share.items.first()).map(|(_, verdict)| *verdict);
    let verdict = verdict.ok_or("a case without a decision")?;
    Ok(verdict.map_err(|reason| reason.code().to_owned()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataFile {
    tenant: Vec<TenantTable>,
    grant: Vec<GrantTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantTable {
    tenant: String,
    #[serde(default)]
    time_zone: String,
    purposes: Vec<String>,
}

/// The fields of `fuda grant propose`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct GrantTable {
    caller: String,
    role: String,
    tenant: String,
    actions: Vec<String>,
    kinds: Vec<String>,
    purposes: Vec<String>,
    scopes: Vec<String>,
    not_before: String,
    not_after: String,
    budget: Option<BudgetTable>,
    verify_guesses_per_day: u16,
    relations: Vec<String>,
    subjects: Vec<String>,
    label: String,
    hours: Vec<HoursTable>,
    source_zones: Vec<String>,
    trained_until: String,
    end_user: String,
    approved_job: Option<JobTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobTable {
    job: String,
    handler: String,
    #[serde(default)]
    not_before: String,
    #[serde(default)]
    not_after: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetTable {
    persons_max: u32,
    window_days: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoursTable {
    #[serde(default)]
    days: Vec<String>,
    from: String,
    to: String,
}

#[allow(clippy::needless_update, reason = "a later field shall not need a change here")]
fn policy_data(text: &str, data: &str) -> Result<PolicyData, String> {
    let file: DataFile = toml::from_str(data).map_err(|error| error.to_string())?;
    let catalogue = Catalogue::from_toml(Catalogue::default_text()).map_err(|error| error.to_string())?;
    let grants = file
        .grant
        .into_iter()
        .enumerate()
        .map(|(index, table)| grant(table, index + 1).map_err(|problem| format!("grant {}: {problem}", index + 1)));
    Ok(PolicyData {
        version: PolicyVersion(1),
        text: text.to_owned(),
        tenants: file.tenant.into_iter().map(tenant).collect::<Result<_, _>>()?,
        grants: grants.collect::<Result<_, _>>()?,
        catalogue: catalogue.clone(),
        ..fuda_policy::samples::policy_data(catalogue, Timestamp::EPOCH).map_err(told)?
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

fn grant(table: GrantTable, number: usize) -> Result<Grant, String> {
    let number = u128::try_from(number).map_err(|_| "too many grants")?;
    let actions = table.actions.iter().map(|code| Action::from_code(code).ok_or("actions must be codes of actions"));
    let conditions = Conditions {
        relations: match table.relations.as_slice() {
            [] => None,
            codes => Some(all(codes, Relation::from_code)?.into_iter().collect()),
        },
        subjects: subjects(&table)?,
        hours: table.hours.iter().map(hours).collect::<Result<_, _>>()?,
        source_zones: all(&table.source_zones, SourceZone::parse)?,
        trained_until: open_moment(&table.trained_until)?,
    };
    Ok(Grant {
        id: GrantId(number.to_be_bytes()),
        caller: CallerId::parse(&table.caller).map_err(told)?,
        role: Role::from_code(&table.role).ok_or("role must be the code of a role")?,
        tenant: some(&table.tenant, TenantId::parse)?,
        actions: actions.collect::<Result<_, _>>()?,
        kinds: all(&table.kinds, Kind::from_code)?,
        purposes: all(&table.purposes, PurposeCode::parse)?,
        scopes: all(&table.scopes, ScopeId::parse)?,
        window: Window { not_before: open_moment(&table.not_before)?, not_after: open_moment(&table.not_after)? },
        budget: table.budget.as_ref().map(|it| Budget::new(it.persons_max, it.window_days)),
        verify_guesses_per_day: match table.verify_guesses_per_day {
            0 if table.actions.iter().any(|code| code == Action::VerifyNumber.code()) => 5,
            guesses => guesses,
        },
        end_user: end_user(&table)?,
        conditions,
        circumstances: None,
    })
}

fn end_user(table: &GrantTable) -> Result<Option<EndUserRule>, String> {
    match (table.end_user.as_str(), &table.approved_job) {
        ("" | "none", None) => Ok(None),
        ("required", None) => Ok(Some(EndUserRule::Required)),
        ("approved_job", Some(job)) => Ok(Some(EndUserRule::ApprovedJob(ApprovedJob {
            job: WorkReference::parse(&job.job).map_err(told)?,
            handler: CallerId::parse(&job.handler).map_err(told)?,
            window: Window { not_before: open_moment(&job.not_before)?, not_after: open_moment(&job.not_after)? },
        }))),
        _ => {
            Err("end_user must be none, required, or approved_job together with approved_job = { job, handler }".into())
        }
    }
}

fn subjects(table: &GrantTable) -> Result<Subjects, String> {
    match (table.subjects.as_slice(), table.label.as_str()) {
        ([], "") => Ok(Subjects::All),
        ([], label) => Ok(Subjects::Labelled(RecordLabel::parse(label).map_err(told)?)),
        (listed, "") => {
            let mut subjects = all(listed, SubjectRef::parse)?;
            subjects.sort_unstable();
            subjects.dedup();
            Ok(Subjects::Listed(subjects))
        }
        _ => Err("label must not stand beside subjects".to_owned()),
    }
}

fn hours(table: &HoursTable) -> Result<Hours, String> {
    let mut days = if table.days.is_empty() { Hours::EVERY_DAY } else { 0 };
    for day in &table.days {
        days |= 1 << DAYS.iter().position(|known| known == day).ok_or("hours.days must be mon to sun")?;
    }
    let minute =
        |text: &str| wire::clock(text).and_then(|minute| u16::try_from(minute).map_err(|error| error.to_string()));
    Ok(Hours { days, from_minute: minute(&table.from)?, to_minute: minute(&table.to)? })
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let moment = wire::moment(text).map_err(|rule| format!("time {rule}"))?;
    Ok(Timestamp(moment.seconds.saturating_mul(1_000).saturating_add(i64::from(moment.nanos / 1_000_000))))
}

fn open_moment(text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() { Ok(None) } else { moment(text).map(Some) }
}

fn some<T>(text: &str, parse: impl Fn(&str) -> Result<T, fuda_core::Invalid>) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some).map_err(told) }
}

fn all<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, fuda_core::Invalid>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| parse(text).map_err(told)).collect()
}

fn told(invalid: fuda_core::Invalid) -> String {
    invalid.to_string()
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
