//! A stream whose other side gets so much time and no more, however it splits
//! up what it sends and takes.

use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Bytes that one write hands over: the kernel's time limit is one of each
/// piece that it waits for, so it gets few at once.
const PIECE: usize = 32 << 10;

/// A stream and when its patience ends.
#[derive(Debug)]
pub struct Patient<'s> {
    stream: &'s UnixStream,
    patience: Duration,
    since: Instant,
}

impl<'s> Patient<'s> {
    /// The time starts now.
    #[must_use]
    pub fn new(stream: &'s UnixStream, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            since: Instant::now(),
        }
    }

    /// The time starts again.
    pub fn start(&mut self) {
        self.since = Instant::now();
    }

    /// What is there, at most what fits; zero when the other side hung up.
    ///
    /// # Errors
    ///
    /// `TimedOut` when the time is over, or what the system says.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(buffer) {
                Err(error) if is_early(&error) => {}
                done => return done,
            }
        }
    }

    /// Sends all of it.
    ///
    /// # Errors
    ///
    /// As [`Patient::read`].
    pub fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.left()?))?;
            let piece = bytes.get(..PIECE).unwrap_or(bytes);
            match self.stream.write(piece) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
                Err(error) if is_early(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How much time is left.
    fn left(&self) -> io::Result<Duration> {
        let left = self.patience.saturating_sub(self.since.elapsed());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

/// Whether the call may have ended before its time: it is for the clock to say
/// when that is over.
fn is_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn what_comes_in_time_is_read_and_written() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut patient = Patient::new(&near, Duration::from_secs(60));
        patient.write_all(b"there").unwrap();
        let mut other = Patient::new(&far, Duration::from_secs(60));
        let mut buffer = [0; 8];
        assert_eq!(other.read(&mut buffer).unwrap(), 5);
        drop(near);
        assert_eq!(other.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn drips_do_not_stretch_the_time() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let drip = thread::spawn(move || while far.write_all(b".").is_ok() {});
        let mut patient = Patient::new(&near, SHORT);
        let mut byte = [0];
        let error = loop {
            if let Err(error) = patient.read(&mut byte) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(near);
        drip.join().unwrap();
    }

    #[test]
    fn it_can_be_given_more_time() {
        const LONG: Duration = Duration::from_secs(60);
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b".").unwrap();
        let mut patient = Patient::new(&near, LONG);
        patient.since = Instant::now().checked_sub(LONG).unwrap();
        let mut byte = [0];
        let error = patient.read(&mut byte).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        patient.start();
        assert_eq!(patient.read(&mut byte).unwrap(), 1);
    }

    #[test]
    fn one_that_takes_nothing_is_not_waited_for() {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut patient = Patient::new(&near, SHORT);
        let error = patient.write_all(&std::vec![0; 64 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
