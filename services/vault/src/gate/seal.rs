//! Tokens in: numbers out that only a registered recipient can read. Everything up to the opening is as in
//! [`super::reveal`]; what is opened leaves this module sealed.

use fuda_core::{Code, Fingerprint, RecordVersion, Sequence, SubjectRef};
use fuda_crypto::{OsRandom, Pool, RecipientKey, SealedContext, SealedNumber, seal_to_recipient};
use fuda_policy::{Action, Request};

use super::reveal::{collect, open, request, sealed};
use super::{Call, Gate, Presented};
use crate::blocking::heavy;
use crate::refusal::Refusal;
use crate::service::token::Addressed;

/// A number that the caller cannot read.
pub(crate) struct Sealed {
    pub(crate) number: SealedNumber,
    pub(crate) kind: fuda_core::Kind,
    pub(crate) subject: SubjectRef,
    pub(crate) version: RecordVersion,
    pub(crate) sequence: Sequence,
}

impl Gate {
    /// Seals numbers to a recipient.
    pub(crate) async fn seal(
        &self,
        call: &Call,
        to: &Addressed,
        recipient: &str,
        presented: Vec<Presented>,
    ) -> Result<Vec<Result<Sealed, Refusal>>, Refusal> {
        let count = presented.len();
        // A recipient that cannot exist is asked for as none: denied like an unknown one.
        let request = request(call, Action::Seal, to).recipient(Fingerprint::parse(recipient).ok());
        let call = &call.about(Action::Seal, request.recipient.iter().map(|to| to.as_bytes().to_vec()));
        let (allowed, settled) = self.pass_request(call, request.clone(), presented).await?;
        if allowed.is_empty() {
            return collect(settled, allowed, |_| Err(Refusal::new(Code::Internal)));
        }
        let key = self.recipient_key(&request)?;
        let keys = self.keys.unsealed().ok_or(Refusal::new(Code::Sealed))?;
        heavy(count, || {
            let random = OsRandom::new();
            let mut rng = Pool::new(&random);
            let mut rows = sealed(&self.store, &allowed)?.into_iter();
            collect(settled, allowed, |mut allowed| {
                let number = open(&keys, &self.store, &mut allowed, rows.next().flatten())?;
                let token = allowed.found.token;
                let context = SealedContext {
                    vault: keys.vault,
                    tenant: &token.tenant,
                    purpose: request.purpose.as_ref(),
                    request: call.request_id,
                    kind: token.kind,
                    subject: &token.subject,
                };
                let number =
                    seal_to_recipient(&mut rng, &key, &number, &context).map_err(|_| Refusal::new(Code::Internal))?;
                Ok(Sealed {
                    number,
                    kind: token.kind,
                    subject: token.subject,
                    version: allowed.found.record.current,
                    sequence: allowed.sequence,
                })
            })
        })
    }

    /// The key of a request that was allowed. The fingerprint is a digest of it, so whenever it is read it is the key
    /// that was decided on; a recipient that was withdrawn meanwhile gets nothing.
    fn recipient_key(&self, request: &Request) -> Result<RecipientKey, Refusal> {
        let gone = Refusal::new(Code::DeniedOrNotFound);
        let policy = self.policy.load();
        let tenant = request.tenant.as_ref().and_then(|tenant| policy.tenant(tenant)).ok_or(gone)?;
        let recipient = request.recipient.and_then(|named| tenant.recipient(named)).ok_or(gone)?;
        RecipientKey::from_bytes(recipient.key).map_err(|_| Refusal::new(Code::Integrity))
    }
}
