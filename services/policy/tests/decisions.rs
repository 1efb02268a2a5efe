//! The demo company asks, the default policy answers.
#![allow(clippy::unwrap_used, reason = "test code")]

use fuda_core::{
    CallerId, Catalogue, Kind, PolicyVersion, PurposeCode, Relation, ScopeId, SubjectRef, TenantId, Timestamp,
    VerificationDemand, Window, WorkReference,
};
use fuda_policy::{
    Action, ApprovedJob, Budget, DenyReason, EndUserProof, EndUserRule, Error, Grant, GrantId, Notified, Permit,
    Policy, PolicyData, Proof, RecordFacts, Request, Role, SignIn,
    samples::{self, ACCOUNTING, APPROVER, AUDITOR, HR, OPERATOR, OWNER, PAYROLL, PURPOSE},
};

const NOW: Timestamp = Timestamp(1_795_322_700_000);

fn data() -> PolicyData {
    let catalogue = Catalogue::from_toml(Catalogue::default_text()).unwrap();
    samples::policy_data(catalogue, Timestamp::EPOCH).unwrap()
}

fn policy() -> Policy {
    Policy::build(data()).unwrap()
}

fn caller(name: &str) -> CallerId {
    samples::caller(name).unwrap()
}

fn tenant() -> TenantId {
    TenantId::parse(samples::TENANT).unwrap()
}

fn purpose(code: &str) -> PurposeCode {
    PurposeCode::parse(code).unwrap()
}

fn scope(id: &str) -> ScopeId {
    ScopeId::parse(id).unwrap()
}

fn ask(name: &str, action: Action) -> Request {
    Request::tenant(action, caller(name), tenant())
}

fn reason(policy: &Policy, request: &Request) -> Option<DenyReason> {
    policy.decide(request, NOW).err().map(|denial| denial.reason())
}

