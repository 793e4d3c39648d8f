"""smtplib's clients with a plan: each sends a message to a real server."""

from __future__ import annotations

import asyncio
import email
import email.message
import smtplib
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from test_asyncio import Forward, Scripted

import mailport
from conftest import HASTY, Run, Silent, starttls
from mailport import SMTP, SMTP_SSL, TLSMode, TLSRequiredError
from servers import Server, free_port

HERE = "127.0.0.1"


def message() -> email.message.EmailMessage:
    made = email.message.EmailMessage()
    made["From"], made["To"], made["Subject"] = "from@example.com", "to@example.com", "Hello"
    made.set_content("Hello.")
    return made


# The message above, as the server has it.
HELLO = "from@example.com", ["to@example.com"], "Hello", "Hello."


def reported(envelope: Any) -> tuple[str, list[str], str, str]:
    """What a server has received: sender, recipients, subject and text."""
    got = email.message_from_bytes(envelope.content)
    return envelope.mail_from, envelope.rcpt_tos, got["Subject"], str(got.get_payload()).strip()


@pytest.fixture(params=["open", "refused", "silent"])
def before(request: pytest.FixtureRequest, refused: int, silent: Silent) -> str:
    """A plan's beginning: nothing, a port that is refused, or one that is silent."""
    plans = {"open": "", "refused": f"{refused}:starttls,", "silent": f"{silent.port}:starttls,"}
    return plans[request.param]


def test_for_submission_is_ready_for_a_login(
    server: Server, mailbox: list[Any], trusting: ssl.SSLContext, before: str
) -> None:
    for port, tls in [(server.port, TLSMode.STARTTLS), (server.implicit, TLSMode.IMPLICIT)]:
        smtp = SMTP.for_submission(
            "localhost", plan=f"{before}{port}:{tls}", context=trusting, config=HASTY
        )
        with smtp:
            assert isinstance(smtp, smtplib.SMTP)
            assert smtp.tls is tls
            assert smtp.service is not None
            assert smtp.service.port == port
            assert isinstance(smtp.sock, ssl.SSLSocket)
            assert smtp.login("user", "password")[0] == 235
            smtp.send_message(message())
    assert [reported(envelope) for envelope in mailbox] == [HELLO] * 2


def test_smtp_is_used_like_smtplib_s(
    server: Server, mailbox: list[Any], trusting: ssl.SSLContext
) -> None:
    with SMTP(HERE, server.port, timeout=10) as smtp:
        assert smtp.sock is not None
        assert smtp.sock.gettimeout() == 10
        smtp.starttls(context=trusting)
        smtp.login("user", "password")
        smtp.sendmail("from@example.com", ["to@example.com"], "Subject: Hello\r\n\r\nHello.\r\n")
    smtp = SMTP(context=trusting)
    assert (smtp.service, smtp.tls, smtp.report) == (None, None, None)
    # A host with its port, and the name that is verified is the host's all the same.
    assert smtp.connect(f"{HERE}:{server.port}")[0] == 220
    smtp.starttls()
    smtp.login("user", "password")
    smtp.send_message(message())
    smtp.quit()
    assert len(mailbox) == 2


def test_smtp_ssl_is_used_like_smtplib_s(
    server: Server, mailbox: list[Any], trusting: ssl.SSLContext
) -> None:
    with SMTP_SSL(HERE, server.implicit, context=trusting) as smtp:
        assert isinstance(smtp, smtplib.SMTP_SSL)
        assert smtp.tls is TLSMode.IMPLICIT
        smtp.login("user", "password")
        smtp.send_message(message())
    with SMTP_SSL(HERE, plan=f"9:implicit,{server.implicit}:implicit", context=trusting) as smtp:
        assert smtp.report is not None
        assert len(smtp.report.attempts) == 2
    assert len(mailbox) == 1


def test_nothing_but_the_way_to_tls_is_sent_before_it(server: Server) -> None:
    before = list(server.logins)
    with SMTP(HERE, server.port) as smtp:
        smtp.ehlo()
        assert smtp.noop()[0] == 250
        with pytest.raises(TLSRequiredError, match="a login is not sent"):
            smtp.docmd("AUTH", "PLAIN AHVzZXIAcGFzc3dvcmQ=")
        with pytest.raises(TLSRequiredError, match="MAIL is not sent"):
            smtp.sendmail("from@example.com", ["to@example.com"], "Hello")
        assert issubclass(TLSRequiredError, smtplib.SMTPException)
    assert server.logins == before


