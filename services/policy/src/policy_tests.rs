//! Random worlds: the decision against an independent reference, and the two locks against each other.

use std::sync::LazyLock;

use fuda_core::{Delivery, Fingerprint, Kind, PurposeCode, ScopeId, WorkReference};

use super::*;
use crate::{ApprovedJob, Budget, EndUserProof, EndUserRule, Proof, Recipient, SignIn, samples};

const CASES: u64 = 2_000;
const CALLERS: [&str; 3] = ["alpha", "beta", "gamma"];
const TENANTS: [&str; 3] = ["tenant-a", "tenant-b", "tenant-never-created"];
const PURPOSES: [&str; 7] = [
    "op.collect",
    "tax.withholding_slip",
    "tax.fee_record",
    "tax.never_listed",
    "op.disclose_self",
    "op.migrate",
    "op.transfer_19_4",
];
/// Tenants to which numbers may be offered; whether they exist is not asked here.
const DESTINATIONS: [&str; 2] = ["tenant-b", "tenant-c"];
const SCOPES: [&str; 3] = ["payroll", "accounting", "crm"];
/// Two recipients that tenants may have, and one that none has.
const RECIPIENTS: [u8; 3] = [1, 2, 3];
const KINDS: [Kind; 3] = [Kind::MyNumber, Kind::CorporateNumber, Kind::InvoiceReg];

/// Parsing and validating the text once is enough: every world is built from this policy with `rebuild`.
static BASE: LazyLock<Policy> = LazyLock::new(|| {
    let catalogue = Catalogue::from_toml(Catalogue::default_text()).unwrap();
    Policy::build(samples::policy_data(catalogue, Timestamp::EPOCH).unwrap()).unwrap()
});

/// SplitMix64: enough randomness for worlds, and a failing case is its seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    fn some_of<T: Clone>(&mut self, items: &[T]) -> Vec<T> {
        items.iter().filter(|_| !self.one_in(3)).cloned().collect()
    }

    fn bound(&mut self) -> Option<Timestamp> {
        (!self.one_in(3)).then(|| Timestamp(i64::try_from(self.below(6)).unwrap()))
    }
}

fn caller(dice: &mut Dice) -> CallerId {
    samples::caller(dice.pick(&CALLERS)).unwrap()
}

fn tenant(dice: &mut Dice) -> TenantId {
    // The tenant that was never created is the rarest.
    let bound = if dice.one_in(8) { 3 } else { 2 };
    TenantId::parse(TENANTS[dice.below(bound)]).unwrap()
}

fn destination(dice: &mut Dice) -> Option<TenantId> {
    Some(TenantId::parse(dice.pick(&DESTINATIONS)).unwrap())
}

fn grant(dice: &mut Dice, id: u8) -> Option<Grant> {
    let caller = caller(dice);
    // A caller has one role.
    let role = match caller.path() {
        "demo/alpha" => Role::Workload,
        "demo/beta" => Role::Handler,
        _ => Role::Auditor,
    };
    let workload = role.handles_numbers();
    let grant = Grant {
        id: GrantId(u128::from(id).to_be_bytes()),
        caller,
        role,
        tenant: (workload || dice.one_in(2)).then(|| tenant(dice)),
        actions: dice.some_of(role.actions()),
        kinds: if workload { dice.some_of(&KINDS) } else { Vec::new() },
        purposes: match workload {
            true if dice.one_in(4) => vec![PurposeCode::parse(dice.pick(&PURPOSES)).unwrap()],
            true => dice.some_of(&PURPOSES.map(|code| PurposeCode::parse(code).unwrap())),
            false => Vec::new(),
        },
        scopes: if workload { dice.some_of(&SCOPES.map(|scope| ScopeId::parse(scope).unwrap())) } else { Vec::new() },
        window: Window { not_before: dice.bound(), not_after: dice.bound() },
        budget: (workload && dice.one_in(2)).then(|| {
            let persons_max = dice.pick(&[1, 1, 2]);
            Budget::new(persons_max, dice.pick(&[Budget::LIFE_OF_GRANT, Budget::LIFE_OF_GRANT, 7]))
        }),
        verify_guesses_per_day: 0,
        conditions: Conditions::default(),
        end_user: if role == Role::Workload { end_user_rule(dice) } else { None },
        circumstances: None,
    };
    let destination = if grant.actions.contains(&Action::OfferTransfer) { destination(dice) } else { None };
    let grant = Grant { conditions: Conditions { destination, ..Conditions::default() }, ..grant };
    let guesses = u16::from(grant.actions.contains(&Action::VerifyNumber));
    let grant = Grant { verify_guesses_per_day: guesses, ..grant };
    grant.check_shape().is_ok().then_some(grant)
}

