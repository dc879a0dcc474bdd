"""No key is printed: not by a client, not in an error, not in what a tool makes of one."""

from __future__ import annotations

import copy
import json
import os
import pickle
import traceback
from typing import Any, Callable, List
from unittest import mock

import keyward
from keyward import models

from .faces import Face, TestCase, each
from .server import SDK
from .test_transport import CANARY, end, failure, reply
from .wire import Script

SECRET = "rs_canary1canary1canary1"


def shown(do: Callable[[], Any]) -> "tuple[BaseException, str]":
    """Does what must fail. Returns the error, and all that a tool may show of it.

    That includes the local variables of every frame of the package.
    """
    try:
        do()
    except (keyward.KeywardError, ValueError, TypeError) as error:
        # Not assertRaises, which clears the frames.
        texts, one = [], error
        while one is not None:
            texts += [repr(one), str(one), repr(vars(one)), repr(one.args), "".join(traceback.format_exception(type(one), one, one.__traceback__))]
            for frame, _ in traceback.walk_tb(one.__traceback__):
                if str(SDK / "keyward") in frame.f_code.co_filename:
                    texts += [f"{frame.f_code.co_name} {name}={value!r}" for name, value in frame.f_locals.items()]
            one = one.__context__ or one.__cause__  # type: ignore[assignment]
        return error, "\n".join(texts)
    raise AssertionError("it did not fail")


class Secrets(TestCase):
    def nowhere(self, text: str, *secrets: str) -> None:
        for secret in secrets or (CANARY, SECRET):
            self.assertNotIn(secret, text)
            self.assertNotIn(secret[8:], text)

    @each
    def test_a_client_does_not_show_its_key(self, face: Face) -> None:
        client = face.client("http://127.0.0.1:9", api_key=CANARY, signing_secret=SECRET, proxy="http://user:proxycanary@127.0.0.1:8")
        self.nowhere(everything(client), CANARY, SECRET, "proxycanary", "cHJveHljYW5hcnk")
        for agent in (face.agent_client("a", CANARY, auth_token=SECRET), face.agent_client(agent_id="a", api_key=CANARY)):
            self.nowhere(everything(agent))
        for made in (client, client.keys, client._credential):
            for attempt in (pickle.dumps, copy.deepcopy):
                with self.assertRaises(TypeError):
                    attempt(made)

    @each
    def test_an_error_does_not_show_it_whatever_went_wrong(self, face: Face) -> None:
        echo = f"you sent {CANARY} and {SECRET}"
        with mock.patch.object(keyward._retry, "_FIRST", 0.001):
            for answer in (
                end,
                b"nonsense",
                reply(307, {}, "Location: https://elsewhere.example"),
                reply(200, f'{{"{CANARY}'.encode()),
                reply(200, [CANARY]),
                reply(200, {"id": CANARY}),
                failure(401, "INVALID_API_KEY"),
                reply(400, {"error": {"code": CANARY, "message": echo, "request_id": CANARY, "details": {CANARY: [echo]}}}),
                reply(500, echo.encode()),
                reply(404, {"error": {}}, f"X-Request-Id: {echo}"),
            ):
                with Script(answer) as there:
                    client = face.client(there.url, api_key=CANARY, signing_secret=SECRET, timeout=5)
                    for call in (client.keys.get_self, lambda: client.runs.invoke("a"), lambda: client.runs.wait("r"), lambda: client.keys.create("x")):
                        with self.subTest(answer=answer):
                            error, text = shown(lambda: face(call()))
                            self.assertIsInstance(error, keyward.KeywardError)
                            self.nowhere(text)
                            self.nowhere(repr(pickle.loads(pickle.dumps(error))))

    @each
    def test_neither_do_errors_before_anything_is_sent(self, face: Face) -> None:
        for bad in (CANARY + "\n" + CANARY, CANARY + " x", "ü" + CANARY):
            for options in ({"api_key": bad}, {"access_token": bad}, {"api_key": CANARY, "signing_secret": bad}, {"api_key": CANARY, "timeout": 0}):
                error, text = shown(lambda: face.client(**options))
                self.assertIsInstance(error, ValueError)
                self.nowhere(text)
        with mock.patch.dict(os.environ, {"KEYWARD_API_KEY": CANARY}):
            self.nowhere(shown(lambda: face.client("http://10.0.0.1"))[1])
        self.nowhere(shown(lambda: face.agent_client("a", CANARY, base_url="http://10.0.0.1"))[1])
        client = face.client("http://127.0.0.1:9", api_key=CANARY)
        for call in (lambda: client.keys.get(""), lambda: client.runs.invoke("a", {"x": float("nan")}), lambda: client.runs.invoke("a", {"x": object()})):
            self.nowhere(shown(lambda: face(call()))[1])

    @each
    def test_nor_does_a_sign_in_that_does_not_go_on(self, face: Face) -> None:
        expired = failure(401, "EXPIRED_ACCESS_TOKEN")
        for answer in (end, failure(401, "REFRESH_TOKEN_REUSED"), reply(200, {"accessToken": CANARY}), reply(200, [CANARY]), reply(400, {"error": {"code": SECRET, "message": SECRET}})):
            with Script(expired, answer) as there:
                client = face.client(there.url, sign_in=keyward.Tokens(CANARY, SECRET, "Bearer", 900), retries=0)
                self.nowhere(shown(lambda: face(client.auth.me()))[1])

    def test_what_is_shown_once_does_not_print(self) -> None:
        moment = "2026-01-01T00:00:00.000Z"
        key = {"id": 1, "name": "n", "hint": "h", "type": "personal", "tier": "free", "status": "active", "scopes": [], "require_signature": True, "enabled": True}
        key.update(made_by={"account_id": "a"}, created_at=moment, updated_at=moment)
        issued = models.IssuedKey.from_dict(dict(key, key=CANARY, signing_secret=SECRET))
        self.assertEqual((issued.key, issued.signing_secret), (CANARY, SECRET))
        self.assertIn("name='n'", repr(issued))
        tokens = models.Tokens.from_dict({"accessToken": CANARY, "refreshToken": SECRET, "tokenType": "Bearer", "expiresIn": 900})
        stored = models.StoredProfile.from_dict({"auth_token": CANARY})
        alert = models.AlertSet.from_dict({"key_id": 1, "threshold": 1, "to_owners": True, "created_at": moment, "updated_at": moment, "webhook_secret": SECRET})
        for made in (issued, tokens, stored, alert, keyward.Page([issued], models.Pagination(20), None, {})):
            self.nowhere(repr(made) + str(made) + f"{made}")
        self.assertEqual(json.loads(json.dumps(issued.to_dict()))["key"], CANARY)


def everything(thing: Any, depth: int = 6) -> str:
    """Returns how a thing prints, and all that it is made of."""
    texts: List[str] = [repr(thing), str(thing)]
    if depth:
        for inner in vars(thing).values() if hasattr(thing, "__dict__") else thing if isinstance(thing, (tuple, list)) else ():
            if type(inner).__module__.startswith("keyward") or isinstance(inner, (tuple, list)):
                texts.append(everything(inner, depth - 1))
            else:
                texts.append(repr(inner))
    return "\n".join(texts)
