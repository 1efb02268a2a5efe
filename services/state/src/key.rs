//! Keys of rows. Integers are big endian, so that byte order is their order; texts end with a zero byte, which none of
//! them can contain, so that no key of a table is the beginning of another and every prefix names exactly one range.

use fuda_core::{
    BucketId, CallerId, KeyDomainId, Kind, LookupKey, PartyId, RecordId, RecordVersion, RequestId, Sequence, SinkId,
    SubjectRef, TenantId, Timestamp,
};
use fuda_ledger::WitnessKey;
use fuda_policy::{DenyReason, GrantId};

use crate::folds::Sort;
use crate::{OrderId, TextVersion, TransferId};

const TEXT_END: u8 = 0;
/// The smallest byte above [`TEXT_END`]: `prefix ‖ TEXT_AFTER` lies behind every key that begins `prefix ‖ TEXT_END`.
const TEXT_AFTER: u8 = 1;

/// The facts of the `meta` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Meta {
    /// [`crate::row::VaultRow`].
    Vault = 1,
    /// [`crate::row::ProgressRow`].
    Progress = 2,
    /// [`crate::row::MembersRow`].
    Members = 3,
    /// [`crate::row::PolicyVersionRow`].
    PolicyVersion = 4,
    /// [`crate::row::PolicyTextRow`].
    PolicyText = 5,
    /// [`crate::row::CatalogueRow`].
    Catalogue = 6,
    /// [`crate::freezes::FreezesRow`].
    Freezes = 30,
    /// First byte of the keys of [`crate::alarms::UntoldRow`]s.
    Untold = 31,
    /// First byte of the keys of [`crate::watch::HabitRow`]s.
    Habit = 32,
    /// First byte of the keys of [`crate::watch::BurstRow`]s.
    Burst = 33,
    /// First byte of the keys of [`crate::canaries::CanaryRow`]s.
    Canary = 34,
    /// First byte of the keys of [`crate::folds::FoldRow`]s.
    Fold = 35,
    /// First byte of the keys of the places of denials, by which the oldest is found.
    DenialPlaces = 36,
    /// First byte of the keys of [`crate::rates::RateRow`]s.
    Rate = 37,
    /// [`crate::access::AccessRow`], one per request: followed by its id.
    AccessRequest = 60,
    /// [`crate::access::ConsentRow`], one per tenant and pair of parties: followed by all three.
    Consent = 61,
    /// [`crate::access::PartyCallerRow`], one per caller of an entrusted party: followed by party and caller.
    PartyCaller = 62,
    /// [`crate::row::PurposeOrderRow`]s, by the sequence of their proposal.
    PurposeOrders = 80,
    /// [`crate::row::PurposeOrderPlaceRow`]s: where the order of an id stands.
    PurposeOrderPlaces = 81,
    /// [`crate::row::PolicyCandidateRow`].
    PolicyCandidate = 50,
    /// The beginning of the keys of [`policy_text`].
    PolicyTexts = 51,
    /// The beginning of the keys of [`policy_order`].
    PolicyOrders = 52,
    /// The beginning of the keys of [`denial`].
    Denials = 53,
    /// [`crate::succession::SuccessionKeysRow`].
    SuccessionKeys = 63,
    /// [`crate::succession::SuccessionRow`].
    Succession = 64,
    /// [`crate::transfers::TransferRow`], one per offer to another tenant: followed by its id.
    Transfers = 70,
    /// [`crate::sinks::SinkRow`], one per sink: followed by its id.
    Sinks = 140,
    /// [`crate::witnesses::WitnessRow`], one per witness: followed by its public key.
    Witnesses = 142,
    /// [`crate::retention::RetentionRow`].
    Retention = 154,
    /// [`crate::retention::PrunedRow`].
    Pruned = 155,
}

/// Key of a vault fact.
pub fn meta(fact: Meta) -> Vec<u8> {
    vec![fact as u8]
}

/// Key of an entry whose alarms were not told yet.
pub fn untold(sequence: Sequence) -> Vec<u8> {
    let mut key = meta(Meta::Untold);
    key.extend_from_slice(&sequence.get().to_be_bytes());
    key
}

/// The range `[from, to)` of the keys of [`untold`].
pub fn untold_range() -> (Vec<u8>, Vec<u8>) {
    (meta(Meta::Untold), vec![Meta::Untold as u8 + 1])
}

