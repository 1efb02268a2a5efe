//! Documents: chosen, looked at in a frame, printed or taken away.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use fuda_proto::audit::v1 as pb;
use fuda_report::STYLE_SHA256_BASE64;
use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use jiff::civil::{Date, date};
use maud::html;
use serde::Deserialize;

use super::asking::{self, encoded};
use super::guard::Visit;
use super::language::Language;
use super::{Console, layout, texts, time};

/// The code of the pack for an incident, which has fields of its own.
const INCIDENT: &str = "incident";
/// The code of one person's history of use.
const DISCLOSURE: &str = "disclosure";

/// What is chosen.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chosen {
    report: String,
    tenant: String,
    from: String,
    until: String,
    subject: String,
    known: String,
    summary: String,
    format: String,
}

impl Chosen {
    fn address(&self, format: &str) -> String {
        let fields = [
            ("report", self.report.as_str()),
            ("tenant", &self.tenant),
            ("from", &self.from),
            ("until", &self.until),
            ("subject", &self.subject),
            ("known", &self.known),
            ("summary", &self.summary),
            ("format", format),
        ];
        let pairs = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        format!("/report?{}", pairs.join("&"))
    }

    /// Whether enough is filled in to ask.
    fn is_asked(&self) -> bool {
        [&self.report, &self.tenant, &self.from, &self.until].iter().all(|field| !field.trim().is_empty())
    }

    /// The question, with the fields that the document has.
    fn question(&self, language: Language) -> pb::MakeReportRequest {
        let format = match self.format.as_str() {
            "csv" => pb::ReportFormat::Csv,
            "json" => pb::ReportFormat::Json,
            _ => pb::ReportFormat::Html,
        };
        let text = |value: &str| value.trim().to_owned();
        let known = self.known.trim().parse::<Date>().unwrap_or_else(|_| time::today());
        let incident = pb::ReportIncident {
            known_time: time::first_moment(known),
            summary: text(&self.summary),
            ..pb::ReportIncident::default()
        };
        pb::MakeReportRequest {
            report: text(&self.report),
            tenant: text(&self.tenant),
            from_date: text(&self.from),
            until_date: text(&self.until),
            language: language.code().to_owned(),
            format: format.into(),
            subject: if self.report == DISCLOSURE { text(&self.subject) } else { String::new() },
            incident: (self.report == INCIDENT).then_some(incident),
            ..pb::MakeReportRequest::default()
        }
    }
}

pub(super) async fn reports(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(mut chosen): Query<Chosen>,
) -> Response {
    if chosen.from.is_empty() && chosen.until.is_empty() {
        // The business year so far.
        let today = time::today();
        let year = if today.month() < 4 { today.year() - 1 } else { today.year() };
        chosen.from = date(year, 4, 1).to_string();
        chosen.until = today.to_string();
    }
    let offered = match console.reports(&visit).await {
        Ok(offered) => offered,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let named = |report: &pb::ReportInfo| match visit.language {
        Language::Japanese => (report.title_ja.clone(), report.basis_ja.clone()),
        Language::English => (report.title_en.clone(), report.basis_en.clone()),
    };
    let body = html! {
        p { (visit.say(texts::REPORTS_INTRO)) }
        form.ask method="get" action="/reports" {
            div.wide { label for="report" { (visit.say(texts::REPORT)) }
                select #report name="report" { @for report in &offered {
                    @let (title, basis) = named(report);
                    option value=(report.report) selected[report.report == chosen.report] { (title) " – " (basis) }
                } } }
            (asking::field(&visit, "tenant", texts::TENANT, "text", &chosen.tenant))
            (asking::field(&visit, "from", texts::FROM, "date", &chosen.from))
            (asking::field(&visit, "until", texts::UNTIL, "date", &chosen.until))
            (asking::field(&visit, "subject", texts::REPORT_SUBJECT, "text", &chosen.subject))
            (asking::field(&visit, "known", texts::REPORT_KNOWN, "date", &chosen.known))
            (asking::field(&visit, "summary", texts::REPORT_SUMMARY, "text", &chosen.summary))
            div.wide { button { (visit.say(texts::PREVIEW)) } }
        }
        @if chosen.is_asked() {
            p.actions {
                a.button #open href=(chosen.address("html")) { (visit.say(texts::OPEN_TO_PRINT)) }
                a href=(chosen.address("csv")) download { "CSV" }
                a href=(chosen.address("json")) download { "JSON" }
            }
            iframe.preview #preview src=(chosen.address("html")) title=(visit.say(texts::PREVIEW)) sandbox="" {}
        }
    };
    layout::page(&visit, "/reports", visit.say(texts::REPORTS), &body)
}

/// The document itself; its own policy lets it have its style and nothing else, and only our own pages may frame it.
pub(super) async fn report(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(chosen): Query<Chosen>,
) -> Response {
    let made = match console.report(&visit, chosen.question(visit.language)).await {
        Ok(made) => made,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let (Ok(kind), Ok(policy)) = (HeaderValue::from_str(&made.media_type), HeaderValue::from_str(&policy())) else {
        return layout::refused(&visit, StatusCode::INTERNAL_SERVER_ERROR);
    };
    let page = made.media_type.starts_with("text/html");
    let mut response = made.data.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    if !page {
        let name = format!("attachment; filename=\"{}\"", made.file_name.replace(['"', '\\'], "_"));
        let name = HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment"));
        headers.insert(CONTENT_DISPOSITION, name);
    }
    response
}

fn policy() -> String {
    format!(
        "default-src 'none'; style-src 'sha256-{STYLE_SHA256_BASE64}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'self'; sandbox"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_only_the_fields_it_takes() {
        let chosen = Chosen { subject: "e-1".to_owned(), summary: "lost".to_owned(), ..Chosen::default() };
        let of = |report: &str| Chosen { report: report.to_owned(), ..chosen.clone() }.question(Language::English);
        assert!(of("review").subject.is_empty() && of("review").incident.is_none());
        assert_eq!(of(DISCLOSURE).subject, "e-1");
        assert_eq!(of(INCIDENT).incident.unwrap().summary, "lost");
        assert_eq!((of("review").language.as_str(), of("review").format()), ("en", pb::ReportFormat::Html));
    }

    #[test]
    fn a_document_may_have_its_style_and_nothing_else() {
        assert!(policy().starts_with("default-src 'none'; style-src 'sha256-") && !policy().contains("unsafe"));
    }
}
