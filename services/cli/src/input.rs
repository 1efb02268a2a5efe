//! Files and standard input that hold secrets: read whole, into memory that is wiped.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::failure::Failure;

/// Largest input that is read (1 GiB): some 10 million rows.
pub(crate) const INPUT_BYTES_MAX: usize = 1_073_741_824;
/// Longest single line that is read where one line is expected.
const LINE_BYTES_MAX: usize = 4_096;
const FIRST_BLOCK_BYTES: usize = 65_536;

/// Bytes that are wiped when dropped.
pub(crate) type SecretBytes = Zeroizing<Vec<u8>>;

/// Reads a file, or standard input for none and for `-`.
pub(crate) fn read(path: Option<&Path>) -> Result<SecretBytes, Failure> {
    match path.filter(|path| *path != Path::new("-")) {
        None => read_from(&mut io::stdin().lock(), FIRST_BLOCK_BYTES, INPUT_BYTES_MAX)
            .map_err(|error| Failure::Usage(format!("standard input cannot be read: {error}"))),
        Some(path) => {
            let unreadable = |error: io::Error| Failure::Usage(format!("`{}` cannot be read: {error}", path.display()));
            let mut file = File::open(path).map_err(unreadable)?;
            let size = usize::try_from(file.metadata().map_err(unreadable)?.len()).unwrap_or(INPUT_BYTES_MAX);
            // One more, so that the end is seen without growing.
            read_from(&mut file, size.min(INPUT_BYTES_MAX) + 1, INPUT_BYTES_MAX).map_err(unreadable)
        }
    }
}

/// Reads the one line of standard input.
pub(crate) fn read_line() -> Result<Zeroizing<String>, Failure> {
    let bytes = read_from(&mut io::stdin().lock(), LINE_BYTES_MAX + 1, LINE_BYTES_MAX)
        .map_err(|error| Failure::Usage(format!("standard input cannot be read: {error}")))?;
    one_line(&bytes)
}

/// The lines that are not empty, without surrounding white space.
pub(crate) fn lines(bytes: &SecretBytes) -> Result<impl Iterator<Item = &str>, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| Failure::Usage("the input must be UTF-8".to_owned()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()))
}

fn one_line(bytes: &SecretBytes) -> Result<Zeroizing<String>, Failure> {
    let mut lines = lines(bytes)?;
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(Zeroizing::new(line.to_owned())),
        _ => Err(Failure::Usage("standard input must hold exactly one line".to_owned())),
    }
}

/// Grows by moving into a larger buffer, so that the smaller one is wiped.
fn read_from(from: &mut dyn Read, first_block_bytes: usize, bytes_max: usize) -> io::Result<SecretBytes> {
    let mut bytes = Zeroizing::new(vec![0; first_block_bytes.max(1)]);
    let mut filled = 0;
    loop {
        let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) else {
            let mut larger = Zeroizing::new(vec![0; bytes.len() * 2]);
            larger.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
            bytes = larger;
            continue;
        };
        match from.read(room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled > bytes_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes")));
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_any_size_arrive_whole() {
        let expected: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        for first in [1, 7, 65_536, 200_000, 200_001] {
            let read = read_from(&mut expected.as_slice(), first, INPUT_BYTES_MAX).unwrap();
            assert_eq!(*read, expected, "{first}");
        }
        assert!(read_from(&mut [0; 11].as_slice(), 4, 10).is_err());
    }

    #[test]
    fn one_line_is_one_line() {
        let line = |text: &str| one_line(&Zeroizing::new(text.as_bytes().to_vec()));
        assert_eq!(*line(" 123 \n\n").unwrap(), "123");
        assert_eq!(*line("\u{feff}123\r\n").unwrap(), "123");
        assert!(line("").is_err() && line("1\n2\n").is_err());
        assert!(one_line(&Zeroizing::new(vec![0xff])).is_err());
    }
}
