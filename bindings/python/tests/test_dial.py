"""The dial's cases, in one call that blocks."""

from __future__ import annotations

import copy
import dataclasses
import errno
import functools
import gc
import math
import pickle
import selectors
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import mailport
from conftest import HASTY, Silent, descriptors, outcomes, starttls
from mailport import (
    Answer,
    Config,
    ConnectError,
    ConnectLookupError,
    ConnectRefusedError,
    ConnectTimeoutError,
    Dial,
    Family,
    Outcome,
    Plan,
    Question,
    Report,
    Service,
    Status,
    TLSMode,
)
from servers import Server, free_port

HERE = "127.0.0.1"


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def test_an_open_port_is_connected(opened: socket.socket) -> None:
    with mailport.connect(HERE, plan=starttls(port_of(opened))) as sock:
        assert sock.getpeername() == opened.getsockname()
        assert sock.gettimeout() is None
        assert not sock.get_inheritable()


def test_a_refused_port_gives_way_to_the_next(refused: int, opened: socket.socket) -> None:
    connected = mailport.dial(HERE, plan=starttls(refused, port_of(opened)))
    with connected.socket:
        assert connected.service.port == port_of(opened)
        assert connected.tls is TLSMode.STARTTLS
        first, second = connected.report.attempts
        assert (first.outcome, first.errno) == (Outcome.RESET, errno.ECONNREFUSED)
        assert second.outcome == "connected"
        assert connected.report.winner == second
        assert connected.report.errno is None
        assert connected.report.host == HERE
        assert str(connected.report).startswith(f"{refused} is refused; connected to ")


def test_a_silent_port_gives_way_to_the_next(silent: Silent, opened: socket.socket) -> None:
    plan = starttls(silent.port, port_of(opened))
    connected = mailport.dial(HERE, plan=plan, config=HASTY)
    with connected.socket:
        assert outcomes(connected.report.attempts) == {
            silent.port: {"timeout"},
            port_of(opened): {"connected"},
        }


@pytest.mark.parametrize("timeout", [5, 2.5, None, math.inf])
def test_the_socket_has_the_timeout_that_was_asked_for(
    opened: socket.socket, timeout: float | None
) -> None:
    with mailport.connect(HERE, plan=starttls(port_of(opened)), timeout=timeout) as sock:
        assert sock.gettimeout() == (None if timeout == math.inf else timeout)
        if timeout is None:
            assert sock.getblocking()


def test_a_failure_names_host_services_and_reasons(refused: int, silent: Silent) -> None:
    with pytest.raises(ConnectError) as caught:
        mailport.connect(HERE, plan=starttls(silent.port, refused), timeout=0.3, config=HASTY)
    error = caught.value
    assert isinstance(error, OSError)
    assert isinstance(error, mailport.MailportError)
    assert error.errno == errno.ECONNREFUSED
    said = str(error)
    assert "\n" not in said
    assert all(part in said for part in [HERE, f"{silent.port} is silent", f"{refused} is refused"])
    assert outcomes(error.attempts) == {silent.port: {"timeout"}, refused: {"reset"}}
    assert error.report is not None
    assert error.report.timeline(60).count("\n") == len(error.attempts)


def test_silence_is_etimedout(silent: Silent) -> None:
    with pytest.raises(ConnectError) as caught:
        mailport.connect(HERE, plan=starttls(silent.port), timeout=0.1)
    assert caught.value.errno == errno.ETIMEDOUT
    assert [attempt.outcome for attempt in caught.value.attempts] == ["timeout"]


def test_a_name_that_does_not_exist_is_reported(opened: socket.socket) -> None:
    with pytest.raises(ConnectError, match=r"nowhere\.invalid") as caught:
        mailport.connect("nowhere.invalid", plan=starttls(port_of(opened)), timeout=5)
    assert caught.value.attempts == ()


def test_a_name_is_looked_up(opened: socket.socket) -> None:
    connected = mailport.dial("localhost", plan=starttls(port_of(opened)))
    with connected.socket:
        lookup = connected.report.lookup
        assert lookup is not None
        assert "127.0.0.1" in lookup.addresses
        assert lookup.error is None


def test_an_error_can_be_pickled_and_copied(refused: int) -> None:
    with pytest.raises(ConnectError) as caught:
        mailport.connect(HERE, plan=starttls(refused))
    for again in [pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)]:
        assert type(again) is ConnectRefusedError
        assert (str(again), again.errno) == (str(caught.value), errno.ECONNREFUSED)
        assert again.attempts == caught.value.attempts
        assert again.report == caught.value.report