def test_a_login_is_never_sent_in_cleartext() -> None:
    says = [b"220 a\r\n", b"250-b\r\n250 AUTH PLAIN LOGIN CRAM-MD5\r\n", b"221 c\r\n"]
    with Scripted(*says) as server:
        plan = mailport.Plan(f"{server.port}:cleartext", allow_cleartext=True)
        with SMTP(HERE, plan=plan) as smtp:
            assert smtp.tls is TLSMode.CLEARTEXT
            smtp.ehlo()
            with pytest.raises(TLSRequiredError):
                smtp.login("user", "password")
            for mechanism, respond in [("PLAIN", smtp.auth_plain), ("LOGIN", smtp.auth_login)]:
                with pytest.raises(TLSRequiredError):
                    smtp.auth(mechanism, respond)
    assert [word.split()[0] for word in server.heard if word] == [b"ehlo", b"QUIT"]


def test_mail_goes_out_in_cleartext_where_the_plan_says_so(
    server: Server, mailbox: list[Any]
) -> None:
    plan = mailport.Plan(f"{server.cleartext}:cleartext", allow_cleartext=True)
    with SMTP.for_submission(HERE, plan=plan) as smtp:
        smtp.send_message(message())
    assert len(mailbox) == 1


def test_a_server_without_starttls_is_an_error_and_no_fallback(server: Server) -> None:
    with pytest.raises(smtplib.SMTPNotSupportedError):
        SMTP.for_submission(HERE, plan=starttls(server.cleartext, server.port))


def test_a_certificate_is_verified_by_default(server: Server) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: SMTP.for_submission(HERE, plan=starttls(server.port, server.cleartext)),
        lambda: SMTP.for_submission(HERE, plan=f"{server.implicit}:implicit"),
        lambda: SMTP_SSL(HERE, server.implicit),
    ]
    for call in calls:
        with pytest.raises(ssl.SSLCertVerificationError):
            call()
    with SMTP(HERE, server.port) as smtp:
        with pytest.raises(ssl.SSLCertVerificationError):
            smtp.starttls()
        smtp.close()


def test_the_name_that_was_dialled_is_verified(server: Server, trusting: ssl.SSLContext) -> None:
    forward = Forward("127.0.0.2", server.port)
    with forward, pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.2"):
        SMTP.for_submission("127.0.0.2", plan=starttls(forward.port), context=trusting)
    forward = Forward("127.0.0.2", server.implicit)
    with forward, pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.2"):
        SMTP_SSL("127.0.0.2", forward.port, context=trusting)


def test_a_server_that_refuses_at_its_greeting_is_an_error() -> None:
    with Scripted(b"554 no\r\n") as server, pytest.raises(smtplib.SMTPConnectError):
        SMTP.for_submission(HERE, plan=starttls(server.port, 9))


def test_a_dial_that_fails_is_an_os_error_as_in_smtplib(refused: int) -> None:
    for kind in (SMTP, SMTP_SSL):
        with pytest.raises(mailport.ConnectError) as caught:
            kind(HERE, refused)
        assert caught.value.errno == 111


def test_misuse_is_reported_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="both given"):
        SMTP(HERE, 2525, plan="mew")
    with pytest.raises(ValueError, match="implicit TLS, not 587:starttls"):
        SMTP_SSL(HERE, plan="rfc8314")
    with pytest.raises(ValueError, match="port of source_address"):
        SMTP(HERE, source_address=(HERE, 70000))
    with pytest.raises(ValueError, match="timeout=0"):
        SMTP(HERE, timeout=0)


def test_the_source_address_is_used(server: Server) -> None:
    for source in [("127.0.0.5", 0), ("127.0.0.5", free_port())]:
        with SMTP(HERE, server.port, source_address=source) as smtp:
            assert smtp.sock is not None
            assert smtp.sock.getsockname() == (source[0], source[1] or smtp.sock.getsockname()[1])


def test_a_port_that_implies_tls_has_it(
    monkeypatch: pytest.MonkeyPatch, server: Server, trusting: ssl.SSLContext
) -> None:
    seen = []

    def dial(host: str, *, plan: mailport.Plan, **_: Any) -> mailport.Connected:
        seen.append(str(plan))
        return mailport.dial(host, plan=f"{server.implicit}:implicit")

    monkeypatch.setattr("mailport._smtplib.dial", dial)
    SMTP(HERE, 465, context=trusting).quit()
    SMTP_SSL(HERE, context=trusting).quit()
    SMTP_SSL(HERE, 587, context=trusting).quit()
    assert seen == ["465:implicit", "465:implicit", "587:implicit"]


def test_a_default_timeout_is_the_socket_s(server: Server) -> None:
    with SMTP(HERE, server.port) as smtp:
        assert smtp.sock is not None
        assert smtp.sock.gettimeout() is None
    socket.setdefaulttimeout(7)
    try:
        with SMTP(HERE, server.port) as smtp:
            assert smtp.sock is not None
            assert smtp.sock.gettimeout() == 7
    finally:
        socket.setdefaulttimeout(None)


