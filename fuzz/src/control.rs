//! Bytes as what is asked on a relay's control socket.

use mailport_relay::control::{ControlRequest, MAX_REQUEST, request};

/// A request is understood as soon as its line has ended, with any bytes after it, and never waited for
/// beyond its longest.
pub fn control(data: &[u8]) {
    let whole = request(data);
    for cut in 0..data.len() {
        if let Some(early) = request(&data[..cut]) {
            assert_eq!(Some(early), whole, "more bytes change nothing");
        }
    }
    assert!(whole.is_some() || data.len() < MAX_REQUEST && !data.contains(&b'\n'));
    let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let asked = matches!(line, b"status" | b"status\r") && data.contains(&b'\n');
    assert_eq!(whole == Some(Ok(ControlRequest::Status)), asked);
}
