//! What a client of the control socket may ask.

/// The length of the longest request, with its end of line.
pub const MAX_REQUEST: usize = 64;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRequest {
    /// The status of the relay.
    Status,
}

/// Why a request is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is longer than [`MAX_REQUEST`].
    #[error("the request is too long")]
    TooLong,
    /// It is an unknown word.
    #[error("the request is unknown: only `status` is supported")]
    Unknown,
}

/// Reads a request; `None` until its line has ended.
pub fn request(bytes: &[u8]) -> Option<Result<ControlRequest, RequestError>> {
    let Some(end) = bytes.iter().take(MAX_REQUEST).position(|byte| *byte == b'\n') else {
        return (bytes.len() >= MAX_REQUEST).then_some(Err(RequestError::TooLong));
    };
    let line = &bytes[..end];
    Some(match line.strip_suffix(b"\r").unwrap_or(line) {
        b"status" => Ok(ControlRequest::Status),
        _ => Err(RequestError::Unknown),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line() {
        assert_eq!(request(b"status\n"), Some(Ok(ControlRequest::Status)));
        assert_eq!(request(b"status\r\nmore"), Some(Ok(ControlRequest::Status)));
        assert_eq!(request(b"status"), None);
        assert_eq!(request(b"Status\n"), Some(Err(RequestError::Unknown)));
        assert_eq!(request(b"\n"), Some(Err(RequestError::Unknown)));
        assert_eq!(request(&[b'x'; 63]), None);
        assert_eq!(request(&[b'x'; 64]), Some(Err(RequestError::TooLong)));
    }
}
