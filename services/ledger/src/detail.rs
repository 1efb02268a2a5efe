//! The facts of an administrative entry: a closed list of what they may be about, and their values.

use fuda_core::text;
use minicbor::{Decode, Encode};

/// What a [`Detail`] of an administrative entry may be about: a closed list, so that no entry grows a free field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum DetailKey {
    /// Vault id, hexadecimal.
    #[n(0)]
    Vault = 0,
    /// Raft cluster id, hexadecimal.
    #[n(1)]
    Cluster = 1,
    /// Origin line of the ledger's checkpoints.
    #[n(2)]
    Origin = 2,
    /// Whether tokens are for a live or a test cluster.
    #[n(3)]
    TokenClass = 3,
    /// Display name of a tenant.
    #[n(4)]
    TenantName = 4,
    /// Recovery choice of a tenant: `none` or `public_key`.
    #[n(5)]
    Recovery = 5,
    /// Id of an order (a proposed change of grants), hexadecimal.
    #[n(6)]
    Order = 6,
    /// Number of grants an order adds.
    #[n(7)]
    GrantsAdded = 7,
    /// Number of grants an order revokes.
    #[n(8)]
    GrantsRevoked = 8,
    /// Policy version that the act brought into force.
    #[n(9)]
    PolicyVersion = 9,
    /// Persisted UUID of a member, hexadecimal.
    #[n(10)]
    MemberUuid = 10,
    /// Node id of a member, decimal.
    #[n(11)]
    NodeId = 11,
    /// Name of a member.
    #[n(12)]
    NodeName = 12,
    /// Address other members reach the member at.
    #[n(13)]
    PeerAddress = 13,
    /// Address callers reach the member at.
    #[n(14)]
    ClientAddress = 14,
    /// Caller named by the act (an owner, approver, operator or auditor at bootstrap, a grant's caller).
    #[n(15)]
    Caller = 15,
    /// Role given to that caller.
    #[n(16)]
    Role = 16,
    /// Number of items a folded entry stands for.
    #[n(17)]
    Items = 17,
    /// Stable code of the refusal of a whole command.
    #[n(18)]
    Refusal = 18,
    /// Scope that a new token was made for.
    #[n(30)]
    ToScope = 30,
    /// Version of the record's number that the act brought in.
    #[n(31)]
    RecordVersion = 31,
    /// Purpose that the person was notified of.
    #[n(32)]
    Notified = 32,
    /// Version of that notice, in the tenant's words.
    #[n(33)]
    NoticeVersion = 33,
    /// How the person's identity was checked.
    #[n(34)]
    VerificationMethod = 34,
    /// What is frozen or thawed, `scope acme/payroll`.
    #[n(40)]
    FreezeTarget = 40,
    /// Why, in the words of who acted: froze, thawed, asked for access or reviewed.
    #[n(41)]
    Reason = 41,
    /// Who froze what is thawed.
    #[n(42)]
    FrozenBy = 42,
    /// What a canary token freezes when it is presented: `caller` or `scope`.
    #[n(43)]
    Quarantine = 43,
    /// Denials of a flood that the entry stands for.
    #[n(44)]
    FoldedDenials = 44,
    /// When the first of them was, RFC 3339.
    #[n(45)]
    FoldedFirst = 45,
    /// When the last of them was, RFC 3339.
    #[n(46)]
    FoldedLast = 46,
    /// Version of the policy text that the act brought into force, decimal.
    #[n(60)]
    PolicyText = 60,
    /// Version of the policy text that a proposal was written against, decimal.
    #[n(61)]
    PolicyBase = 61,
    /// SHA-256 of a proposed policy text, hexadecimal.
    #[n(62)]
    PolicyDigest = 62,
    /// SHA-256 of the candidate policy text, hexadecimal; `none` when it is cleared.
    #[n(63)]
    PolicyCandidate = 63,
    /// Id of a request for access, hexadecimal; the id of the grant it becomes.
    #[n(70)]
    AccessRequest = 70,
    /// The handler who asked for access.
    #[n(71)]
    Handler = 71,
    /// Distinct persons a request for access asks for.
    #[n(72)]
    Persons = 72,
    /// Minutes a request for access asks for.
    #[n(73)]
    Minutes = 73,
    /// Approvals a request has, and needs: `1/2`.
    #[n(74)]
    Approvals = 74,
    /// What somebody should look at now: `break_glass`, `succession`.
    #[n(76)]
    Alarm = 76,
    /// An entrusted party.
    #[n(77)]
    Party = 77,
    /// The party that entrusts on to it.
    #[n(78)]
    SubOf = 78,
    /// The last moment of what the act brought about, RFC 3339.
    #[n(79)]
    Until = 79,
    /// Codes of the purposes that a change adds or edits, or that a grant or a request for access names, parted by spaces.
    #[n(80)]
    Purpose = 80,
    /// Codes of the purposes that a change retires.
    #[n(81)]
    PurposeRetired = 81,
    /// Version of the purpose catalogue that the act is made for or brought into force.
    #[n(82)]
    CatalogueVersion = 82,
    /// Forbidden uses that an override allows, or that an attempt named.
    #[n(83)]
    ForbiddenUse = 83,
    /// Reason of an override, in words.
    #[n(84)]
    OverrideReason = 84,
    /// Codes of the purposes that a tenant enables.
    #[n(85)]
    PurposeEnabled = 85,
    /// Codes of the purposes that a tenant disables.
    #[n(86)]
    PurposeDisabled = 86,
    /// Fingerprints of the recipients that a tenant registers.
    #[n(90)]
    RecipientRegistered = 90,
    /// Fingerprints of the recipients that a tenant withdraws.
    #[n(91)]
    RecipientWithdrawn = 91,
    /// Fingerprint of the recipient to whom numbers are asked to be sealed.
    #[n(92)]
    Recipient = 92,
    /// Which numbers a tenant takes only with the record of an identity check, `my_number:self`; `none`: of none.
    #[n(100)]
    VerificationDemand = 100,
    /// Id of an offer of a number to another tenant, hexadecimal: the same in the entries of both.
    #[n(115)]
    Transfer = 115,
    /// The tenant that a number is offered or was provided to.
    #[n(116)]
    ToTenant = 116,
    /// The tenant that a number came from.
    #[n(117)]
    FromTenant = 117,
    /// The day on which the person consented to the provision, `2026-11-22`.
    #[n(118)]
    ConsentGiven = 118,
    /// How the person consented.
    #[n(119)]
    ConsentMethod = 119,
    /// Where the tenant keeps the consent, in its words.
    #[n(120)]
    ConsentReference = 120,
    /// The day on which the destination was decided.
    #[n(121)]
    DestinationDecided = 121,
    /// When people of a tenant work: spans of hours, and the days on which nobody does.
    #[n(125)]
    OfficeHours = 125,
    /// How an auditor's question wants its answer: what it groups by, where its page begins.
    #[n(126)]
    AuditShape = 126,
    /// The period that an auditor signed off, `from/until` in RFC 3339.
    #[n(130)]
    SignedOffPeriod = 130,
    /// What the ledger said about it: counts, head of the ledger, SHA-256 of the counts.
    #[n(131)]
    SignedOff = 131,
    /// What the auditor had to say about it.
    #[n(132)]
    SignOffNote = 132,
    /// What an auditor asked fuda-audit: the method.
    #[n(135)]
    AuditMethod = 135,
    /// What an auditor asked fuda-audit: which entries.
    #[n(136)]
    AuditQuestion = 136,
    /// Days for which the nodes keep entries, decimal.
    #[n(154)]
    LedgerDays = 154,
    /// Key of a witness who keeps what the nodes prune.
    #[n(155)]
    LedgerWitness = 155,
    /// A sink for which pruning does not wait any more.
    #[n(156)]
    EndedSink = 156,
    /// Whether nothing is pruned however old: `yes` or `no`.
    #[n(157)]
    LegalHold = 157,
    /// Id of a grant that came into force, hexadecimal. The facts behind it are its, up to the next of these or to a
    /// `grant_revoked`: tenant, caller, role, actions, kinds, purposes, scopes, end, training, entrusted party.
    #[n(160)]
    Granted = 160,
    /// Id of a grant that an order ended, hexadecimal.
    #[n(161)]
    GrantRevoked = 161,
    /// The tenant that a grant is for.
    #[n(162)]
    GrantTenant = 162,
    /// Codes of the actions of a grant or of a request for access, parted by spaces; again for what is behind 512 bytes.
    #[n(163)]
    GrantActions = 163,
    /// Codes of the kinds of number of a grant or of a request for access, in the same form.
    #[n(164)]
    GrantKinds = 164,
    /// The scopes of a grant, in the same form.
    #[n(165)]
    GrantScopes = 165,
    /// Until when the people behind a grant's caller are attested to be trained, RFC 3339.
    #[n(166)]
    TrainedUntil = 166,
    /// Grants that an order brought into force and whose facts did not fit into the entry, decimal.
    #[n(167)]
    GrantsUnlisted = 167,
    /// Origin of the ledger that a vault was restored from.
    #[n(142)]
    RestoredOrigin = 142,
    /// Its head that was restored: size, and root in base64.
    #[n(143)]
    RestoredHead = 143,
    /// Its last head that a witness had cosigned, likewise.
    #[n(144)]
    CosignedHead = 144,
    /// Its entries that the restored vault does not know: the first one, and the one behind the last.
    #[n(145)]
    LedgerGap = 145,
    /// The legal hold that an auditor released: the place of the entry that placed it, decimal.
    #[n(146)]
    Hold = 146,
    /// Years that fuda-audit keeps entries, decimal.
    #[n(147)]
    RetentionYears = 147,
    /// From when these years count, RFC 3339; none: at once.
    #[n(148)]
    RetentionFrom = 148,
    /// Entries that fuda-audit removes: the first one, and the one behind the last.
    #[n(149)]
    Removed = 149,
    /// The times of the first and the last of these, `from/until` in RFC 3339.
    #[n(150)]
    RemovedPeriod = 150,
}

