//! Text as a way through a proxy or a command.

use mailport::Via;

/// A way is shown without its credentials, and what is shown of a proxy is the same proxy; a
/// mistake is one line that repeats nothing.
pub fn via(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    match text.parse::<Via>() {
        Ok(via) => {
            let shown = via.to_string();
            assert_eq!(format!("{via:?}"), format!("Via({shown})"));
            assert!(!shown.contains(char::is_control), "{shown:?}");
            if let Some(proxy) = shown.strip_prefix("socks5://") {
                assert!(!proxy.contains('@') && via.has_credentials() == text.contains('@'));
                let again: Via = shown.parse().unwrap();
                assert!(again.to_string() == shown && !again.has_credentials());
                assert!(via.has_credentials() || again == via);
            } else {
                assert!(shown.starts_with("command:") && text.starts_with("command:"));
            }
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
    }
}
