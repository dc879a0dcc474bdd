"""The behaviour scripts that all SDKs share, through both clients."""

from __future__ import annotations

import inspect
import json
import operator
import re
import traceback
import unittest
import uuid
from typing import Any, Callable, Dict, List, Optional, Tuple

import keyward

from .faces import AsyncFace, Face
from .server import ROOT, Person, server
from .test_operations import LEFT_OUT, RUNAGENT, offered

SCRIPTS = sorted((ROOT / "sdk" / "behaviour").glob("*.json"))

# Where a method calls a parameter otherwise than openapi.yaml does.
RENAMED = {
    "currentPassword": "current_password",
    "newPassword": "new_password",
    "refreshToken": "refresh_token",
    "setupCode": "setup_code",
    "from": "start",
    "to": "end",
}
IDS = {
    "setAlert": "key_id",
    "getAlert": "key_id",
    "removeAlert": "key_id",
    "listAuthProfiles": "agent_id",
    "invokeAgent": "agent_id",
    "startRun": "agent_id",
    "streamAgent": "agent_id",
}


class Runner:
    """Runs one script through one client."""

    def __init__(self, test: unittest.TestCase, face: Face, script: Dict[str, Any]) -> None:
        self.test = test
        self.face = face
        self.script = script
        # Each client has a server of its own, since one lets only so many sign up.
        person = Person(server(type(face).__name__), signs_up=True)
        self.said: Dict[str, Any] = {
            "email": person.email,
            "password": person.password,
            "access_token": person.tokens.access_token,
            "refresh_token": person.tokens.refresh_token,
            "owner_key": person.key,
            "unique": uuid.uuid4().hex[:12],
            "server": person.server,
        }
        self.clients: Dict[Any, Any] = {}

    def run(self) -> None:
        for number, step in enumerate(self.script["steps"], 1):
            with self.test.subTest(script=self.script["name"], step=number, call=step["call"]):
                for _ in range(step.get("times", 1)):
                    self.step(self.filled(step))

    def filled(self, part: Any) -> Any:
        """Returns a part of a step with the variables in it."""
        if isinstance(part, dict):
            return {name: self.filled(inner) for name, inner in part.items()}
        if isinstance(part, list):
            return [self.filled(inner) for inner in part]
        if not isinstance(part, str):
            return part
        alone = re.fullmatch(r"\{\{(\w+)\}\}", part)
        if alone:
            return self.said[alone[1]]
        return re.sub(r"\{\{(\w+)\}\}", lambda found: str(self.said[found[1]]), part)

    def client(self, step: Dict[str, Any]) -> Any:
        who = step.get("as", self.said["owner_key"])
        at = (who, step.get("signing_secret"), step.get("retries"))
        if at not in self.clients:
            options: Dict[str, Any] = {"signing_secret": step.get("signing_secret")}
            if "retries" in step:
                options["retries"] = step["retries"]
            if who:
                # Only an access token has dots in it.
                options["access_token" if who.count(".") == 2 else "api_key"] = who
            self.clients[at] = self.face.client(self.said["server"], **options)
        return self.clients[at]

    def step(self, step: Dict[str, Any]) -> None:
        client = self.client(step)
        want = step.get("error")
        try:
            result = self.call(client, step)
        except keyward.KeywardError as error:
            result = {name: getattr(error, name) for name in ("code", "status", "message", "request_id", "retry_after", "details")}
            if want is None:
                raise
            self.hidden(client, step, error)
            compare(want, result, "error")
        else:
            if want is not None:
                self.test.fail(f"no error, but {result!r}")
            if "expect" in step:
                compare(step["expect"], result, "result")
        for name, path in step.get("save", {}).items():
            self.said[name] = picked(result, path)

    def call(self, client: Any, step: Dict[str, Any]) -> Any:
        name = offered(client)[step["call"]]
        method = operator.attrgetter(name)(client)
        arguments: Dict[str, Any] = {}
        for given in (step.get("query", {}), step.get("body", {})):
            arguments.update({RENAMED.get(n, n): v for n, v in given.items()})
        for n, v in step.get("path", {}).items():
            arguments[IDS.get(step["call"], n)] = v
        for n in ("idempotency_key", "after"):
            if n in step:
                arguments[n] = step[n]
        unknown = set(arguments) - set(inspect.signature(method).parameters)
        self.test.assertEqual(unknown, set(), f"{name} has no such parameters")
        result = self.face(method(**arguments))
        if isinstance(result, (keyward.Events, keyward.AsyncEvents)):
            return [{"id": e.id, "event": e.type, "data": e.data} for e in self.events(result, step.get("take"))]
        if isinstance(result, (keyward.Listing, keyward.AsyncListing)):
            return [item.to_dict() for item in self.face.all(result)] if step.get("list") else self.face(result.first_page()).to_dict()
        if step["call"] == "renewRunnerSecret":
            return {"runner_secret": result}
        return result if result is None else result.to_dict()

    def events(self, stream: Any, take: Optional[int]) -> List[keyward.Event]:
        if take is None:
            return self.face.all(stream)
        found = [self.face.next(stream) for _ in range(take)]
        self.face(stream.close())
        return found

    def hidden(self, client: Any, step: Dict[str, Any], error: keyward.KeywardError) -> None:
        """Checks that no secret of the step is in what is printed of its failure."""
        secrets = [step.get("as", self.said["owner_key"]), step.get("signing_secret"), self.said["password"]]
        secrets += [v for n, v in step.get("body", {}).items() if "assword" in n]
        texts = [str(error), repr(error), "".join(traceback.format_exception(type(error), error, None)), str(client), repr(client)]
        for secret in secrets:
            for text in texts:
                self.test.assertFalse(secret and secret in text, "a secret is shown")


