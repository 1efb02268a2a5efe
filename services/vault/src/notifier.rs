//! Tells people at once what they should know at once: requests for access, broken glass, successions, and alarms that
//! cannot wait. A copy of what is entered, never the record of it: the ledger is.
//!
//! ```text
//! apply ─observer─▶ bounded queue ─▶ leader only: log event (stderr, OTLP) ─▶ webhook, with retries
//! critical alarm ─────┘ (its log event was made by [`crate::alarms`])
//! ```
//!
//! Nothing here blocks a call. A full queue, or a leader that changes in the wrong moment, may lose a notification or
//! send it twice; its request id tells.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fuda_consensus::ApplyObserver;
use fuda_core::{CallerId, RequestId, Sequence, TenantId, Timestamp};
use fuda_crypto::hmac_sha256;
use fuda_ledger::{Alarm, AlarmCode, Entry, Header};
use fuda_policy::Action;
use fuda_runtime::webhook::Webhook;
use fuda_state::alarms::Leaked;
use fuda_state::{Outcome, reader};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::gate::Gate;
use crate::observer::ApplySpans;
use crate::tasks::leads;

/// Notifications that wait; more are dropped, with a warning.
const QUEUE_MAX: usize = 1_024;
/// What is older was applied again by a restart, or has waited too long to be news.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Pauses between attempts; after the last one the notification is given up.
const PAUSES_S: [u64; 5] = [1, 2, 4, 8, 16];

/// What an entry is called in notifications; `None` for what is no news.
const fn event_of(action: Action) -> Option<(&'static str, bool)> {
    Some(match action {
        Action::RequestAccess => ("access.requested", false),
        Action::ApproveAccess => ("access.approved", false),
        Action::DenyAccess => ("access.denied", false),
        Action::RevokeAccess => ("access.revoked", false),
        Action::BreakGlass => ("access.break_glass", true),
        Action::ReviewBreakGlass => ("access.reviewed", false),
        Action::StartSuccession => ("succession.started", true),
        Action::FinishSuccession => ("succession.finished", true),
        Action::CancelSuccession => ("succession.cancelled", false),
        _ => return None,
    })
}

/// What an alarm is called in notifications; `None` for what can wait for the day's work.
const fn event_of_alarm(code: AlarmCode) -> Option<&'static str> {
    match code {
        AlarmCode::BudgetStopped => Some("alarm.budget_stopped"),
        AlarmCode::Canary => Some("alarm.canary"),
        AlarmCode::Enumeration => Some("alarm.enumeration"),
        _ => None,
    }
}

/// One piece of news: ids and names, no subject, no token, no free text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct News {
    event: &'static str,
    alarm: bool,
    tenant: Option<TenantId>,
    caller: CallerId,
    request_id: RequestId,
    sequence: Sequence,
    /// Where a canary token was planted.
    leaked: Option<Leaked>,
    /// Its log event was made before.
    logged: bool,
}

impl News {
    fn of_alarm(entry: &Entry, alarm: &Alarm, leaked: Option<&Leaked>) -> Option<Self> {
        Some(Self {
            event: event_of_alarm(alarm.code)?,
            alarm: true,
            tenant: entry.common.tenant.clone(),
            caller: entry.common.caller.clone(),
            request_id: entry.common.request_id,
            sequence: entry.item.sequence,
            leaked: leaked.cloned(),
            logged: true,
        })
    }

    fn of(header: &Header, outcome: &Outcome) -> Option<Self> {
        let (event, alarm) = event_of(header.action).filter(|_| header.denied.is_none())?;
        let Outcome::Applied { first: Some(sequence), .. } = outcome else { return None };
        Some(Self {
            event,
            alarm,
            tenant: header.tenant.clone(),
            caller: header.caller.clone(),
            request_id: header.request_id,
            sequence: *sequence,
            leaked: None,
            logged: false,
        })
    }