fn end_user_rule(dice: &mut Dice) -> Option<EndUserRule> {
    match dice.below(12) {
        0 => None,
        1 | 2 => Some(EndUserRule::Required),
        _ => Some(EndUserRule::ApprovedJob(ApprovedJob {
            job: WorkReference::parse("job").unwrap(),
            handler: CallerId::parse("oidc:demo/tanaka").unwrap(),
            window: Window { not_before: None, not_after: dice.bound().filter(|_| dice.one_in(2)) },
        })),
    }
}

fn proof(dice: &mut Dice) -> Proof {
    let until = Timestamp(i64::try_from(dice.below(6)).unwrap());
    let user = CallerId::parse("oidc:demo/suzuki").unwrap();
    let end_user = match dice.below(40) {
        0 => EndUserProof::Refused,
        1 => EndUserProof::Verified { user, own: None, until },
        2..=20 => EndUserProof::Verified { user, own: None, until: Timestamp(9) },
        _ => EndUserProof::Absent,
    };
    let sign_in = match dice.below(24) {
        0 => SignIn::Weak,
        1 => SignIn::Until(until),
        _ => SignIn::Lasting,
    };
    Proof { end_user, sign_in }
}

fn world(dice: &mut Dice) -> PolicyData {
    let Some(live) = &BASE.live else { unreachable!() };
    let template = samples::tenant(Timestamp::EPOCH).unwrap();
    let tenants = TENANTS[..2].iter().map(|id| Tenant {
        id: TenantId::parse(id).unwrap(),
        purposes: dice.some_of(&PURPOSES.map(|code| PurposeCode::parse(code).unwrap())),
        recipients: RECIPIENTS[..2].iter().map(|id| recipient(dice, *id)).collect(),
        ..template.clone()
    });
    let tenants = tenants.collect();
    let grants = (1..=u8::try_from(4 + dice.below(12)).unwrap()).filter_map(|id| grant(dice, id)).collect();
    PolicyData {
        version: PolicyVersion(dice.next()),
        text: live.text.clone(),
        tenants,
        grants,
        catalogue: live.catalogue.clone(),
        freezes: if dice.one_in(2) { (0..dice.below(3)).map(|_| freeze(dice)).collect() } else { Vec::new() },
    }
}

fn recipient(dice: &mut Dice, id: u8) -> Recipient {
    Recipient {
        fingerprint: Fingerprint::from_bytes([id; 32]),
        key: [id; 32],
        name: "next".to_owned(),
        purposes: dice.some_of(&PURPOSES.map(|code| PurposeCode::parse(code).unwrap())),
        not_after: Timestamp(i64::try_from(dice.below(9)).unwrap()),
    }
}

fn freeze(dice: &mut Dice) -> FreezeTarget {
    let (tenant, scope) = (tenant(dice), ScopeId::parse(dice.pick(&SCOPES)).unwrap());
    match dice.below(12) {
        0 => FreezeTarget::Cluster,
        1 | 2 => FreezeTarget::Tenant(tenant),
        3..=5 => FreezeTarget::Scope(tenant, scope),
        6..=8 => FreezeTarget::Purpose(tenant, PurposeCode::parse(dice.pick(&PURPOSES)).unwrap()),
        _ => FreezeTarget::Caller(caller(dice)),
    }
}

/// Half of the requests are shaped after a grant, so that permits and near misses are not rare.
fn request(dice: &mut Dice, data: &PolicyData) -> Request {
    let shot = wild_request(dice);
    if data.grants.is_empty() || dice.one_in(2) {
        return shot;
    }
    let grant = dice.pick(&data.grants);
    let purpose = if grant.purposes.is_empty() { None } else { Some(dice.pick(&grant.purposes)) };
    Request {
        action: dice.pick(&grant.actions),
        caller: grant.caller,
        tenant: grant.tenant.or(shot.tenant),
        purpose: if dice.one_in(4) { shot.purpose } else { purpose },
        kind: if dice.one_in(2) { shot.kind } else { None },
        scope: if dice.one_in(2) { shot.scope } else { None },
        to_scope: if dice.one_in(2) { shot.to_scope } else { None },
        recipient: shot.recipient,
        proof: shot.proof,
        ..shot
    }
}