/// Key of what a caller has done before in a tenant: tenant ‖ 0 ‖ caller.
pub fn habit(tenant: &TenantId, caller: &CallerId) -> Vec<u8> {
    let mut key = meta(Meta::Habit);
    key.extend_from_slice(tenant.as_str().as_bytes());
    key.push(TEXT_END);
    key.extend_from_slice(caller.as_str().as_bytes());
    key
}

/// The range `[from, to)` of the keys of [`habit`].
pub fn habit_range() -> (Vec<u8>, Vec<u8>) {
    (meta(Meta::Habit), vec![Meta::Habit as u8 + 1])
}

/// Reads a key of [`habit`].
pub fn habit_of(key: &[u8]) -> Option<(TenantId, CallerId)> {
    let text = std::str::from_utf8(key.get(1..)?).ok()?;
    let (tenant, caller) = text.split_once(char::from(TEXT_END))?;
    Some((TenantId::parse(tenant).ok()?, CallerId::parse(caller).ok()?))
}

/// Key of a caller's last denials.
pub fn burst(caller: &CallerId) -> Vec<u8> {
    let mut key = meta(Meta::Burst);
    key.extend_from_slice(caller.as_str().as_bytes());
    key
}

/// The range `[from, to)` of the keys of [`burst`].
pub fn burst_range() -> (Vec<u8>, Vec<u8>) {
    (meta(Meta::Burst), vec![Meta::Burst as u8 + 1])
}

/// Reads a key of [`burst`].
pub fn burst_of(key: &[u8]) -> Option<CallerId> {
    CallerId::parse(std::str::from_utf8(key.get(1..)?).ok()?).ok()
}

/// Key of a canary token: the fact ‖ its lookup key.
pub fn canary(lookup: &LookupKey) -> Vec<u8> {
    let mut key = meta(Meta::Canary);
    key.extend_from_slice(lookup.as_bytes());
    key
}

/// The range `[from, to)` of the keys of [`canary`].
pub fn canary_range() -> (Vec<u8>, Vec<u8>) {
    (meta(Meta::Canary), vec![Meta::Canary as u8 + 1])
}

/// Reads a key of [`canary`].
pub fn canary_of(key: &[u8]) -> Option<LookupKey> {
    Some(LookupKey::from_bytes(key.get(1..)?.try_into().ok()?))
}

/// Key of the denials of one sort within a minute: the fact ‖ caller ‖ 0 ‖ tenant ‖ 0 ‖ action ‖ reason or 0 ‖
/// refusal or 0.
pub fn fold(sort: &Sort) -> Vec<u8> {
    let mut key = meta(Meta::Fold);
    key.extend(text(sort.caller.as_str(), 0));
    key.extend(text(sort.tenant.as_ref().map_or("", TenantId::as_str), 2));
    key.push(sort.action.number());
    key.push(sort.reason.map_or(0, DenyReason::number));
    key.push(sort.refusal.map_or(0, |refusal| refusal as u8));
    key
}

/// The range `[from, to)` of the keys of [`fold`].
pub fn fold_range() -> (Vec<u8>, Vec<u8>) {
    (meta(Meta::Fold), vec![Meta::Fold as u8 + 1])
}

/// Key of the calls of a grant within a minute: the fact ‖ its id.
pub fn rate(grant: GrantId) -> Vec<u8> {
    let mut key = meta(Meta::Rate);
    key.extend_from_slice(grant.as_bytes());
    key
}

/// The range `[from, to)` of the keys of [`rate`].
pub fn rate_range() -> (Vec<u8>, Vec<u8>) {
    (meta(Meta::Rate), vec![Meta::Rate as u8 + 1])
}

/// Key of the place of a denial: the fact ‖ the sequence of its first entry.
pub fn denial_place(first: Sequence) -> Vec<u8> {
    let mut key = meta(Meta::DenialPlaces);
    key.extend_from_slice(&first.get().to_be_bytes());
    key
}

/// The range `[from, to)` of the keys of [`denial_place`].
pub fn denial_place_range() -> (Vec<u8>, Vec<u8>) {
    (meta(Meta::DenialPlaces), vec![Meta::DenialPlaces as u8 + 1])
}

/// Key of a request for access: the fact ‖ its id, which is that of the grant it becomes.
pub fn access(request: GrantId) -> Vec<u8> {
    let mut key = meta(Meta::AccessRequest);
    key.extend_from_slice(request.as_bytes());
    key
}

/// Key of an offer to another tenant.
pub fn transfer(transfer: TransferId) -> Vec<u8> {
    let mut key = meta(Meta::Transfers);
    key.extend_from_slice(transfer.as_bytes());
    key
}

