use std::fmt;

use minicbor::{Decode, Encode};

/// Why a request or an item was denied. The number is stored in ledger entries and never changes its meaning.
///
/// This is the precise reason for the ledger, auditors and approvers. Callers get a coarser answer: the vault maps
/// everything that would tell them what exists (unknown tenant, unknown token, no grant, other tenant, other scope)
/// to one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum DenyReason {
    /// No grant gives the caller this action for this tenant.
    #[n(1)]
    NoGrant = 1,
    /// A grant would fit, but now is outside its window (past its end or before its start).
    #[n(2)]
    GrantExpired = 2,
    /// The named purpose is in no fitting grant.
    #[n(3)]
    PurposeNotGranted = 3,
    /// The named purpose is not in the vault's catalogue.
    #[n(4)]
    PurposeUnknown = 4,
    /// The tenant has not enabled the named purpose.
    #[n(5)]
    PurposeNotEnabled = 5,
    /// The named purpose is not one that may reveal numbers.
    #[n(6)]
    PurposeReveals = 6,
    /// The kind of number is in no fitting grant.
    #[n(7)]
    KindNotGranted = 7,
    /// The scope is in no fitting grant.
    #[n(8)]
    ScopeNotGranted = 8,
    /// The named tenant does not exist, or none is named where the action needs one.
    #[n(9)]
    TenantUnknown = 9,
    /// The purpose may not reveal numbers of people in this relation to the principal subject.
    #[n(10)]
    RelationNotRevealable = 10,
    /// The person was not notified of this purpose.
    #[n(11)]
    NotNotified = 11,
    /// The person was notified of this purpose, for another time.
    #[n(12)]
    NotifiedWindow = 12,
    /// The record is disabled: superseded, or queued for erasure.
    #[n(13)]
    RecordDisabled = 13,
    /// No record answers to the token.
    #[n(14)]
    UnknownToken = 14,
    /// The token belongs to another tenant.
    #[n(15)]
    TokenOfOtherTenant = 15,
    /// The token belongs to a scope other than the one the call named.
    #[n(16)]
    TokenOfOtherScope = 16,
    /// The grant's budget of distinct persons is used up for its window.
    #[n(17)]
    BudgetExhausted = 17,
    /// The record's guesses for the day are used up.
    #[n(18)]
    GuessesExhausted = 18,
    /// Every leg holds, but the policy text forbids it or nothing in it permits it.
    #[n(19)]
    ForbiddenByPolicy = 19,
    /// The vault has no owner yet.
    #[n(20)]
    NotBootstrapped = 20,
    /// The grants would give one caller two roles.
    #[n(21)]
    RoleConflict = 21,
    /// Proposer and approver are the same.
    #[n(22)]
    SamePerson = 22,
    /// No open order answers to the id.
    #[n(23)]
    UnknownOrder = 23,
    /// The action reveals and the call names no purpose.
    #[n(24)]
    PurposeMissing = 24,
    /// The subject already has a live record of this kind.
    #[n(25)]
    AlreadyExists = 25,
    /// A proposed grant breaks a rule of [`crate::Grant::validate`].
    #[n(26)]
    GrantInvalid = 26,
    /// The record already has a token of the scope that another one was asked for.
    #[n(30)]
    TokenExists = 30,
    /// The record has as many tokens as a record may have.
    #[n(31)]
    TooManyTokens = 31,
    /// No record answers to the id, or to the subject and kind.
    #[n(32)]
    UnknownRecord = 32,
    /// The record is superseded; it waits for its erasure.
    #[n(33)]
    RecordSuperseded = 33,
    /// The record has as many notified purposes as a record may have.
    #[n(34)]
    TooManyNotices = 34,
    /// A number of this kind is never shown in part.
    #[n(35)]
    KindNotMasked = 35,
    /// The scope, purpose, tenant or the whole vault is frozen.
    #[n(40)]
    Frozen = 40,
    /// The caller is frozen.
    #[n(41)]
    CallerFrozen = 41,
    /// The token is a canary: it belongs to no number and was planted to be found.
    #[n(42)]
    CanaryToken = 42,
    /// The grant demands an end user, and the call brought no assertion of one.
    #[n(50)]
    EndUserRequired = 50,
    /// The assertion of an end user that the call brought does not hold.
    #[n(51)]
    EndUserRefused = 51,
    /// The assertion of an end user was used before, for another call.
    #[n(52)]
    EndUserReplayed = 52,
    /// The person's sign-in is too old or too weak for the action.
    #[n(53)]
    StepUpRequired = 53,
    /// The grant's approved job has not begun or is over.
    #[n(54)]
    JobExpired = 54,
    /// A grant would fit, but not from this part of the network.
    #[n(60)]
    SourceZoneNotGranted = 60,
    /// A grant would fit, but not at this hour of the week.
    #[n(61)]
    OutsideHours = 61,
    /// A grant would fit, but the attested training of the people behind the caller has run out.
    #[n(62)]
    TrainingExpired = 62,
    /// The fitting grants are not for people in this relation to the principal subject.
    #[n(63)]
    RelationNotGranted = 63,
    /// The fitting grants list other people.
    #[n(64)]
    SubjectNotGranted = 64,
    /// The fitting grants are for records with another label.
    #[n(65)]
    LabelNotGranted = 65,
    /// No request for access of this tenant answers to the id.
    #[n(70)]
    AccessUnknown = 70,
    /// The request was decided before, or has lapsed.
    #[n(71)]
    AccessClosed = 71,
    /// The request asks for more than the requester's own grant lets it ask for.
    #[n(72)]
    AccessCeiling = 72,
    /// A break-glass of the tenant has waited too long for its review.
    #[n(73)]
    ReviewOverdue = 73,
    /// The tenant has not consented that the entrusted party entrusts the work on (再委託).
    #[n(74)]
    ConsentMissing = 74,
    /// The named purpose was retired from the catalogue.
    #[n(80)]
    PurposeRetired = 80,
    /// A proposed change of purposes breaks a rule, or the catalogue moved since it was made.
    #[n(81)]
    PurposeChangeInvalid = 81,
    /// A proposed purpose names a use that the law forbids, and no override was given.
    #[n(82)]
    PurposeForbidden = 82,
    /// The purpose needs two people, and the grant was not made for the occasion.
    #[n(83)]
    TwoPersonsNeeded = 83,
    /// A number leaves the vault in another way for this purpose: sealed to a recipient, or moved to a tenant.
    #[n(84)]
    DeliveryNotAllowed = 84,
    /// The tenant has no such recipient, or the call names none.
    #[n(90)]
    RecipientUnknown = 90,
    /// The recipient is not registered for the purpose.
    #[n(91)]
    RecipientNotForPurpose = 91,
    /// The fitting grants are for other recipients.
    #[n(92)]
    RecipientNotGranted = 92,
    /// The time for which the recipient was registered is over.
    #[n(93)]
    RecipientExpired = 93,
    /// A proposed change of recipients breaks a rule.
    #[n(94)]
    RecipientInvalid = 94,
    /// The tenant takes such a number only with the record of an identity check, and none came.
    #[n(100)]
    VerificationMissing = 100,
    /// One's own number is disclosed to oneself, and the end user's assertion names somebody else.
    #[n(101)]
    NotOwnNumber = 101,
    /// No record of the person's consent came with an offer, or its dates make no sense.
    #[n(115)]
    TransferConsent = 115,
    /// The fitting grants are for offers to another tenant.
    #[n(116)]
    DestinationNotGranted = 116,
    /// No open offer to this tenant answers to id and token.
    #[n(117)]
    TransferUnknown = 117,
    /// As many calls were made under the grant within the minute as it allows.
    #[n(125)]
    GrantRate = 125,
}

