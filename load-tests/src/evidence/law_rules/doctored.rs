//! Doctored vaults: each lets something happen that a rule of the law forbids, and the tests of the rule must notice.
//!
//! What people can do wrong together is done to the running vault, after its tests held: a catalogue, a grant, a notice
//! that should not be. Each such test is run again just before, where it must hold, and just after, where it must fail and
//! say why. What no people can do is planted in a build with failpoints, whose tests run on a stage of their own.

use anyhow::{Context as _, Result, anyhow};
use fuda_proto::policy::v1::{ApprovePolicyRequest, GetPolicyRequest, ProposePolicyRequest};
use fuda_proto::vault::v1::{AddNoticeRequest, NoticeItem, NotifiedPurpose, RecordName};

use super::check;
use super::entrust::consent;
use super::seal::Holder;
use super::stage::{
    AUTHORITY, DISCLOSE_SELF, FEE_RECORD, MIGRATE, RETIREMENT_SLIP, SALARY_REPORT, Stage, Stored, YEAREND,
};
use super::table::{Running, Test};
use super::uses::{self, REASON};
use crate::cluster::{PURPOSE, TENANT};
use crate::wire::describe;

/// The planted bugs: anybody reveals as payroll does and for its purpose; checks of identities are neither kept, looked at
/// nor asked for; forbidden uses are overridden, counts filled in and consents presumed by the vault itself; one notice of
/// several is shown.
pub(super) const MUTANT: &str = "lawless";
/// Id of the policy that lets nobody reveal.
const STOP: &str = "\n@id(\"stop\")\nforbid (principal, action == Action::\"detokenize\", resource);\n";

/// A test that must notice, and what its failure must say.
type Caught = (&'static str, &'static str);

/// What is done to a vault, and who must notice.
pub(super) struct Doctored {
    /// In words.
    pub(super) what: &'static str,
    act: for<'a> fn(&'a Stage) -> Running<'a>,
    caught_by: &'static [Caught],
}

/// Done one after the other to the vault whose tests held.
const IN_FORCE: &[Doctored] = &[
    Doctored {
        what: "a catalogue that reveals what the law does not",
        act: |stage| Box::pin(catalogue(stage)),
        caught_by: &[
            ("provide.yearend_refuses_the_own_number", "`tax.yearend_decl` revealed a number"),
            ("file.two_person_grants_are_bounded", "30 days: nothing was refused"),
            ("provide.moved_and_sealed_numbers_are_not_shown", "`op.migrate` revealed a number"),
            ("keep.retention_is_a_rule_of_dates", "`ei.lose` of 2026-03-31 is to be erased from 2029-04-01"),
            ("use.purpose_of_the_catalogue", "not `purpose_unknown`"),
        ],
    },
    Doctored {
        what: "a tenant that uses what it does not do",
        act: |stage| Box::pin(stage.enable(TENANT, &[FEE_RECORD])),
        caught_by: &[
            ("use.purpose_enabled_by_the_tenant", "not `purpose_not_enabled`"),
            ("use.consent_widens_nothing", "nothing was refused"),
        ],
    },
    Doctored {
        what: "callers with grants they do not need",
        act: |stage| Box::pin(grants(stage)),
        caught_by: &[
            ("use.purpose_granted_to_the_caller", "`tax.retirement_slip` revealed a number"),
            ("file.bulk_ends_with_its_grant", "`tax.withholding_slip` revealed a number"),
            ("entrust.a_processor_has_what_the_tenant_granted", "`tax.salary_report` revealed a number"),
        ],
    },
    Doctored {
        what: "notices that nobody gave",
        act: |stage| Box::pin(notices(stage)),
        caught_by: &[
            ("notice.only_notified_purposes", "`tax.salary_report` revealed a number"),
            ("notice.only_in_its_time", "`tax.withholding_slip` revealed a number"),
        ],
    },
    Doctored {
        what: "a consent before anybody asked",
        act: |stage| Box::pin(consented(stage)),
        caught_by: &[("entrust.entrusting_on_takes_the_tenants_consent", "nothing was refused")],
    },
    Doctored {
        what: "a log with a number in it",
        act: |stage| Box::pin(careless_log(stage)),
        caught_by: &[("maintain.ledger_and_logs_hold_no_number", "careless.log holds a number")],
    },
    Doctored {
        what: "a policy text under which nobody reveals",
        act: |stage| Box::pin(stop(stage)),
        caught_by: &[
            ("entrust.every_use_is_visible_to_the_tenant", "FUDA-2002"),
            ("provide.a_consented_move_reaches_the_next_employer", "Detokenize: "),
        ],
    },
];

