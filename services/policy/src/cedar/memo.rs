//! What the policy text said about one grant before.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Facts, Verdict};

/// Verdicts kept for one grant: a system asks for few purposes in few scopes, at all hours.
const VERDICTS_PER_GRANT_MAX: usize = 16;
/// Verdicts kept for all grants of a policy, as long as these are fewer; each takes about 400 bytes. With more grants
/// it is one for each.
const VERDICTS_MAX: usize = 65_536;

/// The last answers about one grant. Nothing in it can be wrong: [`Facts`] are all that an answer depends on, beside
/// the grant and the text, whose lives it shares.
pub(super) struct Memo {
    room: usize,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    verdicts: Vec<(Facts, Verdict)>,
    /// The one to be forgotten next.
    oldest: usize,
}

impl Memo {
    /// The memo of one of so many grants.
    pub(super) fn among(grants: usize) -> Self {
        let room = (VERDICTS_MAX / grants.max(1)).clamp(1, VERDICTS_PER_GRANT_MAX);
        Self { room, said: Mutex::default() }
    }

    pub(super) fn recall(&self, facts: &Facts) -> Option<Verdict> {
        let said = self.said();
        said.verdicts.iter().find(|(asked, _)| asked == facts).map(|(_, verdict)| verdict.clone())
    }

    /// Keeps an answer, in the place of the oldest when there is no room.
    pub(super) fn keep(&self, facts: Facts, verdict: &Verdict) {
        let mut said = self.said();
        let (oldest, answer) = (said.oldest, (facts, verdict.clone()));
        if said.verdicts.len() < self.room {
            said.verdicts.push(answer);
        } else if let Some(place) = said.verdicts.get_mut(oldest) {
            *place = answer;
            said.oldest = (oldest + 1) % self.room;
        }
    }

    /// Whoever panicked with the lock in hand left whole answers behind.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fuda_core::Timestamp;

    use super::*;
    use crate::{
        Action, Request,
        cedar::{Class, PolicyIds, PurposeFlags},
        samples,
    };

    #[test]
    fn a_full_memo_forgets_the_oldest_answer() {
        let request = Request::vault(Action::ReadLedger, samples::caller("memo").unwrap());
        let at = |now| Facts::of(&request, Class::named(&request), None, PurposeFlags::default(), None, Timestamp(now));
        let answer = |id: i64| Verdict::Permitted(PolicyIds::from([id.to_string()]));
        let memo = Memo::among(1);
        let asked = 3 * VERDICTS_PER_GRANT_MAX as i64 / 2;
        (0..asked).for_each(|id| memo.keep(at(id), &answer(id)));
        for id in 0..asked {
            let kept = id >= asked - VERDICTS_PER_GRANT_MAX as i64;
            assert_eq!(memo.recall(&at(id)), kept.then(|| answer(id)));
        }
    }

    #[test]
    fn the_more_grants_the_less_is_kept_of_each() {
        let rooms = [0, 1, 4_096, 8_192, 65_536, 100_000].map(|grants| Memo::among(grants).room);
        assert_eq!(rooms, [16, 16, 16, 8, 1, 1]);
    }
}
