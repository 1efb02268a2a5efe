//! What people ask of each other: access on request, consent to entrusting on, succession.

use fuda_core::{Kind, PartyId, Sequence, SinkId, Timestamp, VerificationDemand, Window, WorkReference};
use fuda_policy::{
    Action, Circumstances, Conditions, Entrusted, Given, Grant, GrantId, Hours, OfficeHours, Role, Subjects, Terms,
    Wish, samples,
};

use super::{act, golden_tenant, grant, line, tenant_purposes};
use crate::access::{AccessRow, Closed, ConsentRow, PartyCallerRow, Review};
use crate::command::{
    ApproveAccess, BreakGlass, CancelSuccession, ConsentSubEntrust, CreateTenant, DenyAccess, FinishSuccession,
    ProposeGrants, RequestAccess, ReviewBreakGlass, RevokeAccess, SetTenantPurposes, StartSuccession,
};
use crate::retention::{LedgerRetention, PrunedRow, RetentionRow};
use crate::row::{GrantRow, OrderRow, TenantPurposes, TenantRow};
use crate::succession::{PublicKey, SuccessionKeys, SuccessionKeysRow, SuccessionRow};
use crate::testing::{caller, purpose, scope, subject, tenant};
use crate::{Body, OrderId};

const ID: GrantId = GrantId([9; 16]);
const ORDER: OrderId = OrderId([5; 16]);

pub(super) fn bodies() -> Vec<Body> {
    let reason = || text("ticket 7");
    let succession = Some(keys());
    let demanding = TenantPurposes { demand: Some(VerificationDemand::of_the_law()), ..tenant_purposes() };
    let working = TenantPurposes { office_hours: Some(office_hours()), ..tenant_purposes() };
    vec![
        Body::CreateTenant(CreateTenant { tenant: demanding_tenant() }),
        Body::SetTenantPurposes(SetTenantPurposes { order: ORDER, change: demanding }),
        Body::SetTenantPurposes(SetTenantPurposes { order: ORDER, change: working }),
        Body::ProposeGrants(ProposeGrants {
            order: ORDER,
            grants: vec![handler()],
            revoke: Vec::new(),
            succession,
            retention: None,
        }),
        Body::ProposeGrants(ProposeGrants {
            order: ORDER,
            grants: Vec::new(),
            revoke: Vec::new(),
            succession: None,
            retention: Some(retention()),
        }),
        Body::RequestAccess(RequestAccess { id: ID, wish: wish(), reason: reason() }),
        Body::ApproveAccess(ApproveAccess { id: ID }),
        Body::DenyAccess(DenyAccess { id: ID }),
        Body::RevokeAccess(RevokeAccess { id: ID }),
        Body::BreakGlass(BreakGlass { id: ID, wish: wish(), reason: reason() }),
        Body::ReviewBreakGlass(ReviewBreakGlass { id: ID, finding: text("justified") }),
        Body::ConsentSubEntrust(ConsentSubEntrust { party: party("next"), sub_of: party("bureau"), withdraw: true }),
        Body::StartSuccession(StartSuccession { statement: vec![1; 3] }),
        Body::FinishSuccession(FinishSuccession { serial: 2 }),
        Body::CancelSuccession(CancelSuccession { serial: 2 }),
    ]
}

