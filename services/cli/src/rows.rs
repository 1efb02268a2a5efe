//! The CSV files of `fuda token`: numbers to store, tokens to reveal, and results.
//!
//! Input and items are wiped when they are dropped. The few kilobytes in which the CSV library takes a row apart and
//! puts one together are not: they live until the process, which cannot be dumped, ends.

use std::borrow::Cow;
use std::io::Write;

use clap::Args;
use csv::{Reader, ReaderBuilder, StringRecord, Writer};
use fuda_client::Secret;
use fuda_client::vault::{NotifiedPurpose, SealedNumber, TokenizeItem, Verification, VerifyItem};
use fuda_core::TokenClass;
use fuda_core::limits::TOKEN_CHARS;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::input::{self, SecretBytes};
use crate::wire;

/// Columns of the numbers to store. The first two are required; the last five are the record of an identity check.
pub(crate) const NUMBER_COLUMNS: [&str; 11] = [
    "subject",
    "number",
    "principal_subject",
    "relation",
    "notified_purposes",
    "label",
    "verification_method",
    "documents",
    "verifier",
    "verified_on",
    "proxy",
];
/// Column of the tokens to reveal.
pub(crate) const TOKEN_COLUMN: &str = "token";

/// Columns of sealed numbers.
pub(crate) const SEALED_COLUMNS: [&str; 10] = [
    "subject",
    "kind",
    "vault",
    "tenant",
    "purpose",
    "request_id",
    "recipient",
    "encapsulated_key",
    "ciphertext",
    "error",
];

/// One row of numbers to store.
pub(crate) struct NumberRow {
    /// The subject, for the result.
    pub(crate) subject: String,
    /// What to send, or why this row cannot be sent.
    pub(crate) item: Result<Secret<TokenizeItem>, String>,
}

/// What all rows of a file have in common.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) kind: String,
    pub(crate) scope: String,
    /// The label of the records; empty: none.
    pub(crate) label: String,
    /// How the persons' identity was checked.
    pub(crate) check: Check,
}

/// The record of an identity check (番号法16条): codes, a reference and a date. Nothing of it: no record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Check {
    /// How the identity was checked: a code such as individual_number_card. A column of the input goes before it.
    #[arg(long = "verification-method", default_value = "", value_name = "CODE")]
    pub(crate) method: String,
    /// Code of a sort of document that was shown, such as driving_licence; several parted by `;`.
    #[arg(long = "documents", default_value = "", value_name = "CODES")]
    pub(crate) documents: String,
    /// Your reference to whoever checked.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) verifier: String,
    /// The day of the check, such as 2026-11-22.
    #[arg(long, default_value = "", value_name = "DAY")]
    pub(crate) verified_on: String,
    /// What the proxy is to the person: legal_representative, attorney or employee.
    #[arg(long, default_value = "", value_name = "CODE")]
    pub(crate) proxy: String,
}

impl Check {
    /// What to send; the vault checks that it makes sense, and names the field.
    pub(crate) fn record(&self) -> Option<Verification> {
        let Self { method, documents, verifier, verified_on, proxy } = self.clone();
        let recorded = self != &Self::default();
        let documents = parts(&documents).map(str::to_owned).collect();
        recorded.then_some(Verification { method, documents, verifier, verified_on, proxy })
    }
}

/// What stands between semicolons.
fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(';').map(str::trim).filter(|part| !part.is_empty())
}

/// The rows of a CSV of numbers, one at a time.
pub(crate) struct NumberRows<'a> {
    reader: Reader<&'a [u8]>,
    /// Where each of [`NUMBER_COLUMNS`] stands.
    places: [Option<usize>; NUMBER_COLUMNS.len()],
    record: StringRecord,
    stored: Stored,
}

