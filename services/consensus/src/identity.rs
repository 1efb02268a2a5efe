//! Who a node is: a file on its volume that outlives every restart and no wiped disk.
//!
//! The uuid is drawn at the first start. Cluster, vault and node id are written once, when the node becomes a member.
//! Node ids are never reused, so a volume that lost this file, or that holds the log of another node, must not start:
//! such a node could vote twice.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fuda_core::VaultId;
use fuda_state::{ClusterId, MemberUuid};

use crate::types::NodeId;

/// Name of the identity file in the data directory.
pub const IDENTITY_FILE: &str = "identity";
/// First part of the name of a log directory; the rest names its owner.
pub const LOG_DIR_PREFIX: &str = "log-";
const FIRST_LINE: &str = "fuda node identity 1";

/// Membership of one cluster, given once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The Raft cluster.
    pub cluster: ClusterId,
    /// The vault it runs; survives a restore, which makes a new cluster.
    pub vault: VaultId,
    /// The node's id in that cluster, from 1.
    pub node_id: NodeId,
}

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn at the first start of the volume.
    pub uuid: MemberUuid,
    /// The cluster the node belongs to, once it does.
    pub assignment: Option<Assignment>,
}

/// Why a node must not start on this volume, or cannot take an assignment.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("identity `{}` cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The identity file is not one this build writes.
    #[error("identity `{}` is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The volume holds a log that is not this node's.
    #[error("`{}` is the log of another node or cluster: this volume must not start as this node", path.display())]
    ForeignLog {
        /// The directory found.
        path: PathBuf,
    },
    /// The node belongs to a cluster already, and not as the node now named.
    #[error("this node is node {node_id} of cluster {cluster} already")]
    AlreadyAssigned {
        /// Its cluster.
        cluster: ClusterId,
        /// Its node id.
        node_id: NodeId,
    },
    /// Randomness for a new uuid failed.
    #[error("no random bytes for a new identity")]
    Random,
}

impl Identity {
    /// Reads the identity of a volume, or draws one if the volume is empty.
    ///
    /// # Errors
    /// [`IdentityError`] if the volume is damaged or holds another node's log.
    pub fn open(data_dir: &Path, random: &dyn fuda_crypto::Random) -> Result<Self, IdentityError> {
        let path = data_dir.join(IDENTITY_FILE);
        fs::create_dir_all(data_dir).map_err(|source| IdentityError::Io { path: path.clone(), source })?;
        let identity = match fs::read_to_string(&path) {
            Ok(text) => parse(&text).map_err(|what| IdentityError::Damaged { path: path.clone(), what })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut uuid = [0; 16];
                random.fill(&mut uuid).map_err(|_| IdentityError::Random)?;
                Self { uuid: MemberUuid(uuid), assignment: None }
            }
            Err(source) => return Err(IdentityError::Io { path, source }),
        };
        identity.refuse_foreign_logs(data_dir)?;
        identity.save(data_dir)?;
        Ok(identity)
    }

    /// Becomes a member and writes it down. Doing so again with the same values changes nothing.
    ///
    /// # Errors
    /// [`IdentityError::AlreadyAssigned`] with other values; [`IdentityError::Io`].
    pub fn assign(&mut self, data_dir: &Path, assignment: Assignment) -> Result<(), IdentityError> {
        match self.assignment {
            Some(known) if known == assignment => return Ok(()),
            Some(known) => {
                return Err(IdentityError::AlreadyAssigned { cluster: known.cluster, node_id: known.node_id });
            }
            None => {}
        }
        let assigned = Self { uuid: self.uuid, assignment: Some(assignment) };
        assigned.save(data_dir)?;
        *self = assigned;
        Ok(())
    }

    /// The directory of this node's log; its name says whose log it is.
    #[must_use]
    pub fn log_dir(&self, data_dir: &Path) -> Option<PathBuf> {
        self.assignment.map(|assignment| data_dir.join(log_dir_name(&assignment)))
    }

    fn refuse_foreign_logs(&self, data_dir: &Path) -> Result<(), IdentityError> {
        let io = |source| IdentityError::Io { path: data_dir.to_owned(), source };
        let own = self.assignment.as_ref().map(log_dir_name);
        for entry in fs::read_dir(data_dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(LOG_DIR_PREFIX) && own.as_deref() != Some(name) {
                return Err(IdentityError::ForeignLog { path: entry.path() });
            }
        }
        Ok(())
    }

    /// Writes the file beside the old one, syncs it, renames it over and syncs the directory: after a power cut there is
    /// the old identity or the new one.
    fn save(&self, data_dir: &Path) -> Result<(), IdentityError> {
        let path = data_dir.join(IDENTITY_FILE);
        let text = self.to_string();
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return Ok(());
        }
        let written = write_synced(data_dir, &path, text.as_bytes());
        written.map_err(|source| IdentityError::Io { path, source })
    }
}