/// Key of what a transfer token opens, among the sealed replies: no key of a reply begins with a zero byte.
pub fn transfer_wrap(transfer: TransferId) -> Vec<u8> {
    let mut key = vec![TEXT_END];
    key.extend_from_slice(transfer.as_bytes());
    key
}

/// Reads a key of [`transfer_wrap`].
pub fn transfer_of_wrap(key: &[u8]) -> Option<TransferId> {
    match key.split_first()? {
        (&TEXT_END, id) => id.try_into().ok().map(TransferId),
        _ => None,
    }
}

/// Key of a kept version of the policy text.
pub fn policy_text(version: TextVersion) -> Vec<u8> {
    let mut key = meta(Meta::PolicyTexts);
    key.extend_from_slice(&version.0.to_be_bytes());
    key
}

/// Key of the denials of a request.
pub fn denial(request: RequestId) -> Vec<u8> {
    let mut key = meta(Meta::Denials);
    key.extend_from_slice(request.as_bytes());
    key
}

/// Key of a consent to entrust on: the fact ‖ tenant ‖ 0 ‖ party that entrusts on ‖ 0 ‖ party entrusted.
pub fn consent(tenant: &TenantId, sub_of: &PartyId, party: &PartyId) -> Vec<u8> {
    let mut key = meta(Meta::Consent);
    key.extend(text(tenant.as_str(), 0));
    key.extend(text(sub_of.as_str(), 0));
    key.extend_from_slice(party.as_str().as_bytes());
    key
}

/// Key of a caller of an entrusted party: the fact ‖ party ‖ 0 ‖ caller.
pub fn party_caller(party: &PartyId, caller: &CallerId) -> Vec<u8> {
    let mut key = party_callers(party);
    key.extend_from_slice(caller.as_str().as_bytes());
    key
}

/// The beginning of the keys of all callers of an entrusted party.
pub fn party_callers(party: &PartyId) -> Vec<u8> {
    let mut key = meta(Meta::PartyCaller);
    key.extend(text(party.as_str(), 0));
    key
}

/// Key of a change of purposes: its proposal's sequence, so that the rows are a history.
pub fn purpose_order(proposed: Sequence) -> Vec<u8> {
    let mut key = meta(Meta::PurposeOrders);
    key.extend_from_slice(&proposed.get().to_be_bytes());
    key
}

/// Key of the place of a change of purposes.
pub fn purpose_order_place(order: OrderId) -> Vec<u8> {
    let mut key = meta(Meta::PurposeOrderPlaces);
    key.extend_from_slice(order.as_bytes());
    key
}

/// Key of a proposed policy text.
pub fn policy_order(order: OrderId) -> Vec<u8> {
    let mut key = meta(Meta::PolicyOrders);
    key.extend_from_slice(order.as_bytes());
    key
}

/// Key of how far a sink has got: the fact ‖ its id.
pub fn sink(sink: &SinkId) -> Vec<u8> {
    let mut key = meta(Meta::Sinks);
    key.extend_from_slice(sink.as_str().as_bytes());
    key
}

/// Key of what a witness cosigned last.
pub fn witness(witness: &WitnessKey) -> Vec<u8> {
    let mut key = meta(Meta::Witnesses);
    key.extend_from_slice(witness.to_string().as_bytes());
    key
}

/// Reads a key of [`sink`].
pub fn sink_of(key: &[u8]) -> Option<SinkId> {
    SinkId::parse(std::str::from_utf8(key.get(1..)?).ok()?).ok()
}

/// Key of a tenant.
pub fn tenant(tenant: &TenantId) -> Vec<u8> {
    tenant.as_str().as_bytes().to_vec()
}

/// Key of a grant.
pub fn grant(grant: GrantId) -> Vec<u8> {
    grant.as_bytes().to_vec()
}

/// Key of an order.
pub fn order(order: OrderId) -> Vec<u8> {
    order.as_bytes().to_vec()
}

/// Key of a record: tenant ‖ 0 ‖ record.
pub fn record(tenant: &TenantId, record: RecordId) -> Vec<u8> {
    let mut key = text(tenant.as_str(), 16);
    key.extend_from_slice(record.as_bytes());
    key
}

/// Key of a version of a record's number: tenant ‖ 0 ‖ record ‖ version.
pub fn version(tenant: &TenantId, record: RecordId, version: RecordVersion) -> Vec<u8> {
    let mut key = text(tenant.as_str(), 20);
    key.extend_from_slice(record.as_bytes());
    key.extend_from_slice(&version.get().to_be_bytes());
    key
}

