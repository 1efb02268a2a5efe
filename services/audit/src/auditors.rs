//! Who may ask, and how far he sees. Nothing of the vault's policy is known here, and nobody who may ask here may therefore
//! do anything there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use fuda_core::{CallerId, Code};
use fuda_ledger::Credential;
use fuda_runtime::layer::Authenticate;
use fuda_runtime::listener::PeerInfo;
use fuda_wire::Sight;
use http::{Extensions, HeaderMap};
use tonic::Status;

use crate::ask::refused;

/// An established auditor, in the extensions of every request.
#[derive(Debug, Clone)]
pub(crate) struct Auditor {
    /// His SPIFFE id, or `oidc:PROVIDER/SUBJECT` of a person signed in at the console's provider.
    pub(crate) caller: CallerId,
    /// How far he sees.
    pub(crate) sight: Arc<Sight>,
    /// How he proved who he is; `None` for a certificate.
    pub(crate) credential: Option<Credential>,
}

impl Auditor {
    /// One who showed a certificate.
    pub(crate) const fn certified(caller: CallerId, sight: Arc<Sight>) -> Self {
        Self { caller, sight, credential: None }
    }
}

/// Everybody who may ask.
#[derive(Debug, Default)]
pub(crate) struct Auditors(BTreeMap<CallerId, Arc<Sight>>);

impl Auditors {
    /// Adds one; `false` when he is there already.
    pub(crate) fn add(&mut self, caller: CallerId, sight: Sight) -> bool {
        self.0.insert(caller, Arc::new(sight)).is_none()
    }

    /// How far somebody sees; `None` and a log event when he is no auditor.
    pub(crate) fn sight_of(&self, caller: &CallerId) -> Option<Arc<Sight>> {
        let sight = self.0.get(caller);
        if sight.is_none() {
            tracing::warn!(%caller, "somebody who is no auditor asked");
        }
        sight.cloned()
    }
}

impl Authenticate for Auditors {
    type Identity = Auditor;

    fn authenticate(&self, _: &HeaderMap, extensions: &Extensions) -> Result<Auditor, Box<Status>> {
        let peer = extensions.get::<PeerInfo>();
        let caller = peer.and_then(|peer| peer.caller_at(SystemTime::now()));
        let caller = caller.ok_or_else(|| Box::new(refused(Code::Unauthenticated)))?;
        let sight = self.sight_of(caller).ok_or_else(|| Box::new(refused(Code::DeniedOrNotFound)))?;
        Ok(Auditor::certified(caller.clone(), sight))
    }
}
