//! The forms of a document: a page made for print, spreadsheets, JSON.

mod csv;
mod html;
mod json;

pub use csv::CsvFile;
pub use html::{STYLE, STYLE_SHA256_BASE64};
