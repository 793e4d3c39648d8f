//! The machine that the figures are of.

use std::fs;
use std::thread;

use crate::Result;
use crate::clients::output;

pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
}

impl Machine {
    pub(crate) fn this() -> Result<Machine> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
        Ok(Machine {
            date: output(&["date".to_owned(), "-I".to_owned()])?,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            processor: model.unwrap_or("unknown").trim_start_matches(['\t', ' ', ':']).to_owned(),
            processors: thread::available_parallelism()?.get(),
        })
    }
}
