//! Settings: a TOML file, then environment variables over it.
//!
//! `FUDA__LISTENER__ADDRESS` sets `address` in the table `listener`. Lists cannot be set from the environment; they
//! belong in the file. The settings type decides what is allowed (`deny_unknown_fields`) and what has a default.

use std::path::Path;

use config::{Config, Environment, File, FileFormat};
use serde::de::DeserializeOwned;
use thiserror::Error;

const SEPARATOR: &str = "__";

/// Why settings could not be read. Values are never repeated, only keys: a value may have been meant for another key.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file does not exist or cannot be read.
    #[error("configuration file `{path}` cannot be read: {source}")]
    Read {
        /// The path as given.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("configuration file `{path}` is not valid TOML: {problem}")]
    Syntax {
        /// The path as given.
        path: String,
        /// The parser's message, which names the line.
        problem: String,
    },
    /// A key is missing.
    #[error("configuration key `{key}` is missing")]
    Missing {
        /// The dotted key.
        key: String,
    },
    /// A key has a value of another type.
    #[error("configuration key `{key}` must be {expected}")]
    Type {
        /// The dotted key.
        key: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The settings type refused a key or its value.
    #[error("configuration key `{key}`: {problem}")]
    Invalid {
        /// The dotted key, or `(root)`.
        key: String,
        /// What the settings type said.
        problem: String,
    },
}

/// Reads `path` (if given), lays the environment variables `{env_prefix}__SECTION__KEY` over it and makes a `T`.
///
/// # Errors
/// [`ConfigError`] names the key; the caller exits with code 64.
pub fn load<T: DeserializeOwned>(path: Option<&Path>, env_prefix: &str) -> Result<T, ConfigError> {
    load_from(path, Environment::with_prefix(env_prefix))
}

fn load_from<T: DeserializeOwned>(path: Option<&Path>, environment: Environment) -> Result<T, ConfigError> {
    let mut builder = Config::builder();
    if let Some(path) = path {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: name.clone(), source })?;
        // Parsed here once more because the builder's error loses the file name.
        let source = File::from_str(&text, FileFormat::Toml);
        Config::builder()
            .add_source(source.clone())
            .build()
            .map_err(|error| ConfigError::Syntax { path: name, problem: error.to_string() })?;
        builder = builder.add_source(source);
    }
    // Everything stays text; the settings type's own fields decide whether it is a number or a truth value.
    let environment = environment.prefix_separator(SEPARATOR).separator(SEPARATOR).try_parsing(false);
    builder.add_source(environment).build().and_then(Config::try_deserialize).map_err(|error| describe(error, None))
}

/// Keeps the key and the expectation, drops the value.
fn describe(error: config::ConfigError, outer_key: Option<String>) -> ConfigError {
    use config::ConfigError as Source;
    let or_root = |key: Option<String>| key.unwrap_or_else(|| "(root)".to_owned());
    match error {
        Source::NotFound(key) => ConfigError::Missing { key },
        Source::Type { expected, key, .. } => ConfigError::Type { key: or_root(key.or(outer_key)), expected },
        Source::At { error, key, .. } => describe(*error, key.or(outer_key)),
        other => {
            let problem = other.to_string();
            match missing_field(&problem) {
                Some(field) => {
                    let key = outer_key.map_or_else(|| field.to_owned(), |outer| format!("{outer}.{field}"));
                    ConfigError::Missing { key }
                }
                None => ConfigError::Invalid { key: or_root(outer_key), problem },
            }
        }
    }
}

/// serde reports a missing field as text only.
fn missing_field(problem: &str) -> Option<&str> {
    problem.strip_prefix("missing field `")?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Write;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        listener: Listener,
        #[serde(default)]
        verbose: bool,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Listener {
        address: String,
        connections_max: u32,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let pairs: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Environment::with_prefix("FUDA").source(Some(pairs))
    }

    const GOOD: &str = "[listener]\naddress = \"[::]:7000\"\nconnections_max = 5\n";

    #[test]
    fn environment_wins_over_the_file() {
        let file = file(GOOD);
        let pairs = [("FUDA__LISTENER__CONNECTIONS_MAX", "9"), ("FUDA__VERBOSE", "true"), ("FUDA_SERVICE_HOST", "x")];
        let settings: Settings = load_from(Some(file.path()), environment(&pairs)).unwrap();
        assert_eq!(settings.listener.address, "[::]:7000");
        assert_eq!(settings.listener.connections_max, 9);
        assert!(settings.verbose);
    }

    #[test]
    fn environment_alone_is_enough() {
        let pairs = [("FUDA__LISTENER__CONNECTIONS_MAX", "9"), ("FUDA__LISTENER__ADDRESS", "127.0.0.1:1")];
        let settings: Settings = load_from(None, environment(&pairs)).unwrap();
        assert_eq!(settings.listener.address, "127.0.0.1:1");
    }

    #[test]
    fn errors_name_the_key_and_never_the_value() {
        let broken = [
            ("[listener]\naddress = \"a\"\nconnections_max = \"secret\"\n", "listener.connections_max"),
            ("[listener]\naddress = \"a\"\n", "connections_max"),
            ("[listener]\naddress = \"a\"\nconnections_max = 1\nconections = 2\n", "conections"),
            ("verbose = true\n", "listener"),
        ];
        for (text, key) in broken {
            let file = file(text);
            let error = load_from::<Settings>(Some(file.path()), environment(&[])).unwrap_err().to_string();
            assert!(error.contains(key), "{error} does not name {key}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_missing_or_broken_file_is_named() {
        let error = load_from::<Settings>(Some(Path::new("/nonexistent/fuda.toml")), environment(&[])).unwrap_err();
        assert!(matches!(error, ConfigError::Read { ref path, .. } if path == "/nonexistent/fuda.toml"));
        let file = file("[listener\n");
        let error = load_from::<Settings>(Some(file.path()), environment(&[])).unwrap_err();
        assert!(matches!(error, ConfigError::Syntax { .. }), "{error}");
    }
}
