use super::*;
use crate::samples;

/// Put together by a CBOR encoder of another language.
const GOLDEN: &str = "018319012c8c1b0000019bf799a4006461636d650b781d7370696666653a2f2f667564612e6578616d706c652f706179\
    726f6c6cf66e6f702e77697468686f6c64696e6768796561722d656e6407805011111111111111111111111111111111\
    50222222222222222222222222222222225033333333333333333333333333333333828b19012c00f6f6f6f6f6f6f6f6\
    808c19012d011166652d3130303101504444444444444444444444444444444467706179726f6c6c021901f41901f581\
    820c677661756c742d3066652d31303030";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn stored_bytes_are_golden() {
    let item = EntryItem::allowed(Sequence(300));
    let common = Common { policy_ids: Vec::new(), end_user: None, ..samples::common() };
    let block = Block::new(Sequence(300), common, vec![item, samples::full_item(301)]).unwrap();
    assert_eq!(hex(&block.encode()), GOLDEN);
    assert_eq!(Block::decode(&block.encode()).unwrap(), block);
}

#[test]
fn the_parts_of_a_block_are_its_entries() {
    let mut items = vec![EntryItem::allowed(Sequence(10)), samples::full_item(11)];
    items.extend((12..300).map(|sequence| EntryItem::allowed(Sequence(sequence))));
    let block = Block::new(Sequence(10), samples::common(), items).unwrap();
    assert_eq!((block.first(), block.len(), block.is_empty(), block.time()), (Sequence(10), 290, false, samples::TIME));
    assert_eq!((block.count(Decision::Denied), block.count(Decision::Allowed)), (1, 289));

    let hashes = block.leaf_hashes();
    assert_eq!(hashes.len(), block.len());
    for (place, hash) in hashes.iter().enumerate() {
        let entry = block.entry(place).unwrap();
        assert_eq!(entry.item.sequence.get(), 10 + place as u64);
        assert_eq!(block.canonical(place).unwrap(), entry.canonical());
        assert_eq!(*hash, entry.leaf_hash());
    }
    assert_eq!((block.canonical(290), block.entry(290)), (None, None));

    let read = Block::decode(&block.encode()).unwrap();
    assert_eq!(read, block);
    assert_eq!(read.leaf_hashes(), hashes);
}

#[test]
fn sequences_must_count_up_from_the_first() {
    let of = |first, sequences: &[u64]| {
        let items = sequences.iter().map(|sequence| EntryItem::allowed(Sequence(*sequence))).collect();
        Block::new(Sequence(first), samples::common(), items)
    };
    assert!(of(5, &[5, 6, 7]).is_ok());
    assert!(of(5, &[]).unwrap().leaf_hashes().is_empty());
    for (first, sequences) in [(5, [6, 7]), (5, [5, 5]), (5, [5, 7]), (5, [6, 5])] {
        assert!(matches!(of(first, &sequences), Err(Error::BlockSequence { .. })), "{sequences:?}");
    }
}

#[test]
fn damaged_blocks_are_refused() {
    let block = Block::new(Sequence(7), samples::common(), vec![samples::full_item(7)]).unwrap();
    let bytes = block.encode();
    assert!(matches!(Block::decode(&[]), Err(Error::BlockLength)));
    assert!(matches!(Block::decode(&[&[2], &bytes[1..]].concat()), Err(Error::BlockFormat(2))));
    assert!(matches!(Block::decode(&[&bytes[..], &[0]].concat()), Err(Error::BlockLength)));
    for end in 1..bytes.len() {
        assert!(Block::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(Block::decode(&changed).ok().as_ref() != Some(&block), "byte {place}");
    }
    // A count of items that the bytes do not hold must not be allocated for.
    let head = [&[FORMAT, 0x83, 0x07], to_cbor(&samples::common()).as_slice()].concat();
    for count in [&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0x9a, 0x00, 0x01, 0x00, 0x01]] {
        assert!(matches!(Block::decode(&[&head, count].concat()), Err(Error::Block(_))));
    }
}
