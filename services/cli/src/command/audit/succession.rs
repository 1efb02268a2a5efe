//! `fuda audit succession`: the statement by which a witness of the ledger follows a restored vault. Needs no vault: make
//! and sign it on machines of the people who answer for it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fuda_crypto::{OsRandom, Pool, SigningKey};
use fuda_ledger::tree::TreeHead;
use fuda_ledger::{Checkpoint, OriginSuccession, SignedNote, VerifierKey};
use serde_json::json;
use zeroize::Zeroizing;

use super::super::Context;
use super::super::succession::{read_key as read_seed, read_note, unusable, write};
use super::offline::read_log_key as read_key;
use crate::failure::Failure;
use crate::output::{create_private, text};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Draw the key of a person. Keep the file apart from everything else; put what is printed into `succession_keys` of
    /// every fuda-audit.
    Keygen {
        /// The person's name in statements, 1 to 255 bytes without spaces and `+`.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// New file for the private key, for its owner only.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write the statement, and sign it as the first person.
    Make(Make),
    /// Add the signature of the second person.
    Sign {
        /// The statement so far. Read it: you sign what it says.
        #[arg(long = "in", value_name = "FILE")]
        input: PathBuf,
        #[command(flatten)]
        signer: Signer,
        /// New file for the statement with the signature.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Make {
    /// File with the verifier key of the old log, kept from its `cluster init`.
    #[arg(long, value_name = "KEYFILE")]
    old_key: PathBuf,
    /// The checkpoint of the old log that the vault was restored from; absent: nothing of it was.
    #[arg(long, value_name = "FILE")]
    restored: Option<PathBuf>,
    /// The last checkpoint of the old log that the witness cosigned.
    #[arg(long, value_name = "FILE")]
    cosigned: PathBuf,
    /// File with the verifier key of the new log.
    #[arg(long, value_name = "KEYFILE")]
    new_key: PathBuf,
    /// The first checkpoint of the new log.
    #[arg(long, value_name = "FILE")]
    first: PathBuf,
    #[command(flatten)]
    signer: Signer,
    /// New file for the signed statement.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Who signs.
#[derive(Debug, Args)]
pub(crate) struct Signer {
    /// The person's name, as given to `keygen`.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// File of the person's key.
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
}

pub(super) fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Keygen { name, out } => keygen(&name, &out, context),
        Command::Make(arguments) => {
            let statement = statement(&arguments)?;
            write(&arguments.out, &sign(statement.text(), &arguments.signer)?, context)
        }
        Command::Sign { input, signer, out } => {
            let mut note = read_note(&input)?;
            // Nobody signs what no witness could accept.
            OriginSuccession::parse(note.unverified_text()).map_err(unusable)?;
            note.merge(&sign(note.unverified_text().to_owned(), &signer)?).map_err(unusable)?;
            write(&out, &note, context)
        }
    }
}

fn keygen(name: &str, out: &Path, context: &mut Context) -> Result<(), Failure> {
    let key =
        SigningKey::generate(&mut Pool::new(&OsRandom::new())).map_err(|error| Failure::Internal(error.to_string()))?;
    let public = VerifierKey::new(name, key.public_key()).map_err(unusable)?;
    let seed = Zeroizing::new(hex::encode(key.expose_seed()));
    let mut file = create_private(out)?;
    writeln!(file, "{}", *seed).and_then(|()| file.sync_all()).map_err(|error| Failure::output(&error))?;
    context.output.facts(vec![("public_key", text(public.to_string())), ("file", json!(out.display().to_string()))])
}

fn statement(arguments: &Make) -> Result<OriginSuccession, Failure> {
    let (old, new) = (read_key(&arguments.old_key)?, read_key(&arguments.new_key)?);
    let signed = |path: &Path, key: &VerifierKey| {
        let note = read_note(path)?;
        let opened =
            Checkpoint::open(&note.to_bytes(), key).map_err(|error| Failure::Verification(error.to_string()))?;
        Ok::<_, Failure>(opened.head)
    };
    let restored = arguments.restored.as_deref().map(|path| signed(path, &old)).transpose()?;
    let statement = OriginSuccession {
        old_origin: old.name().to_owned(),
        restored: restored.unwrap_or_else(TreeHead::empty),
        cosigned: signed(&arguments.cosigned, &old)?,
        first: signed(&arguments.first, &new)?,
        new_key: new,
    };
    // As the witness will read it: a statement that cannot be true is not signed.
    OriginSuccession::parse(&statement.text()).map_err(unusable)
}

fn sign(text: String, signer: &Signer) -> Result<SignedNote, Failure> {
    SignedNote::sign(text, &signer.name, &read_seed(&signer.key)?).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_people_make_and_sign_is_what_a_witness_accepts() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let key = |seed: u8| SigningKey::from_seed(&[seed; 32]).unwrap();
        let log = |origin: &'static str, seed: u8| {
            let public = VerifierKey::new(origin, key(seed).public_key()).unwrap();
            std::fs::write(path(origin), format!("{public}\n")).unwrap();
            move |size: u64, name: &Path| {
                let head = TreeHead { size, root: [seed; 32] };
                let note = Checkpoint { origin: origin.to_owned(), head }.sign(&key(seed)).unwrap();
                std::fs::write(name, note.to_bytes()).unwrap();
            }
        };
        let (old, new) = (log("old", 1), log("new", 2));
        old(5, &path("restored"));
        old(9, &path("cosigned"));
        new(3, &path("first"));
        let signer = |name: &str, seed: &str| {
            std::fs::write(path(name), seed.repeat(32)).unwrap();
            Signer { name: name.to_owned(), key: path(name) }
        };
        let make = |restored: &str, cosigned: &str| {
            statement(&Make {
                old_key: path("old"),
                restored: Some(path(restored)),
                cosigned: path(cosigned),
                new_key: path("new"),
                first: path("first"),
                signer: signer("tanaka", "07"),
                out: path("out"),
            })
        };
        let made = make("restored", "cosigned").unwrap();
        assert_eq!(made.gap(), (5, 9));
        let mut note = sign(made.text(), &signer("tanaka", "07")).unwrap();
        note.merge(&sign(made.text(), &signer("suzuki", "08")).unwrap()).unwrap();
        let people = [("tanaka", 7), ("suzuki", 8)];
        let keys = people.map(|(name, seed)| VerifierKey::new(name, key(seed).public_key()).unwrap());
        assert_eq!(OriginSuccession::open(&note.to_bytes(), &keys).unwrap().0, made);
        // A checkpoint of another log, and a restore of more than was vouched for.
        assert!(make("first", "cosigned").is_err() && make("cosigned", "restored").is_err());
    }
}
