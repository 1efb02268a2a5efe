//! Sign-ins that were begun, and sessions: in memory, bounded, by digests of what browsers hold. Whoever reads them cannot
//! take anybody's place with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fuda_core::{CallerId, Timestamp};
use fuda_crypto::digest::{constant_time_eq, sha256};
use fuda_crypto::{OsRandom, Random as _};
use parking_lot::Mutex;
use zeroize::Zeroizing;

/// Sign-ins that are under way at a time; one more drops the oldest.
const BEGUN_MAX: usize = 4_096;
/// How long a person may take at the provider.
pub(super) const SIGN_IN_WITHIN: Duration = Duration::from_secs(600);
/// Sessions at a time.
const SESSIONS_MAX: usize = 4_096;
/// Sessions of one person; one more ends the one that was silent longest.
const SESSIONS_OF_ONE_MAX: usize = 8;

/// Neither random bytes nor room could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

type Digest = [u8; 32];

fn digest(secret: &str) -> Digest {
    sha256(&[b"fuda/console/sign-in\0", secret.as_bytes()])
}

/// 256 random bits in the alphabet of addresses and cookies.
fn secret() -> Result<Zeroizing<String>, NoRoom> {
    let mut bytes = Zeroizing::new([0; 32]);
    OsRandom::new().fill(&mut *bytes).map_err(|_| NoRoom)?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// A sign-in under way, as the browser and the provider get to know it.
pub(super) struct Begun {
    /// Goes to the provider and comes back with the browser.
    pub(super) state: Zeroizing<String>,
    /// Goes to the provider, and comes back in the ID token.
    pub(super) nonce: Zeroizing<String>,
    /// Its digest goes to the provider now, itself when the code is exchanged (RFC 7636).
    pub(super) verifier: Zeroizing<String>,
    /// Stays with the browser, in a cookie.
    pub(super) browser: Zeroizing<String>,
}

/// What is kept until the browser comes back.
pub(super) struct Expected {
    pub(super) nonce: Zeroizing<String>,
    pub(super) verifier: Zeroizing<String>,
    browser: Digest,
    begun: Instant,
}

/// Sign-ins under way, by the digest of their state.
#[derive(Default)]
pub(super) struct SignIns(Mutex<BTreeMap<Digest, Expected>>);

impl SignIns {
    pub(super) fn begin(&self, now: Instant) -> Result<Begun, NoRoom> {
        let begun = Begun { state: secret()?, nonce: secret()?, verifier: secret()?, browser: secret()? };
        let expected = Expected {
            nonce: begun.nonce.clone(),
            verifier: begun.verifier.clone(),
            browser: digest(&begun.browser),
            begun: now,
        };
        let mut table = self.0.lock();
        table.retain(|_, other| now.duration_since(other.begun) < SIGN_IN_WITHIN);
        if table.len() >= BEGUN_MAX {
            let oldest = table.iter().min_by_key(|(_, other)| other.begun).map(|(state, _)| *state);
            oldest.map(|state| table.remove(&state));
        }
        table.insert(digest(&begun.state), expected);
        Ok(begun)
    }

    /// The sign-in of a state, for the browser that began it. Whoever brings a state uses it up, rightly or not.
    pub(super) fn finish(&self, state: &str, browser: Option<&str>, now: Instant) -> Option<Expected> {
        let expected = self.0.lock().remove(&digest(state))?;
        let in_time = now.duration_since(expected.begun) < SIGN_IN_WITHIN;
        let same = browser.is_some_and(|browser| constant_time_eq(&digest(browser), &expected.browser));
        (in_time && same).then_some(expected)
    }
}

/// Somebody who signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) caller: CallerId,
    /// When the provider says that he signed in there.
    pub(super) signed_in: Option<Timestamp>,
}

struct Session {
    person: Person,
    seen: Instant,
    until: Instant,
}

/// Sessions, by the digest of their cookie.
pub(super) struct Sessions {
    idle: Duration,
    table: Mutex<BTreeMap<Digest, Session>>,
}

impl Sessions {
    /// None yet. Each ends after so much silence.
    pub(super) fn new(idle: Duration) -> Self {
        Self { idle, table: Mutex::default() }
    }

    /// A session that ends after `longest` at the latest; the value of its cookie.
    pub(super) fn begin(&self, person: Person, longest: Duration, now: Instant) -> Result<Zeroizing<String>, NoRoom> {
        let cookie = secret()?;
        let mut table = self.table.lock();
        table.retain(|_, other| self.lives(other, now));
        let own = table.iter().filter(|(_, other)| other.person.caller == person.caller);
        if own.clone().count() >= SESSIONS_OF_ONE_MAX {
            let silent = own.min_by_key(|(_, other)| other.seen).map(|(session, _)| *session);
            silent.map(|session| table.remove(&session));
        }
        if table.len() >= SESSIONS_MAX {
            return Err(NoRoom);
        }
        table.insert(digest(&cookie), Session { person, seen: now, until: now + longest });
        Ok(cookie)
    }

