use std::collections::BTreeMap;

use super::*;
use crate::Error;

/// The full tiles of a log, as a node stores them.
#[derive(Default)]
struct Stored(BTreeMap<(u8, u64), Vec<u8>>);

impl Stored {
    fn add(&mut self, tiles: Vec<FullTile>) {
        for FullTile { level, index, hashes } in tiles {
            assert_eq!(hashes.len(), TILE_BYTES);
            assert!(self.0.insert((level, index), hashes).is_none(), "tile {level}/{index} became full twice");
        }
    }
}

impl TileReader for Stored {
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        assert_eq!(width, TILE_WIDTH, "only full tiles are stored");
        self.0.get(&(level, index)).cloned()
    }
}

/// RFC 6962 §2.1, word for word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(naive_split(leaves.len()));
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// RFC 6962 §2.1.1: PATH(m, D[n]).
fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let k = naive_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, last) = if index < k {
        (naive_path(index, left), naive_root(right))
    } else {
        (naive_path(index - k, right), naive_root(left))
    };
    path.push(last);
    path
}

/// RFC 6962 §2.1.2: SUBPROOF(m, D[n], b).
fn naive_subproof(m: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if known { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let k = naive_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, last) = if m <= k {
        (naive_subproof(m, left, known), naive_root(right))
    } else {
        (naive_subproof(m - k, right, false), naive_root(left))
    };
    proof.push(last);
    proof
}

fn naive_split(len: usize) -> usize {
    let mut k = 1;
    while k * 2 < len {
        k *= 2;
    }
    k
}

fn numbered_leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

fn hash(hex: &str) -> Hash {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    let bytes: Vec<u8> = hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    bytes.try_into().unwrap()
}

/// The leaves of the test vectors of Certificate Transparency.
fn ct_leaves() -> Vec<Hash> {
    let data: [&[u8]; 8] = [
        &[],
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
    ];
    data.iter().map(|leaf| leaf_hash(leaf)).collect()
}

const CT_ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn roots_agree_with_the_certificate_transparency_vectors() {
    let leaves = ct_leaves();
    let mut edge = Edge::new();
    assert_eq!(edge.head(), TreeHead::empty());
    for (size, root) in CT_ROOTS.iter().enumerate() {
        assert_eq!(edge.root(), hash(root), "size {size}");
        let (stored, tail) = (Stored::default(), leaves.get(..size).unwrap());
        assert_eq!(root_at(size as u64, &StoredTiles::new(size as u64, &stored, tail)).unwrap(), hash(root));
        if let Some(leaf) = leaves.get(size) {
            assert!(edge.append(&[*leaf]).is_empty());
        }
    }
}

#[test]
fn proofs_agree_with_the_certificate_transparency_vectors() {
    let leaves = ct_leaves();
    let stored = Stored::default();
    let tiles = StoredTiles::new(8, &stored, &leaves);
    let (a, b, c, d, e) = (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    );
    let inclusion: [(u64, u64, &[&str]); 5] = [
        (0, 1, &[]),
        (0, 8, &[e, a, b]),
        (5, 8, &[c, d, CT_ROOTS[4]]),
        (2, 3, &[CT_ROOTS[2]]),
        (1, 5, &[CT_ROOTS[1], a, c]),
    ];
    for (index, size, expected) in inclusion {
        let expected: Vec<Hash> = expected.iter().copied().map(hash).collect();
        let proof = inclusion_proof(index, size, &tiles).unwrap();
        assert_eq!(proof, expected, "leaf {index} of {size}");
        let head = TreeHead { size, root: hash(CT_ROOTS[size as usize]) };
        verify_inclusion(&leaves[index as usize], index, &head, &proof).unwrap();
    }
    let sibling = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    let consistency: [(u64, u64, &[&str]); 4] =
        [(1, 1, &[]), (1, 8, &[e, a, b]), (6, 8, &[sibling, d, CT_ROOTS[4]]), (2, 5, &[a, c])];
    for (old, new, expected) in consistency {
        let expected: Vec<Hash> = expected.iter().copied().map(hash).collect();
        let proof = consistency_proof(old, new, &tiles).unwrap();
        assert_eq!(proof, expected, "{old} to {new}");
        let head = |size: u64| TreeHead { size, root: hash(CT_ROOTS[size as usize]) };
        verify_consistency(&head(old), &head(new), &proof).unwrap();
    }
}