#[test]
fn the_decision_table_of_the_demo_company() {
    use Action::*;
    use DenyReason::*;
    let policy = policy();
    let reveal = |name, action| ask(name, action).purpose(purpose(PURPOSE));
    let vault = |name, action| Request::vault(action, caller(name));
    let elsewhere = |action| Request::tenant(action, caller(PAYROLL), TenantId::parse("nobody").unwrap());
    let table = [
        // Payroll reveals for its purpose and scope, and only so.
        (reveal(PAYROLL, Detokenize), None),
        (reveal(PAYROLL, VerifyNumber), None),
        (reveal(PAYROLL, Detokenize).kind(Kind::MyNumber).scope(scope("payroll")), None),
        (ask(PAYROLL, DescribeToken), None),
        (ask(PAYROLL, Detokenize), Some(PurposeMissing)),
        (ask(PAYROLL, Detokenize).purpose(purpose("tax.no_such_form")), Some(PurposeUnknown)),
        (ask(PAYROLL, Detokenize).purpose(purpose("tax.salary_report")), Some(PurposeNotGranted)),
        (ask(PAYROLL, DescribeToken).purpose(purpose("op.collect")), Some(PurposeNotGranted)),
        (reveal(PAYROLL, Detokenize).kind(Kind::BankAccount), Some(KindNotGranted)),
        (reveal(PAYROLL, Detokenize).scope(scope("accounting")), Some(ScopeNotGranted)),
        (reveal(PAYROLL, Tokenize), Some(NoGrant)),
        (reveal(PAYROLL, ReadLedger), Some(NoGrant)),
        // HR collects and never sees a number again; a purpose is optional and then must be granted.
        (ask(HR, Tokenize), None),
        (ask(HR, Tokenize).purpose(purpose("op.collect")).kind(Kind::MyNumber).scope(scope("accounting")), None),
        (ask(HR, Tokenize).purpose(purpose(PURPOSE)), Some(PurposeNotGranted)),
        (ask(HR, Tokenize).kind(Kind::Passport), Some(KindNotGranted)),
        (ask(HR, Tokenize).scope(scope("crm")), Some(ScopeNotGranted)),
        (ask(HR, ListRecords), None),
        (ask(HR, GetRecord), None),
        (reveal(HR, Detokenize), Some(NoGrant)),
        // A token of one scope for a token of another: one grant must cover both.
        (ask(HR, Exchange).scope(scope("payroll")).to_scope(scope("accounting")), None),
        (ask(HR, Exchange).scope(scope("payroll")).to_scope(scope("crm")), Some(ScopeNotGranted)),
        (ask(HR, Exchange).scope(scope("crm")).to_scope(scope("payroll")), Some(ScopeNotGranted)),
        (ask(HR, Rotate).scope(scope("payroll")), None),
        (ask(HR, UpdateNumber).scope(scope("payroll")), None),
        (ask(HR, Supersede), None),
        (ask(HR, AddNotice), None),
        (ask(PAYROLL, Disable), Some(NoGrant)),
        (reveal(PAYROLL, RevealMasked), Some(NoGrant)),
        (ask(PAYROLL, Exchange).scope(scope("payroll")).to_scope(scope("payroll")), Some(NoGrant)),
        (reveal(PAYROLL, UpdateNumber), Some(NoGrant)),
        // Accounting describes.
        (ask(ACCOUNTING, DescribeToken).scope(scope("accounting")), None),
        (ask(ACCOUNTING, DescribeToken).scope(scope("payroll")), Some(ScopeNotGranted)),
        (reveal(ACCOUNTING, Detokenize), Some(NoGrant)),
        // Administrators administer, for one tenant or for the vault.
        (vault(OWNER, CreateTenant), None),
        (ask(OWNER, ProposeGrants), None),
        (vault(OWNER, ProposeGrants), None),
        (ask(OWNER, ApproveGrants), Some(NoGrant)),
        (ask(APPROVER, ApproveGrants), None),
        (ask(APPROVER, ProposeGrants), Some(NoGrant)),
        (vault(OPERATOR, AddMember), None),
        (vault(OPERATOR, ReadLedger), Some(NoGrant)),
        (vault(AUDITOR, ReadLedger), None),
        (ask(AUDITOR, ReadLedger), None),
        (vault(AUDITOR, ClusterStatus), None),
        (ask(AUDITOR, ListGrants).kind(Kind::MyNumber), Some(KindNotGranted)),
        // A new tenant does not exist yet; any other action on one that does not exist is denied as such.
        (Request::tenant(CreateTenant, caller(OWNER), TenantId::parse("new-one").unwrap()), None),
        (elsewhere(GetTenant), Some(TenantUnknown)),
        (elsewhere(Detokenize).purpose(purpose(PURPOSE)), Some(TenantUnknown)),
        // Tenant actions need a tenant. Workloads have no say on the whole vault, strangers have none at all, and the
        // bootstrap is over.
        (vault(PAYROLL, DescribeToken), Some(TenantUnknown)),
        (vault(PAYROLL, ListGrants), Some(NoGrant)),
        (vault(OWNER, GetTenant), Some(TenantUnknown)),
        (reveal("stranger", Detokenize), Some(NoGrant)),
        (vault(OWNER, Bootstrap), Some(NoGrant)),
    ];
    for (request, expected) in table {
        assert_eq!(reason(&policy, &request), expected, "{request:?}");
    }
}

#[test]
fn purposes_must_be_enabled_and_must_reveal() {
    let mut data = data();
    // Phase 1: the grant names a purpose that reveals nothing.
    let payroll = data.grants.iter_mut().find(|grant| grant.caller == caller(PAYROLL)).unwrap();
    payroll.purposes.push(purpose("op.collect"));
    let policy = Policy::build(data.clone()).unwrap();
    let collect = ask(PAYROLL, Action::Detokenize).purpose(purpose("op.collect"));
    assert_eq!(reason(&policy, &collect), Some(DenyReason::PurposeReveals));
    assert_eq!(reason(&policy, &ask(PAYROLL, Action::DescribeToken).purpose(purpose("op.collect"))), None);
    // Phase 2: the tenant disables the purpose that does.
    data.tenants[0].purposes.retain(|enabled| *enabled != purpose(PURPOSE));
    let policy = policy.rebuild(data).unwrap();
    let reveal = ask(PAYROLL, Action::Detokenize).purpose(purpose(PURPOSE));
    assert_eq!(reason(&policy, &reveal), Some(DenyReason::PurposeNotEnabled));
    // Phase 3: a person cannot be notified of what the tenant does not do.
    let notified = |code| [Notified { purpose: purpose(code), window: Window::ALWAYS, notice_version: None }];
    assert_eq!(policy.check_notified(&tenant(), &notified("op.collect")), Ok(()));
    assert_eq!(policy.check_notified(&tenant(), &notified(PURPOSE)), Err(DenyReason::PurposeNotEnabled));
    assert_eq!(policy.check_notified(&tenant(), &notified("tax.none")), Err(DenyReason::PurposeUnknown));
}

