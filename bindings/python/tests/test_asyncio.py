"""The dial's cases in asyncio, in uvloop, and through anyio."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import socket
import ssl
import sys
import threading
import time
from typing import Any

import pytest

import mailport
from conftest import HASTY, Run, Silent, descriptors, outcomes, starttls
from mailport import Answer, ConnectError, Question, TLSMode
from servers import Server

HERE = "127.0.0.1"


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


async def under_way() -> None:
    """Waits for the first turn of a task, in which a dial to an address begins."""
    await asyncio.sleep(0)


def test_an_open_port_is_connected(run: Run[Any], opened: socket.socket) -> None:
    async def main() -> None:
        with await mailport.aconnect(HERE, plan=starttls(port_of(opened))) as sock:
            assert sock.getpeername() == opened.getsockname()
            assert sock.gettimeout() == 0.0

    run(main())


def test_a_refused_port_gives_way_to_the_next(
    run: Run[Any], refused: int, opened: socket.socket
) -> None:
    async def main() -> None:
        connected = await mailport.adial(HERE, plan=starttls(refused, port_of(opened)))
        with connected.socket:
            assert connected.service.port == port_of(opened)
            assert [a.outcome for a in connected.report.attempts] == ["reset", "connected"]

    run(main())


def test_a_silent_port_gives_way_to_the_next(
    run: Run[Any], silent: Silent, opened: socket.socket
) -> None:
    async def main() -> None:
        plan = starttls(silent.port, port_of(opened))
        connected = await mailport.adial(HERE, plan=plan, config=HASTY)
        with connected.socket:
            assert outcomes(connected.report.attempts) == {
                silent.port: {"timeout"},
                port_of(opened): {"connected"},
            }

    run(main())


def test_a_dial_uses_the_timer_of_the_loop_and_no_descriptor_for_it(silent: Silent) -> None:
    async def main() -> None:
        before = descriptors()
        task = asyncio.ensure_future(
            mailport.aconnect(HERE, plan=starttls(silent.port), timeout=0.2)
        )
        await under_way()
        added = [what for n, what in descriptors().items() if n not in before]
        assert sorted(what.split(":")[0] for what in added) == ["anon_inode", "socket"]
        with pytest.raises(ConnectError):
            await task

    asyncio.run(main())


def test_what_is_no_function_cannot_be_asked(opened: socket.socket) -> None:
    async def main() -> None:
        plan = starttls(port_of(opened))
        with pytest.raises(TypeError, match="ask must be a function"):
            await mailport.aconnect(HERE, plan=plan, ask="fall-back")  # type: ignore[arg-type]

    asyncio.run(main())


def test_a_failure_has_every_attempt(run: Run[Any], refused: int) -> None:
    async def main() -> None:
        with pytest.raises(ConnectError) as caught:
            await mailport.aconnect(HERE, plan=starttls(refused))
        assert [attempt.errno for attempt in caught.value.attempts] == [111]

    run(main())


def test_a_name_is_looked_up(run: Run[Any], opened: socket.socket) -> None:
    async def main() -> None:
        (await mailport.aconnect("localhost", plan=starttls(port_of(opened)))).close()

    run(main())


def test_a_dial_has_no_thread_of_its_own(silent: Silent) -> None:
    async def main() -> None:
        before = os.listdir("/proc/self/task"), threading.active_count()
        task = asyncio.ensure_future(
            mailport.aconnect(HERE, plan=starttls(silent.port), timeout=0.2)
        )
        await under_way()
        assert (os.listdir("/proc/self/task"), threading.active_count()) == before
        with pytest.raises(ConnectError):
            await task

    asyncio.run(main())


def test_cancelling_closes_everything(run: Run[Any], silent: Silent) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(
            mailport.aconnect(HERE, plan=starttls(silent.port, silent.port + 1))
        )
        await under_way()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_a_timeout_of_the_caller_s_own_cancels(run: Run[Any], silent: Silent) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(mailport.aconnect(HERE, plan=starttls(silent.port)), 0.05)

    run(main())


def test_anyio_s_cancel_scope_cancels(silent: Silent, refused: int) -> None:
    import anyio

    withdrawn = []

    async def ask(_: Question) -> Answer:
        try:
            await anyio.sleep_forever()
        finally:
            withdrawn.append(1)
        raise AssertionError

    async def main() -> None:
        with anyio.move_on_after(0.05) as scope:
            await mailport.aconnect(HERE, plan=starttls(silent.port))
        assert scope.cancelled_caught
        with anyio.move_on_after(0.05) as scope:
            await mailport.aconnect(HERE, plan=starttls(refused, silent.port), ask=ask)
        assert scope.cancelled_caught
        assert withdrawn == [1]

    anyio.run(main, backend="asyncio")


def test_a_function_is_asked(run: Run[Any], refused: int, opened: socket.socket) -> None:
    async def main() -> None:
        plan = starttls(refused, port_of(opened))
        sock = await mailport.aconnect(HERE, plan=plan, ask=lambda _: Answer.FALL_BACK)
        sock.close()
        with pytest.raises(ConnectError, match="the fallback was declined"):
            await mailport.aconnect(HERE, plan=plan, ask=lambda _: Answer.GIVE_UP)

    run(main())


def test_a_coroutine_is_asked(run: Run[Any], refused: int, opened: socket.socket) -> None:
    async def main() -> None:
        asked = []

        async def ask(question: Question) -> Answer:
            asked.append(question.next.port)
            await asyncio.sleep(0)
            return Answer.FALL_BACK

        plan = starttls(refused, refused, port_of(opened)).replace(
            f"{refused}:starttls,{refused}:starttls", f"{refused}/ipv4:starttls"
        )
        (await mailport.aconnect(HERE, plan=plan, ask=ask)).close()
        assert asked == [port_of(opened)]

    run(main())


def test_every_further_service_is_a_question(
    run: Run[Any], refused: int, silent: Silent, opened: socket.socket
) -> None:
    async def main() -> None:
        asked = []

        async def ask(question: Question) -> str:
            asked.append((question.number, question.next.port))
            return "fall-back"

        plan = starttls(refused, silent.port, port_of(opened))
        (await mailport.aconnect(HERE, plan=plan, ask=ask, config=HASTY)).close()
        assert asked == [(1, silent.port), (2, port_of(opened))]

    run(main())


@pytest.mark.long
def test_cancelling_while_a_withdrawn_question_cleans_up_is_not_lost(
    run: Run[Any], silent: Silent, opened: socket.socket
) -> None:
    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        cleaning, is_cancelled = asyncio.Event(), asyncio.Event()

        async def ask(_: Question) -> Answer:
            silent.make_room()
            try:
                await asyncio.sleep(60)
            finally:
                cleaning.set()
                await is_cancelled.wait()
            raise AssertionError("no test takes a minute")

        plan = starttls(silent.port, port_of(opened))
        dialling = mailport.adial(HERE, plan=plan, config=HASTY, ask=ask)
        task = asyncio.ensure_future(dialling)
        await asyncio.wait_for(cleaning.wait(), 20)
        task.cancel()
        is_cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(os.listdir("/proc/self/fd")) == before

    run(main())


@pytest.mark.long
def test_a_question_is_withdrawn_when_its_service_connects_after_all(
    run: Run[Any], silent: Silent, opened: socket.socket
) -> None:
    async def main() -> None:
        ended = []

        async def ask(_: Question) -> Answer:
            silent.make_room()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            raise AssertionError("no test takes a minute")

        plan = starttls(silent.port, port_of(opened))
        connected = await mailport.adial(HERE, plan=plan, config=HASTY, ask=ask)
        connected.socket.close()
        assert connected.service.port == silent.port
        assert ended == ["cancelled"]

    run(main())


def test_cancelling_while_ask_runs_closes_the_dial_before_the_coroutine_ends(
    run: Run[Any], silent: Silent, refused: int, opened: socket.socket
) -> None:
    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        seen: list[Any] = []
        asking = asyncio.Event()

        async def ask(_: Question) -> Answer:
            asking.set()
            try:
                await asyncio.sleep(60)
            finally:
                seen.append(len(os.listdir("/proc/self/fd")) - before)
                await asyncio.sleep(0)
                seen.append("ended")
            raise AssertionError

        plan = starttls(silent.port, refused, port_of(opened))
        task = asyncio.ensure_future(mailport.aconnect(HERE, plan=plan, config=HASTY, ask=ask))
        await asyncio.wait_for(asking.wait(), 20)
        assert len(os.listdir("/proc/self/fd")) > before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == [0, "ended"]

    run(main())


@pytest.mark.parametrize("end", ["connected", "failed", "cancelled", "cancelled while asking"])
def test_the_reader_is_removed_before_its_descriptor_closes(
    run: Run[Any], silent: Silent, opened: socket.socket, end: str
) -> None:
    removed: list[str] = []
    asking = asyncio.Event()

    async def ask(_: Question) -> Answer:
        asking.set()
        await asyncio.sleep(60)
        raise AssertionError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        remove_reader = loop.remove_reader

        def seen(descriptor: int) -> bool:
            removed.append(descriptors().get(descriptor, "closed"))
            return bool(remove_reader(descriptor))

        loop.remove_reader = seen  # type: ignore[method-assign,assignment]
        plan = starttls(silent.port, port_of(opened))
        if end == "connected":
            (await mailport.aconnect(HERE, plan=plan, config=HASTY)).close()
        elif end == "failed":
            with pytest.raises(ConnectError):
                await mailport.aconnect(HERE, plan=starttls(silent.port), timeout=0.05)
        else:
            if end == "cancelled":
                dialling = mailport.aconnect(HERE, plan=starttls(silent.port))
            else:
                dialling = mailport.aconnect(HERE, plan=plan, config=HASTY, ask=ask)
            task = asyncio.ensure_future(dialling)
            await under_way()
            if end != "cancelled":
                await asyncio.wait_for(asking.wait(), 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())
    assert removed == ["anon_inode:[eventpoll]"]


def test_what_ask_raises_ends_the_dial(run: Run[Any], refused: int, opened: socket.socket) -> None:
    async def ask(_: Question) -> Answer:
        raise LookupError("gone")

    async def main() -> None:
        with pytest.raises(LookupError, match="gone"):
            await mailport.aconnect(HERE, plan=starttls(refused, port_of(opened)), ask=ask)

    run(main())


@pytest.mark.long
def test_two_thousand_dials_share_a_loop(
    run: Run[Any], refused: int, opened: socket.socket
) -> None:
    async def one() -> None:
        connected = await mailport.adial(HERE, plan=plan)
        connected.socket.close()
        assert connected.service.port == port_of(opened)

    def drain() -> None:
        opened.accept()[0].close()

    plan = mailport.Plan(starttls(refused, port_of(opened)))
    opened.setblocking(False)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(opened, drain)
        await asyncio.gather(*(one() for _ in range(2000)))
        loop.remove_reader(opened)

    run(main())


def test_450_dials_to_an_address_fit_in_1024_descriptors(silent: Silent) -> None:
    """Each has a socket and one descriptor to watch it, and none for a timer."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    plan = mailport.Plan(starttls(silent.port))

    async def main() -> None:
        tasks = [
            asyncio.ensure_future(mailport.aconnect(HERE, plan=plan, timeout=30))
            for _ in range(450)
        ]
        # The queue gets room when all of them are under way.
        await under_way()
        assert len(descriptors()) > 900
        assert not any(task.done() for task in tasks)
        silent.accept_everything()
        for sock in await asyncio.gather(*tasks):
            sock.close()

    try:
        asyncio.run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_shortage_of_descriptors_is_emfile_by_name(silent: Silent) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    plan = mailport.Plan(starttls(silent.port))

    async def main() -> None:
        dials = [mailport.aconnect(HERE, plan=plan, timeout=0.5) for _ in range(300)]
        errors = await asyncio.gather(*dials, return_exceptions=True)
        kinds = {(type(error), error.errno) for error in errors if isinstance(error, OSError)}
        assert kinds == {
            (ConnectError, errno.EMFILE),
            (mailport.ConnectTimeoutError, errno.ETIMEDOUT),
        }
        assert len(errors) == 300

    try:
        asyncio.run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.long
