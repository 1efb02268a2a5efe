//! What is asked for, and what a document rests on.

use fuda_core::{Day, Invalid, SubjectRef, TenantId, Timestamp, Zone, text};

use crate::{Error, ReportKind};

/// The language of a document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Language {
    /// Japanese.
    #[default]
    #[serde(rename = "ja")]
    Japanese,
    /// English.
    #[serde(rename = "en")]
    English,
}

impl Language {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Japanese, Self::English];

    /// `ja` or `en`, as in HTML and in the API.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Japanese => "ja",
            Self::English => "en",
        }
    }

    /// The language of a code.
    ///
    /// # Errors
    /// [`Invalid`] for any other.
    pub fn from_code(code: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|language| language.code() == code);
        found.ok_or(Invalid::new("language", "must be ja or en"))
    }
}

/// What an incident pack is about. Which entries belong to the incident is picked by whoever feeds the collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// When the organisation came to know of it: the clocks start then.
    pub known_at: Timestamp,
    /// Whether an improper purpose is feared (不正の目的のおそれ): then the final report has 60 days.
    pub improper: bool,
    /// The filter that picked the entries, to be shown; empty: all of the period.
    pub filter: String,
    /// What happened, in the words of who asks (事態の概要); empty: to be written in by hand.
    pub summary: String,
}

/// Which entries a record of use shows one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events {
    /// The first one by its place in the ledger. Of a document that does not begin with 0, nothing else is told: it is a
    /// further page of one that did.
    pub from: u64,
    /// How many at most; [`crate::Document::next_event`] is where the next page begins.
    pub max: usize,
}

impl Events {
    /// On paper.
    pub const PRINTED: Self = Self { from: 0, max: 2_000 };
    /// Most of one page of a file: a few megabytes.
    pub const PAGE_MAX: usize = 10_000;
}

/// One document that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which.
    pub report: ReportKind,
    /// The legal person it is about.
    pub tenant: TenantId,
    /// The first day of the period.
    pub from: Day,
    /// The last day of the period; what is in force is told as of its end.
    pub until: Day,
    /// The zone in which days begin and times are shown.
    pub zone: Zone,
    /// The language.
    pub language: Language,
    /// The person, for [`ReportKind::Disclosure`] and only there.
    pub subject: Option<SubjectRef>,
    /// What happened, for [`ReportKind::Incident`] and only there.
    pub incident: Option<Incident>,
    /// Whether whoever asks sees only a part of the ledger (one tenant, one entrusted party): the document then says so.
    pub partial: bool,
    /// The entries that [`ReportKind::Usage`] shows one by one.
    pub events: Events,
}

impl Request {
    /// Characters of a filter or a summary.
    pub const TEXT_CHARS_MAX: usize = 2_000;
    /// Days of a period: ten years and a leap day for each second of them.
    pub const PERIOD_DAYS_MAX: i32 = 3_660;

    /// Checks what its types do not.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a period that ends before it begins or is too long, a person or an incident where there
    /// must be none or that is missing, and texts that hold a number or a token.
    pub fn check(&self) -> Result<(), Error> {
        let days = self.until.number().saturating_sub(self.from.number());
        let wants_subject = self.report == ReportKind::Disclosure;
        let wants_incident = self.report == ReportKind::Incident;
        if days < 0 {
            return Err(Invalid::new("until", "must not be before from").into());
        }
        if days >= Self::PERIOD_DAYS_MAX {
            return Err(Invalid::new("until", "must be within 3660 days of from").into());
        }
        if self.events.from > 0 && self.report != ReportKind::Usage {
            return Err(Invalid::new("events_from_sequence", "must be 0 except for usage").into());
        }
        if self.subject.is_some() != wants_subject {
            return Err(Invalid::new("subject", "must be set exactly for disclosure").into());
        }
        if self.incident.is_some() != wants_incident {
            return Err(Invalid::new("incident", "must be set exactly for incident").into());
        }
        let Some(incident) = &self.incident else { return Ok(()) };
        for (field, value) in [("filter", &incident.filter), ("summary", &incident.summary)] {
            if !value.is_empty() {
                text::check_short(field, value, Self::TEXT_CHARS_MAX, "must be at most 2000 characters")?;
            }
        }
        Ok(())
    }

    /// The first moment of the period and the first moment behind it.
    #[must_use]
    pub fn moments(&self) -> (Timestamp, Timestamp) {
        let begin = |day: Day| self.zone.moment_of(day.date(), 0);
        let first = begin(self.from).unwrap_or(Timestamp::EPOCH);
        (first, begin(self.until.saturating_add(1)).unwrap_or(Timestamp::MAX))
    }
}

/// What a document rests on: the head of the log whose entries were read, and when that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// When the document was made.
    pub made_at: Timestamp,
    /// Who asked for it.
    pub made_by: String,
    /// The origin line of the log.
    pub origin: String,
    /// Entries of the log.
    pub size: u64,
    /// Root hash over them.
    pub root: [u8; 32],
    /// How many entries of the time it tells of are no longer kept, and the times of the first and the last of them.
    pub removed: Option<(u64, Timestamp, Timestamp)>,
}
