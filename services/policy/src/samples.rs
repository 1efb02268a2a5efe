//! Demo data: one tenant and the callers of a small company, for `fuda-vault dev` and for tests.
//!
//! There is no test constructor for a [`crate::Permit`]: tests that need one build a [`crate::Policy`] from this
//! data and ask it.

use fuda_core::{
    CallerId, Catalogue, Invalid, KeyDomainId, Kind, PolicyVersion, PurposeCode, ScopeId, TenantId, Timestamp,
    VerificationDemand, Window, WorkReference, Zone, limits::VERIFY_GUESSES_PER_DAY_DEFAULT,
};

use crate::{
    Action, ApprovedJob, Budget, Circumstances, Conditions, EndUserRule, Grant, GrantId, Policy, PolicyData,
    RecoveryChoice, Role, Tenant,
};

/// The trust domain and path prefix of every demo caller; live clusters must not trust `fuda.test`.
pub const CALLER_PREFIX: &str = "spiffe://fuda.test/demo/";
/// The demo tenant.
pub const TENANT: &str = "demo";
/// Creates tenants, proposes grants.
pub const OWNER: &str = "owner";
/// Approves grants.
pub const APPROVER: &str = "approver";
/// Approves grants too: bootstrap needs at least two.
pub const SECOND_APPROVER: &str = "second-approver";
/// Adds and removes members.
pub const OPERATOR: &str = "operator";
/// Reads the ledger.
pub const AUDITOR: &str = "auditor";
/// Collects numbers: tokenizes for every scope, looks after tokens and records; sees no number again.
pub const HR: &str = "hr";
/// Reveals and verifies My Numbers for [`PURPOSE`] in the scope [`PAYROLL_SCOPE`].
pub const PAYROLL: &str = "payroll";
/// Describes its tokens, and no more.
pub const ACCOUNTING: &str = "accounting";
/// The purpose payroll may reveal for.
pub const PURPOSE: &str = "tax.withholding_slip";
/// The purpose HR collects for.
pub const COLLECT_PURPOSE: &str = "op.collect";
/// The approved job that payroll runs as.
pub const JOB: &str = "payroll-monthly";
/// The person who handles that job.
pub const HANDLER: &str = "oidc:demo/tanaka";
/// Payroll's scope.
pub const PAYROLL_SCOPE: &str = "payroll";
/// Accounting's scope.
pub const ACCOUNTING_SCOPE: &str = "accounting";

/// The purposes the demo tenant has enabled.
const ENABLED: [&str; 4] = [COLLECT_PURPOSE, PURPOSE, "tax.salary_report", "tax.fee_record"];

/// The demo policy data: version 1, the default text, the catalogue of the release, the demo tenant created at
/// `created`, and a grant without end for every demo caller.
pub fn policy_data(catalogue: Catalogue, created: Timestamp) -> Result<PolicyData, Invalid> {
    Ok(PolicyData {
        version: PolicyVersion(1),
        text: Policy::DEFAULT_TEXT.to_owned(),
        tenants: vec![tenant(created)?],
        grants: grants()?,
        catalogue,
        freezes: Vec::new(),
    })
}

/// The id of a demo caller, `spiffe://fuda.test/demo/hr` for [`HR`].
pub fn caller(name: &str) -> Result<CallerId, Invalid> {
    CallerId::parse(&format!("{CALLER_PREFIX}{name}"))
}

/// The demo tenant: shared key domain, no recovery of lost tokens.
pub fn tenant(created: Timestamp) -> Result<Tenant, Invalid> {
    Ok(Tenant {
        id: TenantId::parse(TENANT)?,
        name: "デモ株式会社".to_owned(),
        time_zone: Zone::tokyo(),
        key_domain: KeyDomainId::SHARED,
        recovery: RecoveryChoice::None,
        purposes: ENABLED.into_iter().map(PurposeCode::parse).collect::<Result<_, _>>()?,
        created,
        demand: VerificationDemand::default(),
        recipients: Vec::new(),
        office_hours: crate::OfficeHours::default(),
    })
}

