//! Page tokens: opaque to callers, bound to the listing they were issued for.

use fuda_core::limits::PAGE_TOKEN_BYTES_MAX;
use fuda_crypto::digest::sha256;

const LABEL: &[u8] = b"fuda/page\0";
const BINDING_BYTES: usize = 8;

/// A token for the page after `last` of `listing`.
pub(crate) fn encode(listing: &str, last: &[u8]) -> String {
    let mut bytes = binding(listing).to_vec();
    bytes.extend_from_slice(last);
    hex::encode(bytes)
}

/// The position in a token that was issued for `listing`. This guards against mix-ups, not against malice: a forged
/// position only moves within what the caller may list anyway.
pub(crate) fn decode(listing: &str, token: &str) -> Option<Vec<u8>> {
    if token.len() > PAGE_TOKEN_BYTES_MAX {
        return None;
    }
    let bytes = hex::decode(token).ok()?;
    let (bound, last) = bytes.split_at_checked(BINDING_BYTES)?;
    (bound == binding(listing)).then(|| last.to_vec())
}

fn binding(listing: &str) -> [u8; BINDING_BYTES] {
    let digest = sha256(&[LABEL, listing.as_bytes()]);
    let mut bound = [0; BINDING_BYTES];
    bound.copy_from_slice(digest.first_chunk::<BINDING_BYTES>().unwrap_or(&[0; BINDING_BYTES]));
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_is_good_for_its_own_listing_only() {
        let token = encode("acme/", b"position");
        assert_eq!(decode("acme/", &token).as_deref(), Some(&b"position"[..]));
        assert_eq!(decode("acme/E1", &token), None);
        assert_eq!(decode("globex/", &token), None);
        assert_eq!(decode("acme/", "zz"), None);
        assert_eq!(decode("acme/", "00"), None);
    }
}