#[test]
fn public_kinds_need_no_purpose_and_open_nothing_else() {
    let mut data = data();
    let payroll = data.grants.iter_mut().find(|grant| grant.caller == caller(PAYROLL)).unwrap();
    payroll.kinds = vec![Kind::CorporateNumber];
    let policy = Policy::build(data.clone()).unwrap();
    // Phase 1: a grant of public kinds only reveals without a purpose.
    let permit = policy.decide(&ask(PAYROLL, Action::Detokenize), NOW).unwrap();
    assert_eq!(permit.policy_ids(), ["workload.reveal_public"]);
    assert!(permit.relations().is_empty());
    let (tenant, scope) = (tenant(), scope("payroll"));
    let facts = |kind| RecordFacts { kind, notified: &[], ..facts(&tenant, Some(&scope), &[]) };
    assert_eq!(permit.check_record(&facts(Kind::CorporateNumber), NOW), Ok(()));
    assert_eq!(permit.check_record(&facts(Kind::MyNumber), NOW), Err(DenyReason::KindNotGranted));
    // Phase 2: one kind that is not public takes the exemption away from the whole grant.
    let payroll = data.grants.iter_mut().find(|grant| grant.caller == caller(PAYROLL)).unwrap();
    payroll.kinds.push(Kind::MyNumber);
    let policy = policy.rebuild(data).unwrap();
    let request = ask(PAYROLL, Action::Detokenize).kind(Kind::CorporateNumber);
    assert_eq!(reason(&policy, &request), Some(DenyReason::PurposeMissing));
}

#[test]
fn a_grant_holds_from_its_first_to_its_last_millisecond() {
    let mut data = data();
    let payroll = data.grants.iter_mut().find(|grant| grant.caller == caller(PAYROLL)).unwrap();
    payroll.window = Window { not_before: Some(Timestamp(100)), not_after: Some(Timestamp(200)) };
    let policy = Policy::build(data).unwrap();
    let request = ask(PAYROLL, Action::Detokenize).purpose(purpose(PURPOSE));
    let at = |millis| policy.decide(&request, Timestamp(millis)).map(|permit| permit.window()).map_err(|d| d.reason());
    let window = Window { not_before: Some(Timestamp(100)), not_after: Some(Timestamp(200)) };
    assert_eq!(at(99), Err(DenyReason::GrantExpired));
    assert_eq!(at(100), Ok(window));
    assert_eq!(at(200), Ok(window));
    assert_eq!(at(201), Err(DenyReason::GrantExpired));
    // A permit of the last millisecond opens no record in the next.
    let permit = policy.decide(&request, Timestamp(200)).unwrap();
    let (tenant, scope, notified) = (tenant(), scope("payroll"), notified(Window::ALWAYS));
    let facts = facts(&tenant, Some(&scope), &notified);
    assert_eq!(permit.check_record(&facts, Timestamp(200)), Ok(()));
    assert_eq!(permit.check_record(&facts, Timestamp(201)), Err(DenyReason::GrantExpired));
}

#[test]
fn the_nearest_of_several_grants_explains_the_denial_and_the_first_fitting_one_permits() {
    let mut data = data();
    let payroll = data.grants.iter().find(|grant| grant.caller == caller(PAYROLL)).unwrap().clone();
    let expired = Window { not_before: None, not_after: Some(Timestamp(NOW.0 - 1)) };
    let add = |data: &mut PolicyData, id: u8, change: &dyn Fn(Grant) -> Grant| {
        data.grants.insert(0, change(Grant { id: GrantId([id; 16]), ..payroll.clone() }));
    };
    // Phase 1: an expired grant for the fee record is nearer than a live one for another purpose.
    add(&mut data, 9, &|grant| Grant { purposes: vec![purpose("tax.fee_record")], window: expired, ..grant });
    let policy = Policy::build(data.clone()).unwrap();
    let fee = ask(PAYROLL, Action::Detokenize).purpose(purpose("tax.fee_record"));
    assert_eq!(reason(&policy, &fee), Some(DenyReason::GrantExpired));
    // Phase 2: of two fitting grants the one with the smaller id decides, wherever it is listed.
    add(&mut data, 8, &|grant| Grant { purposes: vec![purpose("tax.fee_record")], ..grant });
    add(&mut data, 7, &|grant| Grant { purposes: vec![purpose("tax.fee_record")], budget: None, ..grant });
    let policy = policy.rebuild(PolicyData { version: PolicyVersion(2), ..data }).unwrap();
    let permit = policy.decide(&fee, NOW).unwrap();
    assert_eq!((permit.grant(), permit.budget()), (GrantId([7; 16]), None));
    assert_eq!(permit.policy_version(), PolicyVersion(2));
    assert_eq!(permit.relations().iter().collect::<Vec<_>>(), [Relation::Payee]);
}

