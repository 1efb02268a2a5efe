//! The questions of auditors: what each one is in words, and how it is answered.

use fuda_core::{Code, Invalid, SubjectRef, TenantId, Timestamp, Zone};
use fuda_proto::audit::v1 as pb;
use fuda_wire::{entry_to_wire, timestamp_to_wire};

use crate::ask::{Asker, Failure};
use crate::auditors::Auditor;
use crate::filter::Filter;
use crate::listing::{Listed, Listing};
use crate::queries::{Entered, Words};
use crate::retention::removed_to_wire;
use crate::store::{COUNTED_FIELDS_MAX, Counting, Field, Group, GroupKey};

/// Fields that one summary groups by.
const GROUP_BY_MAX: usize = 5;
/// Groups of one answer.
const GROUPS_MAX: usize = 10_000;
/// What WhoAccessed groups by.
const WHO: [Field; 6] = [Field::Subject, Field::Caller, Field::EndUser, Field::Purpose, Field::Action, Field::Decision];

const _: () = assert!(WHO.len() <= COUNTED_FIELDS_MAX && GROUP_BY_MAX <= COUNTED_FIELDS_MAX);

/// What reads and answers; it takes the proof that the question was entered.
pub(crate) type Answer<T> = Box<dyn FnOnce(&Asker, &Entered) -> Result<T, Failure> + Send>;

/// A question: in words, and how it is answered, or why it is not.
pub(crate) struct Question<T> {
    /// It in words, for the ledger of questions.
    pub(crate) words: Words,
    /// The log that it is about; empty: the one that is followed.
    pub(crate) origin: String,
    /// Whether any number of entries may be read for its answer: only so many such answers are made at once.
    pub(crate) is_sum: bool,
    /// How it is answered; the refusal when it could not be read.
    pub(crate) answer: Result<Answer<T>, Failure>,
}

fn question<T>(
    method: &'static str,
    (question, shape): (String, String),
    answer: Result<Answer<T>, Failure>,
) -> Question<T> {
    Question { words: Words { method, question, shape }, origin: String::new(), is_sum: false, answer }
}

impl<T> Question<T> {
    /// The same about this log.
    pub(crate) fn of_log(self, origin: String) -> Self {
        Self { origin, ..self }
    }

    /// The same as one for whose answer any number of entries may be read.
    pub(crate) fn into_sum(self) -> Self {
        Self { is_sum: true, ..self }
    }
}

/// One entry with what proves it.
pub(crate) fn entry(message: &pb::GetEntryRequest) -> Question<pb::GetEntryResponse> {
    let sequence = message.sequence;
    let answer: Answer<_> = Box::new(move |asker, asked| {
        let found = asker.store().read(|reader| {
            let Some(newest) = reader.newest_cosigned().filter(|newest| sequence < newest.size) else {
                return Ok(None);
            };
            let Some(row) = reader.entry(asked, sequence)? else { return Ok(None) };
            Ok(Some((row, reader.inclusion(sequence, newest.size)?, newest.note.clone())))
        })?;
        let (row, path, checkpoint) = found.ok_or(Code::DeniedOrNotFound)?;
        Ok(pb::GetEntryResponse {
            entry: Some(entry_to_wire(&row.entry, asked.sight())),
            path: path.into_iter().map(|hash| hash.to_vec()).collect(),
            checkpoint,
        })
    });
    question("GetEntry", (String::new(), format!("sequence {sequence}")), Ok(answer))
}

/// A page of entries.
pub(crate) fn list(message: &pb::ListEntriesRequest) -> Question<pb::ListEntriesResponse> {
    let listing = Listing::read(&message.filter, message.page_size, &message.page_token);
    let answer = listing.map(|listing| -> Answer<_> {
        Box::new(move |asker, asked| {
            let store = asker.store();
            let (listed, removed) = store.read_with(|reader| -> Result<_, Failure> {
                let removed = reader.removed_within(listing.filter().from, listing.filter().until)?;
                Ok((listing.page(store.origin(), reader, asked)?, removed))
            })?;
            let Listed { page, next, head } = listed;
            Ok(pb::ListEntriesResponse {
                removed: removed.map(removed_to_wire),
                entries: page.rows.iter().map(|row| entry_to_wire(&row.entry, asked.sight())).collect(),
                next_page_token: next,
                ledger_entries: head,
            })
        })
    });
    question("ListEntries", (message.filter.clone(), page_shape(&message.page_token)), answer)
}