def test_two_thousand_dials_wait_side_by_side(silent: Silent) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))

    async def main() -> None:
        begun = time.monotonic()
        plan = mailport.Plan(starttls(silent.port))
        results = await asyncio.gather(
            *(mailport.aconnect(HERE, plan=plan, timeout=1) for _ in range(2000)),
            return_exceptions=True,
        )
        assert {type(result) for result in results} == {mailport.ConnectTimeoutError}
        # One after the other it would be half an hour.
        assert time.monotonic() - begun < 30

    try:
        asyncio.run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_fork_in_the_middle_leaves_the_parent_s_dial_alone(
    silent: Silent, opened: socket.socket
) -> None:
    async def main() -> None:
        plan = starttls(silent.port, port_of(opened))
        config = mailport.Config(attempt_delay=0.01, port_delay=0.2, patience=0.3)
        task = asyncio.ensure_future(mailport.adial(HERE, plan=plan, config=config))
        await under_way()
        with mailport.Dial(HERE, plan=plan, config=config) as dial:
            assert dial.process() == "pending"
            child = os.fork()
            if child == 0:
                try:
                    try:
                        dial.process()
                    except RuntimeError as error:
                        said = "belongs to the process" in str(error)
                    dial.close()
                    del dial
                    gc.collect()
                    # A child can dial for itself.
                    mailport.connect(HERE, plan=starttls(port_of(opened))).close()
                finally:
                    os._exit(0 if said else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            while dial.wait() == "pending":
                pass
            dial.result().socket.close()
        connected = await task
        connected.socket.close()
        assert connected.service.port == port_of(opened)

    if sys.version_info >= (3, 12):
        # It warns of a fork while other threads run; there are none here.
        assert threading.active_count() == 1
    asyncio.run(main())


def test_streams_are_as_the_service_has_them(
    run: Run[Any], server: Server, trusting: ssl.SSLContext
) -> None:
    async def main(port: int, tls: TLSMode) -> None:
        reader, writer = await mailport.open_connection(HERE, plan=f"{port}:{tls}", ssl=trusting)
        assert (await reader.readline()).startswith(b"220 ")
        assert writer.tls is tls
        assert writer.connected.service.port == port
        is_tls = writer.get_extra_info("ssl_object") is not None
        assert is_tls == (tls is TLSMode.IMPLICIT)
        writer.close()
        await writer.wait_closed()

    run(main(server.port, TLSMode.STARTTLS))
    run(main(server.implicit, TLSMode.IMPLICIT))


def test_a_writer_s_start_tls_verifies_the_target(
    run: Run[Any], server: Server, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        reader, writer = await mailport.open_connection(HERE, plan=starttls(server.port))
        await reader.readline()
        writer.write(b"EHLO here\r\n")
        while not (await reader.readline()).startswith(b"250 "):
            pass
        writer.write(b"STARTTLS\r\n")
        assert (await reader.readline()).startswith(b"220 ")
        if sys.version_info < (3, 11):
            # asyncio's writers have none there: `open_submission` does it on every version.
            assert not hasattr(writer, "start_tls")
            writer.close()
            return
        await writer.start_tls(trusting)
        assert writer.get_extra_info("peercert")["subject"] == ((("commonName", "localhost"),),)
        writer.write(b"QUIT\r\n")
        assert (await reader.readline()).startswith(b"221 ")
        writer.close()
        await writer.wait_closed()

    run(main())


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a message over streams that are ready for EHLO."""

    async def say(line: bytes, expected: bytes) -> None:
        writer.write(line + b"\r\n")
        while (reply := await reader.readline())[3:4] == b"-":
            pass
        assert reply.startswith(expected), reply

    await say(b"EHLO here", b"250")
    await say(b"AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=", b"235")
    await say(b"MAIL FROM:<from@example.com>", b"250")
    await say(b"RCPT TO:<to@example.com>", b"250")
    await say(b"DATA", b"354")
    await say(b"Subject: streams\r\n\r\nHello.\r\n.", b"250")
    await say(b"QUIT", b"221")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("fate", ["open", "refused", "silent"])
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_message_goes_out_over_streams(
    run: Run[Any], server: Server, mailbox: list[Any], trusting: ssl.SSLContext,
    refused: int, silent: Silent, fate: str, tls: str,
) -> None:  # fmt: skip
    port = {"starttls": server.port, "implicit": server.implicit}[tls]
    before = {"open": "", "refused": f"{refused}:starttls,", "silent": f"{silent.port}:starttls,"}

    async def main() -> None:
        streams = await mailport.open_submission(
            "localhost", plan=f"{before[fate]}{port}:{tls}", ssl=trusting, config=HASTY
        )
        assert streams[1].get_extra_info("ssl_object") is not None
        await talk(*streams)

    run(main())
    (envelope,) = mailbox
    assert (envelope.mail_from, envelope.rcpt_tos) == ("from@example.com", ["to@example.com"])
    assert envelope.content == b"Subject: streams\r\n\r\nHello.\r\n"


def test_a_certificate_that_is_not_trusted_is_an_error_and_no_fallback(
    run: Run[Any], server: Server
) -> None:
    async def main(plan: str) -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            await mailport.open_submission(HERE, plan=plan)

    run(main(f"{server.port}:starttls,{server.cleartext}:starttls"))
    run(main(f"{server.implicit}:implicit,{server.port}:starttls"))


def test_the_name_that_was_dialled_is_verified(
    run: Run[Any], server: Server, trusting: ssl.SSLContext
) -> None:
    async def main(plan: str) -> None:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.2"):
            await mailport.open_submission("127.0.0.2", plan=plan, ssl=trusting)

    forward = Forward("127.0.0.2", server.port)
    with forward:
        run(main(f"{forward.port}:starttls"))


class Forward:
    """Another address of the same server."""

    def __init__(self, address: str, to: int) -> None:
        self.listener = socket.create_server((address, 0))
        self.port = port_of(self.listener)
        self.to = to
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> None:
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection((HERE, self.to))
            for a, b in [(near, far), (far, near)]:
                self.threads.append(threading.Thread(target=self.copy, args=(a, b)))
                self.threads[-1].start()

    @staticmethod
    def copy(source: socket.socket, sink: socket.socket) -> None:
        with source, contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for thread in self.threads:
            thread.join()


class Scripted:
    """A server that says fixed things, one at each thing that it hears."""

    def __init__(self, *says: bytes) -> None:
        self.says = says
        self.heard: list[bytes] = []
        self.listener = socket.create_server((HERE, 0))
        self.port = port_of(self.listener)

    def __enter__(self) -> Scripted:
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def serve(self) -> None:
        with self.listener, self.listener.accept()[0] as peer:
            try:
                for say in self.says:
                    peer.sendall(say)
                    heard = peer.recv(4096)
                    self.heard.append(heard)
                    if not heard:
                        return
            except ConnectionError:
                return

    def __exit__(self, *_: object) -> None:
        self.thread.join()


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ((b"554 no\r\n",), "SMTPConnectError"),
        ((b"",), "SMTPServerDisconnected"),
        ((b"hello\r\n",), "SMTPResponseException"),
        ((b"220 hello\r\n", b"500 what\r\n"), "SMTPHeloError"),
        ((b"220 hello\r\n", b"250-here\r\n250 SIZE\r\n"), "SMTPNotSupportedError"),
        ((b"220 hello\r\n", b"250-here\r\n250 STARTTLS\r\n", b"454 no\r\n"), "SMTPResponse"),
        ((b"220 a\r\n", b"250-b\r\n250 STARTTLS\r\n", b"220 go\r\n250 injected\r\n"), "SSLError"),
    ],
)
def test_what_is_wrong_after_the_connect_is_raised_and_sends_no_credentials(
    says: tuple[bytes, ...], kind: str
) -> None:
    async def main(port: int) -> None:
        with pytest.raises(OSError) as caught:  # noqa: PT011  # the name is looked at
            await mailport.open_submission(HERE, plan=f"{port}:starttls,9:starttls")
        assert type(caught.value).__name__.startswith(kind)

    with Scripted(*says) as server:
        if says == (b"",):
            server.says = ()
        asyncio.run(main(server.port))
    assert all(word.split()[:1] in ([], [b"EHLO"], [b"STARTTLS"]) for word in server.heard)


@pytest.mark.parametrize(
    ("says", "mode"),
    [
        ((b"",) * 9, "starttls"),
        ((b"220 a\r\n", *(b"",) * 9), "starttls"),
        ((b"220 a\r\n", b"250-b\r\n250 STARTTLS\r\n", b"220 go\r\n", *(b"",) * 9), "starttls"),
        ((b"",) * 9, "implicit"),
    ],
    ids=["greeting", "EHLO", "handshake", "implicit handshake"],
)
def test_the_timeout_of_open_submission_covers_everything(
    run: Run[Any], says: tuple[bytes, ...], mode: str
) -> None:
    async def main(port: int) -> None:
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match="not ready within the timeout") as caught:
            await mailport.open_submission(HERE, plan=f"{port}:{mode}", timeout=0.3)
        assert isinstance(caught.value, ConnectError)
        assert 0.25 < time.monotonic() - begun < 5

    with Scripted(*says) as server:
        run(main(server.port))


def test_a_greeting_after_implicit_tls_has_the_same_timeout(
    run: Run[Any], authority: tuple[Any, Any], trusting: ssl.SSLContext
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority)

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    async def main() -> None:
        listener = socket.create_server((HERE, 0))
        port = port_of(listener)
        server = await asyncio.start_server(silence, sock=listener, ssl=context)
        with pytest.raises(TimeoutError, match="not ready within the timeout"):
            await mailport.open_submission(HERE, plan=f"{port}:implicit", ssl=trusting, timeout=1)
        server.close()
        await server.wait_closed()

    run(main())


def test_a_source_address_and_a_name_to_verify_are_taken_as_in_asyncio(
    run: Run[Any], server: Server, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        plan = f"{server.implicit}:implicit"
        _, writer = await mailport.open_submission(
            (HERE, server.port), ssl=trusting, local_addr=("127.0.0.5", 0),
            server_hostname="mail.example.com",
        )  # fmt: skip
        assert writer.get_extra_info("sockname")[0] == "127.0.0.5"
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.example"):
            await mailport.open_connection(
                HERE, plan=plan, ssl=trusting, server_hostname="other.example"
            )
        with pytest.raises(TypeError, match="ssl must be"):
            await mailport.open_connection(HERE, plan=plan, ssl=False)

    run(main())
