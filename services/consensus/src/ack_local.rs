//! A planted bug, compiled only with the feature `failpoints`: a leader that counts a follower's acknowledgement as soon
//! as it has written an entry itself, and sends the entry a moment later. What it acknowledges dies with it.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Answers, AppendAnswer, Link};
use crate::peers::PeerError;
use crate::types::AppendEntriesRequest;

/// How long an entry that is already acknowledged stays unsent.
const UNSENT: Duration = Duration::from_millis(150);

type Requests = Pin<Box<dyn Stream<Item = AppendEntriesRequest> + Send>>;

/// A replication session that answers for the follower.
struct Session {
    input: Requests,
    later: mpsc::UnboundedSender<(Instant, AppendEntriesRequest)>,
    answers: Answers,
    /// The follower itself answered once, so that a new follower still gets its log.
    agreed: bool,
}

impl Link {
    pub(super) async fn append_acknowledging_locally<S>(
        &self,
        input: S,
    ) -> Result<impl Stream<Item = AppendAnswer> + Send + use<S>, PeerError>
    where
        S: Stream<Item = AppendEntriesRequest> + OptionalSend + Unpin + 'static,
    {
        let (later, mut due) = mpsc::unbounded_channel::<(Instant, AppendEntriesRequest)>();
        let delayed = stream::poll_fn(move |context| due.poll_recv(context)).then(|(at, request)| async move {
            tokio::time::sleep_until(at).await;
            request
        });
        let answers = self.open_append(Box::pin(delayed)).await?;
        let session = Session { input: Box::pin(input), later, answers, agreed: false };
        Ok(stream::unfold(session, next))
    }
}

async fn next(mut session: Session) -> Option<(AppendAnswer, Session)> {
    let request = session.input.next().await?;
    let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
    let at = if session.agreed { Instant::now() + UNSENT } else { Instant::now() };
    session.later.send((at, request)).ok()?;
    if session.agreed {
        return Some((Ok(Ok(last)), session));
    }
    let answer = session.answers.next().await?;
    session.agreed = matches!(answer, Ok(Ok(_)));
    Some((answer, session))
}