/// Key of the live record of a subject and kind: tenant ‖ 0 ‖ subject ‖ 0 ‖ kind.
pub fn subject(tenant: &TenantId, subject: &SubjectRef, kind: Kind) -> Vec<u8> {
    let mut key = subject_prefix(tenant, subject.as_str());
    key.push(TEXT_END);
    key.push(kind.number());
    key
}

/// The beginning of the keys of all subjects of `tenant` whose text starts with `prefix` (which may be empty).
pub fn subject_prefix(tenant: &TenantId, prefix: &str) -> Vec<u8> {
    let mut key = text(tenant.as_str(), prefix.len() + 2);
    key.extend_from_slice(prefix.as_bytes());
    key
}

/// The range `[from, to)` of the keys of all kinds of one subject.
pub fn subject_range(tenant: &TenantId, subject: &SubjectRef) -> (Vec<u8>, Vec<u8>) {
    let mut from = subject_prefix(tenant, subject.as_str());
    let mut to = from.clone();
    from.push(TEXT_END);
    to.push(TEXT_AFTER);
    (from, to)
}

/// The exclusive end of the range of keys that begin with `prefix`; `None` means the end of the table.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end: Vec<u8> = prefix.iter().take(last + 1).copied().collect();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Some(end)
}

/// Key of a token's rows.
pub fn token(lookup: &LookupKey) -> Vec<u8> {
    lookup.as_bytes().to_vec()
}

/// Key of a sealed reply: tenant ‖ 0 ‖ caller ‖ 0 ‖ request ‖ item.
pub fn reply(tenant: &TenantId, caller: &CallerId, request: RequestId, item: u32) -> Vec<u8> {
    let mut key = text(tenant.as_str(), caller.as_str().len() + 21);
    key.extend_from_slice(caller.as_str().as_bytes());
    key.push(TEXT_END);
    key.extend_from_slice(request.as_bytes());
    key.extend_from_slice(&item.to_be_bytes());
    key
}

/// Key that orders replies by the time they fall due: time ‖ key of the reply.
pub fn reply_expiry(expires: Timestamp, reply: &[u8]) -> Vec<u8> {
    let mut key = time(expires).to_vec();
    key.extend_from_slice(reply);
    key
}

/// The first key of replies that fall due at `expires` or later.
pub fn reply_expiry_from(expires: Timestamp) -> Vec<u8> {
    time(expires).to_vec()
}

/// The key of the reply named by a row of `reply_expiry`.
pub fn reply_of_expiry(key: &[u8]) -> Option<&[u8]> {
    key.get(size_of::<i64>()..)
}

/// Key of a bucket: domain ‖ bucket.
pub fn bucket(domain: KeyDomainId, bucket: BucketId) -> Vec<u8> {
    let mut key = domain.get().to_be_bytes().to_vec();
    key.extend_from_slice(&bucket.get().to_be_bytes());
    key
}

/// Reads a key of [`bucket`].
pub fn bucket_of(key: &[u8]) -> Option<(KeyDomainId, BucketId)> {
    let (domain, bucket) = key.split_first_chunk::<4>()?;
    let bucket = <[u8; 2]>::try_from(bucket).ok()?;
    Some((KeyDomainId(u32::from_be_bytes(*domain)), BucketId(u16::from_be_bytes(bucket))))
}

/// Key of a block of entries: the sequence of its first entry.
pub fn entries(first: Sequence) -> Vec<u8> {
    first.get().to_be_bytes().to_vec()
}

/// Key of a full tile: level ‖ index.
pub fn tile(level: u8, index: u64) -> Vec<u8> {
    let mut key = vec![level];
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Key of a command's budget additions: the day number behind its windows ‖ the sequence of its first entry.
pub fn budget(end_day: i32, first: Sequence) -> Vec<u8> {
    let mut key = budget_from(end_day);
    key.extend_from_slice(&first.get().to_be_bytes());
    key
}

/// The first key of budget additions whose windows end at `end_day` or later.
pub fn budget_from(end_day: i32) -> Vec<u8> {
    // Flipping the sign bit makes the order of bytes the order of numbers, also before 1970.
    (end_day.cast_unsigned() ^ (1 << 31)).to_be_bytes().to_vec()
}

/// The day number of a key of [`budget`].
pub fn budget_end_day(key: &[u8]) -> Option<i32> {
    let (end_day, _) = key.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*end_day) ^ (1 << 31)).cast_signed())
}

/// Key of a checkpoint: its tree size.
pub fn checkpoint(size: u64) -> Vec<u8> {
    size.to_be_bytes().to_vec()
}

