"""Runs: waited for, started, watched, and watched again after the connection broke."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import unittest
import warnings
from typing import List

import keyward

from .faces import Face, TestCase, each
from .server import CONFIG, Person, Server, program, server
from .wire import Cutter

logging.getLogger("asyncio").setLevel(logging.ERROR)  # or it tells of each step that is slow


class Runs(TestCase):
    @each
    def test_invoke_returns_what_the_agent_puts_out(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        done = face(client.runs.invoke("public/echo", {"word": "hello"}, query="q"))
        self.assertEqual(done.result["arguments"]["word"], "hello")
        self.assertEqual(done.result["arguments"]["query"], "q")
        run = face(client.runs.get(done.metadata.run_id))
        self.assertEqual((run.status, run.agent_id, run.ended), ("succeeded", "public/echo", True))
        self.assertIn(run.id, [r.id for r in face.all(client.runs.list(agent_id="public/echo", status="succeeded"))])

    @each
    def test_a_run_that_fails_says_which_and_why(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        error = self.fails("RUN_FAILED", lambda: face(client.runs.invoke("public/fail")))
        self.assertIsInstance(error, keyward.RunFailedError)
        self.assertIn("the site is closed today", error.message)
        self.assertEqual(error.run_status, "failed")
        self.assertEqual(face(client.runs.get(error.run_id)).status, "failed")

    @each
    def test_the_same_idempotency_key_is_the_same_run(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        first = face(client.runs.start("public/echo", {"word": "w"}, idempotency_key="order-7"))
        self.assertEqual(face(client.runs.start("public/echo", {"word": "w"}, idempotency_key="order-7")).id, first.id)
        self.assertEqual(face(client.runs.invoke("public/echo", {"word": "w"}, idempotency_key="order-7")).metadata.run_id, first.id)
        self.fails("IDEMPOTENCY_KEY_REUSED", lambda: face(client.runs.start("public/echo", {"word": "x"}, idempotency_key="order-7")))
        self.assertNotEqual(face(client.runs.start("public/echo", {"word": "w"})).id, first.id)

    @each
    def test_a_run_is_waited_for_and_cancelled(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        run = face(client.runs.start("public/echo"))
        ended = face(client.runs.wait(run.id))
        self.assertEqual((ended.id, ended.status), (run.id, "succeeded"))
        self.assertEqual(face(client.runs.wait(run.id)).output, ended.output)
        run = face(client.runs.start("public/sleep"))
        self.assertIn(face(client.runs.cancel(run.id)).status, ("running", "cancelled"))
        self.assertEqual(face(client.runs.wait(run.id)).status, "cancelled")
        self.fails("RUN_ENDED", lambda: face(client.runs.cancel(run.id)))
        self.fails("RUN_NOT_FOUND", lambda: face(client.runs.wait("none")))


class Events(TestCase):
    @each
    def test_events_come_in_order_up_to_done(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        stream = client.runs.stream("public/echo", {"word": "w"})
        events = face.all(stream)
        self.assertEqual([e.id for e in events], list(range(1, len(events) + 1)))
        self.assertEqual((events[0].type, events[-1].type), ("start", "done"))
        self.assertEqual(events[0].data["run_id"], stream.run_id)
        self.assertEqual([e.data for e in events if e.type == "chunk"][:2], ["one", {"two": 2}])
        self.assertEqual([e.data for e in events if e.type == "log"], ["the log"])
        self.assertEqual(events[-1].run.status, "succeeded")
        self.assertEqual(face.all(client.runs.events(stream.run_id)), events)
        self.assertEqual(face.all(client.runs.events(stream.run_id, after=2)), events[2:])
        self.assertEqual(face.all(client.runs.events(stream.run_id, after=len(events))), [])

    @each
    def test_a_connection_that_breaks_is_made_anew_after_the_last_event(self, face: Face) -> None:
        person = Person(server())
        for cut in (400, 650, 900, 1200):
            with self.subTest(cut=cut), Cutter(person.server, cut) as cutter:
                client = face.client(cutter.url, api_key=person.key)
                stream = client.runs.stream("public/echo", {"word": "w" * 400})
                events = face.all(stream)
                self.assertEqual([e.id for e in events], list(range(1, len(events) + 1)))
                self.assertEqual(events[-1].run.status, "succeeded")
                whole = face.all(face.client(person.server, api_key=person.key).runs.events(stream.run_id))
                self.assertEqual(events, whole)
                self.assertGreater(cutter.connections, 1)

    @each
    def test_leaving_a_stream_ends_the_telling_and_not_the_run(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        stream = client.runs.stream("public/sleep")
        self.assertEqual(face.next(stream).type, "start")
        face(stream.close())
        self.assertEqual(face.all(stream), [])
        self.assertEqual(face(client.runs.get(stream.run_id)).status, "running")
        face(client.runs.cancel(stream.run_id))

    @each
    def test_a_stream_ends_when_its_key_does(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        issued = face(client.keys.create("short", scopes=["run", "agents:read"]))
        stream = client.with_credential(api_key=issued.key).runs.stream("public/sleep")
        face.next(stream)
        face(client.keys.revoke(issued.id))
        began = time.monotonic()
        error = self.fails("REVOKED_API_KEY", lambda: face.all(stream))
        self.assertIsInstance(error, keyward.AuthenticationError)
        self.assertLess(time.monotonic() - began, 12)
        face(client.runs.cancel(stream.run_id))


class Restarts(TestCase):
    def test_a_stream_outlives_the_server_that_is_killed(self) -> None:
        first = Server(program(), CONFIG)
        person = Person(first)
        with person.client() as client:
            stream = client.runs.stream("public/sleep")
            self.assertEqual(next(stream).type, "start")
            first.process.kill()
            first.process.wait()
            began = threading.Timer(1.5, lambda: again.append(Server(program(), CONFIG, first.url.partition("//")[2], first.folder)))
            again: List[Server] = []
            began.start()
            events = list(stream)
            began.join()
            self.assertEqual((events[-1].type, events[-1].run.status), ("done", "interrupted"))
            self.assertEqual([e.id for e in events], list(range(2, len(events) + 2)))
        for one in (first, *again):
            one.stop()


class OneAgent(TestCase):
    @each
    def test_the_client_of_one_agent_runs_it(self, face: Face) -> None:
        person = Person(server())
        client = face.agent_client(agent_id="public/echo", api_key=person.key, base_url=person.server)
        self.assertEqual(face(client.run(word="w"))["arguments"]["word"], "w")
        self.assertEqual(face.all(client.run_stream(query="q"))[:2], ["one", {"two": 2}])
        stored = face(client.upsert_auth_profile({"password": "hidden"}, name="mine"))
        self.assertEqual(stored.type, "create")
        run = face(client.client.runs.wait(face(client.start({"word": "w"})).id))
        self.assertEqual((run.auth_profile, run.output["arguments"]["word"]), ("mine", "w"))
        self.assertNotIn("hidden", str(run))
        self.assertEqual(face(client.upsert_auth_profile({"word": "kept"})).type, "update")
        self.assertIn("word", face(client.invoke()).result["arguments"])
        self.assertNotIn(stored.auth_token, repr(client) + repr(vars(client)))
        failing = face.agent_client(agent_id="public/fail", api_key=person.key, base_url=person.server)
        self.fails("RUN_FAILED", lambda: face(failing.run()))
        error = self.fails("RUN_FAILED", lambda: face.all(failing.run_stream()))
        self.assertIn("the site is closed today", error.message)
        self.assertTrue(error.run_id)


class Entered(unittest.IsolatedAsyncioTestCase):
    async def test_a_stream_that_is_entered_has_begun(self) -> None:
        person = await asyncio.to_thread(Person, server())
        async with keyward.AsyncKeyward(person.server, api_key=person.key) as client:
            async with client.runs.stream("public/echo") as events:
                self.assertTrue(events.run_id)
                async for event in events:
                    self.assertEqual(event.type, "start")
                    break
            self.assertEqual([e async for e in events], [])
        with person.client() as other, other.runs.stream("public/echo") as told:
            self.assertTrue(told.run_id)
            self.assertEqual(told.result().status, "succeeded")
            self.assertGreater(told.last_event_id, 3)


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def test_many_calls_and_streams_go_at_once(self) -> None:
        person = await asyncio.to_thread(Person, server())
        async with keyward.AsyncKeyward(person.server, api_key=person.key) as client:
            streams = [client.runs.stream("public/echo", {"word": str(i)}) for i in range(20)]
            runs = await asyncio.gather(*(s.result() for s in streams), *(client.keys.get_self() for _ in range(50)))
            self.assertEqual({r.status for r in runs[:20]}, {"succeeded"})
            self.assertEqual(len({r.id for r in runs[:20]}), 20)

    async def test_a_task_that_is_cancelled_ends_at_once(self) -> None:
        person = await asyncio.to_thread(Person, server())
        async with keyward.AsyncKeyward(person.server, api_key=person.key) as client:
            run = await client.runs.start("public/sleep")
            for waiting in (client.runs.wait(run.id), client.runs.invoke("public/sleep", timeout=60)):
                task = asyncio.ensure_future(waiting)
                await asyncio.sleep(0.3)
                began = time.monotonic()
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertLess(time.monotonic() - began, 5)
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(client.runs.wait(run.id), 0.2)
            # And the client goes on.
            for left in [r async for r in client.runs.list(status="running")]:
                await client.runs.cancel(left.id)

    async def test_a_call_has_no_more_than_its_timeout(self) -> None:
        person = await asyncio.to_thread(Person, server())
        async with keyward.AsyncKeyward(person.server, api_key=person.key, retries=0) as client:
            with self.assertRaises(keyward.RequestTimeoutError) as late:
                await client.runs.invoke("public/sleep", timeout=0.3)
            self.assertTrue(late.exception.sent)
            for left in [r async for r in client.runs.list(status="running")]:
                await client.runs.cancel(left.id)


class Loops(unittest.TestCase):
    def test_one_client_serves_one_loop_after_another(self) -> None:
        person = Person(server())
        client = keyward.AsyncKeyward(person.server, api_key=person.key)

        async def ask() -> str:
            return (await client.keys.get_self()).name

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # a loop that ends leaves its connections
            self.assertEqual([asyncio.run(ask()) for _ in range(3)], ["owner"] * 3)
            asyncio.run(client.close())
            gc.collect()
