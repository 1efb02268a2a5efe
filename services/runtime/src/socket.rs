//! What a TCP socket knows and its streams do not tell.

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ`, the same number as `TIOCOUTQ`, on the processors we run on.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes that were written and that the other machine has not acknowledged yet, sent or not. At 0 its kernel has them all;
/// its program may still have read none of them.
///
/// # Errors
/// When `socket` is no connected TCP socket.
#[expect(unsafe_code, reason = "nothing safe asks the kernel for this; the request writes one C int")]
pub fn unacknowledged_bytes(socket: impl AsFd) -> io::Result<u64> {
    // SAFETY: SIOCOUTQ on a socket only reads, and writes one int to where it is told to.
    let bytes = unsafe { ioctl(socket, Getter::<SIOCOUTQ, std::ffi::c_int>::new()) }?;
    u64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_the_other_side_has_no_room_for_stays_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged_bytes(&stream).unwrap(), 0);
        stream.set_nonblocking(true).unwrap();
        let mut written = 0;
        let full = loop {
            match stream.write(&[7; 65_536]) {
                Ok(bytes) => written += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(unacknowledged_bytes(&stream).unwrap() > 0, "{written} bytes were written");
        let mut read = vec![0; written];
        other.read_exact(&mut read).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while unacknowledged_bytes(&stream).unwrap() > 0 {
            assert!(Instant::now() < until, "never acknowledged");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(unacknowledged_bytes(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