/// What the tests say of the build with planted bugs, after [`beforehand`].
const PLANTED: &[Caught] = &[
    ("use.purpose_is_mandatory", "`` revealed a number"),
    ("file.bulk_names_a_purpose", "nothing was refused"),
    ("provide.tenants_are_apart", "`tax.withholding_slip` revealed a number"),
    ("identify.a_registration_keeps_its_check", "the record says None"),
    ("identify.a_tenant_can_demand_the_check", "nothing was refused"),
    ("identify.a_check_holds_no_picture", "nothing was refused"),
    ("identify.a_check_that_makes_no_sense_is_refused", "no method: expected"),
    ("use.forbidden_uses_need_an_override", "nothing was refused; expected FUDA-1070"),
    ("file.what_reveals_is_counted_and_ends", "nothing was refused"),
    ("notice.several_purposes_at_once", "is not among them"),
    ("provide.copies_for_the_person_get_no_number", "nothing was refused"),
    ("provide.nothing_moves_without_consent", "nothing was refused"),
    ("cloud.who_runs_the_vault_reads_nothing", "`tax.withholding_slip` revealed a number"),
    ("use.an_override_is_an_entry_of_two_people", "a proposal alone made the purpose"),
    ("provide.the_own_number_takes_two_people", "`op.disclose_self` revealed a number"),
    ("provide.recipients_are_registered_by_two_people", "`op.migrate` sealed a number"),
    ("provide.a_migration_is_agreed_on_and_counted", "`op.migrate` sealed a number"),
];

/// Names of the tests that some doctored vault shows to be able to fail.
pub(super) fn controlled() -> impl Iterator<Item = &'static str> {
    IN_FORCE.iter().flat_map(|doctored| doctored.caught_by).chain(PLANTED).map(|(name, _)| *name)
}

/// Doctors the vault whose tests held; what it returns are the failures of controls.
pub(super) async fn in_force(stage: &Stage, tests: &[&Test]) -> Result<Vec<String>> {
    let mut missed = Vec::new();
    for doctored in IN_FORCE {
        let names: Vec<&Test> = pick(tests, doctored.caught_by)?;
        for failure in check(stage, &names).await {
            missed.push(format!("{}: before it, {failure}", doctored.what));
        }
        (doctored.act)(stage).await.with_context(|| doctored.what.to_owned())?;
        let failed = check(stage, &names).await;
        missed.extend(unnoticed(&failed, doctored.caught_by).map(|name| format!("{}: {name}", doctored.what)));
    }
    Ok(missed)
}

/// Tests the build with planted bugs, in which people did some things beforehand; what it returns are the failures of
/// controls.
pub(super) async fn planted(stage: &Stage, tests: &[&Test]) -> Result<Vec<String>> {
    beforehand(stage).await.context("before the tests of the planted bugs")?;
    let failed = check(stage, &pick(tests, PLANTED)?).await;
    Ok(unnoticed(&failed, PLANTED).map(|name| format!("{MUTANT}: {name}")).collect())
}

fn pick<'a>(tests: &[&'a Test], caught_by: &[Caught]) -> Result<Vec<&'a Test>> {
    let find = |name: &str| tests.iter().copied().find(|test| test.name == name);
    caught_by.iter().map(|(name, _)| find(name).with_context(|| format!("no test is called `{name}`"))).collect()
}

/// The tests that did not fail, or for another reason.
fn unnoticed<'a>(failed: &'a [String], caught_by: &'a [Caught]) -> impl Iterator<Item = String> + 'a {
    caught_by.iter().filter_map(|(name, says)| {
        let failure = failed.iter().find(|failure| failure.starts_with(&format!("{name}: ")));
        match failure {
            Some(failure) if failure.contains(says) => None,
            Some(failure) => Some(format!("{failure} (expected `{says}`)")),
            None => Some(format!("{name} held")),
        }
    })
}

/// Two people agree on what the law does not know.
async fn catalogue(stage: &Stage) -> Result<()> {
    let mut yearend = stage.row(YEAREND).await?;
    yearend.relations.push("self".to_owned());
    let mut authority = stage.row(AUTHORITY).await?;
    authority.two_person = false;
    let mut migrate = stage.row(MIGRATE).await?;
    migrate.delivery = "shown".to_owned();
    let mut lose = stage.row("ei.lose").await?;
    lose.retention.get_or_insert_default().years = 3;
    let mut none = stage.row(SALARY_REPORT).await?;
    "tax.no_such_form".clone_into(&mut none.code);
    let order = stage.propose(vec![yearend, authority, migrate, lose, none], "").await?;
    let order = order.map_err(|status| anyhow!("ProposeCatalogueChange: {}", describe(&status)))?;
    stage.agree(&order).await
}

