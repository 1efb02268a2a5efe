//! The root file of [`crate::FileCustodian`], three lines:
//!
//! ```text
//! {"format":"fuda-root","domain":0,"version":1}
//! <the 32 key bytes, base64>
//! <SHA-256 of both lines with their line ends, base64>
//! ```
//!
//! The checksum finds damage, not tampering: whoever can write the file can write the checksum.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fuda_core::ids::{KeyDomainId, RootVersion};
use fuda_crypto::{RootKey, sha256};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Longest root file, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 512;

const FORMAT: &str = "fuda-root";
/// Base64 of 32 bytes.
const LINE_BYTES: usize = 44;
/// What the base64 decoder wants as room for [`LINE_BYTES`] characters: one more than it fills.
const DECODE_BYTES: usize = 33;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    domain: KeyDomainId,
    version: RootVersion,
}

/// The file of a root. Never grows its buffer, so no unwiped copy of the key stays behind.
pub(crate) fn encode(domain: KeyDomainId, version: RootVersion, root: &RootKey) -> Option<Zeroizing<Vec<u8>>> {
    let header = serde_json::to_string(&Header { format: FORMAT.to_owned(), domain, version }).ok()?;
    let mut line = Zeroizing::new([0; LINE_BYTES]);
    let mut file = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
    file.extend_from_slice(header.as_bytes());
    file.push(b'\n');
    STANDARD.encode_slice(root.expose(), &mut *line).ok()?;
    file.extend_from_slice(line.as_slice());
    file.push(b'\n');
    STANDARD.encode_slice(sha256(&[&file]), &mut *line).ok()?;
    file.extend_from_slice(line.as_slice());
    file.push(b'\n');
    Some(file)
}

/// The root of a file, or the rule the file breaks.
pub(crate) fn decode(file: &[u8], domain: KeyDomainId, version: RootVersion) -> Result<RootKey, &'static str> {
    const LINES: &str = "it must have three lines";
    // Header ‖ LF ‖ key ‖ LF ‖ checksum ‖ LF, cut from the end, where the lengths are known.
    let (summed, last) = file.split_at_checked(file.len().wrapping_sub(LINE_BYTES + 1)).ok_or(LINES)?;
    let (header, key) = summed.split_at_checked(summed.len().wrapping_sub(LINE_BYTES + 1)).ok_or(LINES)?;
    let checksum = last.strip_suffix(b"\n").ok_or(LINES)?;
    let key = key.strip_suffix(b"\n").ok_or(LINES)?;
    let header = header.strip_suffix(b"\n").ok_or(LINES)?;

    if *checksum != *STANDARD.encode(sha256(&[summed])).as_bytes() {
        return Err("its checksum must match");
    }
    let header: Header = serde_json::from_slice(header).map_err(|_| "its header must be a root's")?;
    if header.format != FORMAT {
        return Err("its format must be known");
    }
    if (header.domain, header.version) != (domain, version) {
        return Err("its name must agree with its header");
    }
    RootKey::filled_by(|root| {
        let mut bytes = Zeroizing::new([0; DECODE_BYTES]);
        match STANDARD.decode_slice(key, &mut *bytes) {
            Ok(length) if length == root.len() => {
                root.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
                Ok(())
            }
            _ => Err("its key must be 32 bytes in base64"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: KeyDomainId = KeyDomainId(3);
    const VERSION: RootVersion = RootVersion(5);

    #[test]
    fn a_root_file_has_its_bytes_and_reads_back() {
        let root = RootKey::from_bytes([0x11; 32]);
        let file = encode(DOMAIN, VERSION, &root).unwrap();
        // The checksum was computed with sha256sum.
        let expected = "{\"format\":\"fuda-root\",\"domain\":3,\"version\":5}\n\
                        ERERERERERERERERERERERERERERERERERERERERERE=\n\
                        UVlhZbwiub1uUOatCH0Qso8PGus89tkcgV88LF0hQGM=\n";
        assert_eq!(String::from_utf8_lossy(&file), expected);
        assert!(file.len() <= FILE_BYTES_MAX);
        assert!(decode(&file, DOMAIN, VERSION).is_ok_and(|read| read.same_as(&root)));
    }

    #[test]
    fn every_damage_is_found() {
        let file = encode(DOMAIN, VERSION, &RootKey::from_bytes([0x11; 32])).unwrap();
        for length in 0..file.len() {
            assert!(decode(&file[..length], DOMAIN, VERSION).is_err(), "cut to {length}");
        }
        for bit in 0..file.len() * 8 {
            let mut bad = file.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, DOMAIN, VERSION).is_err(), "bit {bit}");
        }
        assert_eq!(decode(&file, DOMAIN, RootVersion(6)).err(), Some("its name must agree with its header"));
        assert_eq!(decode(&file, KeyDomainId(0), VERSION).err(), Some("its name must agree with its header"));
        assert_eq!(decode(&[0; 200], DOMAIN, VERSION).err(), Some("it must have three lines"));
    }
}