fn wild_request(dice: &mut Dice) -> Request {
    Request {
        action: dice.pick(&Action::ALL),
        caller: caller(dice),
        tenant: (!dice.one_in(6)).then(|| tenant(dice)),
        kind: dice.one_in(3).then(|| dice.pick(&KINDS)),
        purpose: (!dice.one_in(3)).then(|| PurposeCode::parse(dice.pick(&PURPOSES)).unwrap()),
        scope: dice.one_in(3).then(|| ScopeId::parse(dice.pick(&SCOPES)).unwrap()),
        to_scope: dice.one_in(4).then(|| ScopeId::parse(dice.pick(&SCOPES)).unwrap()),
        recipient: (!dice.one_in(8)).then(|| Fingerprint::from_bytes([dice.pick(&[1, 1, 2, 2, 3]); 32])),
        destination: if dice.one_in(8) { None } else { destination(dice) },
        proof: proof(dice),
        label: None,
        source: None,
    }
}

/// The rules as a table of yes and no per grant, without an engine, an index or an early return.
fn reference(data: &PolicyData, request: &Request, now: Timestamp) -> Result<GrantId, DenyReason> {
    use Action as A;
    let vault_only = [
        A::Bootstrap,
        A::CreateTenant,
        A::AddMember,
        A::RemoveMember,
        A::ClusterStatus,
        A::StartSuccession,
        A::FinishSuccession,
        A::CancelSuccession,
        A::ProposeCatalogueChange,
        A::ProposePolicy,
        A::ApprovePolicy,
        A::GetPolicy,
        A::ShadowPolicy,
    ];
    let seals = request.action == A::Seal;
    let offers = request.action == A::OfferTransfer;
    let moves = offers || request.action == A::AcceptTransfer;
    let reveals = seals || offers || [A::Detokenize, A::VerifyNumber, A::RevealMasked].contains(&request.action);
    let proven = match &request.proof.end_user {
        EndUserProof::Refused => return Err(DenyReason::EndUserRefused),
        EndUserProof::Verified { until, .. } if until.0 < now.0 => return Err(DenyReason::EndUserRefused),
        EndUserProof::Verified { .. } => true,
        EndUserProof::Absent => false,
    };
    let changes = [
        A::Bootstrap,
        A::CreateTenant,
        A::ProposeGrants,
        A::ApproveGrants,
        A::AddMember,
        A::RemoveMember,
        A::Freeze,
        A::Thaw,
        A::CreateCanary,
        A::RetireCanary,
        A::RequestAccess,
        A::ApproveAccess,
        A::DenyAccess,
        A::RevokeAccess,
        A::BreakGlass,
        A::ReviewBreakGlass,
        A::ConsentSubEntrust,
        A::ProposeCatalogueChange,
        A::SetTenantPurposes,
        A::SetTenantRecipients,
        A::ApprovePurposeOrder,
        A::StartSuccession,
        A::FinishSuccession,
        A::CancelSuccession,
        A::ProposePolicy,
        A::ApprovePolicy,
        A::ShadowPolicy,
        A::CancelTransfer,
    ];
    let fresh = match request.proof.sign_in {
        SignIn::Lasting => true,
        SignIn::Until(until) => now.0 <= until.0,
        SignIn::Weak => false,
    };
    if changes.contains(&request.action) && !fresh {
        return Err(DenyReason::StepUpRequired);
    }
    let about = if vault_only.contains(&request.action) { None } else { request.tenant.clone() };
    let tenant = data.tenants.iter().find(|tenant| Some(&tenant.id) == about.as_ref());
    let guard = [A::Freeze, A::Thaw, A::ListFreezes, A::ListCanaries];
    let purposes = [A::ListPurposes, A::ApprovePurposeOrder];
    let vault_or_tenant = [A::ProposeGrants, A::ApproveGrants, A::ListGrants, A::ReadLedger, A::ExplainDenial];
    let any_resource = [vault_or_tenant.as_slice(), guard.as_slice(), purposes.as_slice()].concat();
    let without = vault_only.contains(&request.action) || any_resource.contains(&request.action);
    if tenant.is_none() && (about.is_some() || !without) {
        return Err(DenyReason::TenantUnknown);
    }
    let listed = request.purpose.as_ref().and_then(|code| data.catalogue.iter().find(|row| row.code == *code));
    let named = request.purpose.as_ref();
    let to = request.recipient.and_then(|to| tenant?.recipients.iter().find(|known| known.fingerprint == to));
    let table = |grant: &Grant| {
        let public = [Kind::CorporateNumber, Kind::InvoiceReg];
        let exempt = grant.kinds.iter().all(|kind| public.contains(kind));
        [
            (DenyReason::NoGrant, grant.actions.contains(&request.action)),
            (DenyReason::PurposeMissing, named.is_some() || !(reveals || moves) || (exempt && !moves)),
            (DenyReason::PurposeUnknown, named.is_none() || listed.is_some()),
            (DenyReason::PurposeRetired, listed.is_none_or(|row| !row.retired)),
            (DenyReason::PurposeNotGranted, named.is_none_or(|code| grant.purposes.contains(code))),
            (DenyReason::PurposeNotEnabled, named.is_none_or(|code| tenant.is_some_and(|t| t.purposes.contains(code)))),
            (DenyReason::PurposeReveals, named.is_none() || !reveals || listed.is_some_and(|row| row.reveals)),
            (
                DenyReason::DeliveryNotAllowed,
                match listed.map(|row| row.delivery) {
                    None => true,
                    Some(Delivery::Shown) => !moves,
                    Some(Delivery::Sealed) => !moves && (!reveals || seals),
                    Some(Delivery::Moved) => !reveals || offers,
                },
            ),
            (
                DenyReason::TwoPersonsNeeded,
                listed.is_none_or(|row| !reveals || !row.two_person || occasion(grant, row)),
            ),
            (DenyReason::KindNotGranted, request.kind.is_none_or(|kind| grant.kinds.contains(&kind))),
            (DenyReason::ScopeNotGranted, request.scope.as_ref().is_none_or(|scope| grant.scopes.contains(scope))),
            (DenyReason::ScopeNotGranted, request.to_scope.as_ref().is_none_or(|scope| grant.scopes.contains(scope))),
            (DenyReason::RecipientUnknown, !seals || to.is_some()),
            (
                DenyReason::RecipientNotForPurpose,
                !seals || to.is_some_and(|to| named.is_none_or(|code| to.purposes.contains(code))),
            ),
            (DenyReason::RecipientExpired, !seals || to.is_some_and(|to| now.0 <= to.not_after.0)),
            (
                DenyReason::DestinationNotGranted,
                !offers || (request.destination.is_some() && request.destination == grant.conditions.destination),
            ),
            (
                DenyReason::EndUserRequired,
                proven
                    || match &grant.end_user {
                        None => !reveals || grant.role == Role::Handler,
                        Some(rule) => *rule != EndUserRule::Required,
                    },
            ),
            (
                DenyReason::JobExpired,
                proven
                    || match &grant.end_user {
                        Some(EndUserRule::ApprovedJob(job)) => {
                            job.window.not_before.is_none_or(|start| start.0 <= now.0)
                                && job.window.not_after.is_none_or(|end| now.0 <= end.0)
                        }
                        _ => true,
                    },
            ),
            (
                DenyReason::GrantExpired,
                grant.window.not_before.is_none_or(|start| start.0 <= now.0)
                    && grant.window.not_after.is_none_or(|end| now.0 <= end.0),
            ),
        ]
    };
    // Windows of these worlds are milliseconds: those that end are short enough.
    fn occasion(grant: &Grant, row: &fuda_core::Purpose) -> bool {
        let bounded = grant.window.not_before.is_some() && grant.window.not_after.is_some();
        let counted = grant.budget.is_some_and(|budget| {
            budget.window_days == 0 && row.persons_max.is_none_or(|max| budget.persons_max <= max)
        });
        grant.purposes.len() == 1 && bounded && counted
    }
    let mut candidates: Vec<&Grant> = data.grants.iter().collect();
    candidates.retain(|grant| grant.caller == request.caller && (grant.tenant.is_none() || grant.tenant == about));
    candidates.sort_by_key(|grant| grant.id);
    if let Some(grant) = candidates.iter().find(|grant| table(grant).iter().all(|(_, holds)| *holds)) {
        return frozen(data, request).map_or(Ok(grant.id), Err);
    }
    let first_failures = candidates.iter().map(|grant| table(grant).iter().position(|(_, holds)| !holds).unwrap());
    Err(first_failures.max().map_or(DenyReason::NoGrant, |leg| table(candidates[0])[leg].0))
}

