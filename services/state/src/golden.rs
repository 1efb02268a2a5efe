//! Golden bytes: what is on disks and in logs stays readable, so these bytes change only together with a format byte.

mod moves;
mod people;

use fuda_core::{
    BucketId, BucketVersion, Catalogue, CatalogueChange, Day, Fingerprint, FreezeReason, KeyDomainId, Kind, PersonId,
    PolicyVersion, ProxyRelation, Relation, RequestId, Revision, RootVersion, Sequence, SinkId, Timestamp, TokenClass,
    TraceId, VaultId, Verification, VerificationDocument, VerificationMethod, Window, WorkReference,
};
use fuda_ledger::{Bookkeeping, Header, TraceContext};
use fuda_policy::{
    Action, Budget, Conditions, DenyReason, FreezeTarget, Grant, GrantId, Notified, Recipient, RecoveryChoice, Role,
    Tenant, samples,
};

use crate::alarms::{Leaked, UntoldRow};
use crate::canaries::{CanaryRow, Quarantine};
use crate::command::{
    Amend, AmendItem, ApproveGrants, ApprovePurposeOrder, Bootstrap, CreateCanary, CreateTenant, Denied, Freeze, Inner,
    Mint, MintItem, Named, NewTokenRows, NewVersionRows, ProposeCatalogueChange, ProposeGrants, ReadRecords,
    RemoveMember, RetireCanary, Reveal, SealedBucket, SetTenantPurposes, SetTenantRecipients, Thaw, Tokenize,
    UpdateItem, UpdateNumber,
};
use crate::folds::{FoldRow, Folded, Sort};
use crate::freezes::{FreezeRow, FreezesRow, ThawRow};
use crate::row::{
    Act, BucketRow, BudgetRow, CatalogueRow, GrantRow, GuessesCounted, Member, MembersRow, OrderRow, PersonsCounted,
    PolicyTextRow, PolicyVersionRow, ProgressRow, PurposeChange, PurposeOrderPlaceRow, PurposeOrderRow, RecordRow,
    RecordStatus, ReplyRow, Row, StoppedWindow, SubjectRow, TenantPurposes, TenantRecipients, TenantRow, TokenOfScope,
    TokenRow, TokenWrapRow, VaultRow, VersionRow,
};
use crate::sinks::SinkRow;
use crate::testing::{caller, lookup, member, other_tenant, purpose, record, scope, subject, tenant};
use crate::watch::{Burst, BurstRow, HabitRow};
use crate::{
    Body, Claim, ClusterId, Command, ItemOutcome, NodeId, OrderId, Outcome, Refusal, RevealItem, TokenizeItem, Verdict,
};

const GOLDEN: &str = include_str!("golden.txt");

#[test]
fn commands_have_their_golden_bytes() {
    let header = header();
    let audited = [bodies(), people::bodies(), moves::bodies()]
        .concat()
        .into_iter()
        .map(|body| Command(Inner::Audited(header.clone(), body)));
    let kept = [Bookkeeping::Checkpoint(vec![1, 2]), Bookkeeping::ExpireReplies { before: Timestamp(5) }];
    let kept = kept.into_iter().chain([Bookkeeping::EnterFolded, Bookkeeping::AlarmsTold { through: Sequence(6) }]);
    let (from, to, rejected) = (Sequence(3), Sequence(9), vec![Sequence(5)]);
    let kept = kept.chain([Bookkeeping::SinkAcknowledged { sink: sink(), from, to, rejected }]);
    let kept = kept.chain([Bookkeeping::Cosigned { witness: "w".to_owned(), note: vec![1, 2] }]);
    let kept = kept.chain([Bookkeeping::PruneEntries { from: Sequence(3), before: Sequence(9) }]);
    let kept = kept.map(|step| Command(Inner::Kept(step)));
    let lines: Vec<(String, Vec<u8>)> = audited
        .chain(kept)
        .map(|command| {
            let bytes = command.encode();
            assert!(Command::decode(&bytes).unwrap() == command);
            (format!("command.{}", command.name()), bytes)
        })
        .collect();
    compare("command.", &lines);
}