    /// The JSON that is posted. Ids and codes need no escaping: their types allow no quote, backslash or control.
    fn body(&self, time: Timestamp) -> Bytes {
        let tenant = self.tenant.as_ref().map(TenantId::as_str).unwrap_or_default();
        let Self { event, alarm, caller, request_id, sequence, .. } = self;
        let leaked = self
            .leaked
            .as_ref()
            .map(|Leaked { tenant, scope }| format!("\"leaked_tenant\":\"{tenant}\",\"leaked_scope\":\"{scope}\","));
        let leaked = leaked.unwrap_or_default();
        Bytes::from(format!(
            "{{\"event\":\"{event}\",\"alarm\":{alarm},\"tenant\":\"{tenant}\",\"caller\":\"{caller}\",\
             \"request_id\":\"{request_id}\",{leaked}\"entry_sequence\":{},\"time\":\"{}\"}}",
            sequence.get(),
            time.to_rfc3339()
        ))
    }
}

/// Where notifications go beside the log.
pub(crate) struct Receiving {
    /// The address.
    pub(crate) webhook: Webhook,
    /// What signs them.
    pub(crate) secret: Zeroizing<Vec<u8>>,
}

/// Sees what is applied, and queues what is news. Makes the spans of apply as well: there is one observer.
pub(crate) struct Observer {
    queue: Sender<News>,
}

impl Observer {
    /// The same queue, for alarms.
    pub(crate) fn alerts(&self) -> Alerts {
        Alerts(self.queue.clone())
    }
}

/// Queues alarms of committed entries.
pub(crate) struct Alerts(Sender<News>);

impl Alerts {
    /// Queues an alarm that cannot wait; others are left to the collector.
    pub(crate) fn tell(&self, entry: &Entry, alarm: &Alarm, leaked: Option<&Leaked>) {
        if let Some(news) = News::of_alarm(entry, alarm, leaked) {
            queue(&self.0, news);
        }
    }
}

fn queue(to: &Sender<News>, news: News) {
    if to.try_send(news).is_err() {
        tracing::warn!("a notification was dropped: too many wait");
    }
}

/// The queue's other end, for [`run`].
pub(crate) struct Queue(Receiver<News>);

/// An observer and its queue.
pub(crate) fn observer() -> (Observer, Queue) {
    let (queue, rest) = channel(QUEUE_MAX);
    (Observer { queue }, Queue(rest))
}

impl ApplyObserver for Observer {
    fn applied(&self, header: &Header, outcome: &Outcome, index: u64) {
        ApplySpans.applied(header, outcome, index);
        if let Some(news) = News::of(header, outcome) {
            queue(&self.queue, news);
        }
    }
}

/// Sends the news while this node leads, until shutdown.
pub(crate) async fn run(gate: Arc<Gate>, to: Option<Receiving>, mut queue: Queue, shutdown: CancellationToken) {
    loop {
        let news = tokio::select! {
            () = shutdown.cancelled() => return,
            news = queue.0.recv() => news,
        };
        let Some(news) = news else { return };
        if !leads(&gate) {
            continue;
        }
        let Some(time) = time_of(&gate, &news) else { continue };
        if !news.logged {
            log(&news);
        }
        let Some(to) = &to else { continue };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = deliver(to, &news, time) => {}
        }
    }
}

/// When it was entered; `None` for what is no news any more.
fn time_of(gate: &Gate, news: &News) -> Option<Timestamp> {
    let entry = reader::entry(&gate.store, news.sequence).ok()??;
    let now = gate.now().ok()?;
    (now.since(entry.common.time) <= AGE_MAX).then_some(entry.common.time)
}

