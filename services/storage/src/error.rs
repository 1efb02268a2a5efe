use std::path::PathBuf;

use fuda_state::TableError;

/// What can go wrong with the store. Never names a key or a value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be used.
    #[error("`{path}`: {what}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// RocksDB failed. Its messages name files, never rows.
    #[error("rocksdb: {0}")]
    Rocks(#[from] rocksdb::Error),
    /// A table could not be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A snapshot is not what its manifest says.
    #[error("snapshot `{path}`: {problem}")]
    Snapshot {
        /// The snapshot's directory.
        path: PathBuf,
        /// The first thing that is wrong.
        problem: String,
    },
    /// Another process uses the data directory.
    #[error("data directory `{0}` is in use by another process")]
    InUse(PathBuf),
    /// The store was closed by a failed replacement; the process must restart.
    #[error("the store is closed after a failed replacement")]
    Closed,
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>, what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, what, source }
    }
}