#[test]
fn rows_have_their_golden_bytes() {
    compare("row.", &rows());
}

#[test]
fn outcomes_have_their_golden_bytes() {
    let items = vec![
        ItemOutcome::Done { sequence: Sequence(7) },
        ItemOutcome::Denied { sequence: Some(Sequence(8)), reason: DenyReason::UnknownToken },
        ItemOutcome::Stale,
        ItemOutcome::AlreadyExists { sequence: Some(Sequence(9)) },
        ItemOutcome::Replayed {
            sequence: Sequence(10),
            record: record(1),
            bucket: BucketId(2),
            bucket_version: BucketVersion(3),
            sealed: vec![4],
        },
        ItemOutcome::RecordCollision,
    ];
    let outcomes = [
        ("applied", Outcome::Applied { first: Some(Sequence(7)), items, node_id: Some(NodeId(2)) }),
        ("stale_policy", Outcome::StalePolicy { version: PolicyVersion(3) }),
        ("expired", Outcome::Expired),
        ("refused", Outcome::Refused { refusal: Refusal::TenantExists, sequence: Some(Sequence(1)) }),
    ];
    let lines: Vec<_> = outcomes
        .map(|(name, outcome)| {
            let bytes = minicbor::to_vec(&outcome).unwrap();
            assert_eq!(minicbor::decode::<Outcome>(&bytes).unwrap(), outcome);
            (format!("outcome.{name}"), bytes)
        })
        .into();
    compare("outcome.", &lines);
}

fn compare(prefix: &str, lines: &[(String, Vec<u8>)]) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let found: String = lines.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
    let golden: String =
        GOLDEN.lines().filter(|line| line.starts_with(prefix)).map(|line| format!("{line}\n")).collect();
    assert!(found == golden, "bytes on disk or in the log changed; found:\n{found}");
}

fn header() -> Header {
    Header {
        tenant: Some(tenant()),
        action: Action::Detokenize,
        caller: caller(samples::PAYROLL),
        end_user: None,
        purpose: Some(purpose(samples::PURPOSE)),
        work_reference: Some(WorkReference::parse("ticket 7").unwrap()),
        policy_version: PolicyVersion(3),
        policy_ids: vec!["workload".to_owned()],
        grant: Some(GrantId([1; 16])),
        request_id: RequestId::from_bytes([2; 16]),
        trace: Some(TraceContext { trace_id: TraceId::from_bytes([3; 16]), span_id: [4; 8], sampled: true }),
        decided: Window { not_before: Some(Timestamp(1)), not_after: None },
        budget: Some(Budget::new(10, 1)),
        verify_guesses_per_day: 5,
        denied: None,
        job: None,
        credential: None,
        assertion: None,
        source_zone: None,
        recipient: None,
        calls_per_minute_max: None,
    }
}