impl<'a> NumberRows<'a> {
    /// Reads the header.
    pub(crate) fn open(bytes: &'a SecretBytes, stored: Stored) -> Result<Self, Failure> {
        let mut reader = reader(bytes);
        // The header is not quoted back: without one, its place is taken by the first number.
        let wrong = || {
            Failure::Usage(format!(
                "the input must start with a header line of the columns {}, of which subject and number are required",
                NUMBER_COLUMNS.join(", ")
            ))
        };
        let header = reader.headers().map_err(|_| wrong())?;
        let known = header.iter().all(|name| NUMBER_COLUMNS.contains(&name));
        let places = NUMBER_COLUMNS.map(|column| header.iter().position(|name| name == column));
        let all_different = places.iter().flatten().count() == header.len();
        if !(known && all_different && places.iter().take(2).all(Option::is_some)) {
            return Err(wrong());
        }
        Ok(Self { reader, places, record: StringRecord::new(), stored })
    }

    /// The next row; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<NumberRow>, Failure> {
        match self.reader.read_record(&mut self.record) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) => return Err(malformed(&error)),
        }
        let field = |place: usize| {
            let place = self.places.get(place).copied().flatten();
            place.and_then(|place| self.record.get(place)).unwrap_or_default().trim()
        };
        let subject = field(0).to_owned();
        let own = |place: usize| field(place).to_owned();
        let check = Check { method: own(6), documents: own(7), verifier: own(8), verified_on: own(9), proxy: own(10) };
        let mut stored = self.stored.clone();
        if !field(5).is_empty() {
            stored.label = own(5);
        }
        if check != Check::default() {
            stored.check = check;
        }
        let item = item(&stored, &subject, field(1), field(2), field(3), field(4));
        Ok(Some(NumberRow { subject, item }))
    }
}

/// One number to store. The relation may be left out for the principal subject itself.
pub(crate) fn item(
    stored: &Stored,
    subject: &str,
    number: &str,
    principal: &str,
    relation: &str,
    notified: &str,
) -> Result<Secret<TokenizeItem>, String> {
    let relation = match relation {
        "" if principal.is_empty() || principal == subject => "self",
        "" => return Err("relation is required when there is a principal_subject".to_owned()),
        relation => relation,
    };
    let purposes = parts(notified).map(|purpose| NotifiedPurpose { purpose: purpose.to_owned(), ..Default::default() });
    Ok(Secret::new(TokenizeItem {
        kind: stored.kind.clone(),
        relation: wire::relation(relation)?.into(),
        subject: subject.to_owned(),
        principal_subject: principal.to_owned(),
        scope: stored.scope.clone(),
        notified_purposes: purposes.collect(),
        number: number.to_owned(),
        label: stored.label.clone(),
        verification: stored.check.record(),
    }))
}

/// Tokens, one per line, or a CSV with a column `token`.
pub(crate) fn tokens(bytes: &SecretBytes) -> Result<Vec<Zeroizing<String>>, Failure> {
    let is_token = |line: &str| {
        [TokenClass::Live, TokenClass::Test].into_iter().any(|class| line.trim_matches('"').starts_with(class.prefix()))
    };
    let first = input::lines(bytes)?.next();
    match first {
        None => Ok(Vec::new()),
        Some(line) if is_token(line) && !line.contains(',') => {
            Ok(input::lines(bytes)?.map(|line| Zeroizing::new(line.trim_matches('"').to_owned())).collect())
        }
        Some(_) => token_column(bytes),
    }
}

/// Sealed numbers, as `fuda token seal` writes them as CSV. Rows of items that were refused are left out.
pub(crate) fn sealed(bytes: &SecretBytes) -> Result<Vec<SealedNumber>, Failure> {
    let wrong = || Failure::Usage(format!("the input must be a CSV with the columns {}", SEALED_COLUMNS.join(", ")));
    let mut reader = reader(bytes);
    if reader.headers().map_err(|_| wrong())?.iter().ne(SEALED_COLUMNS) {
        return Err(wrong());
    }
    let mut rows = Vec::new();
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| malformed(&error))? {
        let [subject, kind, vault, tenant, purpose, request_id, recipient, encapsulated_key, ciphertext, error] =
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|place| record.get(place).unwrap_or_default().to_owned());
        if !error.is_empty() {
            continue;
        }
        rows.push(SealedNumber {
            vault,
            tenant,
            purpose,
            request_id,
            recipient,
            kind,
            subject,
            encapsulated_key: hex::decode(encapsulated_key).unwrap_or_default(),
            ciphertext: hex::decode(ciphertext).unwrap_or_default(),
        });
    }
    Ok(rows)
}