def test_a_report_can_be_pickled_copied_and_made_a_dictionary(
    refused: int, opened: socket.socket
) -> None:
    with mailport.dial(HERE, plan=starttls(refused, port_of(opened))) as connected:
        report = connected.report
    assert copy.copy(report) is copy.deepcopy(report) is report
    again = pickle.loads(pickle.dumps(report))
    assert again == report
    assert again.winner == again.attempts[1]
    for call in (str, Report.timeline, Report.to_svg, Report.to_json):
        assert call(again) == call(report)
    assert pickle.loads(pickle.dumps(again)).to_svg() == report.to_svg()
    facts = dataclasses.asdict(report)
    assert facts["host"] == HERE
    assert facts["attempts"][0]["service"] == {"port": refused, "tls": "starttls", "family": None}
    # A process that has not seen a report yet.
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer))"
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(report), capture_output=True, check=True
    )
    assert done.stdout.decode() == f"{report}\n"
    attempt = report.attempts[0]
    assert copy.deepcopy(attempt) == pickle.loads(pickle.dumps(attempt)) == attempt
    config = Config(families="ipv4", patience=2)
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    again = pickle.loads(pickle.dumps(config))
    mailport.connect(HERE, plan=starttls(port_of(opened)), config=again).close()


@pytest.mark.parametrize(
    ("name", "ascii_name"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        # IDNA 2008; Python's own codec gives strasse.example.
        ("straße.example", "xn--strae-oqa.example"),
        ("mail.example.com.", "mail.example.com"),
        ("fe80::1%lo", "fe80::1"),
    ],
)
def test_the_name_for_tls_is_ascii(name: str, ascii_name: str) -> None:
    from mailport import _native

    assert _native.tls_name(name) == ascii_name


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ({"source_address": ("192.0.2.77", 0)}, errno.EADDRNOTAVAIL),
        ({"config": Config(source="192.0.2.77")}, errno.EADDRNOTAVAIL),
        ({"config": Config(device="no-such-device")}, errno.ENODEV),
    ],
)
def test_a_source_address_or_a_device_that_is_gone_is_an_os_error(
    arguments: dict[str, Any], number: int
) -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.77|no-such-device") as caught:
        mailport.connect(HERE, **arguments)
    assert caught.value.errno == number


@pytest.mark.parametrize("asks", [False, True])
def test_another_thread_ends_a_wait(silent: Silent, asks: bool) -> None:
    with Dial(HERE, plan=starttls(silent.port), asks=asks, timeout=None) as dial:
        seen: list[Status] = []
        thread = threading.Thread(target=lambda: seen.append(dial.wait()))
        thread.start()
        time.sleep(0.05)
        dial.cancel()
        thread.join(20)
        assert seen == [Status.FAILED]
        with pytest.raises(ConnectError) as caught:
            dial.result()
        assert caught.value.report is not None
        assert caught.value.report.end is mailport.End.CANCELLED
        assert caught.value.errno == errno.ECANCELED
    # Nothing is left to end.
    dial.cancel()


def test_a_dial_that_was_cancelled_before_its_first_wait_has_failed(silent: Silent) -> None:
    with Dial(HERE, plan=starttls(silent.port)) as dial:
        dial.cancel()
        dial.cancel()
        assert dial.process() is Status.FAILED


def test_a_dial_takes_weak_references(opened: socket.socket) -> None:
    dial = Dial(HERE, plan=starttls(port_of(opened)))
    seen = weakref.ref(dial)
    assert seen() is dial
    del dial
    gc.collect()
    assert seen() is None


def test_each_cause_is_the_exception_that_callers_catch(refused: int, silent: Silent) -> None:
    causes: list[tuple[type[ConnectError], type[OSError], dict[str, Any]]] = [
        (ConnectRefusedError, ConnectionRefusedError, {"host": HERE, "plan": starttls(refused)}),
        (
            ConnectTimeoutError,
            TimeoutError,
            {"host": HERE, "plan": starttls(silent.port), "timeout": 0.1},
        ),
        (ConnectLookupError, socket.gaierror, {"host": "nowhere.invalid", "timeout": 5}),
    ]
    for kind, builtin, arguments in causes:
        with pytest.raises(builtin) as caught:
            mailport.connect(**arguments)
        assert type(caught.value) is kind
        assert isinstance(caught.value, ConnectError)
        assert isinstance(caught.value, mailport.MailportError)
        assert caught.value.report is not None


