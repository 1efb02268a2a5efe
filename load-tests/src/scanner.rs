//! Finds secrets in bytes, in every form they are likely to be written in.
//!
//! Each secret becomes a few patterns; every pattern is filed under its first [`WINDOW`] bytes. A haystack is read once:
//! the window at each offset is looked up in a bit filter, then in a table, and only then compared in full.
//!
//! Chance: the weakest pattern is a packed decimal of 12 digits, 48 bits. Encrypted bytes look random, so a scan of
//! `n` bytes for `p` such patterns meets `n·p / 2^48` of them by chance: 0.004 for 100 MB and 10,000 numbers. All other
//! patterns have 56 bits or more. The report carries the expectation, so that a hit can be judged.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Bytes of a pattern that it is filed under; shorter patterns are not allowed.
const WINDOW: usize = 6;
/// log2 of the bits of the filter (4 MiB): well below one false candidate in ten offsets for half a million patterns.
const FILTER_BITS_LOG2: u32 = 25;
/// Bytes read from a file at once.
const CHUNK_BYTES: usize = 4 << 20;
/// Hits described; all are counted.
const DESCRIBED_MAX: usize = 10;

/// What kind of secret a pattern was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Secret {
    /// A stored number.
    Number,
    /// A token, in text or as its 20 secret bytes.
    Token,
    /// A retry secret.
    RetrySecret,
}

impl Secret {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Token => "token",
            Self::RetrySecret => "retry secret",
        }
    }
}

/// A secret that was found. Says where and in which form, never what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What kind of secret.
    pub secret: Secret,
    /// Its place in the order in which secrets of its kind were added.
    pub index: usize,
    /// The form, such as `ascii`.
    pub form: &'static str,
    /// The file, table or page.
    pub place: String,
    /// Offset in it, in bytes.
    pub offset: u64,
}

/// What a scan found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Bytes looked at.
    pub bytes: u64,
    /// Files, tables and pages looked at.
    pub places: u64,
    /// All hits.
    pub count: u64,
    /// The first few.
    pub hits: Vec<Hit>,
    /// Hits per form.
    pub forms: BTreeMap<(Secret, &'static str), u64>,
}

struct Pattern {
    bytes: Vec<u8>,
    secret: Secret,
    index: usize,
    form: &'static str,
}

/// Patterns of all secrets.
pub struct Scanner {
    patterns: Vec<Pattern>,
    filed: HashMap<u64, Vec<u32>>,
    filter: Vec<u64>,
    longest: usize,
    counts: BTreeMap<Secret, usize>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            filed: HashMap::new(),
            filter: vec![0; 1 << (FILTER_BITS_LOG2 - 6)],
            longest: WINDOW,
            counts: BTreeMap::new(),
        }
    }
}

impl Scanner {
    /// A number of 12 decimal digits, the first not zero.
    pub fn add_number(&mut self, number: &str) {
        let index = self.next(Secret::Number);
        let mut add = |form, bytes| self.add(Secret::Number, index, form, bytes);
        let ascii = number.as_bytes();
        add("ascii", ascii.to_vec());
        add("utf-16le", utf16(number, u16::to_le_bytes));
        add("utf-16be", utf16(number, u16::to_be_bytes));
        add("full-width", number.chars().map(full_width).collect::<String>().into_bytes());
        add("hex of ascii", hex::encode(ascii).into_bytes());
        grouped(number).into_iter().for_each(|text| add("grouped", text.into_bytes()));
        packed(ascii).into_iter().for_each(|bytes| add("packed decimal", bytes));
        base64_inside(ascii).into_iter().for_each(|bytes| add("base64", bytes));
        if let Ok(value) = number.parse::<u64>() {
            add("u64 le", value.to_le_bytes().to_vec());
            add("u64 be", value.to_be_bytes().to_vec());
            add("hex", format!("{value:x}").into_bytes());
            add("hex", format!("{value:X}").into_bytes());
            add("hex of u64 le", hex::encode(value.to_le_bytes()).into_bytes());
        }
    }