fn bodies() -> Vec<Body> {
    let known = |verdict| Claim::Known { record: record(1), revision: Revision(9), verdict };
    let reveal = |item, claim| RevealItem { item, lookup: lookup(1), claim };
    vec![
        Body::Bootstrap(Box::new(bootstrap())),
        Body::CreateTenant(CreateTenant { tenant: golden_tenant() }),
        Body::ProposeGrants(ProposeGrants {
            order: OrderId([5; 16]),
            grants: vec![grant()],
            revoke: vec![GrantId([6; 16])],
            succession: None,
            retention: None,
        }),
        Body::ApproveGrants(ApproveGrants { order: OrderId([5; 16]) }),
        Body::AddMember(member(2)),
        Body::RemoveMember(RemoveMember { node_id: NodeId(2) }),
        Body::Tokenize(Tokenize { items: vec![item()], reply_days: 14 }),
        Body::Reveal(Reveal {
            items: vec![
                reveal(0, Claim::Unknown),
                reveal(1, known(Verdict::Allow)),
                reveal(2, known(Verdict::Deny(DenyReason::NotNotified))),
            ],
        }),
        Body::ReadRecords(ReadRecords { subject: Some(subject("E-1")), records: vec![record(1)] }),
        Body::Denied(Denied {
            reason: DenyReason::NoGrant,
            items: 3,
            kind: Some(Kind::MyNumber),
            scope: Some(scope(samples::PAYROLL_SCOPE)),
            canaries: None,
        }),
        Body::Denied(Denied {
            reason: DenyReason::NoGrant,
            items: 1,
            kind: None,
            scope: None,
            canaries: Some(vec![lookup(1)]),
        }),
        Body::CreateCanary(CreateCanary {
            canary: record(1),
            lookup: lookup(1),
            scope: scope(samples::PAYROLL_SCOPE),
            subject: subject("E-1"),
            quarantine: Some(Quarantine::Scope),
        }),
        Body::RetireCanary(RetireCanary { canary: record(1) }),
        Body::Mint(Mint {
            items: vec![MintItem {
                item: 1,
                lookup: lookup(1),
                claim: known(Verdict::Allow),
                new: Some(NewTokenRows {
                    lookup: lookup(2),
                    bucket: BucketId(2),
                    bucket_version: BucketVersion(1),
                    token_wrap: vec![1; 3],
                    reply: Some(vec![4; 3]),
                }),
            }],
            scope: scope(samples::ACCOUNTING_SCOPE),
            replace: false,
            retry: true,
            reply_days: 14,
        }),
        Body::UpdateNumber(UpdateNumber {
            items: vec![UpdateItem {
                item: 1,
                lookup: lookup(1),
                claim: known(Verdict::Allow),
                new: Some(NewVersionRows {
                    version: fuda_core::RecordVersion(2),
                    bucket: BucketId(2),
                    bucket_version: BucketVersion(1),
                    version_wrap: vec![2; 3],
                    number_row: vec![3; 3],
                }),
                verification: Some(verification()),
            }],
        }),
        Body::Amend(Amend {
            items: vec![AmendItem {
                item: 1,
                named: Named::Subject(subject("E-1"), Kind::MyNumber),
                claim: known(Verdict::Allow),
                notified: vec![Notified {
                    purpose: purpose(samples::PURPOSE),
                    window: Window::ALWAYS,
                    notice_version: Some("v2".to_owned()),
                }],
            }],
        }),
        Body::Freeze(Freeze { target: freeze_target(), reason: freeze_reason() }),
        Body::Thaw(Thaw { target: freeze_target(), reason: freeze_reason() }),
        Body::ProposeCatalogueChange(ProposeCatalogueChange { order: OrderId([5; 16]), change: catalogue_change() }),
        Body::SetTenantPurposes(SetTenantPurposes { order: OrderId([5; 16]), change: tenant_purposes() }),
        Body::ApprovePurposeOrder(ApprovePurposeOrder { order: OrderId([5; 16]) }),
        Body::SetTenantRecipients(SetTenantRecipients { order: OrderId([5; 16]), change: tenant_recipients() }),
    ]
}

fn freeze_target() -> FreezeTarget {
    FreezeTarget::Scope(tenant(), scope(samples::PAYROLL_SCOPE))
}

fn freeze_reason() -> FreezeReason {
    FreezeReason::parse("stolen").unwrap()
}

fn catalogue_change() -> CatalogueChange {
    CatalogueChange {
        base: 3,
        put: Vec::new(),
        retire: vec![purpose("tax.slip")],
        override_reason: Some("r".to_owned()),
    }
}

fn tenant_purposes() -> TenantPurposes {
    TenantPurposes {
        tenant: tenant(),
        enable: vec![purpose("tax.slip")],
        disable: vec![purpose("tax.old")],
        demand: None,
        office_hours: None,
    }
}

