//! `fuda token tokenize`.

use std::io::Write;

use clap::Args;
use fuda_client::vault::{TokenizeItem, TokenizeRequest, TokenizeResponse};
use fuda_client::{Client, Error, Secret};
use fuda_core::limits::BATCH_ITEMS_MAX;

use super::{Asking, Context, Files, progress, results};
use crate::failure::{Exit, Failure, Tally, one_line};
use crate::input;
use crate::rows::{Check, NumberRow, NumberRows, Results, Stored, item};

const COLUMNS: &[&str] = &["subject", "kind", "scope", "token", "record", "error"];
/// Rows between two writes of results: what the client keeps under way at once.
const WINDOW_ROWS: usize = 4 * BATCH_ITEMS_MAX;
const NOT_ATTEMPTED: &str = "not attempted after the failure above";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    asking: Asking,
    /// Code of the kind, such as my_number.
    #[arg(long)]
    kind: String,
    #[command(flatten)]
    files: Files,
    /// Store one number, read as the only line of standard input, for this subject.
    #[arg(long, conflicts_with = "input", requires = "relation")]
    subject: Option<String>,
    /// Relation of the subject to the principal subject.
    #[arg(long, requires = "subject")]
    relation: Option<String>,
    /// The principal subject, such as the employee of a dependant.
    #[arg(long, requires = "subject", default_value = "", value_name = "SUBJECT")]
    principal_subject: String,
    /// Code of a purpose notified to the person.
    #[arg(long = "notified-purpose", requires = "subject", value_name = "CODE")]
    notified_purposes: Vec<String>,
    /// Label of the records, by which grants pick people; a column `label` of the input goes before it.
    #[arg(long, default_value = "", value_name = "LABEL")]
    label: String,
    #[command(flatten)]
    check: Check,
}

pub(super) async fn run(arguments: Arguments, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client_for_batches().await?;
    let stored = Stored {
        kind: arguments.kind.clone(),
        scope: arguments.asking.scope.clone(),
        label: arguments.label.clone(),
        check: arguments.check.clone(),
    };
    match &arguments.subject {
        Some(subject) => one(&arguments, subject, &stored, &client, context).await,
        None => many(&arguments, stored, &client, context).await,
    }
}

async fn one(
    arguments: &Arguments,
    subject: &str,
    stored: &Stored,
    client: &Client,
    context: &mut Context,
) -> Result<(), Failure> {
    let number = input::read_line()?;
    let relation = arguments.relation.as_deref().unwrap_or_default();
    let purposes = arguments.notified_purposes.join(";");
    let item = item(stored, subject, &number, &arguments.principal_subject, relation, &purposes);
    let request = TokenizeRequest {
        tenant: arguments.asking.tenant.clone(),
        item: Some(item.map_err(Failure::Usage)?.into_inner()),
        work_reference: arguments.asking.work_reference.clone(),
        ..TokenizeRequest::default()
    };
    // The file first: a token that cannot be written is lost.
    let mut results = results(arguments.files.out.as_deref(), &mut context.output, COLUMNS)?;
    let reply = client.tokenize(request).await?;
    results.row(&[subject, &stored.kind, &stored.scope, &reply.token, &reply.record, ""])?;
    results.flush()
}

async fn many(arguments: &Arguments, stored: Stored, client: &Client, context: &mut Context) -> Result<(), Failure> {
    let bytes = input::read(arguments.files.input.as_deref())?;
    // Once through without sending, so that a malformed line at the end does not leave half a job behind.
    let mut rows = NumberRows::open(&bytes, stored.clone())?;
    let mut count = 0;
    while rows.next()?.is_some() {
        count += 1;
    }
    let mut rows = NumberRows::open(&bytes, stored.clone())?;
    let mut results = results(arguments.files.out.as_deref(), &mut context.output, COLUMNS)?;
    let job = arguments.asking.job("");
    let bar = progress(count);
    let mut tally = Tally::default();
    let mut stopped = false;
    loop {
        let mut window = Vec::with_capacity(WINDOW_ROWS);
        while window.len() < WINDOW_ROWS
            && let Some(row) = rows.next()?
        {
            window.push(row);
        }
        if window.is_empty() {
            break;
        }
        bar.inc(window.len() as u64);
        let mut window = Window::of(window);
        let replies = match stopped {
            false => client.tokenize_all(&job, window.take_items()).await,
            true => Vec::new(),
        };
        // A denied caller stays denied, and every further batch would be another entry in the ledger.
        stopped |= !replies.is_empty() && replies.iter().all(|reply| reply.as_ref().is_err_and(is_final));
        window.write(replies, &stored, &mut tally, &mut results)?;
        results.flush()?;
    }
    bar.finish_and_clear();
    tally.outcome()
}

