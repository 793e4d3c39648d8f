//! The thread that writes the log.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::record::{LogFormat, LogRecord};

/// How many lines wait while whoever reads the log does not; the next ones are lost.
const WAITING: usize = 1024;
/// How long the end of the process waits for lines that are not yet written.
const FLUSH: Duration = Duration::from_millis(200);
/// The stack of the thread that writes.
const STACK: usize = 128 * 1024;

/// Writes records, one a line, and never blocks whoever logs them.
///
/// Each line is one write. Until [`Log::start`] it is made by the caller; from then on by a thread
/// of its own, so that a reader who has stopped reading holds up nothing. What does not fit into
/// its queue is lost and counted; a `log_lost` record says how much when writing continues.
pub struct Log {
    format: LogFormat,
    output: Option<Box<dyn Write + Send>>,
    queue: Option<SyncSender<String>>,
    finished: Option<Receiver<()>>,
    lost: Arc<AtomicU64>,
}

impl Log {
    /// A log on standard error.
    pub fn to_stderr(format: LogFormat) -> Log {
        Log::new(format, io::stderr())
    }

    /// A log on any output.
    pub fn new(format: LogFormat, output: impl Write + Send + 'static) -> Log {
        let lost = Arc::new(AtomicU64::new(0));
        Log { format, output: Some(Box::new(output)), queue: None, finished: None, lost }
    }

    /// Writes a record. There is no way to report that it cannot be written, so that is ignored.
    pub fn write(&mut self, record: &LogRecord) {
        let line = line(self.format, record);
        if let Some(queue) = &self.queue {
            if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(line)
            {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        } else if let Some(output) = &mut self.output {
            let _ = output.write_all(line.as_bytes());
        }
    }

    /// Lines that were lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Starts the thread that writes. Call it once privileges have been dropped: capabilities and
    /// Landlock's rules are those of a thread.
    pub fn start(&mut self) -> io::Result<()> {
        let Some(output) = self.output.take() else { return Ok(()) };
        let (queue, lines) = mpsc::sync_channel(WAITING);
        let (finish, finished) = mpsc::channel();
        let (format, lost) = (self.format, Arc::clone(&self.lost));
        let builder = thread::Builder::new().name("mailport-log".into()).stack_size(STACK);
        builder.spawn(move || {
            write_all(output, &lines, format, &lost);
            let _ = finish.send(());
        })?;
        (self.queue, self.finished) = (Some(queue), Some(finished));
        Ok(())
    }

    /// Waits for a moment until everything is written.
    pub fn finish(&mut self) {
        drop(self.queue.take());
        if let Some(finished) = self.finished.take() {
            let _: Result<(), RecvTimeoutError> = finished.recv_timeout(FLUSH);
        }
    }
}

fn line(format: LogFormat, record: &LogRecord) -> String {
    record.line(format, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn write_all(
    mut output: Box<dyn Write + Send>,
    lines: &Receiver<String>,
    format: LogFormat,
    lost: &AtomicU64,
) {
    let mut known = 0;
    for next in lines {
        let _ = output.write_all(next.as_bytes());
        let all = lost.load(Ordering::Relaxed);
        if all > known {
            let record = LogRecord::new("log_lost").with_number("lines", all - known);
            let _ = output.write_all(line(format, &record).as_bytes());
            known = all;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn a_reader_that_stops_reading_blocks_nothing_and_what_is_lost_is_counted() {
        let (reader, writer) = io::pipe().unwrap();
        let mut log = Log::new(LogFormat::Text, writer);
        log.start().unwrap();
        let filler = "x".repeat(1000);
        for number in 0..3000 {
            log.write(&LogRecord::new("event").with_number("number", number).with("text", &filler));
        }
        let lost = log.lost();
        // The pipe has room for 64 lines at most, and the queue for 1,024.
        assert!(lost > 1500, "{lost} lines");
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().contains("event number=0 "));
        let told = lines.find(|line| line.contains("log_lost")).unwrap();
        assert!(told.contains("log_lost lines="), "{told}");
        drop(lines);
        log.finish();
    }

    #[test]
    fn everything_is_written_before_the_end() {
        let (reader, writer) = io::pipe().unwrap();
        let mut log = Log::new(LogFormat::Json, writer);
        log.write(&LogRecord::new("listening"));
        log.start().unwrap();
        log.write(&LogRecord::new("stopped"));
        log.finish();
        let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        assert!(lines.len() == 2 && lines[1].contains("stopped"), "{lines:?}");
        assert_eq!(log.lost(), 0);
    }
}