/// What auditors asked: for those who see everything, because a question names what it is about.
pub(crate) fn read_queries(message: &pb::ReadQueriesRequest, auditor: &Auditor) -> Question<pb::ReadQueriesResponse> {
    let whole = auditor.sight.tenant.is_none() && auditor.sight.callers.is_none();
    let listing = match whole {
        true => Listing::read(&message.filter, message.page_size, &message.page_token),
        false => Err(Code::DeniedOrNotFound.into()),
    };
    let answer = listing.map(|listing| -> Answer<_> {
        Box::new(move |asker, asked| {
            let queries = asker.queries();
            let Listed { page, next, head } =
                queries.read_with(|reader| listing.page(queries.origin(), reader, asked))?;
            Ok(pb::ReadQueriesResponse {
                entries: page.rows.iter().map(|row| entry_to_wire(&row.entry, asked.sight())).collect(),
                next_page_token: next,
                ledger_entries: head,
            })
        })
    });
    question("ReadQueries", (message.filter.clone(), page_shape(&message.page_token)), answer)
}

/// Counts by fields and time.
pub(crate) fn summarize(message: &pb::SummarizeRequest) -> Question<pb::SummarizeResponse> {
    let answer = Sum::read(message).map(|sum| -> Answer<_> {
        Box::new(move |asker, asked| {
            let (groups, removed) = sum.groups(asker, asked)?;
            Ok(pb::SummarizeResponse { groups, removed })
        })
    });
    let bucket = message.time_bucket().as_str_name();
    let persons = if message.distinct_persons { ", persons" } else { "" };
    let shape = format!("by {} {bucket} {}{persons}", message.group_by.join(" "), message.time_zone);
    question("Summarize", (message.filter.clone(), shape), answer).into_sum()
}

/// Who did what with one person's numbers and with those of his dependants, under whatever record.
pub(crate) fn who_accessed(message: &pb::WhoAccessedRequest) -> Question<pb::WhoAccessedResponse> {
    let read = read_who(message);
    let words = match &read {
        Ok((words, _)) => words.clone(),
        // Not read, so not known to be harmless: the method and the refusal are enough.
        Err(_) => String::new(),
    };
    let answer = read.map(|(_, sum)| -> Answer<_> {
        Box::new(move |asker, asked| {
            let earlier = asker.store().read(|reader| reader.predecessors())?;
            let earlier_origins = earlier.into_iter().map(|it| it.statement.old_origin).collect();
            let (groups, removed) = sum.groups(asker, asked)?;
            Ok(pb::WhoAccessedResponse { groups, earlier_origins, removed })
        })
    });
    question("WhoAccessed", (words, String::new()), answer.map_err(Failure::from)).into_sum()
}

fn read_who(message: &pb::WhoAccessedRequest) -> Result<(String, Sum), Invalid> {
    let (tenant, subject) = (TenantId::parse(&message.tenant)?, SubjectRef::parse(&message.subject)?);
    let mut words = format!("tenant = \"{tenant}\" AND (subject = \"{subject}\" OR principal = \"{subject}\")");
    let mut filter = Filter::ALL.about(&tenant, &subject);
    if let Some(from) = &message.from_time {
        filter.from = moment("from_time", from)?;
        words += &format!(" AND time >= {}", filter.from.to_rfc3339());
    }
    if let Some(until) = &message.until_time {
        filter.until = moment("until_time", until)?;
        words += &format!(" AND time < {}", filter.until.to_rfc3339());
    }
    Ok((
        words,
        Sum { filter, fields: WHO.to_vec(), bucket: pb::TimeBucket::Unspecified, zone: Zone::tokyo(), persons: false },
    ))
}