fn notified(window: Window) -> [Notified; 1] {
    [Notified { purpose: purpose(PURPOSE), window, notice_version: None }]
}

fn facts<'a>(tenant: &'a TenantId, scope: Option<&'a ScopeId>, notified: &'a [Notified]) -> RecordFacts<'a> {
    static SUBJECT: std::sync::LazyLock<SubjectRef> = std::sync::LazyLock::new(|| SubjectRef::parse("E-1").unwrap());
    RecordFacts {
        tenant,
        kind: Kind::MyNumber,
        subject: &SUBJECT,
        label: None,
        relation: Relation::SelfRelation,
        scope,
        notified,
        disabled: false,
        verified: false,
    }
}

#[test]
fn a_record_is_checked_three_ways() {
    use DenyReason::*;
    let policy = policy();
    let permit = policy.decide(&ask(PAYROLL, Action::Detokenize).purpose(purpose(PURPOSE)), NOW).unwrap();
    let (tenant, other_tenant) = (tenant(), TenantId::parse("other").unwrap());
    let (payroll, accounting) = (scope("payroll"), scope("accounting"));
    let always = notified(Window::ALWAYS);
    let over = notified(Window { not_before: None, not_after: Some(Timestamp(NOW.0 - 1)) });
    let later = notified(Window { not_before: Some(Timestamp(NOW.0 + 1)), not_after: None });
    let elsewhere = [Notified { purpose: purpose("tax.fee_record"), window: Window::ALWAYS, notice_version: None }];
    let renewed = [over.clone(), always.clone()].concat();
    let good = facts(&tenant, Some(&payroll), &always);
    let table = [
        (good, Ok(())),
        (RecordFacts { relation: Relation::Spouse, ..good }, Ok(())),
        (RecordFacts { notified: &renewed, ..good }, Ok(())),
        // Purpose ∩ notified ∩ window, each broken alone.
        (RecordFacts { relation: Relation::Payee, ..good }, Err(RelationNotRevealable)),
        (RecordFacts { notified: &[], ..good }, Err(NotNotified)),
        (RecordFacts { notified: &elsewhere, ..good }, Err(NotNotified)),
        (RecordFacts { notified: &over, ..good }, Err(NotifiedWindow)),
        (RecordFacts { notified: &later, ..good }, Err(NotifiedWindow)),
        // The rest of the row.
        (RecordFacts { tenant: &other_tenant, ..good }, Err(TokenOfOtherTenant)),
        (RecordFacts { scope: Some(&accounting), ..good }, Err(ScopeNotGranted)),
        (RecordFacts { scope: None, ..good }, Err(ScopeNotGranted)),
        (RecordFacts { disabled: true, ..good }, Err(RecordDisabled)),
        (RecordFacts { kind: Kind::BankAccount, ..good }, Err(KindNotGranted)),
        // The tenant comes first: nothing else about another tenant's record is even looked at.
        (RecordFacts { tenant: &other_tenant, disabled: true, notified: &[], ..good }, Err(TokenOfOtherTenant)),
    ];
    for (facts, expected) in table {
        assert_eq!(permit.check_record(&facts, NOW), expected, "{facts:?}");
    }
}