    /// A token in text and its secret bytes.
    pub fn add_token(&mut self, text: &str, secret: &[u8]) {
        let index = self.next(Secret::Token);
        // Without the prefix, which a careless filter may have cut off.
        let body = text.rsplit('_').next().unwrap_or(text);
        let mut add = |form, bytes| self.add(Secret::Token, index, form, bytes);
        add("ascii", body.as_bytes().to_vec());
        add("upper case", body.to_ascii_uppercase().into_bytes());
        add("utf-16le", utf16(body, u16::to_le_bytes));
        add("utf-16be", utf16(body, u16::to_be_bytes));
        add("hex of ascii", hex::encode(body).into_bytes());
        base64_inside(text.as_bytes()).into_iter().for_each(|bytes| add("base64", bytes));
        binary(secret).into_iter().for_each(|(form, bytes)| add(form, bytes));
    }

    /// A retry secret.
    pub fn add_retry_secret(&mut self, secret: &[u8]) {
        let index = self.next(Secret::RetrySecret);
        for (form, bytes) in binary(secret) {
            self.add(Secret::RetrySecret, index, form, bytes);
        }
    }

    /// Number of patterns.
    pub fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// Hits that chance alone makes in `bytes` random bytes.
    pub fn expected_by_chance(&self, bytes: u64) -> f64 {
        let chance = |pattern: &Pattern| 0.5_f64.powi(i32::try_from(pattern.bytes.len() * 8).unwrap_or(i32::MAX));
        self.patterns.iter().map(chance).sum::<f64>() * bytes as f64
    }

    /// Scans bytes in memory.
    pub fn scan_bytes(&self, place: &str, bytes: &[u8], findings: &mut Findings) {
        findings.places += 1;
        findings.bytes += bytes.len() as u64;
        self.scan_from(place, bytes, 0, 0, findings);
    }

    /// Scans a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn scan_file(&self, path: &Path, findings: &mut Findings) -> Result<()> {
        let mut file = File::open(path).with_context(|| format!("scanning `{}`", path.display()))?;
        let place = path.display().to_string();
        findings.places += 1;
        // What the last chunk could not decide stays in front of the next one.
        let (mut buffer, mut base) = (Vec::with_capacity(CHUNK_BYTES + self.longest), 0_u64);
        loop {
            let kept = buffer.len();
            file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut buffer)?;
            findings.bytes += (buffer.len() - kept) as u64;
            // A pattern that lies wholly in the kept part was found the last time.
            self.scan_from(&place, &buffer, base, kept, findings);
            if buffer.len() == kept {
                return Ok(());
            }
            let keep = (self.longest - 1).min(buffer.len());
            base += (buffer.len() - keep) as u64;
            buffer.drain(..buffer.len() - keep);
        }
    }

    /// Scans every regular file below a directory; symbolic links are not followed.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn scan_tree(&self, dir: &Path, findings: &mut Findings) -> Result<()> {
        for path in files_below(dir)? {
            self.scan_file(&path, findings)?;
        }
        Ok(())
    }

    fn next(&mut self, secret: Secret) -> usize {
        let count = self.counts.entry(secret).or_default();
        *count += 1;
        *count - 1
    }

    fn add(&mut self, secret: Secret, index: usize, form: &'static str, bytes: Vec<u8>) {
        let Some(window) = window(&bytes) else { return };
        self.longest = self.longest.max(bytes.len());
        let (word, bit) = filter_place(window);
        if let Some(word) = self.filter.get_mut(word) {
            *word |= bit;
        }
        let place = u32::try_from(self.patterns.len()).unwrap_or(u32::MAX);
        self.filed.entry(window).or_default().push(place);
        self.patterns.push(Pattern { bytes, secret, index, form });
    }

    /// Reports what ends behind `known`.
    fn scan_from(&self, place: &str, bytes: &[u8], base: u64, known: usize, findings: &mut Findings) {
        for offset in 0..bytes.len().saturating_sub(WINDOW - 1) {
            let Some(rest) = bytes.get(offset..) else { return };
            let Some(window) = window(rest) else { return };
            let (word, bit) = filter_place(window);
            if self.filter.get(word).is_none_or(|word| word & bit == 0) {
                continue;
            }
            for pattern in self.filed.get(&window).into_iter().flatten() {
                let Some(pattern) = self.patterns.get(*pattern as usize) else { continue };
                if rest.starts_with(&pattern.bytes) && offset + pattern.bytes.len() > known {
                    findings.hit(pattern, place, base + offset as u64);
                }
            }
        }
    }
}

