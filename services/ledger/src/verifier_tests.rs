use fuda_core::{Kind, Sequence};
use fuda_crypto::digest::SigningKey;

use super::*;
use crate::tree::{Covers, Edge, inclusion_proof};
use crate::{Block, EntryItem, samples};

const ORIGIN: &str = "fuda.example/log";

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}

fn verifier_key() -> VerifierKey {
    VerifierKey::new(ORIGIN, key().public_key()).unwrap()
}

fn verify_log(
    entries: impl IntoIterator<Item = Vec<u8>>,
    checkpoint: &[u8],
    log: &VerifierKey,
) -> Result<Report, Error> {
    Trust { log, witnesses: &[] }.verify(entries.into_iter().map(Piece::Entry), checkpoint)
}

/// A log of several commands: canonical bytes of its entries, and its signed checkpoint.
fn log() -> (Vec<Vec<u8>>, Vec<u8>) {
    let single = |sequence| Block::new(Sequence(sequence), samples::common(), vec![samples::full_item(sequence)]);
    let blocks =
        [single(0).unwrap(), samples::reveal_block(1, 600), single(601).unwrap(), samples::reveal_block(602, 8)];
    let mut edge = Edge::new();
    let mut entries = Vec::new();
    for block in &blocks {
        assert_eq!(block.first().get(), edge.size());
        edge.append(&block.leaf_hashes());
        entries.extend((0..block.len()).map(|place| block.canonical(place).unwrap()));
    }
    (entries, sign(&edge))
}

fn sign(edge: &Edge) -> Vec<u8> {
    Checkpoint { origin: ORIGIN.to_owned(), head: edge.head() }.sign(&key()).unwrap().to_bytes()
}

fn edit(bytes: &[u8], change: impl FnOnce(&mut EntryItem)) -> Vec<u8> {
    let mut entry = Entry::decode(bytes).unwrap();
    change(&mut entry.item);
    entry.canonical()
}

#[test]
fn an_untouched_log_verifies() {
    let (entries, checkpoint) = log();
    let report = verify_log(entries, &checkpoint, &verifier_key()).unwrap();
    assert_eq!((report.origin.as_str(), report.entries), (ORIGIN, 610));
    let empty = verify_log([], &sign(&Edge::new()), &verifier_key()).unwrap();
    assert_eq!(empty.entries, 0);
}

#[test]
fn an_edited_entry_is_detected() {
    let (entries, checkpoint) = log();
    for place in [0, 1, 255, 256, 511, 600, 601, 609] {
        let mut edited = entries.clone();
        edited[place] = edit(&edited[place], |item| item.kind = Some(Kind::InsurerNo));
        assert!(matches!(verify_log(edited, &checkpoint, &verifier_key()), Err(Error::LogRoot { .. })), "{place}");

        // A flipped bit makes an entry unreadable, misplaced or another one.
        let mut damaged = entries.clone();
        let last = damaged[place].len() - 1;
        damaged[place][last] ^= 0x40;
        assert!(verify_log(damaged, &checkpoint, &verifier_key()).is_err(), "{place}");
    }
}

#[test]
fn a_deleted_entry_is_detected_also_when_the_rest_is_renumbered() {
    let (entries, checkpoint) = log();
    let mut deleted = entries.clone();
    deleted.remove(300);
    let found = verify_log(deleted.clone(), &checkpoint, &verifier_key());
    assert!(matches!(found, Err(Error::LogSequence { expected: 300, found: 301 })));

    for bytes in &mut deleted[300..] {
        *bytes = edit(bytes, |item| item.sequence = Sequence(item.sequence.get() - 1));
    }
    let found = verify_log(deleted, &checkpoint, &verifier_key());
    assert!(matches!(found, Err(Error::LogLength { found: 609, signed: 610 })));
}

#[test]
fn an_inserted_entry_is_detected_also_when_the_rest_is_renumbered() {
    let (entries, checkpoint) = log();
    let mut inserted = entries.clone();
    inserted.insert(300, inserted[300].clone());
    let found = verify_log(inserted.clone(), &checkpoint, &verifier_key());
    assert!(matches!(found, Err(Error::LogSequence { expected: 301, found: 300 })));

    for bytes in &mut inserted[301..] {
        *bytes = edit(bytes, |item| item.sequence = Sequence(item.sequence.get() + 1));
    }
    let found = verify_log(inserted.clone(), &checkpoint, &verifier_key());
    assert!(matches!(found, Err(Error::LogLength { found: 611, signed: 610 })));

    // Cut to the signed length, only the root tells.
    inserted.truncate(610);
    assert!(matches!(verify_log(inserted, &checkpoint, &verifier_key()), Err(Error::LogRoot { .. })));
}

