//! One hash over everything, to compare replicas.

use fuda_crypto::Sha256;

use crate::{Table, TableError, View};

/// Rows read at once.
const ROWS_MAX: usize = 4_096;

/// SHA-256 over all rows of all tables in order, each part preceded by its length. Equal on replicas that applied the
/// same log. Reads everything: for tests, simulation and snapshot checks, not for the hot path.
///
/// # Errors
/// [`TableError::Read`] if the tables cannot be read.
pub fn digest(view: &impl View) -> Result<[u8; 32], TableError> {
    let mut hash = Sha256::new();
    for table in Table::ALL {
        hash.update(&[table.number()]);
        let mut from = Vec::new();
        loop {
            let rows = view.scan(table, &from, None, ROWS_MAX)?;
            for (key, value) in &rows {
                for part in [key, value] {
                    hash.update(&(part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
            let Some((mut last, _)) = rows.into_iter().last() else { break };
            // The next possible key: the same one and a zero byte.
            last.push(0);
            from = last;
        }
    }
    Ok(hash.finish())
}