    /// Whose session it is and what it is bound to; it was used now.
    pub(super) fn of(&self, cookie: &str, now: Instant) -> Option<(Person, Digest)> {
        let (id, mut table) = (digest(cookie), self.table.lock());
        let session = table.get_mut(&id)?;
        if !self.lives(session, now) {
            table.remove(&id);
            return None;
        }
        session.seen = now;
        Some((session.person.clone(), id))
    }

    /// Ends it.
    pub(super) fn end(&self, cookie: &str) {
        self.table.lock().remove(&digest(cookie));
    }

    fn lives(&self, session: &Session, now: Instant) -> bool {
        now < session.until && now.duration_since(session.seen) < self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn person(name: &str) -> Person {
        Person { caller: CallerId::parse(&format!("oidc:corp/{name}")).unwrap(), signed_in: None }
    }

    #[test]
    fn a_state_is_good_once_in_time_and_in_its_browser() {
        let (table, now) = (SignIns::default(), Instant::now());
        let begin = || table.begin(now).unwrap();
        let begun = begin();
        let found = table.finish(&begun.state, Some(&begun.browser), now + MINUTE).unwrap();
        assert!(found.nonce == begun.nonce && found.verifier == begun.verifier);
        assert!(table.finish(&begun.state, Some(&begun.browser), now).is_none(), "used up");
        let (one, two) = (begin(), begin());
        assert!(table.finish(&one.state, Some(&two.browser), now).is_none(), "another browser");
        assert!(table.finish(&one.state, Some(&one.browser), now).is_none(), "whoever tried used it up");
        assert!(table.finish(&two.state, None, now).is_none(), "no cookie");
        let late = begin();
        assert!(table.finish(&late.state, Some(&late.browser), now + SIGN_IN_WITHIN).is_none(), "too late");
        assert!(table.finish("", Some(""), now).is_none() && table.finish("guessed", Some("guessed"), now).is_none());
    }

    #[test]
    fn sign_ins_under_way_are_bounded() {
        let (table, now) = (SignIns::default(), Instant::now());
        let first = table.begin(now).unwrap();
        for _ in 0..BEGUN_MAX {
            table.begin(now + MINUTE).unwrap();
        }
        assert_eq!(table.0.lock().len(), BEGUN_MAX);
        assert!(table.finish(&first.state, Some(&first.browser), now + MINUTE).is_none(), "the oldest went");
        table.begin(now + MINUTE + SIGN_IN_WITHIN).unwrap();
        assert_eq!(table.0.lock().len(), 1, "the old ones went");
    }

    #[test]
    fn a_session_ends_by_silence_by_time_and_by_its_person() {
        let (table, now) = (Sessions::new(15 * MINUTE), Instant::now());
        let cookie = table.begin(person("anna"), 60 * MINUTE, now).unwrap();
        for minutes in [10, 20, 30, 40, 50, 59] {
            assert_eq!(table.of(&cookie, now + minutes * MINUTE).unwrap().0, person("anna"), "{minutes}");
        }
        assert!(table.of(&cookie, now + 60 * MINUTE).is_none(), "its time is over");
        let cookie = table.begin(person("anna"), 60 * MINUTE, now).unwrap();
        assert!(table.of(&cookie, now + 15 * MINUTE).is_none(), "silent");
        assert!(table.of(&cookie, now + MINUTE).is_none(), "and gone");
        let cookie = table.begin(person("anna"), 60 * MINUTE, now).unwrap();
        table.end(&cookie);
        assert!(table.of(&cookie, now).is_none() && table.of("", now).is_none());
    }

    #[test]
    fn sessions_are_bounded_by_person_and_in_all() {
        let (table, now) = (Sessions::new(15 * MINUTE), Instant::now());
        let mut cookies = Vec::new();
        for place in 0..=SESSIONS_OF_ONE_MAX {
            let later = now + Duration::from_secs(place as u64);
            cookies.push(table.begin(person("anna"), 60 * MINUTE, later).unwrap());
        }
        let later = now + MINUTE;
        assert!(table.of(&cookies[0], later).is_none(), "the one that was silent longest");
        assert!(cookies[1..].iter().all(|cookie| table.of(cookie, later).is_some()));
        for place in 0..SESSIONS_MAX - SESSIONS_OF_ONE_MAX {
            table.begin(person(&format!("p{place}")), 60 * MINUTE, later).unwrap();
        }
        assert_eq!(table.begin(person("bert"), 60 * MINUTE, later), Err(NoRoom));
        assert!(table.begin(person("anna"), 60 * MINUTE, later).is_ok(), "in the place of an own one");
    }
}