/// Why a request that would be permitted is stopped.
fn frozen(data: &PolicyData, request: &Request) -> Option<DenyReason> {
    use Action as A;
    let taken = [A::RequestAccess, A::ApproveAccess, A::BreakGlass, A::CreateTenant];
    let used = Role::Workload.actions().contains(&request.action) || taken.contains(&request.action);
    let of_caller = |target: &FreezeTarget| matches!(target, FreezeTarget::Caller(id) if *id == request.caller);
    let touches = |target: &FreezeTarget| match target {
        FreezeTarget::Cluster => true,
        FreezeTarget::Tenant(id) => Some(id) == request.tenant.as_ref(),
        FreezeTarget::Scope(id, scope) => {
            let scopes = [request.scope.as_ref(), request.to_scope.as_ref()];
            Some(id) == request.tenant.as_ref() && scopes.contains(&Some(scope))
        }
        FreezeTarget::Purpose(id, code) => {
            (Some(id), Some(code)) == (request.tenant.as_ref(), request.purpose.as_ref())
        }
        FreezeTarget::Caller(_) => false,
    };
    if data.freezes.iter().any(of_caller) {
        return Some(DenyReason::CallerFrozen);
    }
    (used && data.freezes.iter().any(touches)).then_some(DenyReason::Frozen)
}