def test_a_name_that_does_not_exist_has_the_number_of_getaddrinfo() -> None:
    with pytest.raises(socket.gaierror) as caught:
        mailport.connect("nowhere.invalid", timeout=5)
    assert caught.value.errno in (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_AGAIN)


def test_a_result_closes_its_socket_as_a_context_manager(opened: socket.socket) -> None:
    with mailport.dial(HERE, plan=starttls(port_of(opened))) as connected:
        assert connected.socket.fileno() >= 0
        assert connected.server_hostname == HERE
        assert repr(connected) == f"<Connected '{HERE}' {port_of(opened)}:starttls>"
    assert connected.socket.fileno() == -1


def test_an_open_attempt_has_no_outcome_yet(silent: Silent) -> None:
    with Dial(HERE, plan=starttls(silent.port)) as dial:
        assert dial.process() is Status.PENDING
        report = dial.report
        assert report.end is None
        assert [attempt.outcome for attempt in report.attempts] == [None]
        assert report.attempts[0].stage is mailport.Stage.CONNECT


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (ValueError, {"host": "mail.example:587"}, "without a port"),
        (ValueError, {"host": ""}, "empty"),
        (TypeError, {"host": 5}, "host"),
        (ValueError, {"host": HERE, "port": 0}, "port must be"),
        (ValueError, {"host": HERE, "port": 70000}, "70000"),
        (ValueError, {"host": HERE, "port": 587, "plan": "mew"}, "both given"),
        (ValueError, {"host": HERE, "plan": "587:cleartext"}, "cleartext"),
        (ValueError, {"host": HERE, "plan": "rfc8314"}, "use dial"),
        (ValueError, {"host": HERE, "timeout": 0}, "timeout=0"),
        (ValueError, {"host": HERE, "timeout": -1}, "positive"),
        (ValueError, {"host": HERE, "timeout": float("nan")}, "positive"),
        (TypeError, {"host": HERE, "timeout": "30"}, "timeout"),
        (TypeError, {"host": HERE, "plan": 587}, "plan must be"),
        (TypeError, {"host": HERE, "plann": "mew"}, "plann"),
        (TypeError, {"host": HERE, "port": 587.0}, "port must be"),
        (ValueError, {"host": HERE, "port": "smtp"}, "port must be"),
        (ValueError, {"host": (HERE, 587), "port": 10}, "timeout="),
        (ValueError, {"host": HERE, "source_address": ("here", 0)}, "source address"),
        (ValueError, {"host": HERE, "source_address": (HERE, 70000)}, "port of source_address"),
        (TypeError, {"host": HERE, "source_address": (HERE, "5")}, "port of source_address"),
        (TypeError, {"host": HERE, "source_address": (None, 5)}, "host of source_address"),
        (TypeError, {"host": HERE, "source_address": HERE}, "source_address"),
        (TypeError, {"host": HERE, "cache": "cache.json"}, "cache must be a Cache"),
        (TypeError, {"host": HERE, "config": {"patience": 2}}, "config must be a Config"),
        (TypeError, {"host": HERE, "via": b"socks5://proxy.example"}, "via must be a str"),
    ],
)
def test_misuse_is_reported_before_anything_is_sent(
    kind: type[Exception], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(kind, match=message):
        mailport.connect(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port_delay": 0}, "port delay"),
        ({"families": "ipv5"}, "ipv5"),
        ({"source": "here"}, "source"),
        ({"source": "192.0.2.1", "families": "ipv6"}, r"192\.0\.2\.1"),
        ({"device": "a-name-too-long-for-linux"}, "interface"),
        ({"patience": -1}, "patience"),
    ],
)
def test_settings_are_checked_where_they_are_made(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)  # type: ignore[arg-type]


def test_a_plan_is_a_value() -> None:
    only_ipv4 = Service(25, TLSMode.STARTTLS, Family.IPV4)
    plan = Plan([Service(587, TLSMode.STARTTLS), only_ipv4])
    assert str(plan) == "587:starttls,25/ipv4:starttls"
    assert plan == Plan(str(plan))
    assert hash(plan) == hash(Plan(str(plan)))
    assert plan != Plan(str(plan), sequential=True)
    cleartext = Plan("25:cleartext", allow_cleartext=True, sequential=True)
    assert pickle.loads(pickle.dumps(cleartext)) == cleartext
    assert eval(repr(cleartext)) == cleartext
    with pytest.raises(AttributeError):
        plan._parsed = None  # type: ignore[assignment]
    assert all(Plan(name).services for name in Plan.NAMES)


