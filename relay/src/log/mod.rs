//! The log: one record a line, an event and its fields, as text or as JSON. Nothing that passes
//! through the relay is ever in it.

mod record;
mod writer;

pub use record::{LogFormat, LogRecord};
pub use writer::Log;
