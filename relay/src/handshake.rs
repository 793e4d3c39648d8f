//! What a client of a proxy says before its connection, in SOCKS5 or HTTP, without I/O.

use mailport::socks5::{Mistake, Server};
use mailport::target::Target;

use super::access::Refusal;
use super::http_connect::HttpConnect;
use super::replies::{ReplyStyle, http_response};

/// The first byte of a client that speaks SOCKS5.
const SOCKS5: u8 = 5;

/// A client's request, as far as it has come.
#[derive(Debug)]
pub(super) enum Handshake {
    /// Nothing has come.
    New,
    Socks(Server),
    Http(HttpConnect),
}

/// What a handshake has come to.
#[derive(Debug)]
pub(super) enum ProxyRequest {
    /// The client wants a connection to this host and port.
    Connect { target: Target, port: u16, style: ReplyStyle },
    /// It is refused, and has to be sent this.
    Refused { reply: Vec<u8>, refusal: Refusal },
}

impl Handshake {
    /// Takes in bytes that the client has sent, and returns how many belong to the request, and
    /// what is to be sent before the next ones.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, Vec<u8>) {
        if let (Handshake::New, Some(first)) = (&*self, bytes.first()) {
            *self = match *first {
                SOCKS5 => Handshake::Socks(Server::default()),
                _ => Handshake::Http(HttpConnect::default()),
            };
        }
        match self {
            Handshake::New => (0, Vec::new()),
            Handshake::Socks(server) => (server.take(bytes), server.to_send()),
            Handshake::Http(connect) => (connect.take(bytes), Vec::new()),
        }
    }

    /// The style of replies to this client.
    pub(super) fn style(&self) -> ReplyStyle {
        match self {
            Handshake::New => ReplyStyle::Silent,
            Handshake::Socks(_) => ReplyStyle::Socks,
            Handshake::Http(_) => ReplyStyle::Http,
        }
    }

    /// What the client asks for; `None` until it has said so.
    pub(super) fn request(&self) -> Option<ProxyRequest> {
        let refused = |reply| ProxyRequest::Refused { reply, refusal: Refusal::Protocol };
        match self {
            Handshake::New => None,
            Handshake::Socks(server) => Some(match server.end()?.clone() {
                Ok(request) => ProxyRequest::Connect {
                    target: request.target,
                    port: request.port,
                    style: ReplyStyle::Socks,
                },
                Err(Mistake::Reply(reply)) => refused(reply.frame().to_vec()),
                Err(Mistake::Protocol | Mistake::Login) => refused(Vec::new()),
            }),
            Handshake::Http(connect) => Some(match connect.request()? {
                Ok((target, port)) => {
                    ProxyRequest::Connect { target, port, style: ReplyStyle::Http }
                }
                Err(error) => refused(http_response(error.status(), error.sentence())),
            }),
        }
    }
}