def test_a_question_stops_a_dial_until_it_is_answered(refused: int, opened: socket.socket) -> None:
    asked: list[Question] = []

    def ask(question: Question) -> Answer:
        asked.append(question)
        return Answer.FALL_BACK

    plan = starttls(refused, port_of(opened))
    with mailport.connect(HERE, plan=plan, ask=ask) as sock:
        assert sock.getpeername() == opened.getsockname()
    (question,) = asked
    assert question.next.port == port_of(opened)
    assert question.attempts[0].outcome is Outcome.RESET
    assert str(question) == f"{refused} is refused. Fall back to {port_of(opened)} (STARTTLS)?"


def test_an_answer_may_be_no(refused: int, opened: socket.socket) -> None:
    plan = starttls(refused, port_of(opened))
    with pytest.raises(ConnectError, match="the fallback was declined"):
        mailport.connect(HERE, plan=plan, ask=lambda _: "give-up")
    with pytest.raises(ValueError, match="perhaps"):
        mailport.connect(HERE, plan=plan, ask=lambda _: "perhaps")
    with pytest.raises(TypeError, match="not an Answer"):
        mailport.connect(HERE, plan=plan, ask=lambda _: True)  # type: ignore[arg-type,return-value]


def test_what_ask_raises_ends_the_dial(refused: int, opened: socket.socket) -> None:
    def ask(_: Question) -> Answer:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        mailport.connect(HERE, plan=starttls(refused, port_of(opened)), ask=ask)


async def asked_later(_: Question) -> Answer:
    return Answer.GIVE_UP


class AskedLater:
    """An object whose call is a coroutine."""

    async def __call__(self, _: Question) -> Answer:
        return Answer.GIVE_UP

    async def method(self, _: Question) -> Answer:
        return Answer.GIVE_UP


@pytest.mark.parametrize(
    "ask",
    [
        asked_later,
        AskedLater(),
        AskedLater().method,
        functools.partial(asked_later),
        functools.partial(functools.partial(AskedLater())),
        "fall-back",
    ],
)
def test_what_cannot_be_asked_by_a_call_that_blocks_is_refused_before_a_packet(
    opened: socket.socket, ask: Any
) -> None:
    plan = starttls(port_of(opened))
    calls: list[Callable[[], object]] = [
        lambda: mailport.connect(HERE, plan=plan, ask=ask),
        lambda: mailport.dial(HERE, plan=plan, ask=ask),
        lambda: mailport.SMTP(HERE, plan=plan, ask=ask),
        lambda: mailport.SMTP(ask=ask),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"ask (must be|is) a"):
            call()
    opened.setblocking(False)
    with pytest.raises(BlockingIOError):
        opened.accept()


def test_a_coroutine_that_a_plain_function_returns_is_refused(
    refused: int, opened: socket.socket
) -> None:
    plan = starttls(refused, port_of(opened))
    with pytest.raises(TypeError, match="returned a coroutine"):
        mailport.connect(HERE, plan=plan, ask=lambda question: asked_later(question))  # type: ignore[arg-type,return-value]
    opened.setblocking(False)
    with pytest.raises(BlockingIOError):
        opened.accept()


def test_a_call_that_blocks_has_no_timer(silent: Silent) -> None:
    """What is due at once would interrupt the processor, for longer than the dial takes."""

    def timers() -> int:
        return sum(what == "anon_inode:[timerfd]" for what in descriptors().values())

    seen: list[int] = []
    before = timers()

    def ask(_: Question) -> str:
        seen.append(timers() - before)
        return "give-up"

    with pytest.raises(ConnectError):
        mailport.connect(HERE, plan=starttls(silent.port, 9), config=HASTY, ask=ask)
    with Dial(HERE, plan=starttls(silent.port)):
        seen.append(timers() - before)
    assert seen == [0, 1]


@pytest.mark.long
def test_a_service_that_connects_meanwhile_counts_more_than_the_answer(
    silent: Silent, opened: socket.socket
) -> None:
    def ask(_: Question) -> Answer:
        silent.make_room()
        time.sleep(1.5)  # The first retransmission comes after one second.
        return Answer.GIVE_UP

    plan = starttls(silent.port, port_of(opened))
    connected = mailport.dial(HERE, plan=plan, config=HASTY, ask=ask)
    connected.socket.close()
    assert connected.service.port == silent.port