fn bootstrap() -> Bootstrap {
    let bucket = SealedBucket { bucket: BucketId(0), bucket_version: BucketVersion(1), sealed: vec![5; 3] };
    Bootstrap {
        vault: VaultId::from_bytes([0xaa; 16]),
        cluster: ClusterId([0xbb; 16]),
        class: TokenClass::Test,
        origin: "fuda.test/v".to_owned(),
        owner: caller(samples::OWNER),
        approvers: vec![caller(samples::APPROVER)],
        operators: vec![caller(samples::OPERATOR)],
        auditors: vec![caller(samples::AUDITOR)],
        policy_text: "permit;".to_owned(),
        catalogue: Catalogue::default(),
        checkpoint_public_key: [6; 32],
        sealed_checkpoint_key: vec![4; 3],
        domain: KeyDomainId::SHARED,
        root_version: RootVersion(1),
        buckets: vec![bucket],
        first_member: member(1),
        succession: None,
    }
}

fn golden_tenant() -> Tenant {
    Tenant {
        name: "Other".to_owned(),
        recovery: RecoveryChoice::PublicKey([8; 32]),
        purposes: vec![purpose(samples::PURPOSE)],
        created: Timestamp(1_000),
        ..other_tenant("other")
    }
}

fn grant() -> Grant {
    Grant {
        id: GrantId([1; 16]),
        caller: caller(samples::PAYROLL),
        role: Role::Workload,
        tenant: Some(tenant()),
        actions: vec![Action::Detokenize],
        kinds: vec![Kind::MyNumber],
        purposes: vec![purpose(samples::PURPOSE)],
        scopes: vec![scope(samples::PAYROLL_SCOPE)],
        window: Window::ALWAYS,
        budget: None,
        verify_guesses_per_day: 0,
        end_user: None,
        conditions: Conditions::default(),
        circumstances: None,
    }
}

fn item() -> TokenizeItem {
    TokenizeItem {
        item: 3,
        record: record(1),
        subject: subject("E-1"),
        principal: subject("E-0"),
        relation: Relation::Spouse,
        kind: Kind::MyNumber,
        scope: scope(samples::PAYROLL_SCOPE),
        notified: vec![Notified { purpose: purpose(samples::PURPOSE), window: Window::ALWAYS, notice_version: None }],
        lookup: lookup(1),
        domain: KeyDomainId::SHARED,
        bucket: BucketId(2),
        bucket_version: BucketVersion(1),
        token_wrap: vec![1; 3],
        version_wrap: vec![2; 3],
        number_row: vec![3; 3],
        reply: Some(vec![4; 3]),
        label: None,
        verification: None,
    }
}

fn verification() -> Verification {
    Verification {
        method: VerificationMethod::Proxy,
        documents: vec![VerificationDocument::PowerOfAttorney],
        verifier: "hr/tanaka".to_owned(),
        verified_on: Day::from_number(20_000),
        proxy: Some(ProxyRelation::Attorney),
    }
}

fn act(sequence: u64) -> Act {
    let (caller, request) = (caller(samples::OWNER), RequestId::from_bytes([2; 16]));
    Act { caller, request, sequence: Sequence(sequence), time: Timestamp(1_000) }
}

fn line<R: Row + PartialEq>(name: &str, row: &R) -> (String, Vec<u8>) {
    let bytes = row.to_bytes();
    assert!(R::from_bytes(&bytes).unwrap() == *row);
    (format!("row.{name}"), bytes)
}

fn rows() -> Vec<(String, Vec<u8>)> {
    [meta_rows(), admin_rows(), record_rows(), people::rows(), moves::rows()].concat()
}