/// Values of Go's `golang.org/x/mod/sumdb/tlog` over the same leaves; proofs as the hash of their hashes.
#[test]
fn roots_and_proofs_of_a_large_tree_agree_with_an_independent_implementation() {
    const SIZE: u64 = 70_000;
    let (mut edge, mut stored) = (Edge::new(), Stored::default());
    stored.add(edge.append(&numbered_leaves(SIZE)));
    let tiles = edge.reader(&stored);
    assert_eq!(edge.root(), hash("0759167a0f98e35e802d46ff7c7d29d2c3f03a63a256deb6abbff357a91b63b1"));
    let older = root_at(65_281, &tiles).unwrap();
    assert_eq!(older, hash("8712838754a38c973531870e32dd6e63d9e8e83e33b473559e43bb18ba27e0aa"));
    let inclusion = inclusion_proof(65_700, SIZE, &tiles).unwrap();
    assert_eq!(
        (inclusion.len(), sha256(&inclusion.concat())),
        (14, hash("43cd26a569c9160f3af7dd6279d8fa5ca2f032ffbc56bac6b45864c954bf535b"))
    );
    let consistency = consistency_proof(65_281, SIZE, &tiles).unwrap();
    assert_eq!(
        (consistency.len(), sha256(&consistency.concat())),
        (18, hash("b48da6cc9de91a878c90c8bcc97a8f12d67ebdf846b9d217379928c06873272c"))
    );
}

#[test]
fn a_growing_edge_its_tiles_and_a_restored_edge_agree_with_the_naive_tree() {
    const LAST: u64 = 70_000;
    let leaves = numbered_leaves(LAST);
    let points: Vec<u64> = [
        0, 1, 2, 3, 7, 8, 100, 255, 256, 257, 511, 512, 513, 768, 1000, 4095, 4096, 20_000, 32_767, 32_768, 65_279,
        65_280, 65_281, 65_535, 65_536, 65_537, 65_791, 65_792, 65_793, 69_999, LAST,
    ]
    .to_vec();
    let mut edge = Edge::new();
    let mut stored = Stored::default();
    for &size in &points {
        // Phase 1: append in one batch from the previous point.
        stored.add(edge.append(&leaves[edge.size() as usize..size as usize]));
        let expected = naive_root(&leaves[..size as usize]);
        assert_eq!(edge.head(), TreeHead { size, root: expected });

        // Phase 2: the stored tiles and the leaves behind them give the same edge and the same reader.
        let tail = &leaves[(size - size % 256) as usize..size as usize];
        assert_eq!(Edge::restore(size, &stored, tail).unwrap(), edge, "size {size}");
        let offline = StoredTiles::new(size, &stored, tail);
        let live = edge.reader(&stored);
        for older in points.iter().copied().filter(|older| *older <= size) {
            let root = naive_root(&leaves[..older as usize]);
            assert_eq!(root_at(older, &live).unwrap(), root, "size {older} of {size}");
            let proof = consistency_proof(older, size, &live).unwrap();
            assert_eq!(consistency_proof(older, size, &offline).unwrap(), proof);
            verify_consistency(&TreeHead { size: older, root }, &edge.head(), &proof).unwrap();
            if older < size {
                let proof = inclusion_proof(older, size, &live).unwrap();
                assert_eq!(inclusion_proof(older, size, &offline).unwrap(), proof);
                verify_inclusion(&leaves[older as usize], older, &edge.head(), &proof).unwrap();
            }
        }
    }

    // Phase 3: the tiles are those that tlog-tiles defines for a tree of 70,000 leaves.
    assert_eq!(stored.0.len(), 273 + 1);
    assert_eq!(edge.reader(&stored).tile(0, 273, 112).unwrap().len(), 112 * HASH_BYTES);
    assert_eq!(edge.reader(&stored).tile(1, 1, 17).unwrap().len(), 17 * HASH_BYTES);
    assert_eq!(edge.reader(&stored).tile(2, 0, 1).unwrap(), naive_root(&leaves[..65_536]));
    for ((level, index), bytes) in &stored.0 {
        let span = 1 << (8 * level);
        let start = *index as usize * 256 * span;
        let expected = leaves[start..start + 256 * span].chunks(span).map(naive_root);
        assert!(hashes(bytes).eq(expected), "tile {level}/{index}");
    }
}

