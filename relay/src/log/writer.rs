//! The thread that writes the log.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mailport::internal;

use super::record::{LogFormat, LogRecord};

/// How many lines wait while the log is not read; the next ones are lost.
const WAITING: usize = 1024;
/// How long lines come together before the thread writes them: waking it for each costs more than
/// the line.
const TOGETHER: Duration = Duration::from_millis(10);
/// How long the end of the process waits for lines that are not yet written.
const FLUSH: Duration = Duration::from_millis(200);
/// The stack of the thread that writes.
const STACK: usize = 128 * 1024;

/// Writes records, one a line, and never blocks the caller.
///
/// Each line is one write. Until [`Log::start`] it is made by the caller; from then on by a thread
/// for this alone, so that a reader that has stopped reading delays nothing else. What does not fit into
/// its queue is lost and counted; a `log_lost` record says how much when writing continues.
pub struct Log {
    format: LogFormat,
    output: Option<Box<dyn Write + Send>>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<WriterState>,
    /// The first line has come, or the end.
    came: Condvar,
    /// Everything is written.
    finished: Condvar,
}

#[derive(Default)]
struct WriterState {
    lines: VecDeque<String>,
    lost: u64,
    /// Whether the thread waits for a line.
    is_idle: bool,
    is_closed: bool,
    is_finished: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// A log on standard error.
    pub fn to_stderr(format: LogFormat) -> Log {
        Log::new(format, io::stderr())
    }

    /// A log on any output.
    pub fn new(format: LogFormat, output: impl Write + Send + 'static) -> Log {
        Log { format, output: Some(Box::new(output)), queue: Arc::default() }
    }

    /// Writes a record. There is no way to report that it cannot be written, so that is ignored.
    pub fn write(&mut self, record: &LogRecord) {
        let line = line(self.format, record);
        if let Some(output) = &mut self.output {
            let _ = output.write_all(line.as_bytes());
            return;
        }
        let mut state = self.queue.lock();
        if state.lines.len() >= WAITING {
            state.lost += 1;
            return;
        }
        state.lines.push_back(line);
        if std::mem::take(&mut state.is_idle) {
            drop(state);
            self.queue.came.notify_one();
        }
    }

    /// Lines that were lost so far.
    pub fn lost(&self) -> u64 {
        self.queue.lock().lost
    }

    /// Starts the thread that writes. Call it once privileges have been dropped: capabilities and
    /// Landlock's rules are those of a thread.
    pub fn start(&mut self) -> io::Result<()> {
        let Some(output) = self.output.take() else { return Ok(()) };
        let (format, queue) = (self.format, Arc::clone(&self.queue));
        internal::spawn("mailport-log", STACK, move || write_all(output, format, &queue))
    }

    /// Waits for a moment until everything is written.
    pub fn finish(&mut self) {
        let until = Instant::now() + FLUSH;
        let mut state = self.queue.lock();
        state.is_closed = true;
        self.queue.came.notify_one();
        while self.output.is_none() && !state.is_finished {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.queue.finished.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn line(format: LogFormat, record: &LogRecord) -> String {
    record.line(format, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn write_all(mut output: Box<dyn Write + Send>, format: LogFormat, queue: &Queue) {
    let mut known = 0;
    loop {
        let mut state = queue.lock();
        while state.lines.is_empty() && !state.is_closed {
            state.is_idle = true;
            state = queue.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.is_idle = false;
        if !state.is_closed {
            let waited = queue.came.wait_timeout(state, TOGETHER);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (lines, lost) = (std::mem::take(&mut state.lines), state.lost);
        if lines.is_empty() && state.is_closed {
            state.is_finished = true;
            drop(state);
            queue.finished.notify_all();
            return;
        }
        drop(state);
        for line in lines {
            let _ = output.write_all(line.as_bytes());
        }
        if lost > known {
            let record = LogRecord::new("log_lost").with_number("lines", lost - known);
            let _ = output.write_all(line(format, &record).as_bytes());
            known = lost;
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
        // The pipe has room for 64 lines at most, and the queue for 1,024 beside those that the
        // thread has taken, which are as many at most.
        assert!(lost > 500, "{lost} lines");
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().contains("event number=0 "));
        let record = lines.find(|line| line.contains("log_lost")).unwrap();
        assert!(record.contains("log_lost lines="), "{record}");
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