#[test]
fn what_the_tenant_demands_comes_with_the_number() {
    let mut data = data();
    data.tenants[0].demand = VerificationDemand::of_the_law();
    let policy = Policy::build(data).unwrap();
    let (tenant, payroll) = (tenant(), scope("payroll"));
    let bare = facts(&tenant, Some(&payroll), &[]);
    for action in [Action::Tokenize, Action::UpdateNumber] {
        let permit = policy.decide(&ask(HR, action), NOW).unwrap();
        assert_eq!(permit.check_record(&bare, NOW), Err(DenyReason::VerificationMissing), "{action}");
        assert_eq!(permit.check_record(&RecordFacts { verified: true, ..bare }, NOW), Ok(()), "{action}");
        // Dependants are checked by the employee, and nothing is demanded of other kinds.
        assert_eq!(permit.check_record(&RecordFacts { relation: Relation::Spouse, ..bare }, NOW), Ok(()), "{action}");
        assert_eq!(permit.check_record(&RecordFacts { kind: Kind::BankAccount, ..bare }, NOW), Ok(()), "{action}");
        // Whoever may not bring the number is not told what must come with it.
        let foreign = RecordFacts { kind: Kind::Passport, ..bare };
        assert_eq!(permit.check_record(&foreign, NOW), Err(DenyReason::KindNotGranted), "{action}");
    }
    // Item by item the same.
    let records = [Some(bare), Some(RecordFacts { verified: true, ..bare })];
    let shares = policy.decide_records(&ask(HR, Action::Tokenize), &records, NOW);
    let [share] = &shares[..] else { panic!("one grant carries both") };
    assert_eq!(share.items, [(0, Err(DenyReason::VerificationMissing)), (1, Ok(()))]);
    // What brings no number needs no check.
    let permit = policy.decide(&ask(HR, Action::Exchange).to_scope(scope("accounting")), NOW).unwrap();
    assert_eq!(permit.check_record(&bare, NOW), Ok(()));
}

#[test]
fn nobody_gets_anothers_number_as_his_own() {
    let own_purpose = purpose("op.disclose_self");
    let mut data = data();
    data.tenants[0].purposes.push(own_purpose.clone());
    let payroll = data.grants.iter_mut().find(|grant| grant.caller == caller(PAYROLL)).unwrap();
    payroll.purposes.push(own_purpose.clone());
    let mut alone = Grant { id: GrantId([9; 16]), purposes: vec![own_purpose.clone()], ..payroll.clone() };
    let day = Timestamp(NOW.0 + 86_400_000);
    alone.window = Window { not_before: Some(NOW), not_after: Some(day) };
    alone.budget = Some(Budget::new(1, Budget::LIFE_OF_GRANT));
    data.grants.push(alone);
    let policy = Policy::build(data).unwrap();
    let (tenant, scope) = (tenant(), scope("payroll"));
    let told = |code: &str| [Notified { purpose: purpose(code), window: Window::ALWAYS, notice_version: None }];
    let named = |own: Option<&str>| {
        let user = CallerId::parse("oidc:corp/suzuki").unwrap();
        let own = own.map(|own| SubjectRef::parse(own).unwrap());
        Proof { end_user: EndUserProof::Verified { user, own, until: day }, sign_in: SignIn::Lasting }
    };
    let check = |code: &str, own: Option<&str>, relation: Relation| {
        let request = ask(PAYROLL, Action::Detokenize).purpose(purpose(code)).proven(named(own));
        let told = told(code);
        let record = RecordFacts { relation, ..facts(&tenant, Some(&scope), &told) };
        let permit = policy.decide(&request, NOW).unwrap();
        let one = permit.check_record(&record, NOW);
        let many = policy.decide_records(&request, &[Some(record)], NOW);
        assert_eq!(many[0].items, [(0, one)]);
        one
    };
    // The record is that of E-1.
    let own = own_purpose.as_str();
    assert_eq!(check(own, Some("E-1"), Relation::SelfRelation), Ok(()));
    assert_eq!(check(own, Some("E-2"), Relation::SelfRelation), Err(DenyReason::NotOwnNumber));
    assert_eq!(check(own, Some("e-1"), Relation::SelfRelation), Err(DenyReason::NotOwnNumber));
    assert_eq!(check(own, Some("E-1"), Relation::Spouse), Err(DenyReason::RelationNotRevealable));
    // An assertion that names no subject binds nothing; nor does one's own number bind what one does for others.
    assert_eq!(check(own, None, Relation::SelfRelation), Ok(()));
    assert_eq!(check(PURPOSE, Some("E-2"), Relation::SelfRelation), Ok(()));
}

