//! Proxy auto-configuration: sends what a mail client submits to the relay, and nothing else.

use std::net::SocketAddr;

use super::config::MAIL_PORTS;

/// A PAC file for the proxy listener at this address.
///
/// Thunderbird asks for the proxy of a connection to submit mail with `http://HOST:587/`, or
/// `https://HOST:465/` for implicit TLS, and of one to read mail with `imap://` or `pop3://`. While
/// the relay does not run, the client connects directly.
pub fn pac(proxy: SocketAddr) -> String {
    let ports: Vec<String> = MAIL_PORTS.iter().map(u16::to_string).collect();
    let ports = ports.join("|");
    format!(
        "// Sends mail that is submitted to the mailport relay at {proxy}; all else goes direct.\n\
         function FindProxyForURL(url, host) {{\n\
         \x20 if (/^https?:\\/\\/[^\\/]*:({ports})(\\/|$)/.test(url)) {{\n\
         \x20   return \"SOCKS5 {proxy}; DIRECT\";\n\
         \x20 }}\n\
         \x20 return \"DIRECT\";\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ports_of_submission_go_to_the_proxy() {
        let text = pac("127.0.0.1:1080".parse().unwrap());
        assert!(text.contains("\"SOCKS5 127.0.0.1:1080; DIRECT\""), "{text}");
        assert!(text.contains(r"/^https?:\/\/[^\/]*:(25|465|587)(\/|$)/.test(url)"), "{text}");
    }
}
