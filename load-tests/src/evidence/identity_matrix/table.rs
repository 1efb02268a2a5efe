//! What is expected: `table.txt`, read strictly.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

/// What an identity gets from an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// It is let through: the answer is one that only authorized callers see.
    Allowed,
    /// It is denied.
    Denied,
    /// It does not get past the handshake.
    Refused,
}

/// Which of a node's two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Port {
    /// For callers.
    Client,
    /// For nodes.
    Peer,
}

/// Expectations of one port, by RPC and identity.
pub(super) type Cells = BTreeMap<String, BTreeMap<String, Expected>>;

/// Expectations of both ports.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    cells: BTreeMap<Port, Cells>,
}

impl Table {
    /// The table of this checkout.
    pub(super) fn ours() -> Result<Self> {
        Self::parse(include_str!("table.txt"))
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut table = Self::default();
        let mut section: Option<(Port, Vec<&str>)> = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            match (first, &mut section) {
                ("[client]", _) => section = Some((Port::Client, Vec::new())),
                ("[peer]", _) => section = Some((Port::Peer, Vec::new())),
                ("columns", Some((_, columns))) => *columns = words.collect(),
                (rpc, Some((port, columns))) => {
                    let row = row(words, columns).with_context(|| format!("row `{rpc}`"))?;
                    let before = table.cells.entry(*port).or_default().insert(rpc.to_owned(), row);
                    ensure!(before.is_none(), "row `{rpc}` is there twice");
                }
                (other, None) => bail!("`{other}` stands before the first section"),
            }
        }
        Ok(table)
    }

    /// Expectations of a port.
    pub(super) fn port(&self, port: Port) -> Cells {
        self.cells.get(&port).cloned().unwrap_or_default()
    }

    /// One cell.
    pub(super) fn get(&self, port: Port, rpc: &str, who: &str) -> Option<Expected> {
        self.cells.get(&port)?.get(rpc)?.get(who).copied()
    }

    /// Changes one cell; for the control.
    pub(super) fn set(&mut self, port: Port, rpc: &str, who: &str, expected: Expected) {
        self.cells.entry(port).or_default().entry(rpc.to_owned()).or_default().insert(who.to_owned(), expected);
    }

    /// Takes a row out; for the control.
    pub(super) fn remove(&mut self, port: Port, rpc: &str) {
        if let Some(cells) = self.cells.get_mut(&port) {
            cells.remove(rpc);
        }
    }

    /// The first cell with an expectation.
    pub(super) fn first(&self, wanted: Expected) -> Option<(Port, String, String)> {
        let rows = self.cells.iter().flat_map(|(port, cells)| cells.iter().map(move |(rpc, row)| (port, rpc, row)));
        let mut found = rows.flat_map(|(port, rpc, row)| {
            let here = row.iter().filter(|(_, expected)| **expected == wanted);
            here.map(|(who, _)| (*port, rpc.clone(), who.clone())).collect::<Vec<_>>()
        });
        found.next()
    }

    /// Every RPC that `proto` has and the table lacks, and the other way round.
    pub(super) fn differences(&self, client: &[String], peer: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for (port, rpcs) in [(Port::Client, client), (Port::Peer, peer)] {
            let cells = self.port(port);
            let missing = rpcs.iter().filter(|rpc| !cells.contains_key(*rpc));
            found.extend(missing.map(|rpc| format!("{rpc} is not in the table")));
            let unknown = cells.keys().filter(|rpc| !rpcs.contains(rpc));
            found.extend(unknown.map(|rpc| format!("{rpc} is in the table and does not exist")));
        }
        found
    }
}

fn row<'a>(words: impl Iterator<Item = &'a str>, columns: &[&str]) -> Result<BTreeMap<String, Expected>> {
    let cells: Vec<Expected> = words
        .map(|word| match word {
            "a" => Ok(Expected::Allowed),
            "d" => Ok(Expected::Denied),
            "r" => Ok(Expected::Refused),
            other => bail!("`{other}` is none of a, d, r"),
        })
        .collect::<Result<_>>()?;
    ensure!(cells.len() == columns.len(), "{} cells for {} columns", cells.len(), columns.len());
    Ok(columns.iter().map(|column| (*column).to_owned()).zip(cells).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_strictly() {
        let table =
            Table::parse("# note\n[client]\ncolumns hr owner\nS/Get a d\n[peer]\ncolumns member\nP/Put r\n").unwrap();
        assert_eq!(table.get(Port::Client, "S/Get", "owner"), Some(Expected::Denied));
        assert_eq!(table.get(Port::Peer, "P/Put", "member"), Some(Expected::Refused));
        assert_eq!(table.differences(&["S/Get".to_owned()], &["P/Put".to_owned()]), Vec::<String>::new());
        assert_eq!(table.differences(&[], &["P/Put".to_owned(), "P/New".to_owned()]).len(), 2);
        for wrong in [
            "S/Get a",
            "[client]\ncolumns hr\nS/Get a d",
            "[client]\ncolumns hr\nS/Get x",
            "[client]\ncolumns hr\nS a\nS a",
        ] {
            assert!(Table::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn our_table_knows_every_rpc_of_proto() {
        let (client, peer) = super::super::rpcs::all().unwrap();
        assert_eq!(Table::ours().unwrap().differences(&client, &peer), Vec::<String>::new());
    }
}