/// Pairs of a token and a number, parted by white space or a comma. The number may hold both.
pub(crate) fn pairs(bytes: &SecretBytes) -> Result<Vec<Secret<VerifyItem>>, Failure> {
    input::lines(bytes)?.enumerate().map(|(index, line)| pair(line).ok_or(index + 1)).collect::<Result<_, _>>().map_err(
        |line: usize| Failure::Usage(format!("line {line} must be a token, white space or a comma, and a number")),
    )
}

/// Writes results as CSV, or as one JSON object per line.
pub(crate) struct Results<W: Write> {
    columns: &'static [&'static str],
    form: Form<W>,
}

enum Form<W: Write> {
    Csv(Box<Writer<W>>),
    Json(W),
}

impl<W: Write> Results<W> {
    /// CSV with a header line.
    pub(crate) fn csv(to: W, columns: &'static [&'static str]) -> Result<Self, Failure> {
        let mut writer = Writer::from_writer(to);
        writer.write_record(columns).map_err(|error| unwritable(&error))?;
        Ok(Self { columns, form: Form::Csv(Box::new(writer)) })
    }

    /// One JSON object per line; columns without a value are left out.
    pub(crate) const fn json(to: W, columns: &'static [&'static str]) -> Self {
        Self { columns, form: Form::Json(to) }
    }

    /// One row; one value per column.
    pub(crate) fn row(&mut self, values: &[&str]) -> Result<(), Failure> {
        match &mut self.form {
            Form::Csv(writer) => writer.write_record(values).map_err(|error| unwritable(&error)),
            Form::Json(to) => {
                let present = self.columns.iter().zip(values).filter(|(_, value)| !value.is_empty());
                // Straight into the output: no document with numbers in it stays in memory.
                let write = |to: &mut W| -> std::io::Result<()> {
                    for (place, (column, value)) in present.enumerate() {
                        to.write_all(if place == 0 { b"{" } else { b"," })?;
                        serde_json::to_writer(&mut *to, column)?;
                        to.write_all(b":")?;
                        serde_json::to_writer(&mut *to, value)?;
                    }
                    to.write_all(b"}\n")
                };
                write(to).map_err(|error| Failure::output(&error))
            }
        }
    }

    /// One row about one reply: its line where the columns begin with one, its cells or blanks, its error.
    pub(crate) fn reply(&mut self, line: u64, cells: &[Cow<'_, str>], error: &str) -> Result<(), Failure> {
        let line = self.columns.first().filter(|column| **column == "line").map(|_| line.to_string());
        let mut values: Vec<&str> = line.as_deref().into_iter().chain(cells.iter().map(AsRef::as_ref)).collect();
        values.resize(self.columns.len().saturating_sub(1), "");
        values.push(error);
        self.row(&values)
    }

    /// Hands everything to the operating system.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.form {
            Form::Csv(writer) => writer.flush(),
            Form::Json(to) => to.flush(),
        }
        .map_err(|error| Failure::output(&error))
    }
}

fn reader(bytes: &SecretBytes) -> Reader<&[u8]> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    ReaderBuilder::new().has_headers(true).flexible(false).from_reader(bytes)
}

