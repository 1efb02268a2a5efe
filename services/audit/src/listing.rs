//! Pages of entries, the newest first, over the ledger as it was when the first page was asked for.
//!
//! A page token says where the next page begins and is bound to the ledger, its tree at the first page, and the filter.
//! It gives no rights: whoever makes one up only moves within what he sees anyway.

use fuda_core::{Code, Invalid, limits};
use fuda_crypto::digest::sha256;

use crate::ask::Failure;
use crate::filter::Filter;
use crate::queries::Entered;
use crate::store::{Page, PageLimits, Reader};

/// Canonical bytes of entries in one page.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a token that bind it.
const BINDING_BYTES: usize = 16;

/// A listing that was asked for.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The filter as it was written; tokens are bound to it.
    text: String,
    filter: Filter,
    entries: usize,
    token: Option<Token>,
}

/// What a page token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token {
    /// Entries of the ledger at the first page.
    head: u64,
    /// The page finds entries before this one.
    before: u64,
    binding: [u8; BINDING_BYTES],
}

/// A page, and how to go on.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) page: Page,
    /// Token of the next page; empty: there is none.
    pub(crate) next: String,
    /// Entries of the ledger that the listing is about.
    pub(crate) head: u64,
}

impl Listing {
    /// Reads what was asked for.
    pub(crate) fn read(filter: &str, page_size: i32, page_token: &str) -> Result<Self, Failure> {
        let entries = match usize::try_from(page_size) {
            Ok(0) => limits::PAGE_SIZE_DEFAULT,
            Ok(asked) => asked.min(limits::PAGE_SIZE_MAX),
            Err(_) => return Err(Invalid::new("page_size", "must not be negative").into()),
        };
        let token = match page_token {
            "" => None,
            token => Some(Token::decode(token).ok_or(Code::PageTokenInvalid)?),
        };
        Ok(Self { text: filter.to_owned(), filter: Filter::parse(filter)?, entries, token })
    }

    /// Which entries are listed.
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The page.
    pub(crate) fn page(&self, origin: &str, reader: &Reader<'_>, asked: &Entered) -> Result<Listed, Failure> {
        let newest = reader.live().head().size;
        let (head, before) = match self.token {
            None => (newest, newest),
            Some(token) => {
                if token.head > newest || token.before > token.head || token != self.bound(origin, reader, token)? {
                    return Err(Code::PageTokenInvalid.into());
                }
                (token.head, token.before)
            }
        };
        let limits = PageLimits { entries: self.entries, bytes: PAGE_BYTES_MAX };
        let page = reader.page(asked, &self.filter, before, &limits)?;
        let next = match page.before {
            Some(before) => self.bound(origin, reader, Token { head, before, binding: [0; BINDING_BYTES] })?.encode(),
            None => String::new(),
        };
        Ok(Listed { page, next, head })
    }

    /// The token as it must be for this ledger and filter.
    fn bound(&self, origin: &str, reader: &Reader<'_>, token: Token) -> Result<Token, Failure> {
        let place = [token.head.to_be_bytes(), token.before.to_be_bytes()].concat();
        let (root, length) = (reader.root_at(token.head)?, (origin.len() as u64).to_be_bytes());
        let parts = [b"fuda/audit/page\0".as_slice(), &length, origin.as_bytes(), &root, &place, self.text.as_bytes()];
        let digest = sha256(&parts);
        let binding = digest.first_chunk::<BINDING_BYTES>().copied().unwrap_or_default();
        Ok(Token { binding, ..token })
    }
}

impl Token {
    fn encode(&self) -> String {
        let place = [self.head.to_be_bytes(), self.before.to_be_bytes()].concat();
        hex::encode([place.as_slice(), &self.binding].concat())
    }

    fn decode(token: &str) -> Option<Self> {
        let bytes: [u8; 16 + BINDING_BYTES] = hex::decode(token).ok()?.try_into().ok()?;
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        let (before, binding) = rest.split_first_chunk::<8>()?;
        let (head, before) = (u64::from_be_bytes(*head), u64::from_be_bytes(*before));
        Some(Self { head, before, binding: binding.try_into().ok()? })
    }
}