fn meta_rows() -> Vec<(String, Vec<u8>)> {
    let member = Member {
        node_id: NodeId(1),
        uuid: member(1).uuid,
        name: member(1).name,
        peer_address: member(1).peer_address,
        client_address: member(1).client_address,
        added: act(0),
        removed: Some(act(4)),
    };
    let vault = VaultRow {
        vault: VaultId::from_bytes([0xaa; 16]),
        cluster: ClusterId([0xbb; 16]),
        class: TokenClass::Live,
        origin: "fuda.test/v".to_owned(),
        domain: KeyDomainId::SHARED,
        checkpoint_public_key: [6; 32],
        sealed_checkpoint_key: vec![4; 3],
        root_version: RootVersion(1),
        bootstrap: act(0),
    };
    vec![
        line("vault", &vault),
        line("progress", &ProgressRow { time: Timestamp(1_000), tree_size: 300, revision: Revision(9) }),
        line("members", &MembersRow { next_node_id: NodeId(2), members: vec![member] }),
        line("policy_version", &PolicyVersionRow { version: PolicyVersion(3) }),
        line("policy_text", &PolicyTextRow { text: "permit;".to_owned() }),
        line("catalogue", &CatalogueRow { catalogue: Catalogue::default() }),
        line("purpose_order", &purpose_order(PurposeChange::Catalogue(catalogue_change()))),
        line("purpose_order_of_tenant", &purpose_order(PurposeChange::Tenant(tenant_purposes()))),
        line("purpose_order_of_recipients", &purpose_order(PurposeChange::Recipients(tenant_recipients()))),
        line("purpose_order_place", &PurposeOrderPlaceRow { proposed: Sequence(7) }),
    ]
}

fn tenant_recipients() -> TenantRecipients {
    let recipient = Recipient {
        fingerprint: Fingerprint::from_bytes([0xab; 32]),
        key: [0xcd; 32],
        name: "next".to_owned(),
        purposes: vec![purpose(samples::PURPOSE)],
        not_after: Timestamp(9),
    };
    let withdraw = vec![Fingerprint::from_bytes([0xef; 32])];
    TenantRecipients { tenant: tenant(), register: vec![recipient], withdraw }
}

fn purpose_order(change: PurposeChange) -> PurposeOrderRow {
    PurposeOrderRow { order: OrderId([5; 16]), proposed: act(7), change, approved: Some(act(9)) }
}

fn admin_rows() -> Vec<(String, Vec<u8>)> {
    let bucket = BucketRow { bucket_version: BucketVersion(1), root_version: RootVersion(1), sealed: vec![5; 3] };
    let order = OrderId([5; 16]);
    let revoke = vec![GrantId([6; 16])];
    let row = OrderRow {
        order,
        proposed: act(1),
        grants: vec![grant()],
        revoke,
        approved: Some(act(2)),
        succession: None,
        retention: None,
    };
    let budget = BudgetRow {
        tenant: tenant(),
        caller: caller(samples::PAYROLL),
        purpose: Some(purpose(samples::PURPOSE)),
        persons: Some(PersonsCounted { window_days: 2, end_day: 20_780, persons: vec![PersonId::from_bytes([7; 16])] }),
        guesses: Some(GuessesCounted { end_day: 20_779, records: vec![record(1)] }),
        stopped: None,
        grant: None,
    };
    let stopped = Some(StoppedWindow { window_days: 2, end_day: 20_780 });
    let budget_stopped = BudgetRow { persons: None, guesses: None, stopped, ..budget.clone() };
    let denials = Burst { times: vec![Timestamp(1_000)], alarm: Some(Timestamp(1_000)) };
    let burst = BurstRow { denials, unknown: Burst::default() };
    let leaked = Some(Leaked { tenant: tenant(), scope: scope(samples::PAYROLL_SCOPE) });
    let of_grant = BudgetRow { guesses: None, grant: Some(GrantId([9; 16])), ..budget.clone() };
    vec![
        line("tenant", &TenantRow { tenant: golden_tenant(), created: act(1) }),
        line("grant", &GrantRow { grant: grant(), order: Some(order), sequence: Sequence(2) }),
        line("order", &row),
        line("bucket", &bucket),
        line("budget", &budget),
        line("budget_stopped", &budget_stopped),
        line("untold", &UntoldRow { leaked }),
        line("habit", &HabitRow { purposes: vec![purpose(samples::PURPOSE)], night: Some(20_780) }),
        line("burst", &burst),
        line("freezes", &freezes()),
        line("canary", &canary()),
        line("fold", &fold()),
        line("budget_of_grant", &of_grant),
        line("sink", &SinkRow { next: Sequence(9), rejected: 1, rejected_last: vec![Sequence(5)] }),
    ]
}

