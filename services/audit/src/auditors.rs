//! Who may ask, and how far he sees. Nothing of the vault's policy is known here, and nobody who may ask here may therefore
//! do anything there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use fuda_core::{CallerId, Code};
use fuda_runtime::layer::Authenticate;
use fuda_runtime::listener::PeerInfo;
use fuda_wire::Sight;
use http::{Extensions, HeaderMap};
use tonic::Status;

use crate::ask::refused;

/// An established auditor, in the extensions of every request.
#[derive(Debug, Clone)]
pub(crate) struct Auditor {
    /// His SPIFFE id.
    pub(crate) caller: CallerId,
    /// How far he sees.
    pub(crate) sight: Arc<Sight>,
}

/// Everybody who may ask.
#[derive(Debug, Default)]
pub(crate) struct Auditors(BTreeMap<CallerId, Arc<Sight>>);

impl Auditors {
    /// Adds one; `false` when he is there already.
    pub(crate) fn add(&mut self, caller: CallerId, sight: Sight) -> bool {
        self.0.insert(caller, Arc::new(sight)).is_none()
    }
}

impl Authenticate for Auditors {
    type Identity = Auditor;

    fn authenticate(&self, _: &HeaderMap, extensions: &Extensions) -> Result<Auditor, Box<Status>> {
        let peer = extensions.get::<PeerInfo>();
        let caller = peer.and_then(|peer| peer.caller_at(SystemTime::now()));
        let caller = caller.ok_or_else(|| Box::new(refused(Code::Unauthenticated)))?;
        let Some(sight) = self.0.get(caller) else {
            tracing::warn!(%caller, "somebody who is no auditor asked");
            return Err(Box::new(refused(Code::DeniedOrNotFound)));
        };
        Ok(Auditor { caller: caller.clone(), sight: Arc::clone(sight) })
    }
}
