//! How a command ends when it does not end well: an exit code, and a few lines on standard error.

use std::io::{self, Write};

use fuda_client::{Error, Refused};

/// The documented exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Some items were refused, a verification failed, or the state of the vault forbids it.
    Refused,
    /// Wrong usage or input.
    Usage,
    /// Denied, or a budget is used up.
    Denied,
    /// No node could serve the call in time.
    Unavailable,
    /// A fault of the vault, of this program or of the machine.
    Internal,
    /// Identity files that cannot be used.
    Identity,
}

impl Exit {
    /// All but success.
    #[cfg(test)]
    pub(crate) const ALL: [Exit; 6] =
        [Exit::Refused, Exit::Usage, Exit::Denied, Exit::Unavailable, Exit::Internal, Exit::Identity];

    /// The number handed to the shell.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::Unavailable => 4,
            Self::Internal => 5,
            Self::Identity => 64,
        }
    }

    /// What an error of the client means for the shell.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Options { .. } => Self::Usage,
            Error::Identity(_) => Self::Identity,
            Error::Random | Error::Answer(_) => Self::Internal,
            Error::Refused(refused) => Self::of_refused(refused),
        }
    }

    fn of_refused(refused: &Refused) -> Self {
        use tonic::Code as Status;
        // The thousands of a code are its family; the status decides for codes this release does not know.
        match (refused.known_code().map(|code| code.number() / 1_000), refused.status) {
            (Some(1), _) => Self::Usage,
            (Some(2), _) => Self::Denied,
            (Some(3), _) => Self::Refused,
            (Some(4), _) => Self::Unavailable,
            (Some(_), _) => Self::Internal,
            (None, Status::InvalidArgument | Status::OutOfRange) => Self::Usage,
            (None, Status::PermissionDenied | Status::Unauthenticated) => Self::Denied,
            (None, Status::NotFound | Status::AlreadyExists | Status::FailedPrecondition | Status::Aborted) => {
                Self::Refused
            }
            (None, Status::Unavailable | Status::DeadlineExceeded | Status::ResourceExhausted) => Self::Unavailable,
            (None, _) => Self::Internal,
        }
    }
}

/// Why a command did not do what it was asked. Never holds a number or a token.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client or the vault said no.
    Client(Error),
    /// Arguments or input cannot be used.
    Usage(String),
    /// Identity files cannot be used.
    Identity(String),
    /// The ledger is not what it should be.
    Verification(String),
    /// A fault on this machine.
    Internal(String),
    /// What was asked for is not done yet and goes on; the text says how to go on from there.
    Pending(String),
    /// Items of a job without a result; the results of the others are written.
    Items {
        /// How many items have none.
        refused: usize,
        /// How many there were.
        items: usize,
        /// What the refusals have in common, [`Exit::Refused`] if nothing.
        exit: Exit,
    },
}

