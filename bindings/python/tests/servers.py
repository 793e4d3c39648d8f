"""A mail server for the tests: aiosmtpd with STARTTLS, AUTH and implicit TLS."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


def certificate(folder: Path) -> tuple[Path, Path]:
    """Makes a certificate for localhost, 127.0.0.1, mail.example.com and straße.example."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", made,
         "-addext", "subjectAltName=DNS:localhost,DNS:mail.example.com,IP:127.0.0.1,"
         "DNS:xn--strae-oqa.example",
         "-addext", "basicConstraints=critical,CA:TRUE"],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


class Server:
    """Listeners in threads: `port` with STARTTLS, `implicit` with TLS from the first byte."""

    def __init__(
        self,
        authority: tuple[Path, Path],
        context: ssl.SSLContext,
        ports: tuple[int, int, int] | None = None,
    ) -> None:
        starttls, implicit, cleartext = ports or (free_port(), free_port(), free_port())
        self.context = context
        """What a client of it trusts."""
        self.received: list[Envelope] = []
        self.logins: list[bytes] = []
        offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        offered.load_cert_chain(*authority)
        common: dict[str, Any] = {
            "hostname": "127.0.0.1",
            "authenticator": self.authenticate,
            "auth_required": True,
            "decode_data": False,
        }
        self.common = {**common, "tls_context": offered, "require_starttls": True}
        self.plain = _Controller(self, port=starttls, **self.common)
        self.tls = _Controller(
            self, port=implicit, ssl_context=offered, auth_require_tls=False, **common
        )
        self.bare = _Controller(self, port=cleartext, hostname="127.0.0.1")
        self.controllers = [self.plain, self.tls, self.bare]

    @property
    def port(self) -> int:
        return int(self.plain.port)

    @property
    def implicit(self) -> int:
        return int(self.tls.port)

    @property
    def cleartext(self) -> int:
        """A port where neither TLS nor AUTH is offered."""
        return int(self.bare.port)

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _way: str, data: LoginPassword
    ) -> AuthResult:
        self.logins.append(data.login)
        is_known = data.login in (b"user", b"user@example.com") and data.password == b"password"
        return AuthResult(success=is_known, handled=False)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.received.append(envelope)
        return "250 taken"

    def __enter__(self) -> Server:
        for controller in self.controllers:
            controller.start()
        return self

    def listen(self, port: int, **options: Any) -> None:
        """Adds a listener with STARTTLS and other options."""
        self.controllers.append(_Controller(self, port=port, **{**self.common, **options}))
        self.controllers[-1].start()

    def __exit__(self, *_: object) -> None:
        for controller in self.controllers:
            controller.stop()


class _Controller(Controller):
    def _trigger_server(self) -> None:
        # Its own first connection would be without our certificate.
        with socket.create_connection((self.hostname, self.port), 5):
            pass


def free_port() -> int:
    """A port that nothing uses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
