//! How far a probe has come, on a terminal.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mailport::Progress;

/// A line on standard error while the probe runs; it is wiped out after.
pub(super) struct Wait {
    bar: ProgressBar,
}

impl Wait {
    pub(super) fn begin(hosts: usize, deadline: Duration, quiet: bool) -> Wait {
        let shown = io::stderr().is_terminal() && !quiet;
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let deadline = humantime::format_duration(deadline);
        let hosts = if hosts == 1 { String::new() } else { format!(" of {hosts} hosts") };
        let template = format!(
            "Probing {{pos}} of {{len}}{hosts} [{{bar:20}}] {{msg}}{{elapsed}}, silence is \
             given {deadline}"
        );
        let style = ProgressStyle::with_template(&template).expect("a template of ours is sound");
        bar.set_style(style.progress_chars("=> "));
        if shown {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Wait { bar }
    }

    pub(super) fn show(&self, progress: Progress) {
        self.bar.set_length(progress.candidates as u64);
        self.bar.set_position(progress.done as u64);
        if progress.hosts > 1 {
            self.bar.set_message(format!("{} done, ", progress.hosts_done));
        }
    }

    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}