impl Failure {
    /// An output that cannot be written.
    pub(crate) fn output(error: &io::Error) -> Self {
        Self::Internal(format!("the output cannot be written: {error}"))
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => Exit::of(error),
            Self::Usage(_) => Exit::Usage,
            Self::Identity(_) => Exit::Identity,
            Self::Verification(_) => Exit::Refused,
            Self::Internal(_) => Exit::Internal,
            Self::Pending(_) => Exit::Unavailable,
            Self::Items { exit, .. } => *exit,
        }
    }

    /// `error: message (FUDA-2002)`, then what helps to find out more.
    pub(crate) fn report(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Client(Error::Refused(refused)) => report_refused(refused, out),
            Self::Client(error) => writeln!(out, "error: {error}"),
            Self::Verification(text) => writeln!(out, "error: verification failed: {text}"),
            Self::Usage(text) | Self::Identity(text) | Self::Internal(text) | Self::Pending(text) => {
                writeln!(out, "error: {text}")
            }
            Self::Items { refused, items, .. } => {
                writeln!(out, "error: {refused} of {items} items have no result; the column `error` says why")
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

/// One refusal on one line, for a column of a CSV or an object. Of a denial the caller learns nothing but the id of the
/// request, under which an approver or auditor finds the reason.
pub(crate) fn one_line(error: &Error) -> String {
    match error {
        Error::Refused(refused) if Exit::of(error) == Exit::Denied && !refused.request_id.is_empty() => {
            format!("{}, request {}", headline(refused), refused.request_id)
        }
        Error::Refused(refused) => headline(refused),
        other => other.to_string(),
    }
}

/// What the failed items of a job have in common: one exit code if they all failed alike, and no item succeeded.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    items: usize,
    refused: usize,
    exits: Vec<Exit>,
}

impl Tally {
    /// Counts an item with a result.
    pub(crate) fn done(&mut self) {
        self.items += 1;
    }

    /// Counts an item without.
    pub(crate) fn refused(&mut self, exit: Exit) {
        self.items += 1;
        self.refused += 1;
        if !self.exits.contains(&exit) {
            self.exits.push(exit);
        }
    }

    /// Counts an item that was not attempted because the others had failed.
    pub(crate) fn skipped(&mut self) {
        self.items += 1;
        self.refused += 1;
    }

    /// Success when every item has a result.
    pub(crate) fn outcome(&self) -> Result<(), Failure> {
        if self.refused == 0 {
            return Ok(());
        }
        let exit = match self.exits.as_slice() {
            [only] if self.refused == self.items => *only,
            _ => Exit::Refused,
        };
        Err(Failure::Items { refused: self.refused, items: self.items, exit })
    }
}

fn headline(refused: &Refused) -> String {
    if refused.code.is_empty() { refused.message.clone() } else { format!("{} ({})", refused.message, refused.code) }
}

fn report_refused(refused: &Refused, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "error: {}", headline(refused))?;
    for (name, text) in [("request", &refused.request_id), ("node", &refused.endpoint), ("docs", &refused.docs_page)] {
        if !text.is_empty() {
            writeln!(out, "  {name}: {text}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fuda_core::{Code, Retry};

    use super::*;

    fn refused(code: &str, status: tonic::Code) -> Error {
        Error::Refused(Box::new(Refused {
            status,
            code: code.to_owned(),
            reason: String::new(),
            message: "denied, or it does not exist".to_owned(),
            fields: Vec::new(),
            request_id: "0190c0de-0000-4000-8000-000000000001".to_owned(),
            docs_page: "docs/src/errors/FUDA-2002.md".to_owned(),
            retry: Retry::Never,
            retry_after: None,
            endpoint: "vault-1:7001".to_owned(),
            without_effect: false,
        }))
    }

    #[test]
    fn every_code_has_its_exit() {
        for code in Code::ALL {
            let exit = Exit::of(&refused(code.id(), tonic::Code::from(code.status().number())));
            let expected = match code.number() / 1_000 {
                1 => Exit::Usage,
                2 => Exit::Denied,
                3 => Exit::Refused,
                4 => Exit::Unavailable,
                _ => Exit::Internal,
            };
            assert_eq!(exit, expected, "{}", code.id());
        }
        assert_eq!(Exit::of(&refused("", tonic::Code::Unavailable)), Exit::Unavailable);
        assert_eq!(Exit::of(&refused("FUDA-9999", tonic::Code::PermissionDenied)), Exit::Denied);
        assert_eq!(Exit::of(&refused("", tonic::Code::Unknown)), Exit::Internal);
        assert_eq!(Exit::of(&Error::Random), Exit::Internal);
        assert_eq!(Exit::ALL.map(Exit::code), [1, 2, 3, 4, 5, 64]);
    }

    #[test]
    fn a_refusal_is_one_line_and_its_references() {
        let mut out = Vec::new();
        Failure::Client(refused("FUDA-2002", tonic::Code::PermissionDenied)).report(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "error: denied, or it does not exist (FUDA-2002)\n  request: 0190c0de-0000-4000-8000-000000000001\n  \
             node: vault-1:7001\n  docs: docs/src/errors/FUDA-2002.md\n"
        );
    }

    #[test]
    fn a_denied_item_names_its_request() {
        let line = one_line(&refused("FUDA-2002", tonic::Code::PermissionDenied));
        assert_eq!(line, "denied, or it does not exist (FUDA-2002), request 0190c0de-0000-4000-8000-000000000001");
        assert!(!one_line(&refused("FUDA-3001", tonic::Code::AlreadyExists)).contains("request"));
    }

    #[test]
    fn a_job_ends_like_its_items_when_they_all_failed_alike() {
        let mut tally = Tally::default();
        assert!(tally.outcome().is_ok());
        tally.refused(Exit::Denied);
        tally.refused(Exit::Denied);
        tally.skipped();
        assert_eq!(tally.outcome().unwrap_err().exit(), Exit::Denied);
        tally.done();
        assert_eq!(tally.outcome().unwrap_err().exit(), Exit::Refused);
    }
}