#[test]
fn reordered_entries_are_detected_also_when_they_are_renumbered() {
    let (entries, checkpoint) = log();
    let mut swapped = entries.clone();
    swapped.swap(17, 400);
    let found = verify_log(swapped.clone(), &checkpoint, &verifier_key());
    assert!(matches!(found, Err(Error::LogSequence { expected: 17, found: 400 })));

    for place in [17, 400] {
        swapped[place] = edit(&swapped[place], |item| item.sequence = Sequence(place as u64));
    }
    assert!(matches!(verify_log(swapped, &checkpoint, &verifier_key()), Err(Error::LogRoot { .. })));
}

#[test]
fn a_truncated_log_is_detected() {
    let (mut entries, checkpoint) = log();
    for kept in [609, 602, 256, 1, 0] {
        entries.truncate(kept);
        let found = verify_log(entries.clone(), &checkpoint, &verifier_key());
        assert!(matches!(found, Err(Error::LogLength { signed: 610, .. })), "{kept}");
    }
}

#[test]
fn unreadable_entries_name_their_place() {
    let (mut entries, checkpoint) = log();
    entries[5] = b"not an entry".to_vec();
    assert!(matches!(verify_log(entries, &checkpoint, &verifier_key()), Err(Error::LogEntry { sequence: 5, .. })));
}

#[test]
fn a_rewritten_log_needs_the_key() {
    // Phase 1: an attacker rewrites an entry and computes the matching tree.
    let (mut entries, _) = log();
    entries[42] = edit(&entries[42], |item| item.subject = None);
    let mut edge = Edge::new();
    edge.append(&entries.iter().map(|bytes| leaf_hash(bytes)).collect::<Vec<_>>());

    // Phase 2: without the key the new head cannot be signed; a key of one's own is not the log's.
    let thief = SigningKey::from_seed(&[8; 32]).unwrap();
    let text = Checkpoint { origin: ORIGIN.to_owned(), head: edge.head() }.text();
    let forged = SignedNote::sign(text, ORIGIN, &thief).unwrap().to_bytes();
    assert!(matches!(verify_log(entries.clone(), &forged, &verifier_key()), Err(Error::NoteUnsigned(_))));

    // Phase 3: with it the log is consistent in itself, which is why witnesses cosign (P7).
    verify_log(entries, &sign(&edge), &verifier_key()).unwrap();
}

/// The entries of `shown` and the roots over all others.
fn part(entries: &[Vec<u8>], shown: &[usize]) -> Vec<Piece> {
    let mut edge = Edge::new();
    let leaves: Vec<Hash> = entries.iter().map(|bytes| leaf_hash(bytes)).collect();
    let full = edge.append(&leaves);
    let read =
        |level, index, _| full.iter().find(|it| (it.level, it.index) == (level, index)).map(|it| it.hashes.clone());
    let reader = edge.reader(&read);
    let mut covers = Covers::new(edge.size(), &reader);
    let (mut pieces, mut at) = (Vec::new(), 0);
    for place in shown {
        pieces.extend(covers.cover(at, *place as u64).unwrap().into_iter().map(Piece::LeftOut));
        pieces.push(Piece::Entry(entries[*place].clone()));
        at = *place as u64 + 1;
    }
    pieces.extend(covers.cover(at, edge.size()).unwrap().into_iter().map(Piece::LeftOut));
    pieces
}

