//! What compliance teams hand in: documents made of ledger entries, in Japanese and English.
//!
//! ```text
//! Request + Facts ─▶ Collector ─ take(entry), in the order of the ledger ─▶ finish(Basis) ─▶ Document ─▶ html, csv, json
//! ```
//! A document says nothing but what entries say, and what the [`Facts`] of the configuration add. What neither knows is
//! shown as not recorded, with the reason: a report never invents.
//!
//! Pure: no clock, no randomness, no I/O. Two runs over the same entries give the same bytes.

mod collect;
pub mod document;
mod error;
mod facts;
mod fold;
mod kind;
mod render;
mod request;
mod texts;

pub use collect::Collector;
pub use document::{Cell, Document, Section, Table};
pub use error::Error;
pub use facts::{Facts, Key, Party, PolicyDocument, SignOff, Site, SiteUse, TenantFacts, Witness};
pub use kind::ReportKind;
pub use render::{CsvFile, STYLE, STYLE_SHA256_BASE64};
pub use request::{Basis, Events, Incident, Language, Request};
pub use texts::Text;

/// Rows of one table; what is behind them is counted and said in a note.
pub const TABLE_ROWS_MAX: usize = 20_000;
/// Distinct persons, records or groups that one document counts exactly (4 million; some 200 MB while it is made).
pub const DISTINCT_MAX: usize = 4_000_000;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