impl DetailKey {
    /// Whether the value is text that a person chose. Ids, codes and counts are ours (in their random hexadecimal
    /// digits a number would be seen where there is none), callers are checked by their own type.
    fn is_text(self) -> bool {
        matches!(
            self,
            DetailKey::TenantName
                | DetailKey::NodeName
                | DetailKey::PeerAddress
                | DetailKey::ClientAddress
                | DetailKey::Reason
                | DetailKey::OverrideReason
                | DetailKey::NoticeVersion
                | DetailKey::ConsentReference
                | DetailKey::AuditShape
                | DetailKey::AuditQuestion
                | DetailKey::SignOffNote
        )
    }

    /// Stable code for exports and the command line.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            DetailKey::Vault => "vault",
            DetailKey::Cluster => "cluster",
            DetailKey::Origin => "origin",
            DetailKey::TokenClass => "token_class",
            DetailKey::TenantName => "tenant_name",
            DetailKey::Recovery => "recovery",
            DetailKey::Order => "order",
            DetailKey::GrantsAdded => "grants_added",
            DetailKey::GrantsRevoked => "grants_revoked",
            DetailKey::PolicyVersion => "policy_version",
            DetailKey::MemberUuid => "member_uuid",
            DetailKey::NodeId => "node_id",
            DetailKey::NodeName => "node_name",
            DetailKey::PeerAddress => "peer_address",
            DetailKey::ClientAddress => "client_address",
            DetailKey::Caller => "caller",
            DetailKey::Role => "role",
            DetailKey::Items => "items",
            DetailKey::Refusal => "refusal",
            DetailKey::ToScope => "to_scope",
            DetailKey::RecordVersion => "record_version",
            DetailKey::Notified => "notified",
            DetailKey::NoticeVersion => "notice_version",
            DetailKey::VerificationMethod => "verification_method",
            DetailKey::PolicyText => "policy_text",
            DetailKey::PolicyBase => "policy_base",
            DetailKey::PolicyDigest => "policy_digest",
            DetailKey::PolicyCandidate => "policy_candidate",
            DetailKey::FreezeTarget => "freeze_target",
            DetailKey::Reason => "reason",
            DetailKey::FrozenBy => "frozen_by",
            DetailKey::Quarantine => "quarantine",
            DetailKey::FoldedDenials => "folded_denials",
            DetailKey::FoldedFirst => "folded_first",
            DetailKey::FoldedLast => "folded_last",
            DetailKey::AccessRequest => "access_request",
            DetailKey::Handler => "handler",
            DetailKey::Persons => "persons",
            DetailKey::Minutes => "minutes",
            DetailKey::Approvals => "approvals",
            DetailKey::Alarm => "alarm",
            DetailKey::Party => "party",
            DetailKey::SubOf => "sub_of",
            DetailKey::Until => "until",
            DetailKey::Purpose => "purpose",
            DetailKey::PurposeRetired => "purpose_retired",
            DetailKey::CatalogueVersion => "catalogue_version",
            DetailKey::ForbiddenUse => "forbidden_use",
            DetailKey::OverrideReason => "override_reason",
            DetailKey::PurposeEnabled => "purpose_enabled",
            DetailKey::PurposeDisabled => "purpose_disabled",
            DetailKey::RecipientRegistered => "recipient_registered",
            DetailKey::RecipientWithdrawn => "recipient_withdrawn",
            DetailKey::Recipient => "recipient",
            DetailKey::VerificationDemand => "verification_demand",
            DetailKey::Transfer => "transfer",
            DetailKey::ToTenant => "to_tenant",
            DetailKey::FromTenant => "from_tenant",
            DetailKey::ConsentGiven => "consent_given",
            DetailKey::ConsentMethod => "consent_method",
            DetailKey::ConsentReference => "consent_reference",
            DetailKey::DestinationDecided => "destination_decided",
            DetailKey::OfficeHours => "office_hours",
            DetailKey::AuditShape => "audit_shape",
            DetailKey::SignedOffPeriod => "signed_off_period",
            DetailKey::SignedOff => "signed_off",
            DetailKey::SignOffNote => "sign_off_note",
            DetailKey::AuditMethod => "audit_method",
            DetailKey::AuditQuestion => "audit_question",
            DetailKey::LedgerDays => "ledger_days",
            DetailKey::LedgerWitness => "ledger_witness",
            DetailKey::EndedSink => "ended_sink",
            DetailKey::LegalHold => "legal_hold",
            DetailKey::Granted => "granted",
            DetailKey::GrantRevoked => "grant_revoked",
            DetailKey::GrantTenant => "grant_tenant",
            DetailKey::GrantActions => "grant_actions",
            DetailKey::GrantKinds => "grant_kinds",
            DetailKey::GrantScopes => "grant_scopes",
            DetailKey::TrainedUntil => "trained_until",
            DetailKey::GrantsUnlisted => "grants_unlisted",
            DetailKey::RestoredOrigin => "restored_origin",
            DetailKey::RestoredHead => "restored_head",
            DetailKey::CosignedHead => "cosigned_head",
            DetailKey::LedgerGap => "ledger_gap",
            DetailKey::Hold => "hold",
            DetailKey::RetentionYears => "retention_years",
            DetailKey::RetentionFrom => "retention_from",
            DetailKey::Removed => "removed",
            DetailKey::RemovedPeriod => "removed_period",
        }
    }
}

