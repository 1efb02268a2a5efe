//! Natural batching: while two groups of commands are on their way, new ones gather and become the next group. Nobody
//! waits for a timer, and the busier the node, the larger its groups.
//!
//! ```text
//! propose ──▶ bounded queue ──▶ batcher ──▶ group 1 ──▶ leader: one log entry     follower: one Forward call
//!   full?                          │   └──▶ group 2 ──▶ …
//!   Overloaded at once             └── both on their way: the queue gathers group 3
//! ```

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::error::ProposeError;

/// Groups on their way at once. With one, the log is idle while a group travels; with two, one is written while the
/// next is replicated; more would only make the groups smaller.
pub const GROUPS_IN_FLIGHT: usize = 2;
/// Bytes of commands after which a group takes no more (1 MiB); a single command may be larger.
pub const GROUP_BYTES_SOFT: usize = 1 << 20;
/// Commands of one group.
pub const GROUP_COMMANDS_MAX: usize = 4_096;
/// Calls that may wait or be on their way.
pub const QUEUE_CALLS_MAX: usize = 16_384;
/// Bytes of commands that may wait or be on their way (64 MiB).
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Bytes of one command (16 MiB): far above a batch of 1,000 items, far below one message between nodes.
pub const COMMAND_BYTES_MAX: usize = 16 << 20;

/// Whose commands these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A call to this node: it is carried to whoever leads.
    Local,
    /// Another node's: carried out if this node leads, otherwise sent back, so that no command travels in circles.
    Forwarded,
}

/// Encoded outcomes and the log index they are from.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) outcomes: Vec<Bytes>,
    pub(crate) index: u64,
}

/// Commands of one call, proposed together, and who waits for them.
pub(crate) struct Unit {
    pub(crate) commands: Vec<Bytes>,
    pub(crate) origin: Origin,
    pub(crate) deadline: Instant,
    reply: oneshot::Sender<Result<Answers, ProposeError>>,
    _room: OwnedSemaphorePermit,
}

impl Unit {
    /// Answers the call. Nobody may be waiting any more.
    pub(crate) fn answer(self, answer: Result<Answers, ProposeError>) {
        let _ = self.reply.send(answer);
    }

    fn bytes(&self) -> usize {
        self.commands.iter().map(Bytes::len).sum()
    }
}

/// Where groups go.
pub(crate) trait Route: Send + Sync + 'static {
    /// Carries a group to whoever leads and answers each of its units, by its deadline.
    fn carry(self: Arc<Self>, group: Vec<Unit>) -> impl Future<Output = ()> + Send;
}

/// The queue of proposals; a clone is a handle to the same queue.
#[derive(Clone)]
pub(crate) struct Batcher {
    queue: mpsc::Sender<Unit>,
    room: Arc<Semaphore>,
}

impl Batcher {
    /// A queue and the task that empties it towards `route` until every handle is dropped.
    pub(crate) fn start<R: Route>(route: Arc<R>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_CALLS_MAX);
        tokio::spawn(run(waiting, route));
        Self { queue, room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)) }
    }

    /// Queues commands and waits for their outcomes.
    ///
    /// # Errors
    /// [`ProposeError::Overloaded`] at once if the queue is full; otherwise what came of the attempts.
    pub(crate) async fn propose(
        &self,
        commands: Vec<Bytes>,
        origin: Origin,
        deadline: Instant,
    ) -> Result<Answers, ProposeError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(self.unit(commands, origin, deadline, reply)?).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ProposeError::ShuttingDown,
        })?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ProposeError::ShuttingDown),
            Err(_) => Err(ProposeError::Deadline),
        }
    }

    fn unit(
        &self,
        commands: Vec<Bytes>,
        origin: Origin,
        deadline: Instant,
        reply: oneshot::Sender<Result<Answers, ProposeError>>,
    ) -> Result<Unit, ProposeError> {
        if let Some(large) = commands.iter().find(|command| command.len() > COMMAND_BYTES_MAX) {
            return Err(ProposeError::TooLarge { bytes: large.len(), limit: COMMAND_BYTES_MAX });
        }
        let bytes: usize = commands.iter().map(Bytes::len).sum();
        let bytes = u32::try_from(bytes).map_err(|_| ProposeError::Overloaded)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| ProposeError::Overloaded)?;
        Ok(Unit { commands, origin, deadline, reply, _room: room })
    }
}