fn token_column(bytes: &SecretBytes) -> Result<Vec<Zeroizing<String>>, Failure> {
    let mut reader = reader(bytes);
    let missing = || Failure::Usage("the input must be one token per line, or a CSV with a column `token`".to_owned());
    let header = reader.headers().map_err(|_| missing())?;
    let place = header.iter().position(|name| name.trim() == TOKEN_COLUMN).ok_or_else(missing)?;
    let mut tokens = Vec::new();
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| malformed(&error))? {
        tokens.push(Zeroizing::new(record.get(place).unwrap_or_default().trim().to_owned()));
    }
    Ok(tokens)
}

fn pair(line: &str) -> Option<Secret<VerifyItem>> {
    let (token, number) = line.split_once([' ', '\t', ',', '\u{3000}'])?;
    let number = number.trim_start_matches([' ', '\t', ',', '\u{3000}']);
    let fits = token.len() <= TOKEN_CHARS && !token.is_empty() && !number.is_empty();
    fits.then(|| Secret::new(VerifyItem { token: token.to_owned(), number: number.to_owned() }))
}

/// Where a CSV breaks, without what stands there.
fn malformed(error: &csv::Error) -> Failure {
    let line = error.position().map_or(0, csv::Position::line);
    let what = match error.kind() {
        csv::ErrorKind::UnequalLengths { .. } => "has another number of columns than the header",
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8",
        _ => "cannot be read",
    };
    Failure::Usage(format!("line {line} of the input {what}"))
}

