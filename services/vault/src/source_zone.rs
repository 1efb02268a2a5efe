//! From the address of a caller to the part of the network that grants and policies name.
//!
//! An address identifies nobody: it only narrows what a proven identity may do. Behind a load balancer every caller has
//! the balancer's address, so that zones are worth something only where the network keeps addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context as _, ensure};
use fuda_core::SourceZone;

/// Blocks of addresses of one node's configuration.
const BLOCKS_MAX: usize = 1_024;
/// Bits that an IPv4 address follows in its IPv6 form.
const MAPPED_BITS: u8 = 96;

/// Blocks of addresses and their zones.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceZones {
    /// The longest prefix first, so that the first match is the most specific.
    blocks: Vec<(Block, SourceZone)>,
}

/// A block of IPv6 addresses; an IPv4 block stands in its mapped form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    first: u128,
    prefix_bits: u8,
}

impl SourceZones {
    /// Reads zones and their blocks (`10.1.0.0/16`, `2001:db8::/32`, one address alone) as the configuration has them.
    ///
    /// # Errors
    /// When a name or a block is malformed, a block has bits behind its prefix, or two zones claim one block.
    pub(crate) fn parse(configured: &BTreeMap<String, Vec<String>>) -> anyhow::Result<Self> {
        let mut blocks: Vec<(Block, SourceZone)> = Vec::new();
        for (name, texts) in configured {
            let key = || format!("configuration key `source_zones.{name}`");
            let zone = SourceZone::parse(name).with_context(key)?;
            for text in texts {
                let block = Block::parse(text).with_context(key)?;
                ensure!(!blocks.iter().any(|(other, _)| *other == block), "{}: `{text}` is listed twice", key());
                blocks.push((block, zone.clone()));
            }
        }
        ensure!(blocks.len() <= BLOCKS_MAX, "configuration key `source_zones` must hold at most {BLOCKS_MAX} blocks");
        blocks.sort_by_key(|(block, _)| std::cmp::Reverse(block.prefix_bits));
        Ok(Self { blocks })
    }

    /// The zone of the most specific block that holds the address.
    pub(crate) fn of(&self, address: Option<IpAddr>) -> Option<SourceZone> {
        let address = bits(address?);
        self.blocks.iter().find(|(block, _)| block.holds(address)).map(|(_, zone)| zone.clone())
    }
}

impl Block {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().with_context(|| format!("`{text}` is no address"))?;
        let (offset, width) = if address.is_ipv4() { (MAPPED_BITS, 32) } else { (0, 128) };
        let prefix: u8 =
            prefix.map_or(Ok(width), str::parse).with_context(|| format!("`{text}` has no prefix length"))?;
        ensure!(prefix <= width, "the prefix of `{text}` is longer than an address");
        let block = Self { first: bits(address), prefix_bits: offset + prefix };
        ensure!(block.first & !block.mask() == 0, "`{text}` has bits behind its prefix");
        Ok(block)
    }

    fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.prefix_bits)).unwrap_or(0)
    }

    fn holds(self, address: u128) -> bool {
        address & self.mask() == self.first
    }
}

fn bits(address: IpAddr) -> u128 {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(configured: &[(&str, &[&str])]) -> anyhow::Result<SourceZones> {
        let owned = configured
            .iter()
            .map(|(name, blocks)| ((*name).to_owned(), blocks.iter().map(|block| (*block).to_owned()).collect()));
        SourceZones::parse(&owned.collect())
    }

    #[test]
    fn the_most_specific_block_names_the_zone() {
        let zones = zones(&[
            ("office", &["10.0.0.0/8", "2001:db8::/32"]),
            ("batch", &["10.1.2.0/24"]),
            ("console", &["10.1.2.3", "::1"]),
        ])
        .unwrap();
        let of = |address: &str| zones.of(Some(address.parse().unwrap())).map(|zone| zone.to_string());
        assert_eq!(of("10.9.9.9").as_deref(), Some("office"));
        assert_eq!(of("10.1.2.4").as_deref(), Some("batch"));
        assert_eq!(of("10.1.2.3").as_deref(), Some("console"));
        assert_eq!(of("::ffff:10.1.2.4").as_deref(), Some("batch"), "an IPv4 caller at an IPv6 socket");
        assert_eq!(of("2001:db8:1::7").as_deref(), Some("office"));
        assert_eq!(of("::1").as_deref(), Some("console"));
        assert_eq!(of("192.0.2.1"), None);
        assert_eq!(zones.of(None), None);
        assert_eq!(SourceZones::default().of(Some("10.1.2.3".parse().unwrap())), None);
    }

    #[test]
    fn everything_may_be_a_zone() {
        let zones = zones(&[("anywhere", &["::/0"])]).unwrap();
        assert!(zones.of(Some("192.0.2.1".parse().unwrap())).is_some());
    }

    #[test]
    fn mistakes_are_named() {
        for blocks in [&["10.0.0.1/8"][..], &["10.0.0.0/33"], &["10.0.0.0/"], &["host"], &["10.0.0.0/8", "10.0.0.0/8"]]
        {
            let error = format!("{:#}", zones(&[("office", blocks)]).unwrap_err());
            assert!(error.starts_with("configuration key `source_zones.office`"), "{error}");
        }
        assert!(zones(&[("Office", &["10.0.0.0/8"])]).is_err());
    }
}