impl DenyReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 67] = [
        Self::NoGrant,
        Self::GrantExpired,
        Self::PurposeNotGranted,
        Self::PurposeUnknown,
        Self::PurposeNotEnabled,
        Self::PurposeReveals,
        Self::KindNotGranted,
        Self::ScopeNotGranted,
        Self::TenantUnknown,
        Self::RelationNotRevealable,
        Self::NotNotified,
        Self::NotifiedWindow,
        Self::RecordDisabled,
        Self::UnknownToken,
        Self::TokenOfOtherTenant,
        Self::TokenOfOtherScope,
        Self::BudgetExhausted,
        Self::GuessesExhausted,
        Self::ForbiddenByPolicy,
        Self::NotBootstrapped,
        Self::RoleConflict,
        Self::SamePerson,
        Self::UnknownOrder,
        Self::PurposeMissing,
        Self::AlreadyExists,
        Self::GrantInvalid,
        Self::TokenExists,
        Self::TooManyTokens,
        Self::UnknownRecord,
        Self::RecordSuperseded,
        Self::TooManyNotices,
        Self::KindNotMasked,
        Self::Frozen,
        Self::CallerFrozen,
        Self::CanaryToken,
        Self::EndUserRequired,
        Self::EndUserRefused,
        Self::EndUserReplayed,
        Self::StepUpRequired,
        Self::JobExpired,
        Self::SourceZoneNotGranted,
        Self::OutsideHours,
        Self::TrainingExpired,
        Self::RelationNotGranted,
        Self::SubjectNotGranted,
        Self::LabelNotGranted,
        Self::AccessUnknown,
        Self::AccessClosed,
        Self::AccessCeiling,
        Self::ReviewOverdue,
        Self::ConsentMissing,
        Self::PurposeRetired,
        Self::PurposeChangeInvalid,
        Self::PurposeForbidden,
        Self::TwoPersonsNeeded,
        Self::DeliveryNotAllowed,
        Self::RecipientUnknown,
        Self::RecipientNotForPurpose,
        Self::RecipientNotGranted,
        Self::RecipientExpired,
        Self::RecipientInvalid,
        Self::VerificationMissing,
        Self::NotOwnNumber,
        Self::TransferConsent,
        Self::DestinationNotGranted,
        Self::TransferUnknown,
        Self::GrantRate,
    ];

    /// The stable name in exports, reports and the audit console.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoGrant => "no_grant",
            Self::GrantExpired => "grant_expired",
            Self::PurposeNotGranted => "purpose_not_granted",
            Self::PurposeUnknown => "purpose_unknown",
            Self::PurposeNotEnabled => "purpose_not_enabled",
            Self::PurposeReveals => "purpose_reveals",
            Self::KindNotGranted => "kind_not_granted",
            Self::ScopeNotGranted => "scope_not_granted",
            Self::TenantUnknown => "tenant_unknown",
            Self::RelationNotRevealable => "relation_not_revealable",
            Self::NotNotified => "not_notified",
            Self::NotifiedWindow => "notified_window",
            Self::RecordDisabled => "record_disabled",
            Self::UnknownToken => "unknown_token",
            Self::TokenOfOtherTenant => "token_of_other_tenant",
            Self::TokenOfOtherScope => "token_of_other_scope",
            Self::BudgetExhausted => "budget_exhausted",
            Self::GuessesExhausted => "guesses_exhausted",
            Self::ForbiddenByPolicy => "forbidden_by_policy",
            Self::NotBootstrapped => "not_bootstrapped",
            Self::RoleConflict => "role_conflict",
            Self::SamePerson => "same_person",
            Self::UnknownOrder => "unknown_order",
            Self::PurposeMissing => "purpose_missing",
            Self::AlreadyExists => "already_exists",
            Self::GrantInvalid => "grant_invalid",
            Self::TokenExists => "token_exists",
            Self::TooManyTokens => "too_many_tokens",
            Self::UnknownRecord => "unknown_record",
            Self::RecordSuperseded => "record_superseded",
            Self::TooManyNotices => "too_many_notices",
            Self::KindNotMasked => "kind_not_masked",
            Self::Frozen => "frozen",
            Self::CallerFrozen => "caller_frozen",
            Self::CanaryToken => "canary_token",
            Self::EndUserRequired => "end_user_required",
            Self::EndUserRefused => "end_user_refused",
            Self::EndUserReplayed => "end_user_replayed",
            Self::StepUpRequired => "step_up_required",
            Self::JobExpired => "job_expired",
            Self::SourceZoneNotGranted => "source_zone_not_granted",
            Self::OutsideHours => "outside_hours",
            Self::TrainingExpired => "training_expired",
            Self::RelationNotGranted => "relation_not_granted",
            Self::SubjectNotGranted => "subject_not_granted",
            Self::LabelNotGranted => "label_not_granted",
            Self::AccessUnknown => "access_unknown",
            Self::AccessClosed => "access_closed",
            Self::AccessCeiling => "access_ceiling",
            Self::ReviewOverdue => "review_overdue",
            Self::ConsentMissing => "consent_missing",
            Self::PurposeRetired => "purpose_retired",
            Self::PurposeChangeInvalid => "purpose_change_invalid",
            Self::PurposeForbidden => "purpose_forbidden",
            Self::TwoPersonsNeeded => "two_persons_needed",
            Self::DeliveryNotAllowed => "delivery_not_allowed",
            Self::RecipientUnknown => "recipient_unknown",
            Self::RecipientNotForPurpose => "recipient_not_for_purpose",
            Self::RecipientNotGranted => "recipient_not_granted",
            Self::RecipientExpired => "recipient_expired",
            Self::RecipientInvalid => "recipient_invalid",
            Self::VerificationMissing => "verification_missing",
            Self::NotOwnNumber => "not_own_number",
            Self::TransferConsent => "transfer_consent",
            Self::DestinationNotGranted => "destination_not_granted",
            Self::TransferUnknown => "transfer_unknown",
            Self::GrantRate => "grant_rate",
        }
    }

    /// The stored number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