fn unwritable(error: &csv::Error) -> Failure {
    Failure::Internal(format!("the output cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use fuda_client::vault::Relation;

    use super::*;

    fn secret(text: &str) -> SecretBytes {
        Zeroizing::new(text.as_bytes().to_vec())
    }

    fn stored() -> Stored {
        let check = Check { method: "digital".to_owned(), ..Check::default() };
        Stored { kind: "my_number".to_owned(), scope: "payroll".to_owned(), label: String::new(), check }
    }

    fn read(text: &str) -> Result<Vec<NumberRow>, Failure> {
        let bytes = secret(text);
        let mut rows = NumberRows::open(&bytes, stored())?;
        let mut read = Vec::new();
        while let Some(row) = rows.next()? {
            read.push(row);
        }
        Ok(read)
    }

    #[test]
    fn rows_become_items() {
        let rows = read(
            "\u{feff}number,subject,relation,principal_subject,notified_purposes,label\r\n\
             123456789018,E1,,,,executives\r\n\
             \"1234 5678 9018\",E1-1,spouse,E1,tax.yearend_decl; si.dependents;,\r\n\
             123456789018,E2-1,,E2,,\r\n\
             123456789018,E3,friend,,,\r\n",
        )
        .unwrap();
        let first = rows[0].item.as_ref().ok().unwrap();
        assert_eq!(
            (first.relation(), first.kind.as_str(), first.scope.as_str()),
            (Relation::Self_, "my_number", "payroll")
        );
        assert!(first.notified_purposes.is_empty());
        assert_eq!(first.label, "executives");

        let second = rows[1].item.as_ref().ok().unwrap();
        assert_eq!((second.number.as_str(), second.relation()), ("1234 5678 9018", Relation::Spouse));
        assert_eq!(second.principal_subject, "E1");
        let purposes: Vec<_> = second.notified_purposes.iter().map(|it| it.purpose.as_str()).collect();
        assert_eq!(purposes, ["tax.yearend_decl", "si.dependents"]);

        for (row, subject) in rows[2..].iter().zip(["E2-1", "E3"]) {
            assert_eq!(row.subject, subject);
            assert!(row.item.as_ref().err().unwrap().starts_with("relation"));
        }
    }

    #[test]
    fn a_row_has_the_check_of_its_columns_or_that_of_all_rows() {
        let rows = read(
            "subject,number,verification_method,documents,verifier,verified_on,proxy\n\
             E1,123456789018,proxy,driving_licence; power_of_attorney,hr/tanaka,2026-11-22,attorney\n\
             E2,123456789018,,,,,\n\
             E3,123456789018,,,hr/tanaka,,\n",
        )
        .unwrap();
        let checks: Vec<Verification> =
            rows.iter().map(|row| row.item.as_ref().ok().unwrap().verification.clone().unwrap()).collect();
        let own = Verification {
            method: "proxy".to_owned(),
            documents: vec!["driving_licence".to_owned(), "power_of_attorney".to_owned()],
            verifier: "hr/tanaka".to_owned(),
            verified_on: "2026-11-22".to_owned(),
            proxy: "attorney".to_owned(),
        };
        assert_eq!(checks[0], own);
        assert_eq!(checks[1], Verification { method: "digital".to_owned(), ..Verification::default() });
        // Half a record is not filled up from elsewhere: the vault refuses it.
        assert_eq!(checks[2], Verification { verifier: "hr/tanaka".to_owned(), ..Verification::default() });
        assert_eq!(Check::default().record(), None);
    }

    #[test]
    fn a_malformed_file_is_refused_without_being_quoted() {
        for text in [
            "123456789018,E1\n",
            "subject\nE1\n",
            "subject,number,salary\nE1,123456789018,1\n",
            "subject,number,number\nE1,123456789018,123456789018\n",
            "subject,number\nE1,123456789018,extra\n",
            "",
        ] {
            let Failure::Usage(message) = read(text).err().unwrap() else { panic!("usage") };
            assert!(!message.contains("123456789018") && !message.contains("E1"), "{message}");
        }
    }

    #[test]
    fn tokens_come_in_lines_or_in_a_column() {
        let texts = |text: &str| -> Vec<String> {
            tokens(&secret(text)).unwrap().iter().map(|token| token.to_string()).collect()
        };
        assert_eq!(texts("fuda_test_a\n\n fuda_test_b \n"), ["fuda_test_a", "fuda_test_b"]);
        assert_eq!(texts("subject,token\nE1,fuda_test_a\nE2,\n"), ["fuda_test_a", ""]);
        assert_eq!(texts("token\nfuda_test_a\n"), ["fuda_test_a"]);
        assert!(texts("").is_empty());
        assert!(tokens(&secret("number\n1\n")).is_err());
        assert!(tokens(&secret("fuda_test_a,E1\n")).is_err());
    }

    #[test]
    fn pairs_part_at_the_first_separator() {
        let pairs = pairs(&secret("fuda_test_a 1234-5678\nfuda_test_b,0001 123 1 1234567\nfuda_test_c\t,1\n")).unwrap();
        let read: Vec<_> = pairs.iter().map(|pair| (pair.token.as_str(), pair.number.as_str())).collect();
        let expected = [("fuda_test_a", "1234-5678"), ("fuda_test_b", "0001 123 1 1234567"), ("fuda_test_c", "1")];
        assert_eq!(read, expected);
        for wrong in ["fuda_test_a\n", "fuda_test_a \n", "1234 1234\nfuda_test_a"] {
            assert!(super::pairs(&secret(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn results_are_csv_or_json_lines() {
        const COLUMNS: &[&str] = &["subject", "number", "error"];
        let mut csv = Vec::new();
        let mut results = Results::csv(&mut csv, COLUMNS).unwrap();
        results.row(&["E1", "123456789018", ""]).unwrap();
        results.row(&["E,2", "", "denied \"x\""]).unwrap();
        results.flush().unwrap();
        drop(results);
        let expected = "subject,number,error\nE1,123456789018,\n\"E,2\",,\"denied \"\"x\"\"\"\n";
        assert_eq!(String::from_utf8(csv).unwrap(), expected);

        let mut json = Vec::new();
        let mut results = Results::json(&mut json, COLUMNS);
        results.row(&["E1", "123456789018", ""]).unwrap();
        results.flush().unwrap();
        drop(results);
        assert_eq!(String::from_utf8(json).unwrap(), "{\"subject\":\"E1\",\"number\":\"123456789018\"}\n");
    }
}