#[test]
fn decisions_agree_with_the_reference() {
    let (mut permits, mut reasons) = (0, std::collections::BTreeSet::new());
    for seed in 0..CASES {
        let mut dice = Dice(seed);
        let data = world(&mut dice);
        let policy = BASE.rebuild(data.clone()).unwrap();
        for _ in 0..8 {
            let (request, now) = (request(&mut dice, &data), Timestamp(i64::try_from(dice.below(6)).unwrap()));
            let expected = reference(&data, &request, now);
            let actual = policy.decide(&request, now);
            let seen = actual.as_ref().map(Permit::grant).map_err(Denial::reason);
            assert_eq!(seen, expected, "seed {seed}, {request:?} at {now}, {:?}", data.grants);
            match actual {
                Ok(permit) => {
                    permits += 1;
                    assert_eq!((permit.policy_version(), permit.action()), (data.version, request.action));
                    assert!(!permit.policy_ids().is_empty(), "seed {seed}");
                }
                Err(denial) => {
                    reasons.insert(denial.reason());
                }
            }
        }
    }
    // The worlds must not be so strange that everything is denied for one reason.
    assert!(permits > CASES / 2, "{permits} permits");
    assert_eq!(reasons.len(), 22, "{reasons:?}");
}

/// Each lock alone decides like both together: the default text states every leg, and the legs follow the text.
/// So neither is decoration, and an error in one is caught by the other.
#[test]
fn text_and_legs_are_both_complete() {
    for seed in 0..CASES {
        let mut dice = Dice(seed ^ 0xcafe);
        let data = world(&mut dice);
        let policy = BASE.rebuild(data.clone()).unwrap();
        let Some(live) = &policy.live else { unreachable!() };
        for _ in 0..4 {
            let (request, now) = (request(&mut dice, &data), Timestamp(i64::try_from(dice.below(6)).unwrap()));
            let about = request.tenant.as_ref().filter(|_| !request.action.whole_vault());
            let tenant = about.and_then(|id| live.tenants.get(id));
            let purpose = PurposeFacts::look_up(&request, tenant, &live.catalogue);
            // Refused before any candidate is looked at, and no question the schema knows.
            if about.is_none() && request.action.needs_tenant() {
                continue;
            }
            for candidate in live.candidates(&request.caller, about) {
                let legs = legs::check(&request, &candidate.grant, purpose.flags, &live.vault_zone, now);
                let class = Class::named(&request);
                let verdict = candidate.subject.ask(&request, class, about, purpose.flags, now);
                let permitted = matches!(verdict, Verdict::Permitted(_));
                assert_eq!(permitted, legs.is_ok(), "seed {seed}, {request:?} at {now}, {:?}", candidate.grant);
            }
        }
    }
}

