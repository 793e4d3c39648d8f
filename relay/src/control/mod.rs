//! The control socket: one line asks, one JSON object answers.

mod request;
mod socket;

pub use request::{ControlRequest, MAX_REQUEST, RequestError, request};
pub(crate) use socket::{ControlClient, ControlSocket, bind_private};
pub use socket::{ask_status, default_control};