impl Findings {
    /// One line about the first hits, for people.
    pub fn describe(&self) -> String {
        let line = |hit: &Hit| {
            format!("{} #{} as {} in {} at {}", hit.secret.name(), hit.index, hit.form, hit.place, hit.offset)
        };
        self.hits.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    fn hit(&mut self, pattern: &Pattern, place: &str, offset: u64) {
        self.count += 1;
        *self.forms.entry((pattern.secret, pattern.form)).or_default() += 1;
        if self.hits.len() < DESCRIBED_MAX {
            let Pattern { secret, index, form, .. } = *pattern;
            self.hits.push(Hit { secret, index, form, place: place.to_owned(), offset });
        }
    }
}

/// All regular files below a directory, in order of their paths.
///
/// # Errors
/// When a directory cannot be read.
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("listing `{}`", dir.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn window(bytes: &[u8]) -> Option<u64> {
    let first: &[u8; WINDOW] = bytes.first_chunk()?;
    Some(first.iter().fold(0, |window, byte| window << 8 | u64::from(*byte)))
}

/// Multiplicative hashing spreads the windows over the filter.
fn filter_place(window: u64) -> (usize, u64) {
    let hash = window.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS_LOG2);
    (usize::try_from(hash >> 6).unwrap_or(0), 1 << (hash & 63))
}

fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(order).collect()
}

/// A digit as Japanese forms have it: `１` for `1`.
fn full_width(digit: char) -> char {
    char::from_u32(u32::from(digit) + 0xfee0).unwrap_or(digit)
}

/// As people write it: `1234-5678-9012`, `1234 5678 9012`.
fn grouped(number: &str) -> Vec<String> {
    let digits: Vec<char> = number.chars().collect();
    let groups: Vec<String> = digits.chunks(4).map(|group| group.iter().collect()).collect();
    vec![groups.join("-"), groups.join(" ")]
}

/// Two digits per byte; then the form with a sign half-byte behind (COMP-3), and the one shifted by half a byte.
fn packed(ascii: &[u8]) -> Vec<Vec<u8>> {
    let halves: Vec<u8> = ascii.iter().map(|digit| digit & 0x0f).collect();
    let join = |halves: &[u8]| -> Vec<u8> {
        halves.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, half| byte << 4 | half)).collect()
    };
    let mut forms = vec![join(&halves)];
    for sign in [0xc, 0xd, 0xf] {
        let signed: Vec<u8> = [0].into_iter().chain(halves.iter().copied()).chain([sign]).collect();
        forms.push(join(&signed));
    }
    forms
}

/// What base64 makes of `bytes` at each of the three places it can have in a longer text: the characters that depend on
/// `bytes` alone.
fn base64_inside(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for shift in 0..3_usize {
        let shifted: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
        let first = (shift * 8).div_ceil(6);
        let last = shifted.len() * 8 / 6;
        for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            let inside = text.as_bytes().get(first..last).unwrap_or_default().to_vec();
            if !forms.contains(&inside) {
                forms.push(inside);
            }
        }
    }
    forms
}