/// The text of the identity file.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        writeln!(f, "uuid = {}", self.uuid)?;
        if let Some(assignment) = &self.assignment {
            writeln!(f, "cluster = {}", assignment.cluster)?;
            writeln!(f, "vault = {}", assignment.vault)?;
            writeln!(f, "node_id = {}", assignment.node_id)?;
        }
        Ok(())
    }
}

/// Makes `dir` and everything renamed into it durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write_synced(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_dir(dir)
}

fn log_dir_name(assignment: &Assignment) -> String {
    format!("{LOG_DIR_PREFIX}{}-{}", assignment.cluster, assignment.node_id)
}

fn parse(text: &str) -> Result<Identity, &'static str> {
    let mut lines = text.lines();
    if lines.next() != Some(FIRST_LINE) {
        return Err("the first line is not that of an identity");
    }
    let mut value = |key: &'static str| -> Option<&str> { lines.next()?.strip_prefix(key)?.strip_prefix(" = ") };
    let uuid = value("uuid").and_then(MemberUuid::parse).ok_or("the uuid is missing or malformed")?;
    let Some(cluster) = value("cluster") else {
        return Ok(Identity { uuid, assignment: None });
    };
    let cluster = ClusterId::parse(cluster).ok_or("the cluster is malformed")?;
    let vault = value("vault").and_then(|id| VaultId::parse(id).ok()).ok_or("the vault is missing or malformed")?;
    let node_id = value("node_id").and_then(|id| id.parse().ok()).filter(|id| *id > 0);
    let node_id = node_id.ok_or("the node id is missing or malformed")?;
    Ok(Identity { uuid, assignment: Some(Assignment { cluster, vault, node_id }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("fuda-identity-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    fn assignment() -> Assignment {
        Assignment { cluster: ClusterId([0xC1; 16]), vault: VaultId::from_bytes([0xA1; 16]), node_id: 3 }
    }

    #[test]
    fn a_node_keeps_its_identity_and_takes_one_assignment() {
        let dir = scratch("life");
        let random = fuda_crypto::OsRandom::new();

        // Phase 1: the first start draws a uuid, the second finds it.
        let mut identity = Identity::open(&dir, &random).unwrap();
        assert_eq!(Identity::open(&dir, &random).unwrap(), identity);

        // Phase 2: an assignment is kept, may be repeated, and cannot be changed.
        identity.assign(&dir, assignment()).unwrap();
        identity.assign(&dir, assignment()).unwrap();
        let other = Assignment { node_id: 4, ..assignment() };
        assert!(matches!(identity.assign(&dir, other), Err(IdentityError::AlreadyAssigned { node_id: 3, .. })));
        assert_eq!(Identity::open(&dir, &random).unwrap(), identity);

        // Phase 3: the own log may be there, another node's may not, and neither may a log without an identity.
        fs::create_dir(identity.log_dir(&dir).unwrap()).unwrap();
        Identity::open(&dir, &random).unwrap();
        fs::remove_file(dir.join(IDENTITY_FILE)).unwrap();
        assert!(matches!(Identity::open(&dir, &random), Err(IdentityError::ForeignLog { .. })));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_file_is_text_of_this_form() {
        let identity = Identity { uuid: MemberUuid([0x0F; 16]), assignment: Some(assignment()) };
        let text = "fuda node identity 1\n\
            uuid = 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\n\
            cluster = c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1\n\
            vault = a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1\n\
            node_id = 3\n";
        assert_eq!(identity.to_string(), text);
        assert_eq!(parse(text), Ok(identity));
        assert!(parse(&text.replace("node_id = 3", "node_id = 0")).is_err());
        assert!(parse(&text.replace("uuid = 0f", "uuid = 0F")).is_err());
        assert!(parse("").is_err());
    }
}