#[test]
fn describing_needs_a_granted_token_but_no_notice() {
    let policy = policy();
    let (tenant, payroll, accounting) = (tenant(), scope("payroll"), scope("accounting"));
    // Phase 1: HR holds both scopes; a call that named one gets no token of the other.
    let permit = policy.decide(&ask(HR, Action::DescribeToken).scope(payroll.clone()), NOW).unwrap();
    let of_payroll = facts(&tenant, Some(&payroll), &[]);
    assert_eq!(permit.check_record(&of_payroll, NOW), Ok(()));
    let of_accounting = facts(&tenant, Some(&accounting), &[]);
    assert_eq!(permit.check_record(&of_accounting, NOW), Err(DenyReason::TokenOfOtherScope));
    assert_eq!(permit.check_item(Kind::BankAccount, &payroll), Ok(()));
    assert_eq!(permit.check_item(Kind::Passport, &payroll), Err(DenyReason::KindNotGranted));
    assert_eq!(permit.check_item(Kind::BankAccount, &accounting), Err(DenyReason::TokenOfOtherScope));
    // Phase 2: a disabled record is silent to its tokens and still visible by id.
    let disabled = RecordFacts { disabled: true, ..of_payroll };
    assert_eq!(permit.check_record(&disabled, NOW), Err(DenyReason::RecordDisabled));
    let permit: Permit = policy.decide(&ask(HR, Action::GetRecord), NOW).unwrap();
    assert_eq!(permit.check_record(&RecordFacts { scope: None, disabled: true, ..of_payroll }, NOW), Ok(()));
}

#[test]
fn before_the_bootstrap_nothing_else_is_permitted() {
    let policy = Policy::unbootstrapped();
    let permit = policy.decide(&Request::vault(Action::Bootstrap, caller(OWNER)), NOW).unwrap();
    assert_eq!((permit.role(), permit.policy_version()), (Role::Owner, PolicyVersion(0)));
    assert_eq!(permit.policy_ids(), [Policy::BOOTSTRAP_POLICY_ID]);
    for action in Action::ALL.into_iter().filter(|action| *action != Action::Bootstrap) {
        assert_eq!(reason(&policy, &ask(OWNER, action)), Some(DenyReason::NotBootstrapped), "{action}");
    }
}

#[test]
fn no_policy_text_and_no_grant_puts_anybody_above_the_roles() {
    // Phase 1: roles that could abuse each other share no action.
    let shared = |one: Role, other: Role| one.actions().iter().any(|action| other.allows(*action));
    for role in Role::ALL.into_iter().filter(|role| !role.handles_numbers()) {
        assert!(!shared(role, Role::Workload) && !shared(role, Role::EntrustedParty), "{role}");
        assert!(role.actions().iter().all(|action| !action.reveals()), "{role}");
    }
    assert!(!Role::Owner.allows(Action::ApproveGrants) && !Role::Approver.allows(Action::ProposeGrants));
    // Phase 2: a text that permits everything changes nothing, because the legs still hold.
    let wide = r#"@id("wide.open") permit (principal, action, resource);"#.to_owned();
    let policy = Policy::build(PolicyData { text: wide, ..data() }).unwrap();
    for name in [OWNER, APPROVER, OPERATOR, AUDITOR, HR, ACCOUNTING] {
        let request = ask(name, Action::Detokenize).purpose(purpose(PURPOSE));
        assert_eq!(reason(&policy, &request), Some(DenyReason::NoGrant), "{name}");
    }
    assert_eq!(reason(&policy, &ask(PAYROLL, Action::Detokenize)), Some(DenyReason::PurposeMissing));
    // Phase 3: data that apply would refuse is refused here too.
    let mut both = data();
    both.grants[0].caller = caller(AUDITOR);
    assert!(matches!(Policy::build(both), Err(Error::RoleConflict(who)) if who == caller(AUDITOR)));
    let mut exceeding = data();
    exceeding.grants[0].actions.push(Action::Detokenize);
    assert!(matches!(Policy::build(exceeding), Err(Error::Grant { .. })));
    let mut twins = data();
    twins.grants[1].id = twins.grants[0].id;
    assert!(matches!(Policy::build(twins), Err(Error::Duplicate(_))));
}