#[test]
fn a_part_of_a_log_verifies_and_every_tamper_with_it_is_detected() {
    let (entries, checkpoint) = log();
    let key = verifier_key();
    let trust = Trust { log: &key, witnesses: &[] };
    for shown in [vec![], vec![0], vec![609], vec![3, 4, 5, 255, 256, 257, 600], (0..610).collect()] {
        let report = trust.verify(part(&entries, &shown), &checkpoint).unwrap();
        assert_eq!((report.entries, report.size), (shown.len() as u64, 610));
    }

    let good = part(&entries, &[3, 4, 300]);
    for place in 0..good.len() {
        // Left out, doubled, moved, changed.
        let mut missing = good.clone();
        missing.remove(place);
        let mut doubled = good.clone();
        doubled.insert(place, good[place].clone());
        let mut swapped = good.clone();
        swapped.swap(place, (place + 1) % good.len());
        let mut changed = good.clone();
        match &mut changed[place] {
            Piece::Entry(bytes) => *bytes = edit(bytes, |item| item.kind = Some(Kind::InsurerNo)),
            Piece::LeftOut(subtree) => subtree.root[0] ^= 1,
        }
        for (tamper, wrong) in [("missing", missing), ("doubled", doubled), ("swapped", swapped), ("changed", changed)]
        {
            assert!(trust.verify(wrong, &checkpoint).is_err(), "piece {place} {tamper}");
        }
    }
    // Another entry in the place of a root over one, and a root in the place of an entry it is not of.
    let mut planted = good.clone();
    let single = planted.iter().position(|it| matches!(it, Piece::LeftOut(subtree) if subtree.height == 0)).unwrap();
    let Piece::LeftOut(Subtree { first, .. }) = planted[single] else { unreachable!() };
    planted[single] = Piece::Entry(edit(&entries[first as usize], |item| item.subject = None));
    assert!(matches!(trust.verify(planted, &checkpoint), Err(Error::LogRoot { .. })));
}

#[test]
fn one_entry_verifies_by_its_path_and_in_no_other_place() {
    let (entries, checkpoint) = log();
    let key = verifier_key();
    let trust = Trust { log: &key, witnesses: &[] };
    let mut edge = Edge::new();
    let full = edge.append(&entries.iter().map(|bytes| leaf_hash(bytes)).collect::<Vec<_>>());
    let read =
        |level, index, _| full.iter().find(|it| (it.level, it.index) == (level, index)).map(|it| it.hashes.clone());
    let path = inclusion_proof(77, 610, &edge.reader(&read)).unwrap();
    let (entry, report) = trust.verify_entry(&entries[77], &path, &checkpoint).unwrap();
    assert_eq!((entry.item.sequence.get(), report.entries, report.size), (77, 1, 610));

    let renumbered = edit(&entries[77], |item| item.sequence = Sequence(78));
    let changed = edit(&entries[77], |item| item.subject = None);
    for wrong in [&entries[78], &renumbered, &changed] {
        assert!(trust.verify_entry(wrong, &path, &checkpoint).is_err());
    }
    for step in 0..path.len() {
        let mut bent = path.clone();
        bent[step][31] ^= 1;
        assert!(matches!(trust.verify_entry(&entries[77], &bent, &checkpoint), Err(Error::Proof)), "{step}");
    }
    assert!(trust.verify_entry(&entries[77], &path[1..], &checkpoint).is_err());
}

#[test]
fn every_witness_that_is_asked_for_must_have_cosigned() {
    let (entries, checkpoint) = log();
    let signing = |seed| SigningKey::from_seed(&[seed; 32]).unwrap();
    let key = verifier_key();
    let witnesses = [1, 2].map(|seed| WitnessKey::new(&format!("w{seed}"), signing(seed).public_key()).unwrap());
    let mut note = SignedNote::parse(&checkpoint).unwrap();
    note.cosign("w1", &signing(1), 1_763_802_000).unwrap();
    let pieces = || entries.iter().cloned().map(Piece::Entry);
    let trust = |witnesses| Trust { log: &key, witnesses };
    let report = trust(&witnesses[..1]).verify(pieces(), &note.to_bytes()).unwrap();
    assert_eq!(report.cosigned_s, [1_763_802_000]);

    // Not by the second one; by somebody else under its name; and by it in the end.
    assert!(matches!(trust(&witnesses).verify(pieces(), &note.to_bytes()), Err(Error::NoteUnsigned(_))));
    let mut forged = note.clone();
    forged.cosign("w2", &signing(3), 1_763_802_001).unwrap();
    assert!(trust(&witnesses).verify(pieces(), &forged.to_bytes()).is_err());
    note.cosign("w2", &signing(2), 1_763_802_002).unwrap();
    assert_eq!(trust(&witnesses).verify(pieces(), &note.to_bytes()).unwrap().cosigned_s.len(), 2);
}
