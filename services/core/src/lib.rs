//! The words of the domain: identifiers, kinds of number and their check digits, tokens, purposes, retention dates,
//! limits and error codes.
//!
//! This crate is pure: it reads no clock, draws no randomness, does no I/O and has no async. Everything persisted
//! encodes to deterministic CBOR. Secrets ([`Number`], [`Token`], [`LookupKey`]) have neither `Debug` nor `Display`
//! nor serde, and no error of this crate ever carries the value it refused.

pub mod consent;
pub mod error;
pub mod forbidden;
pub mod ids;
pub mod kind;
pub mod limits;
pub mod purpose;
pub mod relation;
pub mod retention;
pub mod text;
pub mod time;
pub mod token;
pub mod verification;

mod check_digit;

pub use consent::{Consent, ConsentMethod};
pub use error::{Code, GrpcStatus, Invalid, Retry};
pub use forbidden::ForbiddenUse;
pub use ids::{
    BucketId, BucketVersion, CallerId, Fingerprint, FreezeReason, KeyDomainId, LookupKey, PartyId, PersonId,
    PolicyVersion, PurposeCode, RecordId, RecordLabel, RecordVersion, RequestId, Revision, RootVersion, ScopeId,
    Sequence, SinkId, SourceZone, SubjectRef, TenantId, TraceId, VaultId, WorkReference, bucket_of,
};
pub use kind::{Kind, LegalClass, Number, parse_number};
pub use purpose::{Aspect, Catalogue, CatalogueChange, CatalogueError, ChangeError, Delivery, Purpose};
pub use relation::{Relation, RelationSet};
pub use retention::{Hold, RetentionRule, RetentionStart};
pub use time::{Day, Timestamp, Window, Zone};
pub use token::{Token, TokenClass};
pub use verification::{ProxyRelation, Verification, VerificationDemand, VerificationDocument, VerificationMethod};
