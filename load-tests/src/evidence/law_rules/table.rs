//! The rules of the law notes, section 2.2, and what holds each.

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;

use super::stage::Stage;
use super::{entrust, identify, moves, notice, own, provide, seal, uses};

/// A running test: an error says what did not hold.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One named test.
#[derive(Clone, Copy)]
pub(super) struct Test {
    /// Its name.
    pub(super) name: &'static str,
    /// Runs it.
    pub(super) run: for<'a> fn(&'a Stage) -> Running<'a>,
}

/// One rule of the law.
pub(super) struct Rule {
    /// Its id here.
    pub(super) id: &'static str,
    /// The source.
    pub(super) law: &'static str,
    /// Tests that together hold what software can hold of it.
    pub(super) tests: &'static [Test],
    /// What of it no software can hold, and who does.
    pub(super) not_software: &'static [&'static str],
    /// What of it this vault cannot hold yet.
    pub(super) not_yet: &'static [&'static str],
}

macro_rules! tests {
    ($($name:literal => $function:path),+ $(,)?) => {
        &[$(Test { name: $name, run: |stage| Box::pin($function(stage)) }),+]
    };
}

/// Every rule, in the order of the law notes.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "use",
        law: "番号法9条 利用制限",
        tests: tests! {
            "use.purpose_is_mandatory" => uses::purpose_is_mandatory,
            "use.purpose_of_the_catalogue" => uses::purpose_of_the_catalogue,
            "use.no_purpose_other" => uses::no_purpose_other,
            "use.forbidden_uses_need_an_override" => uses::forbidden_uses_need_an_override,
            "use.an_override_is_an_entry_of_two_people" => uses::an_override_is_an_entry_of_two_people,
            "use.purpose_enabled_by_the_tenant" => uses::purpose_enabled_by_the_tenant,
            "use.purpose_granted_to_the_caller" => uses::purpose_granted_to_the_caller,
            "use.consent_widens_nothing" => uses::consent_widens_nothing,
        },
        not_software: &["what the caller does with a number it got: entries name the person, the tenant supervises"],
        not_yet: &[],
    },
    Rule {
        id: "file",
        law: "番号法29条 特定個人情報ファイルの作成制限",
        tests: tests! {
            "file.bulk_names_a_purpose" => uses::bulk_names_a_purpose,
            "file.bulk_is_counted_in_persons" => uses::bulk_is_counted_in_persons,
            "file.bulk_ends_with_its_grant" => uses::bulk_ends_with_its_grant,
            "file.what_reveals_is_counted_and_ends" => uses::what_reveals_is_counted_and_ends,
            "file.two_person_grants_are_bounded" => uses::two_person_grants_are_bounded,
        },
        not_software: &["files that callers make of revealed numbers outside the vault"],
        not_yet: &[],
    },
    Rule {
        id: "notice",
        law: "利用目的の特定・通知 (個人情報保護法17条, 18条, 21条)",
        tests: tests! {
            "notice.only_notified_purposes" => notice::only_notified_purposes,
            "notice.only_in_its_time" => notice::only_in_its_time,
            "notice.several_purposes_at_once" => notice::several_purposes_at_once,
        },
        not_software: &["that the notice reached the person"],
        not_yet: &[],
    },
    Rule {
        id: "keep",
        law: "番号法20条 収集・保管制限",
        tests: tests! {
            "keep.retention_is_a_rule_of_dates" => notice::retention_is_a_rule_of_dates,
        },
        not_software: &["whether the employment or contract still goes on: HR says so"],
        not_yet: &["deletion when the last duty ends: erasure has an issue of its own"],
    },
    Rule {
        id: "provide",
        law: "番号法19条 提供制限",
        tests: tests! {
            "provide.copies_for_the_person_get_no_number" => provide::copies_get_no_number,
            "provide.yearend_refuses_the_own_number" => provide::yearend_refuses_the_own_number,
            "provide.the_own_number_takes_two_people" => provide::the_own_number_takes_two_people,
            "provide.the_own_number_is_the_end_users" => own::the_own_number_is_the_end_users,
            "provide.tenants_are_apart" => provide::tenants_are_apart,
            "provide.moved_and_sealed_numbers_are_not_shown" => provide::moved_and_sealed_are_not_shown,
            "provide.a_sealed_number_is_read_by_its_recipient_only" => seal::only_the_recipient_reads_it,
            "provide.recipients_are_registered_by_two_people" => seal::recipients_are_registered_by_two_people,
            "provide.a_migration_is_agreed_on_and_counted" => seal::a_migration_is_agreed_on_and_counted,
            "provide.a_consented_move_reaches_the_next_employer" => moves::a_consented_move_reaches_the_next_employer,
            "provide.nothing_moves_without_consent" => moves::nothing_moves_without_consent,
            "provide.an_offer_is_good_for_its_tenant_alone" => moves::an_offer_is_good_for_its_tenant_alone,
        },
        not_software: &[
            "that a person who asks at a desk is the person: without an assertion the approver checks",
            "that the consent is real and the next employer is one: the tenant keeps what the person signed",
        ],
        not_yet: &[],
    },
    Rule {
        id: "identify",
        law: "番号法16条 本人確認",
        tests: tests! {
            "identify.a_registration_keeps_its_check" => identify::a_registration_keeps_its_check,
            "identify.a_check_that_makes_no_sense_is_refused" => identify::a_check_that_makes_no_sense_is_refused,
            "identify.a_check_holds_no_picture" => identify::a_check_holds_no_picture,
            "identify.a_tenant_can_demand_the_check" => identify::a_tenant_can_demand_the_check,
        },
        not_software: &["looking at the documents; the employee verifies dependants"],
        not_yet: &[],
    },
    Rule {
        id: "entrust",
        law: "番号法10条, 11条 委託・再委託",
        tests: tests! {
            "entrust.every_use_is_visible_to_the_tenant" => entrust::every_use_is_visible,
            "entrust.a_processor_has_what_the_tenant_granted" => entrust::a_processor_has_what_was_granted,
            "entrust.entrusting_on_takes_the_tenants_consent" => entrust::entrusting_on_takes_the_tenants_consent,
        },
        not_software: &["choosing and contracting the processor"],
        not_yet: &[],
    },
    Rule {
        id: "cloud",
        law: "クラウド利用 (委託に当たるか)",
        tests: tests! {
            "cloud.who_runs_the_vault_reads_nothing" => provide::administrators_read_nothing,
        },
        not_software: &["the contract that says that the provider does not handle the data"],
        not_yet: &["keys held by the tenant in its own KMS or HSM"],
    },
    Rule {
        id: "maintain",
        law: "保守 (PPC Q3-14)",
        tests: tests! {
            "maintain.no_search_by_number" => notice::no_search_by_number,
            "maintain.ledger_and_logs_hold_no_number" => notice::ledger_and_logs_hold_no_number,
        },
        not_software: &["reproducing a fault with real numbers on another system"],
        not_yet: &[],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_is_held_or_says_why_not() {
        let mut names = BTreeSet::new();
        for rule in RULES {
            assert!(!rule.law.is_empty());
            assert!(!rule.tests.is_empty() || !rule.not_yet.is_empty(), "{}", rule.id);
            for test in rule.tests {
                assert!(test.name.starts_with(&format!("{}.", rule.id)), "{}", test.name);
                assert!(names.insert(test.name), "{} is there twice", test.name);
            }
        }
        assert!(names.len() >= 25, "{}", names.len());
    }
}