fn log(news: &News) {
    let tenant = news.tenant.as_ref().map(TenantId::as_str).unwrap_or_default();
    let (event, caller, request_id) = (news.event, news.caller.as_str(), news.request_id.to_string());
    if news.alarm {
        tracing::warn!(
            "fuda.event" = event,
            "fuda.tenant" = tenant,
            "fuda.caller" = caller,
            "fuda.request_id" = request_id,
            "alarm: somebody must look at this entry"
        );
    } else {
        tracing::info!(
            "fuda.event" = event,
            "fuda.tenant" = tenant,
            "fuda.caller" = caller,
            "fuda.request_id" = request_id,
            "an entry people are told of"
        );
    }
}

async fn deliver(to: &Receiving, news: &News, time: Timestamp) {
    let body = news.body(time);
    let signature = signature(&to.secret, &body);
    for pause in PAUSES_S.into_iter().map(Some).chain([None]) {
        match (to.webhook.post(body.clone(), &signature).await, pause) {
            (Ok(()), _) => return,
            (Err(error), Some(seconds)) => {
                tracing::debug!(%error, "a notification did not arrive; it is sent again");
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            (Err(error), None) => tracing::warn!(%error, "fuda.event" = news.event, "a notification was given up"),
        }
    }
}

/// `sha256=` and the hexadecimal HMAC-SHA-256 of the body.
fn signature(secret: &[u8], body: &[u8]) -> String {
    format!("sha256={}", hex::encode(hmac_sha256(secret, body)))
}

#[cfg(test)]
mod tests {
    use fuda_core::ScopeId;
    use fuda_policy::samples;

    use super::*;

    fn news() -> News {
        News {
            event: "access.break_glass",
            alarm: true,
            tenant: Some(TenantId::parse("acme").unwrap()),
            caller: samples::caller("taro").unwrap(),
            request_id: RequestId::from_bytes([7; 16]),
            sequence: Sequence(9),
            leaked: None,
            logged: false,
        }
    }

    #[test]
    fn a_notification_is_json_with_ids_only() {
        let body = String::from_utf8(news().body(Timestamp(0)).to_vec()).unwrap();
        assert_eq!(
            body,
            "{\"event\":\"access.break_glass\",\"alarm\":true,\"tenant\":\"acme\",\
             \"caller\":\"spiffe://fuda.test/demo/taro\",\"request_id\":\"07070707-0707-0707-0707-070707070707\",\
             \"entry_sequence\":9,\"time\":\"1970-01-01T00:00:00.000Z\"}"
        );
        let leaked = Leaked { tenant: TenantId::parse("acme").unwrap(), scope: ScopeId::parse("payroll").unwrap() };
        let canary = News { event: "alarm.canary", leaked: Some(leaked), ..news() };
        let body = String::from_utf8(canary.body(Timestamp(0)).to_vec()).unwrap();
        assert!(body.contains(",\"leaked_tenant\":\"acme\",\"leaked_scope\":\"payroll\",\"entry_sequence\""), "{body}");
        let vault_wide = News { tenant: None, ..news() };
        assert!(String::from_utf8(vault_wide.body(Timestamp(0)).to_vec()).unwrap().contains("\"tenant\":\"\""));
    }

    #[test]
    fn alarms_that_cannot_wait_are_news() {
        for code in AlarmCode::ALL {
            let critical = code.severity() == fuda_ledger::Severity::Critical;
            assert_eq!(event_of_alarm(code).is_some(), critical, "{}", code.code());
            assert!(event_of_alarm(code).is_none_or(|event| event.ends_with(code.code())));
        }
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_signature_is_plain_hmac_sha_256() {
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(b"Jefe", b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn every_action_about_access_and_succession_is_news_and_reveals_are_not() {
        let told: Vec<Action> = Action::ALL.into_iter().filter(|action| event_of(*action).is_some()).collect();
        assert_eq!(told.len(), 9);
        assert!(told.iter().all(|action| !action.reveals()));
        assert_eq!(event_of(Action::BreakGlass), Some(("access.break_glass", true)));
        assert_eq!(event_of(Action::Detokenize), None);
    }
}