/// A text that looks at every fact there is, at the clock by comparison only.
const CURIOUS: &str = r#"
@id("curious.kind") forbid (principal, action, resource) when { context has kind && context.kind == "invoice_reg" };
@id("curious.scope") forbid (principal, action, resource) when { context has scope && context.scope == "crm" };
@id("curious.to") forbid (principal, action, resource) when { context has to_scope && context.to_scope == "crm" };
@id("curious.label") forbid (principal, action, resource) when { context has label && context.label == "board" };
@id("curious.zone") forbid (principal, action, resource) when { context has source_zone };
@id("curious.purpose") forbid (principal, action, resource) when {
  context has purpose && context.purpose == "tax.fee_record" && context.purpose_delivery == "shown"
};
@id("curious.action") forbid (principal, action, resource) when { context.action == "rotate" };
@id("curious.tenant") forbid (principal, action, resource) when { resource == Tenant::"tenant-b" && context.now < 2 };
@id("curious.user") forbid (principal, action, resource) when { context.end_user_proven && context.now == 4 };
@id("curious.job") forbid (principal, action, resource) when { context.job_open && context.now > 4 };
@id("curious.recipient") forbid (principal, action, resource)
when { context has recipient && !context.recipient_open && context.now >= context.grant.not_before };
@id("curious.persons") forbid (principal, action, resource) when { context.purpose_two_person && context.now <= 1 };
"#;

/// What was said before is said again only where it would be said anew: with a text that compares the clock, and with
/// one that calculates with it.
#[test]
fn a_remembered_answer_is_the_evaluated_one() {
    let counting = r#"@id("curious.sum") forbid (principal, action, resource) when { context.now + 1 == 4 };"#;
    for more in [CURIOUS.to_owned(), format!("{CURIOUS}{counting}")] {
        let curious = BASE.under(&format!("{}{more}", Policy::DEFAULT_TEXT)).unwrap();
        let mut answers = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let mut dice = Dice(seed ^ 0x5eed);
            let text = curious.text().unwrap().to_owned();
            let data = PolicyData { text, ..world(&mut dice) };
            let policy = curious.rebuild(data.clone()).unwrap();
            let Some(live) = &policy.live else { unreachable!() };
            let mut asked = request(&mut dice, &data);
            for _ in 0..120 {
                let fresh = request(&mut dice, &data);
                match dice.below(24) {
                    0 | 1 => asked = fresh,
                    2 => asked.kind = fresh.kind,
                    3 => asked.scope = fresh.scope,
                    4 => asked.to_scope = fresh.to_scope,
                    5 => asked.recipient = fresh.recipient,
                    6 => asked.label = fuda_core::RecordLabel::parse(dice.pick(&["board", "staff"])).ok(),
                    7 => asked.source = fuda_core::SourceZone::parse("hq").ok().filter(|_| dice.one_in(2)),
                    8 => asked.purpose = fresh.purpose,
                    9 => asked.proof = fresh.proof,
                    10 if asked.action.needs_tenant() => asked.tenant = fresh.tenant.or(asked.tenant),
                    _ => {}
                }
                let Ok(question) = live.question(&asked) else { continue };
                let now = Timestamp(i64::try_from(dice.below(6)).unwrap());
                for candidate in question.candidates() {
                    let class = Class::named(&asked);
                    let again = question.ask(candidate, class, now);
                    let flags = question.purpose.flags;
                    let anew = candidate.subject.ask_anew(&asked, class, question.about, flags, now);
                    assert_eq!(again, anew, "seed {seed}, {asked:?} at {now}, {:?}", candidate.grant);
                    answers.insert(format!("{again:?}"));
                }
            }
        }
        let counts = curious.text_counts().unwrap();
        // Each question is evaluated once more to compare.
        let remembered = 2 * counts.asked - counts.evaluated;
        assert_eq!(remembered > counts.asked / 4, more == CURIOUS, "{counts:?}");
        assert!(answers.len() > 50, "{} answers", answers.len());
    }
}

#[test]
fn a_policy_is_shared_between_threads() {
    fn shareable<T: Send + Sync>() {}
    shareable::<Policy>();
}