/// The grants of the demo callers, with ids 1, 2, 3, …
pub fn grants() -> Result<Vec<Grant>, Invalid> {
    Ok(vec![
        administrative(1, OWNER, Role::Owner)?,
        administrative(2, APPROVER, Role::Approver)?,
        administrative(3, SECOND_APPROVER, Role::Approver)?,
        operator(4)?,
        administrative(5, AUDITOR, Role::Auditor)?,
        Grant {
            actions: vec![
                Action::Tokenize,
                Action::DescribeToken,
                Action::GetRecord,
                Action::ListRecords,
                Action::Exchange,
                Action::Rotate,
                Action::UpdateNumber,
                Action::Disable,
                Action::Enable,
                Action::Supersede,
                Action::AddNotice,
            ],
            kinds: vec![Kind::MyNumber, Kind::BankAccount],
            purposes: vec![PurposeCode::parse(COLLECT_PURPOSE)?],
            scopes: vec![ScopeId::parse(PAYROLL_SCOPE)?, ScopeId::parse(ACCOUNTING_SCOPE)?],
            ..workload(6, HR)?
        },
        Grant {
            actions: vec![Action::Detokenize, Action::VerifyNumber, Action::DescribeToken],
            kinds: vec![Kind::MyNumber],
            purposes: vec![PurposeCode::parse(PURPOSE)?],
            scopes: vec![ScopeId::parse(PAYROLL_SCOPE)?],
            budget: Some(Budget::new(10_000, 31)),
            window: Window { not_before: None, not_after: Some(Timestamp::MAX) },
            end_user: Some(EndUserRule::ApprovedJob(ApprovedJob {
                job: WorkReference::parse(JOB)?,
                handler: CallerId::parse(HANDLER)?,
                window: Window::ALWAYS,
            })),
            verify_guesses_per_day: u16::try_from(VERIFY_GUESSES_PER_DAY_DEFAULT).unwrap_or(u16::MAX),
            ..workload(7, PAYROLL)?
        },
        Grant {
            actions: vec![Action::DescribeToken],
            kinds: vec![Kind::MyNumber, Kind::BankAccount],
            scopes: vec![ScopeId::parse(ACCOUNTING_SCOPE)?],
            ..workload(8, ACCOUNTING)?
        },
    ])
}

/// Every action of the role, for the whole vault.
fn administrative(id: u8, name: &str, role: Role) -> Result<Grant, Invalid> {
    Ok(Grant {
        id: grant_id(id),
        caller: caller(name)?,
        role,
        tenant: None,
        actions: role.actions().to_vec(),
        kinds: Vec::new(),
        purposes: Vec::new(),
        scopes: Vec::new(),
        window: Window::ALWAYS,
        budget: None,
        verify_guesses_per_day: 0,
        end_user: None,
        conditions: Conditions::default(),
        circumstances: None,
    })
}

/// An operator is a named person, and his grant ends.
fn operator(id: u8) -> Result<Grant, Invalid> {
    let person = Some("Operator of the Demo".to_owned());
    Ok(Grant {
        window: Window { not_before: None, not_after: Some(Timestamp::MAX) },
        circumstances: Some(Circumstances { person, ..Circumstances::default() }),
        ..administrative(id, OPERATOR, Role::Operator)?
    })
}

/// A workload of the demo tenant that may do nothing yet.
fn workload(id: u8, name: &str) -> Result<Grant, Invalid> {
    let tenant = Some(TenantId::parse(TENANT)?);
    Ok(Grant { tenant, actions: Vec::new(), ..administrative(id, name, Role::Workload)? })
}

fn grant_id(id: u8) -> GrantId {
    GrantId(u128::from(id).to_be_bytes())
}