def test_aiosmtplib_takes_the_socket(
    run: Run[Any], server: Server, mailbox: list[Any], trusting: ssl.SSLContext, before: str
) -> None:
    import aiosmtplib

    async def send(plan: str) -> None:
        connected = await mailport.adial("localhost", plan=plan, config=HASTY)
        smtp = aiosmtplib.SMTP(
            hostname="localhost",
            sock=connected.socket,
            use_tls=connected.tls is TLSMode.IMPLICIT,
            start_tls=connected.tls is TLSMode.STARTTLS,
            tls_context=trusting,
        )
        async with smtp:
            await smtp.login("user", "password")
            await smtp.send_message(message())

    async def main() -> None:
        await send(f"{before}{server.port}:starttls")
        await send(f"{before}{server.implicit}:implicit")
        # aiosmtplib does not wait until TLS has said goodbye.
        await asyncio.sleep(0.2)

    run(main())
    assert [reported(envelope) for envelope in mailbox] == [HELLO] * 2


def test_a_create_connection_verifies_the_target(
    run: Run[Any], server: Server, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        sock = await mailport.aconnect(HERE, plan=f"{server.implicit}:implicit")
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=sock, ssl=trusting, server_hostname=HERE
        )
        assert transport.get_extra_info("peercert")
        transport.abort()
        await asyncio.sleep(0)

    run(main())


def test_a_login_before_starttls_is_refused_whatever_the_server_offers(server: Server) -> None:
    with SMTP(HERE, server.port) as smtp, pytest.raises(TLSRequiredError, match="starttls"):
        smtp.login("user", "password")


def test_ehlo_names_an_address_and_never_asks_the_name_service(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> str:
        # The tests' server, in its own thread, may ask.
        assert threading.current_thread() is not threading.main_thread()
        return "localhost"

    monkeypatch.setattr(socket, "getfqdn", slow)
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    with SMTP(HERE, str(server.port)) as smtp:
        assert smtp.local_hostname == "[127.0.0.1]"
    with SMTP_SSL(HERE, server.implicit, context=server.context) as over_tls:
        assert over_tls.local_hostname == "[127.0.0.1]"
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop.example.com")
    with SMTP(HERE, server.port) as smtp:
        assert smtp.local_hostname == "laptop.example.com"
    with SMTP(HERE, server.port, "me.example.com") as smtp:
        assert smtp.local_hostname == "me.example.com"
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost.localdomain")
    with SMTP(HERE, server.port) as smtp:
        assert smtp.local_hostname == "[127.0.0.1]"


def test_a_timeout_of_smtp_holds_for_the_greeting() -> None:
    begun = time.monotonic()
    with Scripted(b"") as server, pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
        SMTP(HERE, server.port, timeout=0.3)
    assert time.monotonic() - begun < 5


if sys.version_info >= (3, 12):

    class Overriding(SMTP):
        """What programs write, which type checkers must accept."""

        def starttls(self, *, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
            return super().starttls(context=context or self.mine)

        mine: ssl.SSLContext | None = None

else:

    class Overriding(SMTP):
        """What programs write, which type checkers must accept."""

        def starttls(
            self, keyfile: Any = None, certfile: Any = None, context: Any = None
        ) -> tuple[int, bytes]:
            return super().starttls(keyfile, certfile, context or self.mine)

        mine: ssl.SSLContext | None = None


def test_starttls_can_be_overridden(server: Server) -> None:
    with Overriding(HERE, server.port) as smtp:
        smtp.mine = server.context
        assert smtp.starttls()[0] == 220
        assert smtp.login("user", "password")[0] == 235


@pytest.mark.parametrize(
    ("arguments", "plan"),
    [
        ((), "587:starttls,25:starttls"),
        ((0,), "587:starttls,25:starttls"),
        ((587,), "587:starttls,25:starttls"),
        ((25,), "25:starttls,587:starttls"),
        (("25",), "25:starttls,587:starttls"),
        ((465,), "465:implicit"),
    ],
)
def test_the_port_that_was_asked_for_comes_first(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...], plan: str
) -> None:
    seen = []

    def dial(*_: Any, plan: mailport.Plan, **__: Any) -> None:
        seen.append(str(plan))
        raise ConnectionRefusedError

    monkeypatch.setattr("mailport._smtplib.dial", dial)
    for call in (SMTP, SMTP.for_submission):
        with pytest.raises(ConnectionRefusedError):
            call(HERE, *arguments)
    assert seen == [plan, plan]
