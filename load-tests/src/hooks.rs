//! A receiver of notifications: https, answers the first message with an error to see it again, keeps the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use bytes::Bytes;
use fuda_runtime::dev_ca::Pems;
use http::StatusCode;
use parking_lot::Mutex;

use crate::https::HttpsServer;

/// A message: the signature header and the body.
#[derive(Clone, Debug)]
pub struct Message {
    /// `fuda-signature`.
    pub signature: String,
    /// The JSON.
    pub body: Bytes,
}

/// A running receiver on a free loopback port. Ends when dropped.
pub struct HookSink {
    url: String,
    messages: Arc<Mutex<Vec<Message>>>,
    _serving: HttpsServer,
}

impl HookSink {
    /// Starts to listen with a server certificate for `localhost`.
    ///
    /// # Errors
    /// When the certificate or the port cannot be had.
    pub async fn start(pems: &Pems) -> Result<Self> {
        let messages = Arc::new(Mutex::new(Vec::new()));
        let (taken, failed_once) = (Arc::clone(&messages), AtomicBool::new(false));
        let serving = HttpsServer::start(pems, move |asked| {
            if !failed_once.swap(true, Ordering::Relaxed) {
                return (StatusCode::SERVICE_UNAVAILABLE, Bytes::new());
            }
            let signature = asked.header("fuda-signature").to_owned();
            taken.lock().push(Message { signature, body: asked.body });
            (StatusCode::NO_CONTENT, Bytes::new())
        });
        let serving = serving.await?;
        Ok(Self { url: serving.url("/hook"), messages, _serving: serving })
    }

    /// What nodes are told as `notify.webhook_url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What arrived and was accepted, in order.
    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().clone()
    }
}
