//! Commands: what goes through consensus and is applied. One file per command.
//!
//! A [`Command`] is made only from an [`Audited`] body (policy said yes or no, and the entry's facts are in it), from
//! [`Kept`] bookkeeping, or by decoding bytes another member made that way.

pub mod accept_transfer;
pub mod add_member;
pub mod amend;
pub mod approve_access;
pub mod approve_grants;
pub mod approve_policy;
pub mod approve_purpose_order;
pub mod bookkeeping;
pub mod bootstrap;
pub mod break_glass;
pub mod cancel_succession;
pub mod cancel_transfer;
pub mod consent_sub_entrust;
pub mod create_canary;
pub mod create_tenant;
pub mod denied;
pub mod deny_access;
pub mod finish_succession;
pub mod freeze;
pub mod mint;
pub mod offer_transfer;
mod presented;
pub mod propose_catalogue_change;
pub mod propose_grants;
pub mod propose_policy;
pub mod read_records;
pub mod remove_member;
pub mod request_access;
pub mod retire_canary;
pub mod reveal;
pub mod review_break_glass;
pub mod revoke_access;
pub mod set_tenant_purposes;
pub mod set_tenant_recipients;
pub mod shadow_policy;
pub mod start_succession;
pub mod thaw;
pub mod tokenize;
pub mod update_number;

use std::fmt;

use fuda_ledger::{Audited, Bookkeeping, Header, Kept};
use minicbor::{Decode, Encode};

pub use accept_transfer::AcceptTransfer;
pub use add_member::AddMember;
pub use amend::{Amend, AmendItem, Named};
pub use approve_access::ApproveAccess;
pub use approve_grants::ApproveGrants;
pub use approve_policy::ApprovePolicy;
pub use approve_purpose_order::ApprovePurposeOrder;
pub use bootstrap::{Bootstrap, SealedBucket};
pub use break_glass::BreakGlass;
pub use cancel_succession::CancelSuccession;
pub use cancel_transfer::CancelTransfer;
pub use consent_sub_entrust::ConsentSubEntrust;
pub use create_canary::CreateCanary;
pub use create_tenant::CreateTenant;
pub use denied::Denied;
pub use deny_access::DenyAccess;
pub use finish_succession::FinishSuccession;
pub use freeze::Freeze;
pub use mint::{Mint, MintItem, NewTokenRows};
pub use offer_transfer::OfferTransfer;
pub use propose_catalogue_change::ProposeCatalogueChange;
pub use propose_grants::ProposeGrants;
pub use propose_policy::ProposePolicy;
pub use read_records::ReadRecords;
pub use remove_member::RemoveMember;
pub use request_access::RequestAccess;
pub use retire_canary::RetireCanary;
pub use reveal::{Claim, Reveal, RevealItem, Verdict};
pub use review_break_glass::ReviewBreakGlass;
pub use revoke_access::RevokeAccess;
pub use set_tenant_purposes::SetTenantPurposes;
pub use set_tenant_recipients::SetTenantRecipients;
pub use shadow_policy::ShadowPolicy;
pub use start_succession::StartSuccession;
pub use thaw::Thaw;
pub use tokenize::{Tokenize, TokenizeItem};
pub use update_number::{NewVersionRows, UpdateItem, UpdateNumber};

/// The format byte in front of every encoded command.
pub const COMMAND_FORMAT: u8 = 1;

/// One command: the unit of decision, of audit and of atomicity.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(pub(crate) Inner);