fn sink() -> SinkId {
    SinkId::parse("siem").unwrap()
}

fn fold() -> FoldRow {
    let (action, reason) = (Action::Detokenize, DenyReason::UnknownToken);
    FoldRow {
        sort: Sort {
            caller: caller(samples::PAYROLL),
            tenant: Some(tenant()),
            action,
            reason: Some(reason),
            refusal: None,
        },
        opened: Timestamp(1_000),
        entered: 100,
        folded: Some(Folded {
            denials: 7,
            first: Timestamp(2_000),
            last: Timestamp(3_000),
            request: RequestId::from_bytes([2; 16]),
            policy_version: PolicyVersion(3),
        }),
    }
}

fn canary() -> CanaryRow {
    CanaryRow {
        canary: record(1),
        tenant: tenant(),
        scope: scope(samples::PAYROLL_SCOPE),
        subject: subject("E-1"),
        quarantine: Some(Quarantine::Caller),
        planted: act(1),
        retired: Some(act(2)),
    }
}

fn freezes() -> FreezesRow {
    let targets = [
        FreezeTarget::Cluster,
        FreezeTarget::Tenant(tenant()),
        freeze_target(),
        FreezeTarget::Purpose(tenant(), purpose(samples::PURPOSE)),
        FreezeTarget::Caller(caller(samples::PAYROLL)),
    ];
    let freeze = |target| FreezeRow { target, reason: Some(freeze_reason()), frozen: act(3) };
    let thaws = vec![ThawRow { target: freeze_target(), thawed: act(4) }];
    FreezesRow { freezes: targets.map(freeze).into(), thaws }
}

fn record_rows() -> Vec<(String, Vec<u8>)> {
    let item = item();
    let (bucket, bucket_version, person) = (item.bucket, item.bucket_version, PersonId::from_bytes([7; 16]));
    let record = RecordRow {
        tenant: tenant(),
        record: item.record,
        subject: item.subject.clone(),
        kind: item.kind,
        principal: item.principal.clone(),
        relation: item.relation,
        notified: item.notified,
        person,
        domain: item.domain,
        bucket,
        current: crate::command::tokenize::FIRST_VERSION,
        revision: Revision(9),
        status: RecordStatus::Live,
        created: Timestamp(1_000),
        created_sequence: Sequence(7),
        tokens: vec![TokenOfScope { scope: item.scope.clone(), lookup: item.lookup }],
        reply: Some(vec![1, 2]),
        updated: Some(Sequence(8)),
        later_replies: Some(vec![vec![3, 4].into()]),
        label: None,
        verification: Some(verification()),
        superseded: Some(Sequence(9)),
    };
    let token = TokenRow {
        tenant: tenant(),
        record: item.record,
        kind: item.kind,
        scope: item.scope,
        person,
        relation: item.relation,
        subject: item.subject,
        revision: Revision(9),
        status: RecordStatus::Disabled,
        made: Some(Sequence(8)),
        principal: Some(item.principal.clone()),
        label: None,
    };
    let expires = Timestamp(2_000);
    let reply = ReplyRow { record: item.record, bucket, bucket_version, sealed: vec![4; 3], expires };
    vec![
        line("record", &record),
        line("subject", &SubjectRow { record: item.record }),
        line("token", &token),
        line("token_wrap", &TokenWrapRow { bucket, bucket_version, wrap: vec![1; 3] }),
        line("version", &VersionRow { bucket, bucket_version, wrap: vec![2; 3], number_row: vec![3; 3] }),
        line("reply", &reply),
    ]
}
