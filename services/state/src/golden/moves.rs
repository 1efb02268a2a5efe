//! A number's way to another tenant.

use fuda_core::{BucketId, BucketVersion, Consent, ConsentMethod, Day, Revision, TenantId, Timestamp, WorkReference};
use fuda_policy::{Action, Conditions, Grant, GrantId, Wish, samples};

use super::{act, grant, item, line};
use crate::command::{
    AcceptTransfer, CancelTransfer, NewTokenRows, OfferTransfer, ProposeGrants, RequestAccess, Tokenize,
};
use crate::testing::{lookup, record, scope, tenant};
use crate::transfers::{Ended, TransferRow};
use crate::{Body, Claim, OrderId, TransferId, Verdict};

const ID: TransferId = TransferId([5; 16]);

pub(super) fn bodies() -> Vec<Body> {
    let claim = Claim::Known { record: record(1), revision: Revision(9), verdict: Verdict::Allow };
    let new = NewTokenRows {
        lookup: lookup(2),
        bucket: BucketId(2),
        bucket_version: BucketVersion(1),
        token_wrap: vec![1; 3],
        reply: None,
    };
    let offer = OfferTransfer {
        transfer: ID,
        lookup: lookup(1),
        claim: claim.clone(),
        destination: destination(),
        consent: Some(consent()),
        hours: 168,
        new: Some(new),
    };
    let store = Tokenize { items: vec![item()], reply_days: 14 };
    let conditions = Conditions { destination: Some(destination()), ..Conditions::default() };
    let grants = vec![Grant { actions: vec![Action::OfferTransfer], conditions, ..grant() }];
    let wish = Wish { actions: vec![Action::OfferTransfer], destination: Some(destination()), ..super::people::wish() };
    let (id, reason) = (GrantId([9; 16]), WorkReference::parse("ticket 7").unwrap());
    vec![
        Body::OfferTransfer(offer.clone()),
        Body::OfferTransfer(OfferTransfer { claim: Claim::Unknown, consent: None, new: None, ..offer }),
        Body::AcceptTransfer(AcceptTransfer { transfer: ID, lookup: lookup(2), claim, store, retry: true }),
        Body::CancelTransfer(CancelTransfer { transfer: ID }),
        Body::ProposeGrants(ProposeGrants {
            order: OrderId([5; 16]),
            grants,
            revoke: Vec::new(),
            succession: None,
            retention: None,
        }),
        Body::RequestAccess(RequestAccess { id, wish, reason }),
    ]
}

pub(super) fn rows() -> Vec<(String, Vec<u8>)> {
    let row = TransferRow {
        transfer: ID,
        tenant: tenant(),
        record: record(1),
        scope: scope(samples::PAYROLL_SCOPE),
        lookup: lookup(2),
        destination: destination(),
        consent: consent(),
        expires: Timestamp(9_000),
        offered: act(7),
        ended: None,
    };
    let ended = |ended| TransferRow { ended: Some(ended), ..row.clone() };
    vec![
        line("transfer", &row),
        line("transfer_accepted", &ended(Ended::Accepted(act(8)))),
        line("transfer_cancelled", &ended(Ended::Cancelled(act(8)))),
        line("transfer_replaced", &ended(Ended::Replaced(act(8)))),
    ]
}

fn destination() -> TenantId {
    TenantId::parse("next").unwrap()
}

fn consent() -> Consent {
    Consent {
        decided_on: Day::from_number(20_000),
        given_on: Day::from_number(20_001),
        method: ConsentMethod::Electronic,
        reference: WorkReference::parse("consents/0042").unwrap(),
    }
}