#[test]
fn a_text_narrows_and_its_ids_are_reported() {
    let text = format!(
        "{}\n@id(\"owner.freeze\") forbid (principal, action in Action::\"reveal\", resource == Tenant::\"demo\");",
        Policy::DEFAULT_TEXT
    );
    let policy = Policy::build(PolicyData { text, ..data() }).unwrap();
    let denial = policy.decide(&ask(PAYROLL, Action::Detokenize).purpose(purpose(PURPOSE)), NOW).unwrap_err();
    assert_eq!((denial.reason(), denial.policy_ids()), (DenyReason::ForbiddenByPolicy, &["owner.freeze".into()][..]));
    let permit = policy.decide(&ask(PAYROLL, Action::DescribeToken), NOW).unwrap();
    assert_eq!(permit.policy_ids(), ["workload.handle"]);
}

#[test]
fn a_policy_that_fails_to_evaluate_forbids() {
    // Cedar skips a policy whose evaluation fails; a skipped `forbid` must not become a permit.
    let text = format!(
        "{}\n@id(\"late.hours\") forbid (principal, action, resource) when {{ context.now * 9223372036854775807 < 0 }};",
        Policy::DEFAULT_TEXT
    );
    let policy = Policy::build(PolicyData { text, ..data() }).unwrap();
    assert_eq!(reason(&policy, &ask(HR, Action::Tokenize)), Some(DenyReason::ForbiddenByPolicy));
}

#[test]
fn texts_are_validated_strictly() {
    Policy::check_text(Policy::DEFAULT_TEXT).unwrap();
    let refused = |text: &str| Policy::check_text(text).unwrap_err();
    let when = |condition: &str| format!("@id(\"a\") permit (principal, action, resource) when {{ {condition} }};");
    // A typo in an attribute, a missing presence check, a wrong type, an unknown action, a rule that never applies.
    for text in [
        when("principal.rol == \"owner\""),
        when("context.grant.porpuses.contains(\"tax.withholding_slip\")"),
        when("context.purpose == \"tax.withholding_slip\""),
        when("context.now == \"noon\""),
        when("principal in Group::\"admins\""),
        when("1 == 2"),
        "@id(\"a\") permit (principal, action == Action::\"detokenise\", resource);".to_owned(),
        "@id(\"a\") permit (principal, action == Action::\"bootstrap\", resource);".to_owned(),
    ] {
        assert!(matches!(refused(&text), Error::Schema(_)), "{text}: {:?}", refused(&text));
    }
    assert!(matches!(refused("permit (principal, action"), Error::Parse(_)));
    assert!(matches!(refused("@id(\"a\") permit (principal == ?principal, action, resource);"), Error::Template));
    let plain = "forbid (principal, action, resource);";
    assert!(matches!(refused(plain), Error::PolicyId { position: 1, .. }));
    let twice = format!("@id(\"a\") {plain} @id(\"a\") {plain}");
    assert!(matches!(refused(&twice), Error::PolicyId { position: 2, .. }));
    assert!(matches!(refused(&format!("@id(\"Über\") {plain}")), Error::PolicyId { .. }));
    let many: String = (0..=Policy::POLICIES_MAX).map(|n| format!("@id(\"p{n}\") {plain}")).collect();
    assert!(matches!(refused(&many), Error::TooManyPolicies { policies: 101, max: 100 }));
    assert!(matches!(refused(&" ".repeat(Policy::TEXT_BYTES_MAX + 1)), Error::TextTooLong { .. }));
}

/// Payroll's grant with another rule for the end user.
fn with_rule(rule: EndUserRule) -> Policy {
    let mut data = data();
    for grant in data.grants.iter_mut().filter(|grant| grant.caller == caller(PAYROLL)) {
        grant.end_user = Some(rule.clone());
    }
    Policy::build(data).unwrap()
}

fn verified(until: Timestamp) -> Proof {
    let user = CallerId::parse("oidc:corp/suzuki").unwrap();
    Proof { end_user: EndUserProof::Verified { user, own: None, until }, sign_in: SignIn::Lasting }
}