/// One fact of an administrative act.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Detail {
    #[n(0)]
    pub(crate) key: DetailKey,
    #[n(1)]
    pub(crate) value: String,
}

impl Detail {
    /// Longest value in bytes; longer ones are cut at a character boundary. Administrative values are ids, names and
    /// addresses, all of which their own types bound to less.
    pub const VALUE_BYTES_MAX: usize = 512;

    /// What stands in an entry instead of a text that holds a number or a token.
    pub const WITHHELD: &str = "(withheld)";

    /// States one fact. Control characters become spaces, an overlong value is cut, and a text that holds a My Number
    /// or a token is withheld: an entry must never fail to be written, because then the act it reports could be
    /// neither refused nor recorded.
    #[must_use]
    pub fn new(key: DetailKey, value: &str) -> Detail {
        if key.is_text() && (text::contains_my_number(value) || text::contains_token(value)) {
            return Detail { key, value: Detail::WITHHELD.to_owned() };
        }
        let mut kept = String::with_capacity(value.len().min(Detail::VALUE_BYTES_MAX));
        for character in value.chars() {
            let character = if character.is_control() { ' ' } else { character };
            if kept.len() + character.len_utf8() > Detail::VALUE_BYTES_MAX {
                break;
            }
            kept.push(character);
        }
        Detail { key, value: kept }
    }

    /// What the fact is about.
    #[must_use]
    pub fn key(&self) -> DetailKey {
        self.key
    }

    /// The fact.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}