def test_other_threads_run_while_a_dial_blocks(silent: Silent) -> None:
    turns = []
    stop = threading.Event()

    def count() -> None:
        while not stop.wait(0.005):
            turns.append(1)

    thread = threading.Thread(target=count)
    thread.start()
    with pytest.raises(ConnectError):
        mailport.connect(HERE, plan=starttls(silent.port), timeout=0.5)
    stop.set()
    thread.join()
    assert len(turns) > 10


def test_any_loop_can_watch_a_dial(refused: int, opened: socket.socket) -> None:
    plan = starttls(refused, port_of(opened))
    with Dial(HERE, plan=plan) as dial, selectors.DefaultSelector() as selector:
        selector.register(dial, selectors.EVENT_READ)
        while dial.process() == "pending":
            assert selector.select(20)
        connected = dial.result()
        with pytest.raises(RuntimeError, match="no connection to take"):
            dial.result()
        assert dial.report == connected.report
    with connected.socket:
        assert connected.socket.gettimeout() == 0.0
    dial.close()
    with pytest.raises(ValueError, match="closed"):
        dial.process()


def test_a_dial_has_no_result_before_its_end(silent: Silent) -> None:
    with Dial(HERE, plan=starttls(silent.port)) as dial:
        assert dial.process() == "pending"
        assert dial.wait(0.01) == "pending"
        assert dial.report.end is None
        with pytest.raises(RuntimeError):
            dial.result()


def test_a_dial_is_for_one_thread_at_a_time(silent: Silent) -> None:
    with Dial(HERE, plan=starttls(silent.port)) as dial:
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(dial.wait(0.3)))
        thread.start()
        time.sleep(0.05)
        with pytest.raises(RuntimeError, match="another thread"):
            dial.process()
        thread.join()
        assert seen == ["pending"]


@pytest.mark.long
def test_a_hundred_threads_dial_at_once(
    refused: int, opened: socket.socket, unhandled: list[threading.ExceptHookArgs]
) -> None:
    plan = Plan(starttls(refused, port_of(opened)))

    def work() -> None:
        for host in [HERE, "localhost", HERE]:
            mailport.connect(host, plan=plan, config=Config(families="prefer-ipv4")).close()

    threads = [threading.Thread(target=work) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unhandled == []


def test_a_port_and_an_address_are_taken_as_socket_and_smtplib_take_them(
    opened: socket.socket,
) -> None:
    port = port_of(opened)
    for arguments in [(HERE, port), (HERE, str(port)), ((HERE, port),), ((HERE, str(port)),)]:
        with mailport.dial(*arguments) as connected:  # type: ignore[arg-type]
            assert connected.service.port == port


def test_the_source_address_is_used(opened: socket.socket) -> None:
    plan = starttls(port_of(opened))
    with mailport.connect(HERE, plan=plan, source_address=("127.0.0.5", 0)) as sock:
        assert sock.getsockname()[0] == "127.0.0.5"
    with mailport.connect(HERE, plan=plan, source_address=("", 0)) as sock:
        assert sock.getsockname()[0] == HERE


def test_the_source_port_is_used(
    refused: int, silent: Silent, opened: socket.socket, server: Server
) -> None:
    for address in ("", "127.0.0.5"):
        source = address, free_port()
        plan = starttls(refused, silent.port, port_of(opened))
        # One for every attempt.
        with mailport.dial(HERE, plan=plan, source_address=source, config=HASTY) as connected:
            assert connected.socket.getsockname() == (address or HERE, source[1])
            attempts = connected.report.attempts
            assert [attempt.service.port for attempt in attempts] == [
                refused,
                silent.port,
                port_of(opened),
            ]
        # A connection that was closed is no obstacle to one to elsewhere.
        with mailport.connect(HERE, server.port, source_address=source) as sock:
            assert sock.getsockname()[1] == source[1]


def test_a_source_port_that_is_taken_is_an_os_error(opened: socket.socket) -> None:
    with socket.create_server((HERE, 0)) as other:
        source = other.getsockname()
        with pytest.raises(ConnectError, match=f"`{HERE}:{source[1]}`") as caught:
            mailport.connect(HERE, plan=starttls(port_of(opened)), source_address=source)
        assert caught.value.errno == errno.EADDRINUSE


def test_the_default_timeout_of_sockets_is_that_of_a_dial(
    opened: socket.socket, silent: Silent
) -> None:
    socket.setdefaulttimeout(0.1)
    try:
        with mailport.connect(HERE, plan=starttls(port_of(opened))) as sock:
            assert sock.gettimeout() == 0.1
        with pytest.raises(TimeoutError):
            mailport.connect(HERE, plan=starttls(silent.port))
    finally:
        socket.setdefaulttimeout(None)