#[test]
fn a_grant_that_wants_an_end_user_gets_one_or_denies() {
    let policy = with_rule(EndUserRule::Required);
    let reveal = || ask(PAYROLL, Action::Detokenize).purpose(purpose(PURPOSE));
    assert_eq!(reason(&policy, &reveal()), Some(DenyReason::EndUserRequired));
    assert_eq!(reason(&policy, &ask(PAYROLL, Action::DescribeToken)), Some(DenyReason::EndUserRequired));

    // The permit names the end user and does not outlive the assertion.
    let until = Timestamp(NOW.0 + 1_000);
    let permit = policy.decide(&reveal().proven(verified(until)), NOW).unwrap();
    assert_eq!(permit.end_user().map(CallerId::as_str), Some("oidc:corp/suzuki"));
    assert_eq!((permit.window().not_after, permit.job()), (Some(until), None));
    assert_eq!(policy.decide(&reveal().proven(verified(until)), Timestamp(until.0 + 1)).unwrap_err().reason(), {
        DenyReason::EndUserRefused
    });

    // A false assertion is worse than none, also where none is wanted.
    let refused = Proof { end_user: EndUserProof::Refused, sign_in: SignIn::Lasting };
    assert_eq!(reason(&policy, &reveal().proven(refused.clone())), Some(DenyReason::EndUserRefused));
    assert_eq!(reason(&policy, &ask(HR, Action::Tokenize).proven(refused)), Some(DenyReason::EndUserRefused));
}

#[test]
fn an_approved_job_names_its_handler_and_has_its_time() {
    let window = Window { not_before: Some(NOW), not_after: Some(Timestamp(NOW.0 + 5_000)) };
    let handler = CallerId::parse("oidc:corp/tanaka").unwrap();
    let job = ApprovedJob { job: WorkReference::parse("year-end-2026").unwrap(), handler: handler.clone(), window };
    let policy = with_rule(EndUserRule::ApprovedJob(job));
    let reveal = || ask(PAYROLL, Action::Detokenize).purpose(purpose(PURPOSE));
    let permit = policy.decide(&reveal(), NOW).unwrap();
    assert_eq!((permit.end_user(), permit.window()), (Some(&handler), window));
    assert_eq!(permit.job().map(WorkReference::as_str), Some("year-end-2026"));
    for outside in [Timestamp(NOW.0 - 1), Timestamp(NOW.0 + 5_001)] {
        assert_eq!(policy.decide(&reveal(), outside).unwrap_err().reason(), DenyReason::JobExpired);
    }
    // With an end user it is his call, and the job's time does not matter.
    let permit = policy.decide(&reveal().proven(verified(Timestamp(NOW.0 + 9_000))), Timestamp(NOW.0 + 6_000)).unwrap();
    assert_eq!((permit.end_user().map(CallerId::as_str), permit.job()), (Some("oidc:corp/suzuki"), None));
}

#[test]
fn only_a_recent_and_strong_sign_in_changes_policy() {
    let policy = policy();
    let vault = |name, action, sign_in| {
        let proof = Proof { end_user: EndUserProof::Absent, sign_in };
        policy.decide(&Request::vault(action, caller(name)).proven(proof), NOW).map_err(|denial| denial.reason())
    };
    let fresh = SignIn::Until(Timestamp(NOW.0 + 1_000));
    for old in [SignIn::Weak, SignIn::Until(Timestamp(NOW.0 - 1))] {
        for (name, action) in [
            (OWNER, Action::ProposeGrants),
            (OWNER, Action::CreateTenant),
            (APPROVER, Action::ApproveGrants),
            (OPERATOR, Action::AddMember),
            (OPERATOR, Action::RemoveMember),
        ] {
            assert_eq!(vault(name, action, old).unwrap_err(), DenyReason::StepUpRequired, "{action}");
            let permit = vault(name, action, fresh).unwrap();
            assert_eq!(permit.window().not_after, Some(Timestamp(NOW.0 + 1_000)), "apply checks it again");
        }
        // Looking is open, and so is what workloads do.
        assert!(vault(AUDITOR, Action::ReadLedger, old).is_ok());
        assert!(vault(OPERATOR, Action::ClusterStatus, old).is_ok());
    }
    // Without a grant the answer is the same: it says nothing about grants.
    assert_eq!(vault(HR, Action::ApproveGrants, SignIn::Weak).unwrap_err(), DenyReason::StepUpRequired);
    // A sign-in that is not asked about does not bound a decision.
    assert_eq!(vault(AUDITOR, Action::ReadLedger, fresh).unwrap().window(), Window::ALWAYS);
}
