//! Sealed replies: what a retry of a call that makes tokens gets back.
//!
//! The reply is a digest of the request, so that another request under the same id is noticed, and the secret of the
//! token. Both exist only under the caller's retry secret, inside the outer wrap of the record's bucket.

use fuda_core::{BucketId, BucketVersion, Code, KeyDomainId, RecordId, TenantId, Token, limits};
use fuda_crypto::{BucketRef, Pool, ReplyContext, RetrySecret, open_outer, open_reply, seal_outer, seal_reply};
use zeroize::Zeroizing;

use super::Call;
use crate::keys::Unsealed;
use crate::refusal::Refusal;

/// How long a sealed reply is kept, in days.
pub(super) const REPLY_DAYS: u16 = limits::REPLY_RETENTION_DAYS as u16;
const DIGEST_BYTES: usize = 32;
const TOKEN_BYTES: usize = 20;

/// Whose reply it is and what was asked.
pub(super) struct ReplyOf<'a> {
    pub(super) keys: &'a Unsealed,
    pub(super) domain: KeyDomainId,
    pub(super) tenant: &'a TenantId,
    pub(super) call: &'a Call,
    /// The item's place in the call.
    pub(super) item: u32,
    /// SHA-256 of everything the caller asked for.
    pub(super) digest: [u8; DIGEST_BYTES],
}

/// A reply as apply gave it back.
pub(super) struct Stored {
    pub(super) record: RecordId,
    pub(super) bucket: BucketId,
    pub(super) bucket_version: BucketVersion,
    pub(super) sealed: Vec<u8>,
}

impl ReplyOf<'_> {
    /// Seals the reply with this token.
    pub(super) fn seal(
        &self,
        rng: &mut Pool<'_>,
        secret: &RetrySecret,
        bucket: BucketRef<'_>,
        token: &Token,
    ) -> Result<Vec<u8>, fuda_crypto::Error> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(DIGEST_BYTES + TOKEN_BYTES));
        bytes.extend_from_slice(&self.digest);
        bytes.extend_from_slice(token.secret());
        let inner = seal_reply(rng, secret, &bytes, &self.context())?;
        seal_outer(rng, bucket.key, &inner, &bucket.context_in(self.keys.vault, self.domain))
    }

    /// Opens the first reply of an earlier call with the same request id and retry secret.
    pub(super) fn open(&self, secret: Option<&RetrySecret>, stored: &Stored) -> Result<Token, Refusal> {
        let reused = Refusal::new(Code::RequestIdReused);
        // Without a retry secret nobody can tell whether this is the same request.
        let secret = secret.ok_or(reused)?;
        let bucket = self.keys.ring.bucket(stored.bucket, stored.bucket_version);
        let inner = bucket
            .ok_or(Refusal::new(Code::NodeBehind))?
            .with(|key| open_outer(key.key, &stored.sealed, &key.context_in(self.keys.vault, self.domain)))
            .and_then(|opened| opened)
            .map_err(|_| Refusal::new(Code::Integrity))?;
        // A different secret under the same request id is a different request.
        let bytes = open_reply(secret, &inner, &self.context()).map_err(|_| reused)?;
        let (digest, token) = bytes.split_at_checked(DIGEST_BYTES).ok_or(Refusal::new(Code::Integrity))?;
        if digest != self.digest {
            return Err(reused);
        }
        let secret: Zeroizing<[u8; TOKEN_BYTES]> =
            Zeroizing::new(token.try_into().map_err(|_| Refusal::new(Code::Integrity))?);
        Ok(Token::from_secret(*secret, self.keys.class))
    }

    fn context(&self) -> ReplyContext<'_> {
        ReplyContext {
            vault: self.keys.vault,
            tenant: self.tenant,
            caller: self.call.caller.as_str(),
            request: self.call.request_id,
            item: self.item,
        }
    }
}