fn binary(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        ("binary", secret.to_vec()),
        ("hex", hex::encode(secret).into_bytes()),
        ("hex", hex::encode_upper(secret).into_bytes()),
        ("utf-16le hex", utf16(&hex::encode(secret), u16::to_le_bytes)),
    ];
    forms.extend(base64_inside(secret).into_iter().map(|bytes| ("base64 of binary", bytes)));
    forms
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::synthetic::{Chance, People};

    const NUMBER: &str = "314159265358";

    /// Bytes that do not repeat, so that a pattern is found once.
    fn bytes<const N: usize>(first: u8) -> [u8; N] {
        std::array::from_fn(|place| first + u8::try_from(place).unwrap() * 3)
    }

    fn hits(haystack: &[u8]) -> Vec<&'static str> {
        let mut scanner = Scanner::default();
        scanner.add_number(NUMBER);
        scanner.add_token("fuda_test_qqqqqqqqpppppppzzzzzzzzrrrrrrrrryyyyyy", &bytes::<20>(0xa5));
        scanner.add_retry_secret(&bytes::<32>(0x5a));
        let mut findings = Findings::default();
        scanner.scan_bytes("test", haystack, &mut findings);
        findings.hits.iter().map(|hit| hit.form).collect()
    }

    #[test]
    fn every_form_of_a_number_is_found_at_any_offset() {
        let value: u64 = NUMBER.parse().unwrap();
        let around = |bytes: &[u8]| [b"<<<".as_slice(), bytes, b">>>"].concat();
        let utf16_le: Vec<u8> = NUMBER.bytes().flat_map(|digit| [digit, 0]).collect();
        let utf16_be: Vec<u8> = NUMBER.bytes().flat_map(|digit| [0, digit]).collect();
        let cases: [(&[u8], &str); 11] = [
            (NUMBER.as_bytes(), "ascii"),
            (&utf16_le, "utf-16le"),
            (&utf16_be, "utf-16be"),
            ("３１４１５９２６５３５８".as_bytes(), "full-width"),
            (b"3141-5926-5358", "grouped"),
            (&[0x31, 0x41, 0x59, 0x26, 0x53, 0x58], "packed decimal"),
            (&[0x03, 0x14, 0x15, 0x92, 0x65, 0x35, 0x8c], "packed decimal"),
            (&value.to_le_bytes(), "u64 le"),
            (&value.to_be_bytes(), "u64 be"),
            (b"333134313539323635333538", "hex of ascii"),
            (format!("0x{value:x}").as_bytes(), "hex"),
        ]
        .map(|(bytes, form)| (Box::leak(bytes.to_vec().into_boxed_slice()) as &[u8], form));
        for (bytes, form) in cases {
            assert_eq!(hits(&around(bytes)), [form], "{form}");
        }
        for shift in 0..3 {
            let inside = STANDARD.encode([&b"abc"[..shift], NUMBER.as_bytes(), b"xyz"].concat());
            assert_eq!(hits(inside.as_bytes()), ["base64"], "shift {shift}");
        }
    }

    #[test]
    fn tokens_and_retry_secrets_are_found_in_text_and_binary() {
        assert_eq!(hits(b"token=fuda_test_qqqqqqqqpppppppzzzzzzzzrrrrrrrrryyyyyy;"), ["ascii"]);
        assert_eq!(hits(&[[1_u8].as_slice(), &bytes::<20>(0xa5), &[2]].concat()), ["binary"]);
        assert_eq!(hits(&[[1_u8].as_slice(), &bytes::<32>(0x5a), &[2]].concat()), ["binary"]);
        assert_eq!(hits(hex::encode_upper(bytes::<32>(0x5a)).as_bytes()), ["hex"]);
        assert!(
            hits(STANDARD.encode([[7_u8].as_slice(), &bytes::<32>(0x5a)].concat()).as_bytes())
                .contains(&"base64 of binary")
        );
        assert!(hits(b"nothing at all, 31415926535 and 9").is_empty());
    }

    #[test]
    fn a_file_longer_than_a_chunk_is_searched_across_its_seams() {
        let people = People::new(3);
        let mut scanner = Scanner::default();
        (0..200).for_each(|person| scanner.add_number(&people.my_number(person)));
        let mut noise = vec![0_u8; CHUNK_BYTES * 2 + 1_000];
        let mut chance = Chance::new(1);
        noise.iter_mut().for_each(|byte| *byte = chance.bits().to_le_bytes()[0]);
        for (person, offset) in [(1, 0), (2, CHUNK_BYTES - 6), (3, CHUNK_BYTES * 2 - 1), (4, noise.len() - 12)] {
            noise[offset..offset + 12].copy_from_slice(people.my_number(person).as_bytes());
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&noise).unwrap();
        let mut findings = Findings::default();
        scanner.scan_file(file.path(), &mut findings).unwrap();
        let found: Vec<_> = findings.hits.iter().map(|hit| (hit.index, hit.offset as usize)).collect();
        assert_eq!(found, [(1, 0), (2, CHUNK_BYTES - 6), (3, CHUNK_BYTES * 2 - 1), (4, noise.len() - 12)]);
        assert_eq!(findings.bytes, noise.len() as u64);
        assert!(scanner.expected_by_chance(findings.bytes) < 1e-3);
    }
}
