//! The command line `fuda` as a person uses it: a program, its exit code and what it prints.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::wire::path_text;

/// How long one command may take.
const WITHIN: Duration = Duration::from_secs(60);

/// The program with the arguments that say who calls, and where the nodes are.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    connection: Vec<String>,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Cli {
    /// The program built together with `vault`, for commands that need no connection.
    ///
    /// # Errors
    /// When there is none.
    pub fn beside(vault: &Path) -> Result<Self> {
        let program = vault.with_file_name("fuda");
        ensure!(program.is_file(), "there is no `{}`; run deploy/evidence, it builds", program.display());
        Ok(Self { program, connection: Vec::new() })
    }

    /// The same for the holder of the certificate in `dir`.
    #[must_use]
    pub fn with_identity(&self, dir: &Path, addresses: &[String]) -> Self {
        self.with(&["--identity", &path_text(dir), "--address", &addresses.join(",")])
    }

    /// The same for whoever's bearer token is in `file`, trusting nodes under `authority`.
    #[must_use]
    pub fn with_token(&self, file: &Path, authority: &Path, addresses: &[String]) -> Self {
        let (file, authority) = (path_text(file), path_text(authority));
        self.with(&["--token-file", &file, "--ca", &authority, "--address", &addresses.join(",")])
    }

    /// The same with more arguments of the connection.
    #[must_use]
    pub fn with(&self, arguments: &[&str]) -> Self {
        let more = arguments.iter().map(|argument| (*argument).to_owned());
        Self { program: self.program.clone(), connection: self.connection.iter().cloned().chain(more).collect() }
    }

    /// Runs a command; results in JSON unless the arguments name another form.
    ///
    /// # Errors
    /// When it cannot be started, or does not end in a minute. A bad exit code is no error here.
    pub async fn run(&self, arguments: &[&str]) -> Result<Said> {
        let mut command = Command::new(&self.program);
        for name in ["FUDA_ADDRESS", "FUDA_IDENTITY", "FUDA_TOKEN_FILE"] {
            command.env_remove(name);
        }
        command.args(&self.connection).args(arguments).kill_on_drop(true).stdin(Stdio::null());
        if !arguments.contains(&"-o") {
            command.args(["-o", "json"]);
        }
        let ended = tokio::time::timeout(WITHIN, command.output()).await;
        let ended = ended.with_context(|| format!("`fuda {}` does not end", arguments.join(" ")))?;
        let ended = ended.with_context(|| format!("starting `{}`", self.program.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = ended.status.code().context("the command was killed")?;
        Ok(Said { code, out: text(&ended.stdout), err: text(&ended.stderr) })
    }

    /// Runs a command that must end well.
    ///
    /// # Errors
    /// When it does not; with what it said.
    pub async fn good(&self, arguments: &[&str]) -> Result<Said> {
        self.ends(0, "", arguments).await
    }

    /// Runs a command that must end with an exit code and name `code` (a stable code such as `FUDA-2002`) on standard
    /// error, if one is given.
    ///
    /// # Errors
    /// When it ends otherwise; with what it said.
    pub async fn ends(&self, exit: i32, code: &str, arguments: &[&str]) -> Result<Said> {
        let said = self.run(arguments).await?;
        let (out, err) = (said.out.trim(), said.err.trim());
        ensure!(
            said.code == exit && said.err.contains(code),
            "`fuda {}` ended with {} instead of {exit} {code}: {out} {err}",
            arguments.join(" "),
            said.code
        );
        Ok(said)
    }
}

impl Said {
    /// The JSON document it printed.
    ///
    /// # Errors
    /// When it printed something else.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("no JSON document: {}", self.out))
    }

    /// The JSON objects it printed, one per line.
    ///
    /// # Errors
    /// When it printed something else.
    pub fn json_lines(&self) -> Result<Vec<Value>> {
        let line = |line: &str| serde_json::from_str(line).with_context(|| format!("no JSON object: {line}"));
        self.out.lines().map(line).collect()
    }

    /// A text of the JSON object it printed.
    ///
    /// # Errors
    /// When it has none of that name.
    pub fn text(&self, name: &str) -> Result<String> {
        let document = self.json()?;
        let value = document.get(name).and_then(Value::as_str);
        value.map(str::to_owned).with_context(|| format!("no `{name}` in {document}"))
    }

    /// A number of the JSON object it printed.
    ///
    /// # Errors
    /// When it has none of that name.
    pub fn number(&self, name: &str) -> Result<u64> {
        let document = self.json()?;
        document.get(name).and_then(Value::as_u64).with_context(|| format!("no number `{name}` in {document}"))
    }
}