async fn run<R: Route>(mut waiting: mpsc::Receiver<Unit>, route: Arc<R>) {
    let in_flight = Arc::new(Semaphore::new(GROUPS_IN_FLIGHT));
    loop {
        // First the right to send, then the commands: what arrives while waiting for it joins the group.
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
        let Some(first) = waiting.recv().await else { return };
        let group = gather(first, &mut waiting);
        let route = Arc::clone(&route);
        tokio::spawn(async move {
            route.carry(group).await;
            drop(permit);
        });
    }
}

/// Takes what is already waiting, up to the limits of a group.
fn gather(first: Unit, waiting: &mut mpsc::Receiver<Unit>) -> Vec<Unit> {
    let (mut bytes, mut commands) = (first.bytes(), first.commands.len());
    let mut group = vec![first];
    while bytes < GROUP_BYTES_SOFT && commands < GROUP_COMMANDS_MAX {
        let Ok(next) = waiting.try_recv() else { break };
        bytes = bytes.saturating_add(next.bytes());
        commands = commands.saturating_add(next.commands.len());
        group.push(next);
    }
    group
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::sync::Notify;

    use super::*;

    /// Answers every command with itself, when it is let.
    #[derive(Default)]
    struct Echo {
        sizes: Mutex<Vec<usize>>,
        go: Notify,
    }

    impl Route for Echo {
        async fn carry(self: Arc<Self>, group: Vec<Unit>) {
            self.sizes.lock().push(group.len());
            self.go.notified().await;
            for unit in group {
                let outcomes = unit.commands.clone();
                unit.answer(Ok(Answers { outcomes, index: 7 }));
            }
        }
    }

    fn command(byte: u8) -> Vec<Bytes> {
        vec![Bytes::copy_from_slice(&[byte])]
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    async fn until(what: impl Fn() -> bool) {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn what_arrives_while_groups_travel_becomes_the_next_group() {
        let route = Arc::new(Echo::default());
        let batcher = Batcher::start(route.clone());
        let call = |byte: u8| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.propose(command(byte), Origin::Local, soon()).await })
        };

        // Phase 1: two calls leave at once, each in a group of its own; eight more gather.
        let mut calls = Vec::new();
        for byte in 0..2 {
            calls.push(call(byte));
            until(|| route.sizes.lock().len() == usize::from(byte) + 1).await;
        }
        calls.extend((2..10).map(call));
        until(|| batcher.queue.capacity() == QUEUE_CALLS_MAX - 8).await;
        assert_eq!(*route.sizes.lock(), [1, 1]);

        // Phase 2: the groups return; the eight leave together; each caller gets its own answer.
        route.go.notify_one();
        until(|| route.sizes.lock().len() == 3).await;
        route.go.notify_waiters();
        for (byte, call) in (0_u8..).zip(calls) {
            let answers = call.await.unwrap().unwrap();
            assert_eq!((answers.outcomes, answers.index), (command(byte), 7));
        }
        assert_eq!(*route.sizes.lock(), [1, 1, 8]);
    }

    #[tokio::test]
    async fn a_full_queue_answers_at_once_and_a_deadline_is_kept() {
        let batcher = Batcher::start(Arc::new(Echo::default()));
        let large = || vec![Bytes::from(vec![0; COMMAND_BYTES_MAX])];

        // Phase 1: four commands of 16 MiB fill the queue's bytes; the fifth is refused without waiting.
        let mut calls = Vec::new();
        for _ in 0..QUEUE_BYTES_MAX / COMMAND_BYTES_MAX {
            let batcher = batcher.clone();
            calls.push(tokio::spawn(async move { batcher.propose(large(), Origin::Local, soon()).await.err() }));
        }
        until(|| batcher.room.available_permits() == 0).await;
        let refused = batcher.propose(command(1), Origin::Local, soon()).await.err();
        assert_eq!(refused, Some(ProposeError::Overloaded));

        // Phase 2: nobody answers, so every call ends with its deadline.
        for call in calls {
            assert_eq!(call.await.unwrap(), Some(ProposeError::Deadline));
        }

        // Phase 3: a command larger than any entry is refused as such.
        let huge = vec![Bytes::from(vec![0; COMMAND_BYTES_MAX + 1])];
        let refused = batcher.propose(huge, Origin::Local, soon()).await.err();
        assert!(matches!(refused, Some(ProposeError::TooLarge { .. })));
    }
}