/// Whether the whole job will meet the same failure.
fn is_final(error: &Error) -> bool {
    matches!(Exit::of(error), Exit::Denied | Exit::Unavailable | Exit::Identity)
}

/// Some rows of the file: the items to send, and where each one's reply belongs.
struct Window {
    /// Subject of every row, and why it cannot be sent.
    rows: Vec<(String, Option<String>)>,
    items: Vec<Secret<TokenizeItem>>,
}

impl Window {
    fn of(rows: Vec<NumberRow>) -> Self {
        let mut window = Self { rows: Vec::with_capacity(rows.len()), items: Vec::with_capacity(rows.len()) };
        for row in rows {
            match row.item {
                Ok(item) => {
                    window.rows.push((row.subject, None));
                    window.items.push(item);
                }
                Err(problem) => window.rows.push((row.subject, Some(problem))),
            }
        }
        window
    }

    fn take_items(&mut self) -> Vec<TokenizeItem> {
        std::mem::take(&mut self.items).into_iter().map(Secret::into_inner).collect()
    }

    /// Writes one result per row; replies that are missing were not attempted.
    fn write<W: Write>(
        self,
        replies: Vec<Result<Secret<TokenizeResponse>, Error>>,
        stored: &Stored,
        tally: &mut Tally,
        results: &mut Results<W>,
    ) -> Result<(), Failure> {
        let mut replies = replies.into_iter();
        for (subject, problem) in self.rows {
            let (exit, problem) = match problem {
                Some(problem) => (Exit::Usage, problem),
                None => match replies.next() {
                    Some(Ok(reply)) => {
                        tally.done();
                        results.row(&[&subject, &stored.kind, &stored.scope, &reply.token, &reply.record, ""])?;
                        continue;
                    }
                    Some(Err(error)) => (Exit::of(&error), one_line(&error)),
                    None => {
                        tally.skipped();
                        results.row(&[&subject, &stored.kind, &stored.scope, "", "", NOT_ATTEMPTED])?;
                        continue;
                    }
                },
            };
            tally.refused(exit);
            results.row(&[&subject, &stored.kind, &stored.scope, "", "", &problem])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_own_result() {
        let (kind, scope) = ("my_number".to_owned(), "payroll".to_owned());
        let stored = Stored { kind, scope, label: String::new(), check: Check::default() };
        let row = |subject: &str, relation: &str| NumberRow {
            subject: subject.to_owned(),
            item: item(&stored, subject, "123456789018", "", relation, ""),
        };
        let window = Window::of(vec![row("E1", "self"), row("E2", "friend"), row("E3", "self"), row("E4", "self")]);
        assert_eq!(window.items.len(), 3);
        let reply = TokenizeResponse { token: "t1".to_owned(), record: "r1".to_owned(), ..Default::default() };
        let replies = vec![Ok(Secret::new(reply)), Err(Error::Random)];
        let mut out = Vec::new();
        let mut results = Results::csv(&mut out, COLUMNS).unwrap();
        let mut tally = Tally::default();
        window.write(replies, &stored, &mut tally, &mut results).unwrap();
        results.flush().unwrap();
        drop(results);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "subject,kind,scope,token,record,error\n\
             E1,my_number,payroll,t1,r1,\n\
             E2,my_number,payroll,,,\"relation must be self, spouse, dependant, payee, landlord or shareholder\"\n\
             E3,my_number,payroll,,,the operating system gives no random bytes\n\
             E4,my_number,payroll,,,not attempted after the failure above\n"
        );
        assert_eq!(tally.outcome().unwrap_err().exit(), Exit::Refused);
    }
}