def picked(result: Any, path: str) -> Any:
    for part in path.split("."):
        result = result[int(part)] if isinstance(result, list) else result[part]
    return result


_TYPES: Dict[str, Callable[[Any], bool]] = {
    "string": lambda v: isinstance(v, str),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "null": lambda v: v is None,
}

_RULES: Dict[str, Callable[[Any, Any], bool]] = {
    "$matches": lambda want, got: isinstance(got, str) and re.search(want, got) is not None,
    "$is": lambda want, got: _TYPES[want](got),
    "$length": lambda want, got: isinstance(got, (list, str)) and len(got) == want,
    "$least": lambda want, got: _TYPES["number"](got) and got >= want,
    "$has": lambda want, got: isinstance(got, list) and any(like(want, inner) for inner in got),
}


def like(want: Any, got: Any) -> bool:
    try:
        compare(want, got, "")
    except AssertionError:
        return False
    return True


def compare(want: Any, got: Any, where: str) -> None:
    if isinstance(want, dict) and len(want) == 1 and next(iter(want)).startswith("$"):
        [(rule, value)] = want.items()
        if not _RULES[rule](value, got):
            raise AssertionError(f"{where} is {got!r}, which is not as {want!r} says")
    elif isinstance(want, dict):
        if not isinstance(got, dict):
            raise AssertionError(f"{where} is {got!r}, and no object")
        for name, inner in want.items():
            compare(inner, got.get(name), f"{where}.{name}")
    elif isinstance(want, list):
        if not isinstance(got, list) or len(want) != len(got):
            raise AssertionError(f"{where} is {got!r}, want {len(want)} entries")
        for number, (one, other) in enumerate(zip(want, got)):
            compare(one, other, f"{where}.{number}")
    elif isinstance(want, bool) != isinstance(got, bool) or want != got:
        raise AssertionError(f"{where} is {got!r}, want {want!r}")


class Behaviour(unittest.TestCase):
    """A test for each script and each client: they are added below."""

    def test_there_are_scripts_and_all_their_calls_are_offered(self) -> None:
        self.assertGreater(len(SCRIPTS), 5)
        called = {step["call"] for path in SCRIPTS for step in json.loads(path.read_text("utf-8"))["steps"]}
        self.assertEqual({c for c in called if c not in LEFT_OUT and not RUNAGENT.match(c)} - set(offered(keyward.Keyward())), set())


class Comparing(unittest.TestCase):
    def test_a_difference_is_seen(self) -> None:
        for want, good, bad in (
            (1, [1, 1.0], [2, "1", True, None, [1]]),
            (True, [True], [1, "true", False]),
            (None, [None], [0, False, "", {}]),
            ("a", ["a"], ["A", None, ["a"]]),
            ({"a": 1, "b": None}, [{"a": 1}, {"a": 1, "b": None, "c": 2}], [{"b": None}, {"a": 1, "b": 0}, [], None]),
            ([1, {"a": 2}], [[1, {"a": 2, "b": 3}]], [[1], [1, {"a": 2}, 3], [{"a": 2}, 1], None]),
            ({"$matches": "^ra_"}, ["ra_x"], ["xra_", 7, None]),
            ({"$is": "number"}, [1, 2.5], [True, "1", None]),
            ({"$is": "null"}, [None], [0, ""]),
            ({"$length": 2}, ["ab", [1, 2]], ["a", [], {"a": 1, "b": 2}]),
            ({"$least": 3}, [3, 4.5], [2, "4", True, None]),
            ({"$has": {"a": 1}}, [[{"a": 2}, {"a": 1, "b": 1}]], [[], [{"a": 2}], {"a": 1}]),
        ):
            for got in good:
                self.assertTrue(like(want, got), (want, got))
            for got in bad:
                self.assertFalse(like(want, got), (want, got))


def _add(kind: type, path: Any) -> Tuple[str, Callable[[unittest.TestCase], None]]:
    def run(self: unittest.TestCase) -> None:
        face = kind()
        try:
            Runner(self, face, json.loads(path.read_text("utf-8"))).run()
        finally:
            face.end()

    return f"test_{path.stem.replace('-', '_')}_{'async' if kind is AsyncFace else 'sync'}", run


for _path in SCRIPTS:
    for _kind in (Face, AsyncFace):
        setattr(Behaviour, *_add(_kind, _path))
