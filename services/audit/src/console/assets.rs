//! The files of the console, part of the program: one style, one script, one icon, one table of codes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use fuda_core::{Kind, Relation};
use fuda_crypto::digest::sha256;
use fuda_ledger::{Decision, DetailKey};
use fuda_policy::{Action, DenyReason};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use minicbor::Decode;

/// A file, its type, and its name by content.
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: Vec<u8>,
    etag: String,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    vec![
        asset("console.css", "text/css; charset=utf-8", include_bytes!("static/console.css").to_vec()),
        asset("verify.js", "text/javascript; charset=utf-8", include_bytes!("static/verify.js").to_vec()),
        asset("fuda.svg", "image/svg+xml", include_bytes!("static/fuda.svg").to_vec()),
        asset("codes.json", "application/json", codes().to_string().into_bytes()),
    ]
});

fn asset(name: &'static str, kind: &'static str, bytes: Vec<u8>) -> Asset {
    let etag = format!("\"{}\"", hex::encode(sha256(&[&bytes])));
    Asset { name, kind, bytes, etag }
}

/// A file by name; nothing when the browser has this very content.
pub(super) fn serve(name: &str, headers: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&asset.etag) {
        fields.insert(ETAG, etag);
    }
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == asset.etag.as_bytes()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Body::from(asset.bytes.clone());
    }
    response
}

/// What the numbers in canonical bytes mean, for the script that reads them.
fn codes() -> serde_json::Value {
    serde_json::json!({
        "action": table::<Action>(Action::code),
        "decision": table::<Decision>(Decision::code),
        "reason": table::<DenyReason>(DenyReason::code),
        "kind": table::<Kind>(Kind::code),
        "relation": table::<Relation>(Relation::code),
        "detail": table::<DetailKey>(DetailKey::code),
    })
}

fn table<T: for<'a> Decode<'a, ()>>(code: fn(T) -> &'static str) -> BTreeMap<u8, &'static str> {
    let read = |number: u8| {
        let bytes = if number < 24 { vec![number] } else { vec![0x18, number] };
        Some((number, code(minicbor::decode(&bytes).ok()?)))
    };
    (0..=u8::MAX).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_content() {
        for asset in ASSETS.iter() {
            let first = serve(asset.name, &HeaderMap::new());
            assert_eq!(first.status(), StatusCode::OK);
            let known = HeaderMap::from_iter([(IF_NONE_MATCH, first.headers()[ETAG].clone())]);
            assert_eq!(serve(asset.name, &known).status(), StatusCode::NOT_MODIFIED);
        }
        for unknown in ["", "../Cargo.toml", "console.css.map"] {
            assert_eq!(serve(unknown, &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
        }
    }

    #[test]
    fn every_code_has_its_number() {
        let codes = codes();
        for action in Action::ALL {
            assert_eq!(codes["action"][action.number().to_string()], action.code());
        }
        for reason in DenyReason::ALL {
            assert_eq!(codes["reason"][reason.number().to_string()], reason.code());
        }
        for relation in Relation::ALL {
            assert_eq!(codes["relation"][relation.number().to_string()], relation.code());
        }
        assert_eq!(codes["decision"], serde_json::json!({"0": "allowed", "1": "denied", "2": "replayed"}));
        assert_eq!(codes["kind"][(Kind::MyNumber as u8).to_string()], "my_number");
        assert_eq!(codes["detail"]["41"], "reason");
    }

    #[test]
    fn the_files_ask_nobody_else() {
        for asset in ASSETS.iter().filter(|asset| asset.name != "codes.json") {
            let text = String::from_utf8(asset.bytes.clone()).unwrap().replace("http://www.w3.org/2000/svg", "");
            for forbidden in ["http:", "https:", "//cdn", "@import", "eval(", "innerHTML", "document.write"] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", asset.name);
            }
        }
    }
}
