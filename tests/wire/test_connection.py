"""What a peer may hold of the server before it has shown a signature. Every connection is bare."""

import contextlib
import socket
import threading
import time

import pytest

from batchyard.api import sts
from batchyard.model.limits import (
    FORM_BYTES_MAX,
    FORM_PARAMETERS_MAX,
    REQUEST_HEAD_BYTES_MAX,
)
from batchyard.wire import connection as connections
from batchyard.wire import server as servers

from .raw import FORM, send_plain

pytestmark = [pytest.mark.ours_only]

HEALTH = b"GET /batchyard/v1/health HTTP/1.1\r\nhost: a\r\n\r\n"


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def read_to_end(peer):
    """Read until the server closes; what it had to say may be lost, as we were still sending."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := peer.recv(65536):
            found += part
    return found


def send_without_end(peer, part, up_to=64 * 2**20):
    """Send for ever; return how many bytes went before the server closed."""
    sent = 0
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while sent < up_to:
            peer.sendall(part)
            sent += len(part)
    return sent


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"GET / HTTP/1.1\r\n", b"x-a: " + b"a" * 1000 + b"\r\n"),
        (b"GET / HTTP/1.1\r\nx-a: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\n", b"a" * 1000),
        (b"GET /", b"a" * 1000),
    ],
)
def test_a_head_without_end_is_cut_off(serve, start, part):
    server = serve()
    with connect(server) as peer:
        peer.sendall(start)
        assert send_without_end(peer, part) < 16 * 2**20  # the kernel's buffers hold some of it
    assert send_plain(server, "GET", "/batchyard/v1/health").status == 200


@pytest.mark.parametrize("piece", [1000, 10**6])
def test_a_head_over_the_limit_is_refused(serve, piece):
    field = b"x-a: " + b"a" * REQUEST_HEAD_BYTES_MAX
    head = b"GET /batchyard/v1/health HTTP/1.1\r\nhost: a\r\n" + field + b"\r\n\r\n"
    with connect(serve()) as peer:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for start in range(0, len(head), piece):
                peer.sendall(head[start : start + piece])
        assert read_to_end(peer)[:12] in (b"HTTP/1.1 431", b"")


def test_heads_below_the_limit_pass_however_they_are_cut(serve):
    field = b"x-a: " + b"a" * (REQUEST_HEAD_BYTES_MAX - 1000)
    head = b"GET /batchyard/v1/health HTTP/1.1\r\nhost: a\r\n" + field + b"\r\n\r\n"
    stream = head * 20 + HEALTH.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with connect(serve()) as peer:
        for start in range(0, len(stream), 50_000):
            peer.sendall(stream[start : start + 50_000])
        assert read_to_end(peer).count(b"HTTP/1.1 200 OK") == 21


@pytest.mark.parametrize(
    "form", [b"a=1&" * FORM_PARAMETERS_MAX, b"a=" + b"%41" * (FORM_BYTES_MAX // 3)]
)
def test_a_form_that_costs_seconds_is_refused_before_it_is_read(serve, form):
    """Which operation a form is for stands in it, so it is taken apart before it is verified."""
    started = time.process_time()
    answer = send_plain(serve(sts.handlers()), "POST", "/", form, {"content-type": FORM})
    assert answer.status == 413
    assert b"<Code>RequestEntityTooLarge</Code>" in answer.body
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"POST /v1/submitjob HTTP/1.1\r\nho",
        b"POST /v1/submitjob HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{}",
        b"POST /v1/submitjob HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}",
        HEALTH + b"GET",
    ],
)
def test_a_peer_that_keeps_us_waiting_is_cut_off(serve, monkeypatch, sent):
    monkeypatch.setattr(connections, "ARRIVAL_S_MAX", 0.0)
    monkeypatch.setattr(servers, "_TICKS_PER_LOOK", 1)
    with connect(serve()) as peer:
        peer.sendall(sent)
        read_to_end(peer)


def test_a_peer_that_does_not_read_is_cut_off(serve, monkeypatch):
    size = 64 * 2**20  # more than the kernel's buffers hold
    is_sent = threading.Event()

    async def large(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        is_sent.set()
        await send({"type": "http.response.body", "body": b"a" * size})

    server = serve(extra_routes={"/large": large})
    with connect(server) as peer:
        peer.sendall(HEALTH.replace(b"/batchyard/v1/health", b"/large"))
        assert is_sent.wait(10)
        monkeypatch.setattr(connections, "ARRIVAL_S_MAX", 0.0)
        monkeypatch.setattr(servers, "_TICKS_PER_LOOK", 1)
        time.sleep(0.5)
        assert len(read_to_end(peer)) < size


@pytest.mark.parametrize("part", [b"x-a: " + b"a" * 10_000 + b"\r\n", b"a" * 10_000])
def test_trailers_without_end_are_cut_off(serve, part):
    with connect(serve()) as peer:
        start = (
            b"POST /v1/submitjob HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx"
        )
        peer.sendall(start)
        assert send_without_end(peer, part, up_to=128 * 2**20) < 96 * 2**20


def test_requests_without_end_ahead_of_their_answers_are_cut_off(serve):
    with connect(serve()) as peer:
        assert send_without_end(peer, HEALTH * 1000) < 16 * 2**20


def test_a_connection_between_requests_is_not_late(serve, monkeypatch):
    monkeypatch.setattr(connections, "ARRIVAL_S_MAX", 0.2)
    monkeypatch.setattr(servers, "_TICKS_PER_LOOK", 1)
    server = serve()
    with connect(server) as peer:
        for _ in range(3):
            peer.sendall(HEALTH)
            assert b"200 OK" in peer.recv(65536)
            time.sleep(0.3)  # idle between requests: the keep-alive time's business
        peer.sendall(HEALTH)
        assert b"200 OK" in peer.recv(65536)


def test_connections_beyond_the_limit_are_closed_at_once(serve, monkeypatch):
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 64)
    server = serve()
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(connect(server)) for _ in range(64)]
        for peer in peers:
            peer.sendall(HEALTH)
            assert b"200 OK" in peer.recv(65536)
        one_more = stack.enter_context(connect(server))
        assert read_to_end(one_more) == b""
        peers[0].sendall(HEALTH)
        assert b"200 OK" in peers[0].recv(65536)
        peers[0].close()
    assert send_plain(server, "GET", "/batchyard/v1/health").status == 200
