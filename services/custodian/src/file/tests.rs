use std::{os::unix::fs::PermissionsExt, os::unix::fs::symlink};

use fuda_crypto::{OsRandom, Pool};
use tempfile::TempDir;

use super::*;

const DOMAIN: KeyDomainId = KeyDomainId(3);
const FIRST: RootVersion = RootVersion(1);

fn root(byte: u8) -> RootKey {
    RootKey::from_bytes([byte; 32])
}

fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("custodian");
    (place, dir)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Whether any file in the directory holds the key, raw or in base64.
fn holds_key(dir: &Path, key: &RootKey) -> bool {
    let text = codec::encode(DOMAIN, FIRST, key).unwrap();
    let line = text.split(|byte| *byte == b'\n').nth(1).unwrap().to_vec();
    fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(32).any(|window| window == key.expose()) || bytes.windows(44).any(|window| window == line)
    })
}

#[tokio::test]
async fn a_root_lives_enabled_disabled_destroyed() {
    // Phase 1: created, private, and given to another process that shares the directory.
    let (_place, dir) = place();
    let custodian = FileCustodian::open(&dir).unwrap();
    let key = RootKey::generate(&mut Pool::new(&OsRandom::new())).unwrap();
    custodian.create_root(DOMAIN, FIRST, &key).await.unwrap();
    assert_eq!((mode(&dir), mode(&dir.join("root-3-1.key"))), (0o700, 0o600));
    let other = FileCustodian::open(&dir).unwrap();
    assert!(other.open_root(DOMAIN, FIRST).await.is_ok_and(|opened| opened.same_as(&key)));
    assert!(holds_key(&dir, &key));

    // Phase 2: the same root again is fine, another one is not, and nothing changed.
    custodian.create_root(DOMAIN, FIRST, &key).await.unwrap();
    assert!(matches!(custodian.create_root(DOMAIN, FIRST, &root(9)).await, Err(Error::Exists { .. })));
    assert!(custodian.open_root(DOMAIN, FIRST).await.is_ok_and(|opened| opened.same_as(&key)));

    // Phase 3: destroying needs disabling first; disabling may be repeated.
    assert!(matches!(custodian.destroy_root(DOMAIN, FIRST).await, Err(Error::StillEnabled { .. })));
    custodian.disable_root(DOMAIN, FIRST).await.unwrap();
    custodian.disable_root(DOMAIN, FIRST).await.unwrap();
    assert!(matches!(other.open_root(DOMAIN, FIRST).await, Err(Error::Disabled { .. })));
    assert!(matches!(custodian.create_root(DOMAIN, FIRST, &key).await, Err(Error::Exists { .. })));
    let disabled = RootInfo { domain: DOMAIN, version: FIRST, state: RootState::Disabled };
    assert_eq!(custodian.list().await.unwrap(), [disabled]);

    // Phase 4: destroyed; no file holds the key, and the receipt is the same when asked for again.
    let receipt = custodian.destroy_root(DOMAIN, FIRST).await.unwrap();
    assert_eq!((receipt.domain, receipt.version, receipt.restorable_copies), (DOMAIN, FIRST, true));
    assert_eq!(receipt.custodian, format!("file {}", dir.display()));
    assert!(receipt.at_text.ends_with('Z') && receipt.at_text.starts_with("20"), "{}", receipt.at_text);
    assert!(!holds_key(&dir, &key));
    assert_eq!(FileCustodian::open(&dir).unwrap().destroy_root(DOMAIN, FIRST).await.unwrap(), receipt);

    // Phase 5: it never comes back.
    assert!(matches!(custodian.open_root(DOMAIN, FIRST).await, Err(Error::Destroyed { .. })));
    assert!(matches!(custodian.create_root(DOMAIN, FIRST, &key).await, Err(Error::Destroyed { .. })));
    assert!(matches!(custodian.disable_root(DOMAIN, FIRST).await, Err(Error::Destroyed { .. })));
}