/// Key of a used end-user assertion: the digest of its issuer and id.
pub fn assertion(id: &[u8; 16]) -> Vec<u8> {
    id.to_vec()
}

/// Reads a key of one big-endian u64 ([`entries`], [`checkpoint`]).
pub fn number_of(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

fn text(text: &str, more: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(text.len() + 1 + more);
    key.extend_from_slice(text.as_bytes());
    key.push(TEXT_END);
    key
}

fn time(time: Timestamp) -> [u8; 8] {
    (time.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant_id(text: &str) -> TenantId {
        TenantId::parse(text).unwrap()
    }

    #[test]
    fn keys_of_one_tenant_never_fall_into_the_range_of_another() {
        let (short, long) = (tenant_id("acme"), tenant_id("acme-two"));
        let subject_ref = SubjectRef::parse("E-1").unwrap();
        let prefix = subject_prefix(&short, "");
        assert!(subject(&short, &subject_ref, Kind::MyNumber).starts_with(&prefix));
        assert!(!subject(&long, &subject_ref, Kind::MyNumber).starts_with(&prefix));
    }

    #[test]
    fn habits_are_read_back_and_stay_in_their_range() {
        let (tenant, caller) = (tenant_id("acme"), CallerId::parse("spiffe://fuda.test/payroll").unwrap());
        let key = habit(&tenant, &caller);
        let (from, to) = habit_range();
        assert!(from <= key && key < to);
        assert!(burst(&caller) >= to && untold(Sequence(u64::MAX)) < from);
        assert_eq!(habit_of(&key), Some((tenant, caller)));
        assert_eq!(habit_of(b"x"), None);
    }

    #[test]
    fn a_subject_range_holds_all_its_kinds_and_no_longer_subject() {
        let tenant = tenant_id("acme");
        let (one, longer) = (SubjectRef::parse("E-1").unwrap(), SubjectRef::parse("E-1-x").unwrap());
        let (from, to) = subject_range(&tenant, &one);
        for kind in Kind::ALL {
            let key = subject(&tenant, &one, *kind);
            assert!(from <= key && key < to);
            let other = subject(&tenant, &longer, *kind);
            assert!(other < from || to <= other);
        }
    }

    #[test]
    fn numbers_sort_as_bytes() {
        let days = [i32::MIN, -1, 0, 1, 20_000, i32::MAX];
        let keys = days.map(|day| budget(day, Sequence(7)));
        assert!(keys.is_sorted());
        assert_eq!(keys.clone().map(|key| budget_end_day(&key).unwrap()), days);
        let times = [i64::MIN, -1, 0, 1, 1_795_322_700_000, i64::MAX];
        assert!(times.map(|millis| reply_expiry(Timestamp(millis), b"k")).is_sorted());
        assert_eq!(reply_of_expiry(&reply_expiry(Timestamp(5), b"key")), Some(b"key".as_slice()));
        assert_eq!(number_of(&entries(Sequence(258))), Some(258));
        assert_eq!(number_of(b"short"), None);
        let key = bucket(KeyDomainId(3), BucketId(513));
        assert_eq!(key, [0, 0, 0, 3, 2, 1]);
        assert_eq!(bucket_of(&key), Some((KeyDomainId(3), BucketId(513))));
        assert_eq!(bucket_of(&[0; 5]), None);
    }

    #[test]
    fn keys_have_their_golden_bytes() {
        let tenant = tenant_id("acme");
        let id = RecordId::from_bytes([0xab; 16]);
        let caller = CallerId::parse("spiffe://a.example/b").unwrap();
        assert_eq!(record(&tenant, id), [b"acme\0".as_slice(), &[0xab; 16]].concat());
        let expected = [b"acme\0".as_slice(), &[0xab; 16], &[0, 0, 0, 2]].concat();
        assert_eq!(version(&tenant, id, RecordVersion(2)), expected);
        let subject_ref = SubjectRef::parse("E-1").unwrap();
        assert_eq!(subject(&tenant, &subject_ref, Kind::MyNumber), b"acme\0E-1\0\x01");
        let request = RequestId::from_bytes([9; 16]);
        let expected = [b"acme\0spiffe://a.example/b\0".as_slice(), &[9; 16], &[0, 0, 1, 0]].concat();
        assert_eq!(reply(&tenant, &caller, request, 256), expected);
        assert_eq!(tile(1, 2), [1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(meta(Meta::Progress), [2]);
    }

    #[test]
    fn a_prefix_ends_behind_its_last_key() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(prefix_end(&[0xff]), None);
        assert_eq!(prefix_end(b""), None);
    }
}