pub(super) fn rows() -> Vec<(String, Vec<u8>)> {
    let open = AccessRow {
        id: ID,
        tenant: tenant(),
        requested: act(1),
        under: GrantId([1; 16]),
        wish: wish(),
        reason: text("ticket 7"),
        approvals_min: 2,
        approvals: vec![act(2)],
        in_force: None,
        closed: None,
        review: None,
    };
    let denied = AccessRow { closed: Some(Closed::Denied(act(3))), ..open.clone() };
    let in_force = Some(Window { not_before: Some(Timestamp(1_000)), not_after: Some(Timestamp(2_000)) });
    let review = Review { due: Timestamp(3_000), reviewed: Some(act(5)), finding: Some(text("justified")) };
    let broken = AccessRow {
        approvals_min: 0,
        approvals: Vec::new(),
        in_force,
        closed: Some(Closed::Revoked(act(4))),
        review: Some(review),
        ..open.clone()
    };
    let waiting = SuccessionRow {
        serial: 2,
        approvers: vec![caller(samples::APPROVER)],
        started: act(6),
        effective: Timestamp(4_000),
        cancelled: None,
        finished: None,
    };
    let finished = SuccessionRow { finished: Some(act(8)), ..waiting.clone() };
    let cancelled = SuccessionRow { cancelled: Some(act(7)), ..waiting };
    vec![
        line("tenant_demanding", &TenantRow { tenant: demanding_tenant(), created: act(1) }),
        line("tenant_with_office_hours", &TenantRow { tenant: working_tenant(), created: act(1) }),
        line("grant_with_circumstances", &GrantRow { grant: handler(), order: Some(ORDER), sequence: act(2).sequence }),
        line("grant_given", &GrantRow { grant: given(), order: None, sequence: act(2).sequence }),
        line("access", &open),
        line("access_denied", &denied),
        line("access_broken_glass", &broken),
        line("consent", &ConsentRow { consented: act(1), withdrawn: Some(act(2)) }),
        line("party_caller", &PartyCallerRow { caller: caller("bureau"), sequence: act(2).sequence }),
        line("succession_keys", &SuccessionKeysRow { keys: keys(), registered: act(0) }),
        line("succession_cancelled", &cancelled),
        line("succession_finished", &finished),
        line("order_of_retention", &order_of_retention()),
        line("retention", &RetentionRow { retention: retention(), ordered: act(9) }),
        line("pruned", &PrunedRow { first_kept: Sequence(512), newest_pruned: Timestamp(1_000) }),
    ]
}

fn retention() -> LedgerRetention {
    let ended_sinks = vec![SinkId::parse("siem").unwrap()];
    LedgerRetention { days: 90, witnesses: vec!["w".to_owned()], ended_sinks, legal_hold: true }
}

fn order_of_retention() -> OrderRow {
    OrderRow {
        order: ORDER,
        proposed: act(8),
        grants: Vec::new(),
        revoke: Vec::new(),
        approved: Some(act(9)),
        succession: None,
        retention: Some(retention()),
    }
}

fn demanding_tenant() -> fuda_policy::Tenant {
    fuda_policy::Tenant { demand: VerificationDemand::of_the_law(), ..golden_tenant() }
}

fn working_tenant() -> fuda_policy::Tenant {
    fuda_policy::Tenant { office_hours: office_hours(), ..golden_tenant() }
}

fn office_hours() -> OfficeHours {
    let hours = vec![Hours { days: 0b001_1111, from_minute: 540, to_minute: 1_080 }];
    OfficeHours { hours, holidays: vec![fuda_core::Day::from_number(20_819)] }
}

/// A person of an entrusted party who may ask, under every sort of condition.
fn handler() -> Grant {
    let conditions = Conditions {
        relations: Some([fuda_core::Relation::Spouse].into_iter().collect()),
        subjects: Subjects::Listed(vec![subject("E-1")]),
        hours: vec![Hours { days: Hours::EVERY_DAY, from_minute: 540, to_minute: 1_080 }],
        source_zones: vec![fuda_core::SourceZone::parse("hq").unwrap()],
        trained_until: Some(Timestamp(5_000)),
        recipients: Vec::new(),
        calls_per_minute_max: None,
        destination: None,
    };
    let circumstances = Circumstances {
        person: Some("Yamada Taro".to_owned()),
        entrusted: Some(Entrusted { party: party("next"), sub_of: Some(party("bureau")) }),
        terms: Some(Terms { approvals_min: 2, persons_max: 10, minutes_max: 120 }),
        given: None,
    };
    Grant { role: Role::Handler, conditions, circumstances: Some(circumstances), ..grant() }
}

/// What a request became.
fn given() -> Grant {
    let given = Given { handler: caller("taro"), break_glass: true };
    Grant { circumstances: Some(Circumstances { given: Some(given), ..Circumstances::default() }), ..grant() }
}

pub(super) fn wish() -> Wish {
    Wish {
        caller: caller("taro"),
        role: Role::Handler,
        actions: vec![Action::Detokenize],
        kinds: vec![Kind::MyNumber],
        purpose: purpose(samples::PURPOSE),
        scopes: vec![scope(samples::PAYROLL_SCOPE)],
        persons_max: 3,
        minutes: 60,
        recipient: None,
        destination: None,
    }
}

fn keys() -> SuccessionKeys {
    SuccessionKeys { keys: vec![PublicKey([1; 32]), PublicKey([2; 32])], threshold: 2, delay_hours: 72 }
}

fn party(id: &str) -> PartyId {
    PartyId::parse(id).unwrap()
}

fn text(text: &str) -> WorkReference {
    WorkReference::parse(text).unwrap()
}
