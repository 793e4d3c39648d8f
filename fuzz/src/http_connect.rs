//! Bytes as what a client asks of a proxy by HTTP CONNECT.

use mailport_relay::http_connect::{HttpConnect, HttpError, MAX_HEADER};

/// A request takes exactly its header, however the bytes are cut, and is understood the same.
pub fn http_connect(data: &[u8]) {
    let Some((step, sent)) = data.split_first() else { return };
    let step = usize::from(step & 63) + 1;
    let mut connect = HttpConnect::default();
    let mut taken = 0;
    while connect.request().is_none() || taken == 0 {
        let next = &sent[taken..sent.len().min(taken + step)];
        let count = connect.take(next);
        assert!(count <= next.len());
        taken += count;
        if count == 0 {
            break;
        }
    }
    assert!(taken <= MAX_HEADER);
    match connect.request() {
        Some(Ok((target, port))) => {
            assert!(sent[..taken].ends_with(b"\r\n\r\n") && port != 0);
            let header = String::from_utf8_lossy(&sent[..taken]);
            let line = header.split('\r').next().unwrap();
            let authority = line.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
            assert_eq!(authority.rsplit(':').next().unwrap().parse(), Ok(port));
            assert!(!target.as_str().is_empty());
            let mut whole = HttpConnect::default();
            assert_eq!(whole.take(sent), taken, "the same in one piece");
            assert_eq!(whole.request(), Some(Ok((target, port))));
        }
        Some(Err(HttpError::TooLong)) => assert_eq!(taken, MAX_HEADER),
        Some(Err(_)) => {}
        None => assert_eq!(taken, sent.len(), "it waits for more"),
    }
}
