//! The progress of a probe, on a terminal.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mailport::ProbeProgress;

/// A line on standard error while the probe runs; it is cleared at the end.
pub(super) struct ProgressLine {
    bar: ProgressBar,
    timeout: Duration,
    /// All hosts, and what is done of those that were probed in earlier parts.
    hosts: usize,
    before: ProbeProgress,
    now: ProbeProgress,
}

impl ProgressLine {
    pub(super) fn begin(timeout: Duration, hosts: usize, quiet: bool) -> ProgressLine {
        let shown = io::stderr().is_terminal() && !quiet;
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        // The last part is cut where the terminal is narrow, so that the line never wraps.
        let style = ProgressStyle::with_template("[{bar:20}] {elapsed} {wide_msg}")
            .expect("a template of ours is sound");
        bar.set_style(style.progress_chars("=> "));
        if shown {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        ProgressLine {
            bar,
            timeout,
            hosts,
            before: ProbeProgress::default(),
            now: ProbeProgress::default(),
        }
    }

    pub(super) fn show(&mut self, progress: ProbeProgress) {
        self.now = progress;
        let hosts = self.hosts;
        let hosts_done = self.before.hosts_done + progress.hosts_done;
        let (candidates, done) =
            (self.before.candidates + progress.candidates, self.before.done + progress.done);
        let of_hosts = match hosts {
            1 => String::new(),
            _ => format!(", {hosts_done} of {hosts} hosts done"),
        };
        let timeout = humantime::format_duration(self.timeout);
        // Never full before the end: hosts whose names are still looked up count as one candidate.
        let unknown = usize::from(hosts_done < hosts && done == candidates);
        self.bar.set_length((candidates + unknown) as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message(format!("{done} of {candidates} tried{of_hosts} (timeout {timeout})"));
    }

    /// Says that sessions still run, which may take this long.
    pub(super) fn show_sessions(&self, count: usize, limit: Duration) {
        let limit = humantime::format_duration(limit);
        self.bar.set_message(format!("SMTP sessions: {count} (timeout {limit})"));
    }

    /// Ends a part of the hosts.
    pub(super) fn finish_part(&mut self) {
        self.before.hosts_done += self.now.hosts_done;
        self.before.candidates += self.now.candidates;
        self.before.done += self.now.done;
        self.now = ProbeProgress::default();
    }

    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}
