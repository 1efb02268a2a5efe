//! What every page has: head, menu, foot; and the pages that say no.

use axum::response::{Html, IntoResponse as _, Response};
use http::StatusCode;
use maud::{DOCTYPE, Markup, html};
use tonic::Status;

use super::guard::{FORM_FIELD, Visit};
use super::language::Language;
use super::sign_in::SIGN_IN_PATH;
use super::texts::{self, Text};

/// Places of the menu.
pub(super) const PLACES: &[(&str, Text)] = &[
    ("/", texts::OVERVIEW),
    ("/search", texts::SEARCH),
    ("/who", texts::WHO),
    ("/patterns", texts::PATTERNS),
    ("/denials", texts::DENIALS),
    ("/reports", texts::REPORTS),
    ("/sign-off", texts::SIGN_OFFS),
    ("/exports", texts::EXPORTS),
    ("/alarms", texts::ALARMS),
    ("/predecessors", texts::PREDECESSORS),
    ("/questions", texts::QUESTIONS),
];

impl Visit {
    /// A text in the language of the visit.
    pub(super) const fn say(&self, text: Text) -> &'static str {
        text.in_language(self.language)
    }
}

/// A page; `place` is where in the menu it belongs.
pub(super) fn page(visit: &Visit, place: &str, title: &str, body: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang=(visit.language.code()) {
            (head(visit.language, title))
            body {
                a.skip href="#content" { (visit.say(texts::SKIP)) }
                header.top {
                    div {
                        a.brand href="/" { img src="/static/fuda.svg" alt=""; (visit.say(texts::CONSOLE)) }
                        nav aria-label=(visit.say(texts::MENU)) { ul {
                            @for (path, text) in PLACES {
                                li { a href=(path) aria-current=[(*path == place).then_some("page")] { (visit.say(*text)) } }
                            }
                        } }
                        span.who { (visit.auditor.caller) }
                        @if visit.signed_in {
                            form.sign-out method="post" action="/sign-out" {
                                (form_field(visit)) button { (visit.say(texts::SIGN_OUT)) }
                            }
                        }
                        nav aria-label=(visit.say(texts::LANGUAGES)) { ul {
                            @for language in Language::ALL {
                                li { a href={ (visit.here) "lang=" (language.code()) } lang=(language.code()) hreflang=(language.code())
                                    aria-current=[(language == visit.language).then_some("true")] { (language.name()) } }
                            }
                        } }
                    }
                }
                main #content tabindex="-1" { h1 { (title) } (body) }
                footer { (visit.say(texts::ENTERED_NOTE)) " " (visit.say(texts::ZONE_NOTE)) }
            }
        }
    };
    Html(markup.into_string()).into_response()
}

fn head(language: Language, title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (title) " – " (texts::CONSOLE.in_language(language)) }
            link rel="stylesheet" href="/static/console.css";
            link rel="icon" type="image/svg+xml" href="/static/fuda.svg";
        }
    }
}

/// The hidden field that shows a form to be of this page.
pub(super) fn form_field(visit: &Visit) -> Markup {
    html! { input type="hidden" name=(FORM_FIELD) value=(visit.form); }
}

/// A page that says no, and nothing about what was asked.
pub(super) fn refused(visit: &Visit, status: StatusCode) -> Response {
    let why = match status {
        StatusCode::NOT_FOUND => texts::NOT_FOUND,
        StatusCode::BAD_REQUEST => texts::BAD_QUESTION,
        StatusCode::FORBIDDEN => texts::FORBIDDEN,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => texts::BUSY,
        _ => texts::FAILED,
    };
    refused_because(visit, status, why, "")
}

/// The page for a call that the service refused.
pub(super) fn refused_call(visit: &Visit, status: &Status) -> Response {
    let (code, why) = match status.code() {
        tonic::Code::NotFound | tonic::Code::PermissionDenied => (StatusCode::NOT_FOUND, texts::NOT_FOUND),
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange | tonic::Code::FailedPrecondition => {
            (StatusCode::BAD_REQUEST, texts::BAD_QUESTION)
        }
        tonic::Code::AlreadyExists | tonic::Code::Aborted => (StatusCode::CONFLICT, texts::BAD_QUESTION),
        tonic::Code::ResourceExhausted | tonic::Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, texts::BUSY),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, texts::FAILED),
    };
    refused_because(visit, code, why, status.message())
}

fn refused_because(visit: &Visit, status: StatusCode, why: Text, more: &str) -> Response {
    let body = html! {
        p.notice.bad role="alert" { (visit.say(why)) }
        @if !more.is_empty() { p.quiet { (more) } }
        p { a href="/" { (visit.say(texts::BACK)) } }
    };
    let mut response = page(visit, "", visit.say(texts::REFUSED), &body);
    *response.status_mut() = status;
    response
}

/// All that somebody sees who is no auditor.
pub(super) fn stranger(language: Language) -> Response {
    outside(language, StatusCode::FORBIDDEN, texts::STRANGER, false)
}

/// What somebody sees who may still sign in. The first page is there for it; others are refused.
pub(super) fn welcome(language: Language, path: &str) -> Response {
    let status = if path == "/" { StatusCode::OK } else { StatusCode::FORBIDDEN };
    outside(language, status, texts::SIGN_IN_INTRO, true)
}

/// What somebody sees who is not signed in, or no longer, and may try.
pub(super) fn not_signed_in(language: Language, status: StatusCode, why: Text) -> Response {
    outside(language, status, why, true)
}

/// A page without a menu, for those who are not in.
fn outside(language: Language, status: StatusCode, why: Text, may_sign_in: bool) -> Response {
    let say = |text: Text| text.in_language(language);
    let markup = html! {
        (DOCTYPE)
        html lang=(language.code()) {
            (head(language, say(if may_sign_in { texts::SIGN_IN } else { texts::REFUSED })))
            body { main {
                h1 { (say(texts::CONSOLE)) }
                p { (say(why)) }
                @if may_sign_in { p.actions { a.button #sign-in href=(SIGN_IN_PATH) { (say(texts::SIGN_IN)) } } }
            } }
        }
    };
    (status, Html(markup.into_string())).into_response()
}