/// Opaque on purpose: a public variant would let anybody write a header by hand.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[expect(clippy::large_enum_variant, reason = "nearly every command is the large one; a box would cost each a detour")]
pub(crate) enum Inner {
    #[n(0)]
    Audited(#[n(0)] Header, #[n(1)] Body),
    #[n(1)]
    Kept(#[n(0)] Bookkeeping),
}

/// What an audited command does.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum Body {
    /// Names the owner, the approvers and the first member: entry 0, once.
    #[n(0)]
    Bootstrap(#[n(0)] Box<Bootstrap>),
    /// Creates a tenant.
    #[n(1)]
    CreateTenant(#[n(0)] CreateTenant),
    /// Proposes a change of grants.
    #[n(2)]
    ProposeGrants(#[n(0)] ProposeGrants),
    /// Brings a proposed change of grants into force.
    #[n(3)]
    ApproveGrants(#[n(0)] ApproveGrants),
    /// Adds a member of the cluster.
    #[n(4)]
    AddMember(#[n(0)] AddMember),
    /// Removes a member of the cluster.
    #[n(5)]
    RemoveMember(#[n(0)] RemoveMember),
    /// Stores numbers under new tokens.
    #[n(6)]
    Tokenize(#[n(0)] Tokenize),
    /// Decides about presented tokens: detokenize, verify number, describe token.
    #[n(7)]
    Reveal(#[n(0)] Reveal),
    /// Reads anything that holds no number.
    #[n(8)]
    ReadRecords(#[n(0)] ReadRecords),
    /// Records that policy denied a call.
    #[n(9)]
    Denied(#[n(0)] Denied),
    /// Makes tokens for presented tokens: exchange, rotate.
    #[n(10)]
    Mint(#[n(0)] Mint),
    /// Brings new numbers to the records of presented tokens.
    #[n(11)]
    UpdateNumber(#[n(0)] UpdateNumber),
    /// Changes whether records answer, or what persons were notified of.
    #[n(12)]
    Amend(#[n(0)] Amend),
    /// Stops the use of something at once.
    #[n(20)]
    Freeze(#[n(0)] Freeze),
    /// Lifts a freeze.
    #[n(21)]
    Thaw(#[n(0)] Thaw),
    /// Plants a token that belongs to no number.
    #[n(22)]
    CreateCanary(#[n(0)] CreateCanary),
    /// Lets such a token be an unknown one.
    #[n(23)]
    RetireCanary(#[n(0)] RetireCanary),
    /// Asks for a grant that is short and counted.
    #[n(50)]
    RequestAccess(#[n(0)] RequestAccess),
    /// Agrees to a request for access.
    #[n(51)]
    ApproveAccess(#[n(0)] ApproveAccess),
    /// Denies a request for access.
    #[n(52)]
    DenyAccess(#[n(0)] DenyAccess),
    /// Ends a grant that came of a request.
    #[n(53)]
    RevokeAccess(#[n(0)] RevokeAccess),
    /// Takes a short grant without waiting for anybody.
    #[n(54)]
    BreakGlass(#[n(0)] BreakGlass),
    /// Closes the review of a broken glass.
    #[n(55)]
    ReviewBreakGlass(#[n(0)] ReviewBreakGlass),
    /// Consents that an entrusted party entrusts on, or withdraws it.
    #[n(56)]
    ConsentSubEntrust(#[n(0)] ConsentSubEntrust),
    /// Proposes a change of the purpose catalogue.
    #[n(60)]
    ProposeCatalogueChange(#[n(0)] ProposeCatalogueChange),
    /// Proposes which purposes a tenant uses.
    #[n(61)]
    SetTenantPurposes(#[n(0)] SetTenantPurposes),
    /// Brings a proposed change of purposes into force.
    #[n(62)]
    ApprovePurposeOrder(#[n(0)] ApprovePurposeOrder),
    /// Proposes a policy text.
    #[n(40)]
    ProposePolicy(#[n(0)] ProposePolicy),
    /// Brings a proposed policy text into force.
    #[n(41)]
    ApprovePolicy(#[n(0)] ApprovePolicy),
    /// Sets or clears the candidate policy text.
    #[n(42)]
    ShadowPolicy(#[n(0)] ShadowPolicy),
    /// Hands in a succession statement.
    #[n(57)]
    StartSuccession(#[n(0)] StartSuccession),
    /// Brings a succession into force.
    #[n(58)]
    FinishSuccession(#[n(0)] FinishSuccession),
    /// Cancels a waiting succession.
    #[n(59)]
    CancelSuccession(#[n(0)] CancelSuccession),
    /// Proposes to whom numbers of a tenant may be sealed.
    #[n(90)]
    SetTenantRecipients(#[n(0)] SetTenantRecipients),
    /// Offers a number to another tenant.
    #[n(115)]
    OfferTransfer(#[n(0)] OfferTransfer),
    /// Takes an offered number over.
    #[n(116)]
    AcceptTransfer(#[n(0)] AcceptTransfer),
    /// Takes an offer back.
    #[n(117)]
    CancelTransfer(#[n(0)] CancelTransfer),
}

/// Why bytes are not a command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The bytes are empty.
    #[error("a command has at least a format byte")]
    Empty,
    /// The bytes were written by a build with another format.
    #[error("command of format `{0}`, this build knows `{COMMAND_FORMAT}`")]
    Format(u8),
    /// The bytes are not the CBOR of a command. The cause names types and positions, never values.
    #[error("bytes are not a command")]
    Malformed(#[source] minicbor::decode::Error),
    /// More bytes follow the command.
    #[error("`{0}` bytes follow the command")]
    Trailing(usize),
}

impl Command {
    /// The bytes that are proposed, forwarded and logged: the format byte and deterministic CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        bytes.push(COMMAND_FORMAT);
        crate::row::append_cbor(&mut bytes, &self.0);
        bytes
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// # Errors
    /// [`CommandError`] if the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        let (format, cbor) = bytes.split_first().ok_or(CommandError::Empty)?;
        if *format != COMMAND_FORMAT {
            return Err(CommandError::Format(*format));
        }
        let mut decoder = minicbor::Decoder::new(cbor);
        let inner = decoder.decode().map_err(CommandError::Malformed)?;
        match cbor.len() - decoder.position() {
            0 => Ok(Self(inner)),
            trailing => Err(CommandError::Trailing(trailing)),
        }
    }

    /// The facts of the entries the command makes; `None` for bookkeeping.
    pub fn header(&self) -> Option<&Header> {
        match &self.0 {
            Inner::Audited(header, _) => Some(header),
            Inner::Kept(_) => None,
        }
    }

    /// What an audited command does; `None` for bookkeeping.
    pub fn body(&self) -> Option<&Body> {
        match &self.0 {
            Inner::Audited(_, body) => Some(body),
            Inner::Kept(_) => None,
        }
    }

    /// A stable name for metrics and traces: `tokenize`, `reveal`, `checkpoint`, …
    pub fn name(&self) -> &'static str {
        match &self.0 {
            Inner::Audited(_, body) => body.name(),
            Inner::Kept(Bookkeeping::Checkpoint(_)) => "checkpoint",
            Inner::Kept(Bookkeeping::ExpireReplies { .. }) => "expire_replies",
            Inner::Kept(Bookkeeping::EnterFolded) => "enter_folded",
            Inner::Kept(Bookkeeping::AlarmsTold { .. }) => "alarms_told",
            Inner::Kept(Bookkeeping::SinkAcknowledged { .. }) => "sink_acknowledged",
            Inner::Kept(Bookkeeping::Cosigned { .. }) => "cosigned",
            Inner::Kept(Bookkeeping::PruneEntries { .. }) => "prune_entries",
        }
    }

    /// How many items the command carries (1 for a command about one thing), for batching and metrics.
    pub fn items(&self) -> usize {
        match &self.0 {
            Inner::Audited(_, Body::Tokenize(body)) => body.items.len(),
            Inner::Audited(_, Body::Reveal(body)) => body.items.len(),
            Inner::Audited(_, Body::Mint(body)) => body.items.len(),
            Inner::Audited(_, Body::UpdateNumber(body)) => body.items.len(),
            Inner::Audited(_, Body::Amend(body)) => body.items.len(),
            Inner::Audited(_, Body::ReadRecords(body)) => body.records.len().max(1),
            Inner::Audited(..) | Inner::Kept(_) => 1,
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }
}

impl Body {
    /// A stable name for metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bootstrap(_) => "bootstrap",
            Self::CreateTenant(_) => "create_tenant",
            Self::ProposeGrants(_) => "propose_grants",
            Self::ApproveGrants(_) => "approve_grants",
            Self::AddMember(_) => "add_member",
            Self::RemoveMember(_) => "remove_member",
            Self::Tokenize(_) => "tokenize",
            Self::Reveal(_) => "reveal",
            Self::ReadRecords(_) => "read_records",
            Self::Denied(_) => "denied",
            Self::Mint(_) => "mint",
            Self::UpdateNumber(_) => "update_number",
            Self::Amend(_) => "amend",
            Self::ProposePolicy(_) => "propose_policy",
            Self::ApprovePolicy(_) => "approve_policy",
            Self::ShadowPolicy(_) => "shadow_policy",
            Self::Freeze(_) => "freeze",
            Self::Thaw(_) => "thaw",
            Self::CreateCanary(_) => "create_canary",
            Self::RetireCanary(_) => "retire_canary",
            Self::RequestAccess(_) => "request_access",
            Self::ApproveAccess(_) => "approve_access",
            Self::DenyAccess(_) => "deny_access",
            Self::RevokeAccess(_) => "revoke_access",
            Self::BreakGlass(_) => "break_glass",
            Self::ReviewBreakGlass(_) => "review_break_glass",
            Self::ConsentSubEntrust(_) => "consent_sub_entrust",
            Self::ProposeCatalogueChange(_) => "propose_catalogue_change",
            Self::SetTenantPurposes(_) => "set_tenant_purposes",
            Self::SetTenantRecipients(_) => "set_tenant_recipients",
            Self::ApprovePurposeOrder(_) => "approve_purpose_order",
            Self::StartSuccession(_) => "start_succession",
            Self::FinishSuccession(_) => "finish_succession",
            Self::CancelSuccession(_) => "cancel_succession",
            Self::OfferTransfer(_) => "offer_transfer",
            Self::AcceptTransfer(_) => "accept_transfer",
            Self::CancelTransfer(_) => "cancel_transfer",
        }
    }
}

impl From<Audited<Body>> for Command {
    fn from(audited: Audited<Body>) -> Self {
        let (header, body) = audited.into_parts();
        Self(Inner::Audited(header, body))
    }
}

impl From<Kept> for Command {
    fn from(kept: Kept) -> Self {
        Self(Inner::Kept(kept.into_bookkeeping()))
    }
}

/// The name and the number of items, never their contents: lookup keys and sealed bytes stay out of logs.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("name", &self.name()).field("items", &self.items()).finish_non_exhaustive()
    }
}

/// See [`Command`].
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Body").field(&self.name()).finish()
    }
}