#[test]
fn appending_one_by_one_and_in_batches_is_the_same() {
    let leaves = numbered_leaves(1_500);
    let (mut one_by_one, mut tiles) = (Edge::new(), Vec::new());
    for leaf in &leaves {
        tiles.extend(one_by_one.append(&[*leaf]));
    }
    let mut batched = Edge::new();
    assert_eq!(batched.append(&leaves), tiles);
    assert_eq!(batched, one_by_one);
    assert!(batched.append(&[]).is_empty());
    assert_eq!(batched, one_by_one);
}

#[test]
fn every_proof_up_to_300_leaves_is_the_rfcs_and_verifies() {
    const LAST: usize = 300;
    let leaves = numbered_leaves(LAST as u64);
    let heads: Vec<TreeHead> =
        (0..=LAST).map(|size| TreeHead { size: size as u64, root: naive_root(&leaves[..size]) }).collect();
    let mut edge = Edge::new();
    let mut stored = Stored::default();
    for size in 1..=LAST {
        stored.add(edge.append(&leaves[size - 1..size]));
        let tiles = edge.reader(&stored);
        // The naive proofs cost n² hashes each size: compare small sizes, those around a tile's end, and some between.
        let compare = size % 50 == 0 || size < 34 || (254..259).contains(&size);
        for older in 0..size {
            let proof = inclusion_proof(older as u64, size as u64, &tiles).unwrap();
            verify_inclusion(&leaves[older], older as u64, &heads[size], &proof).unwrap();
            assert!(!compare || proof == naive_path(older, &leaves[..size]), "leaf {older} of {size}");
        }
        for older in 0..=size {
            let proof = consistency_proof(older as u64, size as u64, &tiles).unwrap();
            verify_consistency(&heads[older], &heads[size], &proof).unwrap();
            let naive = |older| naive_subproof(older, &leaves[..size], true);
            assert!(!compare || older == 0 || proof == naive(older), "{older} to {size}");
        }
    }
}

/// Every way to change a proof a little: flip a bit of, drop, double or swap hashes, add one at either end.
fn mutations(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut mutated = Vec::new();
    let mut mutate = |change: &dyn Fn(&mut Vec<Hash>)| {
        let mut copy = proof.to_vec();
        change(&mut copy);
        if copy != proof {
            mutated.push(copy);
        }
    };
    for place in 0..proof.len() {
        for bit in [0, 131, 255] {
            mutate(&|proof| proof[place][bit / 8] ^= 1 << (bit % 8));
        }
        mutate(&|proof| _ = proof.remove(place));
        mutate(&|proof| proof.insert(place, proof[place]));
        mutate(&|proof| proof.truncate(place));
        if place > 0 {
            mutate(&|proof| proof.swap(place - 1, place));
        }
    }
    mutate(&|proof| proof.push([0; HASH_BYTES]));
    mutate(&|proof| proof.insert(0, [0; HASH_BYTES]));
    mutated
}

