//! The decision on the records of one call: which grant carries which record.

use fuda_core::{Timestamp, Window};

use crate::{
    DenyReason, RecordFacts,
    cedar::{Class, PolicyIds, Verdict},
    legs::{self, RecordRules},
    policy::{Carrier, Fitting, Question, Refusal},
};

/// The items that one carrier, or one denial, stands for.
pub(crate) struct Part<'a> {
    pub(crate) decision: Result<Carrier<'a>, Refusal>,
    pub(crate) items: Vec<(usize, Result<(), DenyReason>)>,
}

impl Part<'_> {
    /// The command holds only while the answer for each of its allowed items does.
    fn push(&mut self, place: usize, verdict: Result<Window, DenyReason>) {
        if let (Ok(carrier), Ok(window)) = (&mut self.decision, &verdict) {
            carrier.window = carrier.window.intersect(window);
        }
        self.items.push((place, verdict.map(|_| ())));
    }
}

/// Where an item goes.
enum Place {
    /// Under a fitting grant, whether allowed there or denied.
    Carried(usize, PolicyIds, Result<Window, DenyReason>),
    Refused(Refusal),
}

/// Sorts the records into parts, in the order of their first items. `fitting` is not empty.
pub(crate) fn decide<'a>(
    question: &'a Question<'a>,
    fitting: Vec<Fitting<'a>>,
    records: &'a [Option<RecordFacts<'a>>],
    now: Timestamp,
) -> Vec<Part<'a>> {
    let mut sorter = Sorter { question, rules: question.record_rules(), now, fitting, asked: Vec::new() };
    let mut parts: Vec<(Option<usize>, Part<'a>)> = Vec::new();
    for (place, record) in records.iter().enumerate() {
        let (grant, decision, verdict) = match sorter.place(record.as_ref()) {
            Place::Carried(grant, policy_ids, verdict) => (Some(grant), Ok(policy_ids), verdict),
            Place::Refused(refusal) => {
                let reason = refusal.reason;
                (None, Err(refusal), Err(reason))
            }
        };
        let same = |(of, part): &&mut (Option<usize>, Part<'a>)| {
            *of == grant
                && match (&part.decision, &decision) {
                    (Ok(carrier), Ok(policy_ids)) => carrier.policy_ids == *policy_ids,
                    (Err(one), Err(other)) => one.reason == other.reason && one.policy_ids == other.policy_ids,
                    _ => false,
                }
        };
        match parts.iter_mut().find(same) {
            Some((_, part)) => part.push(place, verdict),
            None => {
                let decision = decision.map(|policy_ids| sorter.carrier(grant, policy_ids));
                let decision = decision.and_then(|carrier| carrier.ok_or(DenyReason::NoGrant.into()));
                let mut part = Part { decision, items: Vec::new() };
                part.push(place, verdict);
                parts.push((grant, part));
            }
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

struct Sorter<'a> {
    question: &'a Question<'a>,
    rules: RecordRules,
    now: Timestamp,
    fitting: Vec<Fitting<'a>>,
    /// What the policy text said, by class and grant. A call has few classes, so that a list beats a map.
    asked: Vec<(Class<'a>, usize, Verdict)>,
}

impl<'a> Sorter<'a> {
    fn place(&mut self, record: Option<&RecordFacts<'a>>) -> Place {
        let named = Class::named(self.question.request);
        let Some(record) = record else {
            return self.carry(named, DenyReason::UnknownToken);
        };
        if self.question.request.tenant.as_ref() != Some(record.tenant) {
            // Nothing about another tenant's record is even looked at.
            return self.carry(named, DenyReason::TokenOfOtherTenant);
        }
        let class = Class { kind: Some(record.kind), scope: record.scope.or(named.scope), label: record.label };
        let mut nearest = None;
        let mut forbidden = None;
        for at in 0..self.fitting.len() {
            let window = match self.legs(at, record) {
                Ok(window) => window,
                Err(reason) => {
                    nearest = Some(nearest.map_or(reason, |nearest| legs::nearer(nearest, reason)));
                    continue;
                }
            };
            match self.ask(class, at) {
                Verdict::Permitted(policy_ids) => return Place::Carried(at, policy_ids, Ok(window)),
                Verdict::Forbidden(policy_ids) => forbidden = Some(policy_ids),
            }
        }
        match forbidden {
            Some(policy_ids) => Place::Refused(Refusal { reason: DenyReason::ForbiddenByPolicy, policy_ids }),
            None => self.carry(class, nearest.unwrap_or(DenyReason::NoGrant)),
        }
    }

    /// A denied item stands under the first grant that the policy text permits for its class: its entry then names
    /// person and record.
    fn carry(&mut self, class: Class<'a>, reason: DenyReason) -> Place {
        let mut forbidden = PolicyIds::default();
        for at in 0..self.fitting.len() {
            match self.ask(class, at) {
                Verdict::Permitted(policy_ids) => return Place::Carried(at, policy_ids, Err(reason)),
                Verdict::Forbidden(policy_ids) => forbidden = policy_ids,
            }
        }
        Place::Refused(Refusal { reason: DenyReason::ForbiddenByPolicy, policy_ids: forbidden })
    }

    fn legs(&self, at: usize, record: &RecordFacts<'_>) -> Result<Window, DenyReason> {
        let (candidate, window) = self.fitting.get(at).ok_or(DenyReason::NoGrant)?;
        legs::check_record(self.question.request, &candidate.grant, &self.rules, *window, record, self.now)
    }

    fn ask(&mut self, class: Class<'a>, at: usize) -> Verdict {
        if let Some((.., verdict)) = self.asked.iter().find(|(asked, by, _)| *asked == class && *by == at) {
            return verdict.clone();
        }
        let Some((candidate, _)) = self.fitting.get(at) else { return Verdict::Forbidden(PolicyIds::default()) };
        let verdict = self.question.ask(candidate, class, self.now);
        self.asked.push((class, at, verdict.clone()));
        verdict
    }

    fn carrier(&self, grant: Option<usize>, policy_ids: PolicyIds) -> Option<Carrier<'a>> {
        let (candidate, window) = self.fitting.get(grant?)?;
        Some(Carrier { question: self.question, candidate, window: *window, policy_ids })
    }
}