async fn grants(stage: &Stage) -> Result<()> {
    let given = [(&stage.payroll, RETIREMENT_SLIP), (&stage.hr, PURPOSE), (&stage.accounting, SALARY_REPORT)];
    stage.give(given.into_iter().map(|(caller, purpose)| stage.grant(caller, TENANT, &[purpose])).collect()).await
}

async fn notices(stage: &Stage) -> Result<()> {
    notice(stage, &stage.newcomer, SALARY_REPORT).await?;
    notice(stage, &stage.leaver, PURPOSE).await
}

async fn notice(stage: &Stage, stored: &Stored, purpose: &str) -> Result<()> {
    let record = RecordName { subject: stored.subject.clone(), kind: "my_number".to_owned(), ..RecordName::default() };
    let notified = NotifiedPurpose { purpose: purpose.to_owned(), ..NotifiedPurpose::default() };
    let request = AddNoticeRequest {
        tenant: TENANT.to_owned(),
        item: Some(NoticeItem { record: Some(record), notified_purposes: vec![notified] }),
        ..AddNoticeRequest::default()
    };
    let added = stage.hr.tokens(0).add_notice(request).await;
    added.map(|_| ()).map_err(|status| anyhow!("AddNotice: {}", describe(&status)))
}

async fn consented(stage: &Stage) -> Result<()> {
    consent(&stage.owner, false).await.map(|_| ()).map_err(|status| anyhow!("{}", describe(&status)))
}

async fn careless_log(stage: &Stage) -> Result<()> {
    let line = format!("revealed {} to payroll\n", stage.employee.number);
    Ok(std::fs::write(stage.run_dir.join("careless.log"), line)?)
}

async fn stop(stage: &Stage) -> Result<()> {
    let told = |call: &str, status: &tonic::Status| anyhow!("{call}: {}", describe(status));
    let mut owner = stage.owner.policies(0);
    let current = owner.get_policy(GetPolicyRequest::default()).await.map_err(|status| told("GetPolicy", &status))?;
    let current = current.into_inner();
    let text = format!("{}{STOP}", current.text);
    let request = ProposePolicyRequest { text, base: current.version, ..ProposePolicyRequest::default() };
    let order =
        owner.propose_policy(request).await.map_err(|status| told("ProposePolicy", &status))?.into_inner().order;
    let request = ApprovePolicyRequest { order, ..ApprovePolicyRequest::default() };
    let approved = stage.approver.policies(0).approve_policy(request).await;
    approved.map(|_| ()).map_err(|status| told("ApprovePolicy", &status))
}

/// What people of a careless tenant agreed on before anybody looked.
async fn beforehand(stage: &Stage) -> Result<()> {
    // A forbidden use, overridden.
    let order = stage.propose(vec![uses::overridden(stage).await?], REASON).await?;
    stage.agree(&order.map_err(|status| anyhow!("ProposeCatalogueChange: {}", describe(&status)))?).await?;
    // Somebody's own number for payroll.
    stage.give(vec![stage.occasion(&stage.payroll, DISCLOSE_SELF, 1)?]).await?;
    // The keys of the tests, registered; and a migration that nobody was asked about.
    let (holder, next) = (Holder::new(0x42)?, Holder::new(0x51)?);
    for holder in [&holder, &next] {
        stage.register(holder, &[MIGRATE]).await?;
    }
    stage.give(vec![stage.sealing(&stage.accounting, MIGRATE, 4, &next)?]).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::table::RULES;
    use super::*;

    #[test]
    fn every_rule_has_a_control_and_every_control_a_test() {
        let controlled: Vec<&str> = controlled().collect();
        let distinct: BTreeSet<&str> = controlled.iter().copied().collect();
        assert_eq!(distinct.len(), controlled.len(), "one control per test");
        let names: Vec<&str> = RULES.iter().flat_map(|rule| rule.tests).map(|test| test.name).collect();
        for name in &controlled {
            assert!(names.contains(name), "{name}");
        }
        for rule in RULES {
            assert!(rule.tests.iter().any(|test| distinct.contains(test.name)), "{}", rule.id);
        }
    }

    #[test]
    fn only_the_expected_failure_is_a_catch() {
        let caught_by: &[Caught] = &[("use.a", "revealed"), ("use.b", "revealed"), ("use.c", "revealed")];
        let failed = ["use.a: `x` revealed a number".to_owned(), "use.b: no leader".to_owned()];
        let missed: Vec<String> = unnoticed(&failed, caught_by).collect();
        assert_eq!(missed, ["use.b: no leader (expected `revealed`)", "use.c held"]);
    }
}