#[test]
fn every_mutated_proof_is_refused() {
    const LAST: usize = 70;
    let leaves = numbered_leaves(LAST as u64);
    let stored = Stored::default();
    let tiles = StoredTiles::new(LAST as u64, &stored, &leaves);
    let head = |size: usize| TreeHead { size: size as u64, root: naive_root(&leaves[..size]) };
    for size in 1..=LAST {
        for (older, leaf) in leaves.iter().enumerate().take(size) {
            let (index, head) = (older as u64, head(size));
            let proof = inclusion_proof(index, head.size, &tiles).unwrap();
            for mutated in mutations(&proof) {
                assert!(verify_inclusion(leaf, index, &head, &mutated).is_err(), "leaf {older} of {size}");
            }
            for elsewhere in (0..=head.size).filter(|elsewhere| *elsewhere != index) {
                assert!(verify_inclusion(leaf, elsewhere, &head, &proof).is_err(), "leaf {older} as {elsewhere}");
            }
            assert!(verify_inclusion(&[0; HASH_BYTES], index, &head, &proof).is_err());
            assert!(verify_inclusion(leaf, index, &TreeHead { root: [0; HASH_BYTES], ..head }, &proof).is_err());
        }
        for older in 0..=size {
            let (old, new) = (head(older), head(size));
            let proof = consistency_proof(old.size, new.size, &tiles).unwrap();
            for mutated in mutations(&proof) {
                assert!(verify_consistency(&old, &new, &mutated).is_err(), "{older} to {size}");
            }
            let wrong = [0; HASH_BYTES];
            assert!(verify_consistency(&TreeHead { root: wrong, ..old }, &new, &proof).is_err(), "{older} to {size}");
            if older > 0 {
                assert!(verify_consistency(&old, &TreeHead { root: wrong, ..new }, &proof).is_err());
            }
            if older < size {
                assert!(matches!(verify_consistency(&new, &old, &proof), Err(Error::OutsideTree { .. })));
            }
        }
    }
}

#[test]
fn a_fork_has_no_consistency_proof() {
    let leaves = numbered_leaves(200);
    let mut forked = leaves.clone();
    forked[41] = leaf_hash(b"rewritten");
    let stored = Stored::default();
    let old = TreeHead { size: 100, root: naive_root(&leaves[..100]) };
    let new = TreeHead { size: 200, root: naive_root(&forked) };
    let proof = consistency_proof(100, 200, &StoredTiles::new(200, &stored, &forked)).unwrap();
    assert!(matches!(verify_consistency(&old, &new, &proof), Err(Error::Proof)));
    let rewritten = TreeHead { size: 100, root: naive_root(&forked[..100]) };
    verify_consistency(&rewritten, &new, &proof).unwrap();
}

#[test]
fn positions_outside_the_tree_and_missing_tiles_are_errors() {
    let leaves = numbered_leaves(600);
    let (mut edge, mut stored) = (Edge::new(), Stored::default());
    stored.add(edge.append(&leaves));
    let tail = &leaves[512..];
    assert!(matches!(inclusion_proof(600, 600, &edge.reader(&stored)), Err(Error::OutsideTree { .. })));
    assert!(matches!(consistency_proof(601, 600, &edge.reader(&stored)), Err(Error::OutsideTree { .. })));
    assert!(matches!(root_at(601, &edge.reader(&stored)), Err(Error::TileMissing { level: 0, index: 2, width: 89 })));
    assert!(matches!(Edge::restore(600, &stored, &tail[1..]), Err(Error::TailLength { expected: 88, found: 87 })));

    stored.0.remove(&(0, 1));
    assert!(matches!(inclusion_proof(300, 600, &edge.reader(&stored)), Err(Error::TileMissing { .. })));
    assert!(matches!(Edge::restore(600, &stored, tail), Err(Error::TileMissing { level: 1, index: 0, width: 2 })));
    let short = |_: u8, _: u64, _: u16| Some(vec![0; 64]);
    assert!(matches!(inclusion_proof(300, 600, &short), Err(Error::TileMissing { .. })));
    assert!(Edge::restore(600, &short, tail).is_err());
}

#[test]
fn a_reader_may_serve_a_wider_tile_than_asked() {
    let leaves = numbered_leaves(200);
    let wide = |level: u8, index: u64, _: u16| ((level, index) == (0, 0)).then(|| leaves.concat());
    assert_eq!(root_at(77, &wide).unwrap(), naive_root(&leaves[..77]));
}

#[test]
fn tile_paths_are_those_of_the_specification() {
    assert_eq!(tile_path(0, 0, 256), "tile/0/000");
    assert_eq!(tile_path(1, 273, 112), "tile/1/273.p/112");
    assert_eq!(tile_path(0, 1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(tile_path(2, 1_000, 1), "tile/2/x001/000.p/1");
}