#[tokio::test]
async fn roots_are_listed_in_order_and_strangers_are_ignored() {
    let (_place, dir) = place();
    let custodian = FileCustodian::open(&dir).unwrap();
    for version in [10, 2, 1] {
        custodian.create_root(DOMAIN, RootVersion(version), &root(version as u8)).await.unwrap();
    }
    custodian.create_root(KeyDomainId(0), FIRST, &root(7)).await.unwrap();
    custodian.disable_root(DOMAIN, FIRST).await.unwrap();
    for name in ["notes.txt", "root-x-1.key", "root-3.key", "root-3-1.key.bak"] {
        fs::write(dir.join(name), "x").unwrap();
    }
    let seen: Vec<_> = custodian.list().await.unwrap().iter().map(|r| (r.domain.0, r.version.0, r.state)).collect();
    let (enabled, disabled) = (RootState::Enabled, RootState::Disabled);
    assert_eq!(seen, [(0, 1, enabled), (3, 1, disabled), (3, 2, enabled), (3, 10, enabled)]);
    custodian.health().await.unwrap();
    assert!(matches!(custodian.open_root(DOMAIN, RootVersion(99)).await, Err(Error::NotFound { .. })));
    assert!(matches!(custodian.destroy_root(DOMAIN, RootVersion(99)).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn lax_permissions_are_refused_with_a_clear_error() {
    let (_place, dir) = place();
    let custodian = FileCustodian::open(&dir).unwrap();
    custodian.create_root(DOMAIN, FIRST, &root(1)).await.unwrap();
    let file = dir.join("root-3-1.key");

    // Phase 1: a key file others may read.
    for lax in [0o640, 0o604, 0o620, 0o700] {
        set_mode(&file, lax);
        let error = custodian.open_root(DOMAIN, FIRST).await.err().unwrap();
        let expected = format!("mode 0600 or stricter, it belongs to `{}` with mode {lax:04o}", geteuid().as_raw());
        assert!(error.to_string().contains(&expected), "{error}");
    }
    set_mode(&file, 0o400);
    assert!(custodian.open_root(DOMAIN, FIRST).await.is_ok(), "stricter is fine");

    // Phase 2: a directory others may enter: neither opened nor used.
    set_mode(&dir, 0o750);
    assert!(matches!(FileCustodian::open(&dir), Err(Error::Permissions { mode_max: 0o700, seen_mode: 0o750, .. })));
    assert!(matches!(custodian.health().await, Err(Error::Permissions { .. })));
    assert!(matches!(custodian.create_root(DOMAIN, RootVersion(2), &root(2)).await, Err(Error::Permissions { .. })));
    set_mode(&dir, 0o700);

    // Phase 3: a symbolic link in place of a key is not followed.
    symlink(&file, dir.join("root-3-2.key")).unwrap();
    assert!(matches!(custodian.open_root(DOMAIN, RootVersion(2)).await, Err(Error::Io { step: "open", .. })));
}

#[tokio::test]
async fn a_crash_leaves_nothing_that_counts_as_a_root() {
    let (_place, dir) = place();
    let custodian = FileCustodian::open(&dir).unwrap();
    let key = root(5);

    // Phase 1: a crash before the rename: the leftover is no root, does not hinder the next attempt, and is wiped.
    let leftover = dir.join("root-3-1.tmp");
    fs::write(&leftover, &*codec::encode(DOMAIN, FIRST, &key).unwrap()).unwrap();
    set_mode(&leftover, 0o600);
    assert!(custodian.list().await.unwrap().is_empty());
    assert!(matches!(custodian.open_root(DOMAIN, FIRST).await, Err(Error::NotFound { .. })));
    custodian.create_root(DOMAIN, FIRST, &root(6)).await.unwrap();
    assert!(!leftover.exists());
    fs::write(&leftover, &*codec::encode(DOMAIN, FIRST, &key).unwrap()).unwrap();
    set_mode(&leftover, 0o600);
    let custodian = FileCustodian::open(&dir).unwrap_or_else(|error| panic!("{error}"));
    assert!(!leftover.exists() && !holds_key(&dir, &key));
    drop(custodian.open_root(DOMAIN, FIRST).await.unwrap_or_else(|error| panic!("{error}")));

    // Phase 2: a crash between overwriting and the receipt: destroying again finishes it.
    custodian.disable_root(DOMAIN, FIRST).await.unwrap();
    let disabled = dir.join("root-3-1.disabled");
    custodian.store.overwrite(&disabled).unwrap();
    assert!(!holds_key(&dir, &root(6)));
    let receipt = custodian.destroy_root(DOMAIN, FIRST).await.unwrap();

    // Phase 3: a crash between receipt and unlink: the receipt stands, the leftover goes.
    fs::write(&disabled, &*codec::encode(DOMAIN, FIRST, &key).unwrap()).unwrap();
    set_mode(&disabled, 0o600);
    assert_eq!(custodian.destroy_root(DOMAIN, FIRST).await.unwrap(), receipt);
    assert!(!disabled.exists());
}

#[tokio::test]
async fn a_damaged_file_is_named_and_its_content_is_not() {
    let (_place, dir) = place();
    let custodian = FileCustodian::open(&dir).unwrap();
    custodian.create_root(DOMAIN, FIRST, &root(0x41)).await.unwrap();
    let file = dir.join("root-3-1.key");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("QUFB", "QUFC")).unwrap();
    let error = custodian.open_root(DOMAIN, FIRST).await.err().unwrap();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("root-3-1.key` is damaged: its checksum must match"), "{shown}");
    assert!(!shown.contains("QUF"));

    // A root file under another root's name is not that root.
    fs::rename(&file, dir.join("root-3-2.key")).unwrap();
    fs::write(dir.join("root-3-2.key"), text).unwrap();
    let error = custodian.open_root(DOMAIN, RootVersion(2)).await.err().unwrap();
    assert!(matches!(error, Error::Damaged { rule: "its name must agree with its header", .. }));

    // A file too long for its format is not read to its end.
    fs::write(dir.join("root-3-2.key"), vec![b'x'; 1 << 20]).unwrap();
    assert!(matches!(custodian.open_root(DOMAIN, RootVersion(2)).await, Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn two_nodes_that_create_at_once_agree_on_one_root() {
    let (_place, dir) = place();
    let custodian = FileCustodian::open(&dir).unwrap();
    let mut attempts = Vec::new();
    for byte in 1..=8 {
        let custodian = custodian.clone();
        attempts
            .push(tokio::spawn(async move { custodian.create_root(DOMAIN, FIRST, &root(byte)).await.map(|()| byte) }));
    }
    let mut winners = Vec::new();
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(byte) => winners.push(byte),
            Err(error) => assert!(matches!(error, Error::Exists { .. })),
        }
    }
    assert_eq!(winners.len(), 1);
    assert!(custodian.open_root(DOMAIN, FIRST).await.is_ok_and(|held| held.same_as(&root(winners[0]))));
}
