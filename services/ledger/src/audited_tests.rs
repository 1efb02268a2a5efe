use fuda_core::TenantId;
use fuda_policy::{Policy, Request};

use super::*;
use crate::{CredentialKind, samples};

fn facts() -> CallFacts {
    CallFacts {
        request_id: RequestId::from_bytes([1; 16]),
        trace: Some(TraceContext { trace_id: TraceId::from_bytes([2; 16]), span_id: [3; 8], sampled: true }),
        work_reference: Some(WorkReference::parse("setup").unwrap()),
        credential: Some(Credential { kind: CredentialKind::Person, pod: None, signed_in: Some(samples::TIME) }),
        assertion: Some(Assertion { id: [4; 16], expires: samples::TIME, call: [5; 16] }),
    }
}

#[test]
fn a_permit_and_the_facts_of_the_call_become_the_header() {
    let request = Request::vault(Action::Bootstrap, samples::caller());
    let permit = Policy::unbootstrapped().decide(&request, samples::TIME).ok().unwrap();
    let audited = Audited::permitted(&permit, facts(), "body");

    assert_eq!(*audited.body(), "body");
    let expected = Header {
        tenant: None,
        action: Action::Bootstrap,
        caller: samples::caller(),
        end_user: None,
        purpose: None,
        work_reference: facts().work_reference,
        policy_version: permit.policy_version(),
        policy_ids: permit.policy_ids().to_vec(),
        grant: Some(permit.grant()),
        request_id: facts().request_id,
        trace: facts().trace,
        decided: permit.window(),
        budget: None,
        verify_guesses_per_day: 0,
        denied: None,
        job: None,
        credential: facts().credential,
        assertion: facts().assertion,
        source_zone: None,
        recipient: None,
        calls_per_minute_max: None,
    };
    assert_eq!(*audited.header(), expected);
    assert_eq!(audited.into_parts(), (expected, "body"));
}

#[test]
fn a_denial_becomes_a_header_without_grant_and_a_body_that_counts() {
    let tenant = TenantId::parse("acme").unwrap();
    let scope = ScopeId::parse("payroll").unwrap();
    let purpose = PurposeCode::parse("op.withholding").unwrap();
    let request = Request::tenant(Action::Detokenize, samples::caller(), tenant.clone())
        .kind(Kind::MyNumber)
        .scope(scope.clone())
        .purpose(purpose.clone());
    let denial = Policy::unbootstrapped().decide(&request, samples::TIME).err().unwrap();
    let (header, call) = Audited::denied(&denial, facts(), 42, |call| call).into_parts();

    assert_eq!((call.reason(), call.items()), (DenyReason::NotBootstrapped, 42));
    assert_eq!((call.kind(), call.scope()), (Some(Kind::MyNumber), Some(&scope)));
    assert_eq!((header.denied, header.grant), (Some(DenyReason::NotBootstrapped), None));
    assert_eq!((header.tenant, header.purpose), (Some(tenant), Some(purpose)));
    assert_eq!((header.action, header.caller), (Action::Detokenize, samples::caller()));
    assert_eq!((header.request_id, header.trace), (facts().request_id, facts().trace));
    assert_eq!((header.decided, header.budget, header.verify_guesses_per_day), (Window::ALWAYS, None, 0));
}

#[test]
fn bookkeeping_is_stored_as_golden_bytes() {
    let checkpoint = Bookkeeping::Checkpoint(b"note".to_vec());
    let expiry = Bookkeeping::ExpireReplies { before: Timestamp::from_millis(1000) };
    let golden: [(&Bookkeeping, &[u8]); 2] = [
        (&checkpoint, &[0x82, 0x00, 0x81, 0x44, b'n', b'o', b't', b'e']),
        (&expiry, &[0x82, 0x01, 0x81, 0x19, 0x03, 0xe8]),
    ];
    for (bookkeeping, bytes) in golden {
        assert_eq!(minicbor::to_vec(bookkeeping).unwrap(), bytes);
        assert_eq!(&minicbor::decode::<Bookkeeping>(bytes).unwrap(), bookkeeping);
        let kept = Kept::new(bookkeeping.clone());
        assert_eq!(kept.bookkeeping(), bookkeeping);
        assert_eq!(&kept.into_bookkeeping(), bookkeeping);
    }
}