/// Counting that was asked for.
struct Sum {
    filter: Filter,
    fields: Vec<Field>,
    bucket: pb::TimeBucket,
    zone: Zone,
    persons: bool,
}

impl Sum {
    fn read(message: &pb::SummarizeRequest) -> Result<Self, Failure> {
        let filter = Filter::parse(&message.filter)?;
        if message.group_by.len() > GROUP_BY_MAX {
            return Err(Invalid::new("group_by", "must name at most 5 fields").into());
        }
        let field = |name: &String| {
            let field = Field::named(name).filter(|field| field.has_column());
            field.ok_or(Invalid::new("group_by", "must name fields of a filter, without record"))
        };
        let fields: Vec<Field> = message.group_by.iter().map(field).collect::<Result<_, _>>()?;
        let bucket = pb::TimeBucket::try_from(message.time_bucket);
        let zone = match message.time_zone.as_str() {
            "" => Zone::tokyo(),
            name => Zone::parse(name)?,
        };
        let bucket = bucket.map_err(|_| Invalid::new("time_bucket", "must be hour, day or month"))?;
        Ok(Self { filter, fields, bucket, zone, persons: message.distinct_persons })
    }

    fn groups(&self, asker: &Asker, asked: &Entered) -> Result<(Vec<pb::Group>, Option<pb::Removed>), Failure> {
        let cut = self.bucket != pb::TimeBucket::Unspecified;
        let begin = |time: Timestamp| beginning(time, self.bucket, &self.zone);
        let counting = Counting {
            fields: &self.fields,
            span: cut.then_some(&begin),
            persons: self.persons,
            groups_max: GROUPS_MAX,
        };
        let (groups, removed) = asker.store().read(|reader| {
            let removed = reader.removed_within(self.filter.from, self.filter.until)?;
            Ok((reader.count(asked, &self.filter, &counting)?, removed))
        })?;
        let groups = groups.ok_or(Failure::Refused(
            Code::TooManyItems,
            Some(Invalid::new("group_by", "must not give more than 10,000 groups")),
        ))?;
        let groups = groups.into_iter().map(|(key, group)| group_to_wire(key, &group, cut)).collect();
        Ok((groups, removed.map(removed_to_wire)))
    }
}

/// The beginning of the span that a moment belongs to.
fn beginning(time: Timestamp, bucket: pb::TimeBucket, zone: &Zone) -> Timestamp {
    const HOUR_MS: i64 = 3_600_000;
    let date = time.date_in(zone);
    let begin = match bucket {
        pb::TimeBucket::Unspecified => return Timestamp::EPOCH,
        pb::TimeBucket::Hour => return Timestamp::from_millis(time.as_millis().div_euclid(HOUR_MS) * HOUR_MS),
        pb::TimeBucket::Day => zone.moment_of(date, 0),
        pb::TimeBucket::Month => zone.moment_of(date.first_of_month(), 0),
    };
    begin.unwrap_or(time)
}

pub(crate) fn group_to_wire(key: GroupKey, group: &Group, cut: bool) -> pb::Group {
    pb::Group {
        values: key.values,
        time: cut.then(|| timestamp_to_wire(key.bucket)),
        entries: group.entries,
        persons: group.persons.len() as u64,
        first_time: Some(timestamp_to_wire(group.first)),
        last_time: Some(timestamp_to_wire(group.last)),
    }
}

/// A time of the wire.
pub(crate) fn moment(field: &'static str, time: &prost_types::Timestamp) -> Result<Timestamp, Invalid> {
    let millis = time.seconds.checked_mul(1_000).and_then(|ms| ms.checked_add(i64::from(time.nanos / 1_000_000)));
    millis.map(Timestamp::from_millis).ok_or(Invalid::new(field, "must be a time within the calendar"))
}

/// Which page was asked for; the token itself says nothing to a reader.
fn page_shape(token: &str) -> String {
    if token.is_empty() { String::new() } else { "a further page".to_owned() }
}
