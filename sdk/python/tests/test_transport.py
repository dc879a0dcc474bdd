"""What a client does with servers that are slow, broken, hostile, or not Keyward at all."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import unittest
from pathlib import Path
from typing import Any, Dict
from unittest import mock

import keyward
from keyward import _http1, _retry, _sse

from .faces import Face, TestCase, each
from .wire import Script, end, read_request

CANARY = "ra_live_canary0canary0canary0canary0aaaaaa"


def reply(status: int, body: Any, *headers: str) -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(text)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + text


def failure(status: int, code: str, *headers: str, **more: Any) -> bytes:
    return reply(status, {"error": {"code": code, "message": "m", "status": status, "request_id": "r", **more}}, *headers)


READY = reply(200, {"status": "ready"})
AUTH = b"Authorization: Bearer " + CANARY.encode()


class Requests(TestCase):
    @each
    def test_a_request_has_the_key_in_its_head_and_nothing_that_nobody_asked_for(self, face: Face) -> None:
        with Script(reply(200, {"data": [], "pagination": {"limit": 5, "next_cursor": None}})) as there:
            client = face.client(there.url, api_key=CANARY)
            face.all(client.audit.list(action="key create/&", limit=5))
            head = there.requests[0].split(b"\r\n")
            self.assertEqual(head[0], b"GET /v1/audit?action=key%20create%2F%26&limit=5 HTTP/1.1")
            names = sorted(line.partition(b":")[0] for line in head[1:] if line)
            self.assertEqual(names, [b"Accept", b"Accept-Encoding", b"Authorization", b"Host", b"User-Agent"])
            self.assertIn(AUTH, head)
            self.assertIn(b"Host: 127.0.0.1:%d" % there.port, head)

    @each
    def test_calls_for_nobody_carry_no_key(self, face: Face) -> None:
        with Script(READY) as there:
            face(face.client(there.url, api_key=CANARY).ready())
            self.assertNotIn(b"canary", there.requests[0])

    @each
    def test_a_connection_is_used_again(self, face: Face) -> None:
        with Script(READY) as there:
            client = face.client(there.url)
            for _ in range(5):
                face(client.ready())
            self.assertEqual((there.connections, len(there.requests)), (1, 5))

    @each
    def test_a_connection_that_was_closed_meanwhile_is_not(self, face: Face) -> None:
        def close_after(connection: socket.socket) -> None:
            connection.sendall(READY)

        with Script(close_after) as there:
            client = face.client(there.url, retries=0)
            for _ in range(3):
                face(client.ready())
                time.sleep(0.05)
                face(_turn() if face.asynchronous else None)
            self.assertEqual(there.connections, 3)

    @each
    def test_what_a_server_says_unasked_is_no_answer(self, face: Face) -> None:
        def twice(connection: socket.socket) -> None:
            connection.sendall(READY + reply(200, {"status": "of nobody"}))
            read_request(connection, b"")

        with Script(twice, READY) as there:
            client = face.client(there.url)
            for _ in range(2):
                self.assertEqual(face(client.ready()).status, "ready")
            self.assertEqual(there.connections, 2)


async def _turn() -> None:
    import asyncio

    await asyncio.sleep(0.01)


class Answers(TestCase):
    @each
    def test_an_answer_may_come_in_any_pieces(self, face: Face) -> None:
        chunked = b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\nTransfer-Encoding: Chunked\r\n\r\n4;x=y\r\n{\"st\r\nF\r\natus\": \"ready\"}\r\n0\r\nTrailer: x\r\n\r\n"
        until_end = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"status\": \"ready\"}"
        continued = b"HTTP/1.1 100 Continue\r\n\r\n" + READY
        for answer in (chunked, until_end, continued, READY):

            def piecemeal(connection: socket.socket, answer: bytes = answer) -> None:
                for at in range(0, len(answer), 7):
                    connection.sendall(answer[at : at + 7])
                    time.sleep(0.0005)

            with Script(piecemeal) as there:
                self.assertEqual(face(face.client(there.url).ready()).status, "ready")

    @each
    def test_no_redirect_is_followed_and_no_key_sent_elsewhere(self, face: Face) -> None:
        for status in (301, 302, 303, 307, 308):
            with Script(READY) as elsewhere:
                with Script(reply(status, {}, f"Location: {elsewhere.url}/v1/keys/self")) as there:
                    client = face.client(there.url, api_key=CANARY)
                    error = self.fails("NOT_KEYWARD", lambda: face(client.keys.get_self()))
                    self.assertIsInstance(error, keyward.UnexpectedAnswerError)
                    self.assertEqual((error.status, len(there.requests), elsewhere.connections), (status, 1, 0))

    @each
    def test_answers_of_something_else_are_told_as_such(self, face: Face) -> None:
        for answer in (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
            reply(200, b"{"),
            reply(200, b"[" * 100000),
            reply(200, b"\xff"),
            reply(200, []),
            reply(200, {"data": []}),
            reply(200, {"status": 7}),
            reply(404, b"<html>"),
            reply(404, {"error": "not_found"}),
            reply(404, {"error": {"code": 7}}),
            reply(200, READY, "Content-Encoding: gzip"),
            reply(204, b""),
        ):
            with Script(answer) as there:
                error = self.fails("NOT_KEYWARD", lambda: face(face.client(there.url).ready()))
                self.assertIn(there.url, error.message)

    @each
    def test_nothing_is_done_unless_the_server_says_so(self, face: Face) -> None:
        for answer in (reply(200, b"<html>sign in to the network"), reply(200, {}), reply(202, b"")):
            with Script(answer) as there:
                self.fails("NOT_KEYWARD", lambda: face(face.client(there.url).keys.revoke(1)))

    @each
    def test_what_is_no_http_breaks_the_connection(self, face: Face) -> None:
        for answer in (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
            b"HTTP/1.1 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000,
            b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
            b"HTTP/1.1 101 Switching\r\n\r\n",
            b"",
        ):

            def answers(connection: socket.socket, answer: bytes = answer) -> None:
                connection.sendall(answer)
                end(connection)

            with self.subTest(answer=answer[:60]), Script(answers) as there:
                error = self.fails("UNREACHABLE", lambda: face(face.client(there.url, retries=0).ready()))
                self.assertTrue(error.sent)

    @each
    def test_an_answer_has_its_bound(self, face: Face) -> None:
        def endless(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")

        for answer in (endless, reply(200, b" " * 70000), reply(404, b" " * 70000)):
            with Script(answer) as there:
                client = face.client(there.url, max_answer_bytes=65536)
                self.fails("NOT_KEYWARD", lambda: face(client.ready()))

    @each
    def test_an_answer_that_drips_is_late(self, face: Face) -> None:
        def drip(connection: socket.socket) -> None:
            for byte in READY:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)

        def silent(connection: socket.socket) -> None:
            time.sleep(4)

        for answer in (drip, silent):
            with Script(answer) as there:
                began = time.monotonic()
                client = face.client(there.url, timeout=0.4, retries=0)
                error = self.fails("UNREACHABLE", lambda: face(client.ready()))
                self.assertIsInstance(error, TimeoutError)
                self.assertTrue(0.3 < time.monotonic() - began < 2.9)

    @each
    def test_nobody_there_is_told(self, face: Face) -> None:
        free = socket.create_server(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        client = face.client(f"http://127.0.0.1:{port}", retries=1)
        error = self.fails("UNREACHABLE", lambda: face(client.keys.create("x")))
        self.assertIsInstance(error, keyward.TransportError)
        self.assertFalse(error.sent)
        self.assertIn(f"127.0.0.1:{port}", str(error))


class Repeating(TestCase):
    def setUp(self) -> None:
        quick = mock.patch.object(_retry, "_FIRST", 0.01)
        quick.start()
        self.addCleanup(quick.stop)

    def tries(self, face: Face, call: Any, *replies: Any, **options: Any) -> int:
        """Returns how many requests a call makes, whether it succeeds or not."""
        with Script(*replies) as there:
            try:
                face(call(face.client(there.url, api_key=CANARY, **options)))
            except keyward.KeywardError:
                pass
            return len(there.requests)

    @each
    def test_what_may_have_happened_is_repeated_only_if_that_does_no_harm(self, face: Face) -> None:
        def breaks(connection: socket.socket) -> None:
            end(connection)

        def read(client: Any) -> Any:
            return client.keys.get_self()

        def remove(client: Any) -> Any:
            return client.keys.revoke(1)

        def make(client: Any) -> Any:
            return client.keys.create("x")

        def invoke(client: Any) -> Any:
            return client.runs.invoke("a")

        busy = failure(503, "UNAVAILABLE", "Retry-After: 0", retry_after=0)
        for answer, call, want in (
            (breaks, read, 4),
            (breaks, remove, 4),
            (breaks, invoke, 4),
            (breaks, make, 1),
            (failure(500, "INTERNAL_ERROR"), read, 1),
            (failure(500, "INTERNAL_ERROR"), make, 1),
            (reply(502, b"<html>"), read, 4),
            (reply(502, b"<html>"), make, 1),
            (busy, make, 4),
            (failure(503, "UNAVAILABLE"), make, 1),
            (failure(503, "UNAVAILABLE"), read, 1),
            (failure(401, "SIGNATURE_REPLAYED"), make, 4),
            (failure(429, "RATE_LIMITED", retry_after=0), make, 4),
            (failure(429, "RATE_LIMITED", retry_after=3600), read, 1),
            (failure(401, "INVALID_API_KEY"), read, 1),
            (failure(404, "KEY_NOT_FOUND"), read, 1),
            (failure(409, "DUPLICATE_NAME"), make, 1),
            (failure(422, "RUN_FAILED"), invoke, 1),
            (failure(504, "RUN_TIMED_OUT"), invoke, 1),
        ):
            with self.subTest(answer=answer if isinstance(answer, bytes) else "broken", call=call.__name__):
                self.assertEqual(self.tries(face, call, answer), want)
        self.assertEqual(self.tries(face, read, breaks, retries=0), 1)
        self.assertEqual(self.tries(face, read, breaks, reply(204, b"")), 2)

    @each
    def test_a_deletion_whose_answer_was_lost_is_done(self, face: Face) -> None:
        for call, code in ((lambda c: c.agents.delete("a"), "AGENT_NOT_FOUND"), (lambda c: c.keys.revoke_self(), "REVOKED_API_KEY")):
            with Script(end, failure(404, code)) as there:
                self.assertIsNone(face(call(face.client(there.url))))
            with Script(failure(404, code)) as there:
                self.fails(code, lambda: face(call(face.client(there.url))))

    @each
    def test_an_invocation_is_repeated_under_the_same_key(self, face: Face) -> None:
        done = reply(200, {"result": 1, "metadata": {"run_id": "r", "execution_time": 0.5, "request_id": "q"}})
        with Script(end, done) as there:
            self.assertEqual(face(face.client(there.url).runs.invoke("a")).result, 1)
            keys = [line for r in there.requests for line in r.split(b"\r\n") if line.startswith(b"Idempotency-Key: ")]
            self.assertEqual((len(keys), len(set(keys)), len(keys[0])), (2, 1, 17 + 36))

    @each
    def test_the_time_that_a_server_names_is_waited_for(self, face: Face) -> None:
        with Script(failure(429, "RATE_LIMITED", "Retry-After: 1"), READY) as there:
            began = time.monotonic()
            face(face.client(there.url).ready())
            self.assertTrue(1 <= time.monotonic() - began < 10)

    @each
    def test_a_repeated_request_is_signed_anew(self, face: Face) -> None:
        with Script(failure(503, "UNAVAILABLE", retry_after=0), failure(503, "UNAVAILABLE", retry_after=0), failure(409, "X"), failure(409, "X")) as there:
            client = face.client(there.url, api_key=CANARY, signing_secret="rs_secret")
            self.fails("X", lambda: face(client.keys.create("x")))
            signatures = {line for r in there.requests for line in r.split(b"\r\n") if line.startswith(b"X-Signature")}
            self.assertEqual((len(there.requests), len(signatures)), (3, 3))
            self.fails("X", lambda: face(client.keys.create("x")))
            self.assertEqual({json.dumps(json.loads(r.partition(b"\r\n\r\n")[2])) for r in there.requests}, {'{"name": "x"}'})

    def test_pauses_grow_and_differ(self) -> None:
        for attempt, most in ((0, 0.01), (3, 0.08), (60, 8)):
            pauses = [_retry.pause(attempt) for _ in range(200)]
            self.assertTrue(most * 0.8 < max(pauses) <= most and min(pauses) < most * 0.2)


class Lists(TestCase):
    @each
    def test_a_list_that_leads_in_a_circle_ends(self, face: Face) -> None:
        page = reply(200, {"data": [], "pagination": {"limit": 1, "next_cursor": "again"}})
        with Script(page) as there:
            self.fails("NOT_KEYWARD", lambda: face.all(face.client(there.url).runs.list()))
            self.assertEqual(len(there.requests), 2)


class Streams(TestCase):
    def stream(self, *events: str, run_id: str = "r1") -> bytes:
        body = "retry: 10\n\n" + "".join(events)
        return f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Run-Id: {run_id}\r\nConnection: close\r\n\r\n{body}".encode()

    def event(self, id: int, kind: str, data: Any = "x") -> str:
        return f"id: {id}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"

    @property
    def done(self) -> Dict[str, Any]:
        return {"id": "r1", "agent_id": "a", "status": "succeeded", "created_at": "2026-01-01T00:00:00.000Z"}

    @each
    def test_a_stream_goes_on_at_the_runs_events_and_never_starts_another(self, face: Face) -> None:
        cut = "id: 3\nevent: chunk\ndata: "
        unable = 'event: error\ndata: {"code": "UNAVAILABLE", "message": "stopping", "request_id": "q"}\n\n'
        with Script(
            self.stream(self.event(1, "start"), self.event(2, "log"), cut),
            self.stream(self.event(3, "chunk"), unable),
            failure(503, "UNAVAILABLE", "Connection: close", retry_after=0),
            self.stream(self.event(3, "chunk"), self.event(4, "done", self.done)),
        ) as there:
            events = face.all(face.client(there.url).runs.stream("a"))
            self.assertEqual([e.id for e in events], [1, 2, 3, 4])
            lines = [r.split(b"\r\n") for r in there.requests]
            self.assertEqual([r[0] for r in lines], [b"POST /v1/agents/a/stream HTTP/1.1"] + [b"GET /v1/runs/r1/events HTTP/1.1"] * 3)
            self.assertEqual([line for r in lines for line in r if line.startswith(b"Last-Event-ID")], [b"Last-Event-ID: 2", b"Last-Event-ID: 3", b"Last-Event-ID: 3"])

    @each
    def test_nobody_comes_again_before_the_server_wants(self, face: Face) -> None:
        first = self.stream(self.event(1, "start")).replace(b"retry: 10\n", b"retry: 700\n")
        with Script(first, self.stream(self.event(2, "done", self.done))) as there:
            began = time.monotonic()
            self.assertEqual(len(face.all(face.client(there.url).runs.events("r1"))), 2)
            self.assertTrue(0.7 <= time.monotonic() - began < 10)

    @each
    def test_a_stream_that_gets_nowhere_gives_up(self, face: Face) -> None:
        with Script(self.stream()) as there:
            self.fails("UNREACHABLE", lambda: face.all(face.client(there.url, retries=1).runs.events("r1")))
            self.assertEqual(len(there.requests), 3)

    @each
    def test_a_stream_outlives_the_access_token_of_its_sign_in(self, face: Face) -> None:
        expired = 'event: error\ndata: {"code": "EXPIRED_ACCESS_TOKEN", "message": "m", "request_id": "q"}\n\n'
        tokens = {"accessToken": "new", "refreshToken": "next", "tokenType": "Bearer", "expiresIn": 900}
        with Script(
            self.stream(self.event(1, "start"), expired),
            reply(200, tokens, "Connection: close"),
            self.stream(self.event(2, "done", self.done)),
        ) as there:
            client = face.client(there.url, sign_in=keyward.Tokens("old", "first", "Bearer", 900))
            self.assertEqual([e.id for e in face.all(client.runs.stream("a"))], [1, 2])
            self.assertIn(b"Authorization: Bearer new", there.requests[2])
        with Script(self.stream(self.event(1, "start"), expired)) as there:
            self.fails("EXPIRED_ACCESS_TOKEN", lambda: face.all(face.client(there.url, access_token="old").runs.stream("a")))

    @each
    def test_a_stream_that_says_why_it_ends_is_that_error(self, face: Face) -> None:
        ended = 'event: error\ndata: {"code": "REVOKED_API_KEY", "message": "The API key was revoked", "request_id": "q"}\n\n'
        with Script(self.stream(self.event(1, "start"), ended)) as there:
            error = self.fails("REVOKED_API_KEY", lambda: face.all(face.client(there.url).runs.events("r1")))
            self.assertIsInstance(error, keyward.AuthenticationError)
            self.assertEqual((error.request_id, len(there.requests)), ("q", 1))

    @each
    def test_what_is_no_stream_is_told_as_such(self, face: Face) -> None:
        for answer in (
            READY,
            self.stream("id: 1\nevent: start\ndata: {\n\n"),
            self.stream("event: start\ndata: 1\n\n"),
            self.stream("id: -1\nevent: start\ndata: 1\n\n"),
        ):
            with Script(answer) as there:
                self.fails("NOT_KEYWARD", lambda: face.all(face.client(there.url).runs.events("r1")))


class Parsers(unittest.TestCase):
    def test_events_are_the_same_in_any_pieces(self) -> None:
        text = "\ufeff: hello\r\nretry: 1500\r\rid:1\nevent: a\ndata: one\rdata:two\r\n\r\ndata\n\nid: 2\ndata: ü\n\n:\n\nevent: nothing\n\nfoo: bar\ndata: x\n\ndata: cut".encode()
        whole = _sse.Messages().receive(text)
        self.assertEqual(whole, [("1", "a", "one\ntwo"), ("", "message", ""), ("2", "message", "ü"), ("", "message", "x")])
        for size in (1, 2, 3, 5, 7, 11):
            messages, found = _sse.Messages(), []
            for at in range(0, len(text), size):
                found += messages.receive(text[at : at + size])
            self.assertEqual((found, messages.retry), (whole, 1.5), size)

    def test_an_event_has_its_bound(self) -> None:
        messages = _sse.Messages()
        with self.assertRaises(_sse.TooLong):
            for _ in range(1000):
                messages.receive(b"data: " + b"x" * 65536)

    def test_nothing_that_comes_breaks_the_reader_of_answers(self) -> None:
        import random

        seed = random.Random(7)
        samples = [READY, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", b"HTTP/1.1 204 No\r\nX: y\r\n\r\n"]
        for _ in range(3000):
            text = bytearray(seed.choice(samples))
            for _ in range(seed.randrange(4)):
                text[seed.randrange(len(text))] = seed.randrange(256)
            answer = _http1.Answer(seed.choice(["GET", "HEAD", "CONNECT"]))
            try:
                while text:
                    piece = bytes(text[: seed.randrange(1, 20)])
                    del text[: len(piece)]
                    self.assertLessEqual(len(answer.receive(piece)), 200)
                answer.receive(b"")
            except _http1.ProtocolError:
                pass


class Proxies(TestCase):
    @each
    def test_a_proxy_of_the_environment_is_passed_over(self, face: Face) -> None:
        with Script(READY) as proxy, Script(READY) as there:
            held = dict(os.environ)
            os.environ.update(http_proxy=proxy.url, HTTP_PROXY=proxy.url, https_proxy=proxy.url, ALL_PROXY=proxy.url)
            try:
                face(face.client(there.url).ready())
            finally:
                os.environ.clear()
                os.environ.update(held)
            self.assertEqual((proxy.connections, there.connections), (0, 1))

    @each
    def test_a_proxy_that_was_asked_for_connects(self, face: Face) -> None:
        with Script(READY) as there, Proxy() as proxy:
            client = face.client(there.url, proxy=f"http://user:pa%20ss@127.0.0.1:{proxy.port}", api_key=CANARY)
            self.assertEqual(face(client.ready()).status, "ready")
            self.assertEqual(proxy.requests[0].split(b"\r\n")[0], b"CONNECT 127.0.0.1:%d HTTP/1.1" % there.port)
            self.assertIn(b"Proxy-Authorization: Basic dXNlcjpwYSBzcw==", proxy.requests[0])
            self.assertNotIn(b"canary", proxy.requests[0])
        with Script(reply(407, {})) as proxy:
            client = face.client("https://keyward.example.com", proxy=proxy.url, retries=0)
            self.assertIn("407", self.fails("UNREACHABLE", lambda: face(client.ready())).message)


class Proxy(Script):
    """An HTTP proxy that connects to wherever it is asked to."""

    def __init__(self) -> None:
        super().__init__(self.connect)

    def connect(self, connection: socket.socket) -> None:
        target = self.requests[-1].split(b" ")[1].decode()
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            connection.sendall(b"HTTP/1.0 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(there, connection), daemon=True)
            back.start()
            _copy(connection, there)


def _copy(one: socket.socket, other: socket.socket) -> None:
    try:
        while True:
            data = one.recv(65536)
            if not data:
                return
            other.sendall(data)
    except OSError:
        pass
    finally:
        end(other)


@unittest.skipUnless(os.environ.get("KEYWARD_TEST_TLS"), "KEYWARD_TEST_TLS names no folder with certificates")
class TLS(TestCase):
    """With a server's certificate of an authority of its own: cert.pem, key.pem and ca.pem."""

    def serve(self, certificate: str = "cert") -> "TLSScript":
        return TLSScript(Path(os.environ["KEYWARD_TEST_TLS"]), certificate)

    def trusting(self) -> Any:
        import ssl

        return ssl.create_default_context(cafile=os.path.join(os.environ["KEYWARD_TEST_TLS"], "ca.pem"))

    @each
    def test_certificates_are_checked(self, face: Face) -> None:
        with self.serve() as there:
            client = face.client(there.url, api_key=CANARY, retries=0)
            error = self.fails("UNREACHABLE", lambda: face(client.ready()))
            self.assertIn("certificate", error.message)
            self.assertEqual(face(face.client(there.url, ssl_context=self.trusting()).ready()).status, "ready")
        with self.serve("other") as there:
            client = face.client(there.url, ssl_context=self.trusting(), retries=0)
            self.assertIn("certificate", self.fails("UNREACHABLE", lambda: face(client.ready())).message)

    @each
    def test_through_a_proxy_too(self, face: Face) -> None:
        with self.serve() as there, Proxy() as proxy:
            client = face.client(there.url, ssl_context=self.trusting(), proxy=proxy.url, api_key=CANARY)
            for _ in range(2):
                self.assertEqual(face(client.ready()).status, "ready")
            self.assertEqual((proxy.connections, there.connections), (1, 1))

    def test_checks_can_not_be_switched_off(self) -> None:
        import ssl

        context = ssl.create_default_context()
        context.check_hostname = False
        for mode in (ssl.CERT_REQUIRED, ssl.CERT_NONE):
            context.verify_mode = mode
            with self.assertRaises(ValueError):
                keyward.Keyward("https://127.0.0.1", ssl_context=context)


class TLSScript(Script):
    def __init__(self, folder: Path, name: str) -> None:
        import ssl

        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}-key.pem")
        super().__init__(READY)
        self.url = f"https://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket, number: int) -> None:
        with self.context.wrap_socket(connection, server_side=True) as secured:
            super().serve(secured, number)


