"""The Python of RunAgent's documentation, as it is printed, with the name changed."""

from __future__ import annotations

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import keyward

from .server import Person, server

SDK = """
# Python SDK
from keyward import RunAgentClient
client = RunAgentClient(
agent_id="agent-123",
api_key="YOUR_API_KEY"
)
"""

STORAGE = """
# Use environment variables
api_key = os.environ["RUNAGENT_API_KEY"]
# Or configuration files (gitignored)
with open(".secrets/api_key") as f:
    api_key = f.read().strip()
"""

SIGNING = '''
import hmac
import hashlib
import time
def sign_request(method, path, body, secret):
    timestamp = str(int(time.time()))
    message = f"{method}\\n{path}\\n{timestamp}\\n{body}"
    signature = hmac.new(
        secret.encode(),
        message.encode(),
        hashlib.sha256
    ).hexdigest()
    return {
        "X-Signature": signature,
        "X-Timestamp": timestamp
    }
'''


class Documented(unittest.TestCase):
    def test_the_client_of_an_agent_is_made_without_asking_anybody(self) -> None:
        said: dict = {}
        exec(SDK, said)
        self.assertIsInstance(said["client"], keyward.RunAgentClient)
        self.assertEqual(said["client"].agent_id, "agent-123")

    def test_it_calls_the_server_with_the_key_and_is_told_of_a_bad_one(self) -> None:
        person = Person(server())
        with mock.patch.dict(os.environ, {"KEYWARD_SERVER": person.server}):
            said: dict = {}
            exec(SDK, said)
            with self.assertRaises(keyward.AuthenticationError) as told:
                said["client"].run(query="hello")
            self.assertEqual((told.exception.code, told.exception.message), ("INVALID_API_KEY", "The provided API key is invalid"))
            said["client"].close()
            exec(SDK.replace("YOUR_API_KEY", person.key).replace("agent-123", "public/echo"), said)
            self.assertEqual(said["client"].run(query="hello")["arguments"]["query"], "hello")
            said["client"].close()

    def test_keys_come_from_the_environment_and_from_files(self) -> None:
        before = Path.cwd()
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"RUNAGENT_API_KEY": "ra_live_x"}):
            Path(folder, ".secrets").mkdir()
            Path(folder, ".secrets", "api_key").write_text("ra_live_y\n")
            os.chdir(folder)
            try:
                said: dict = {"os": os}
                exec(STORAGE, said)
            finally:
                os.chdir(before)
        self.assertEqual(said["api_key"], "ra_live_y")
        keyward.Keyward(api_key=said["api_key"]).close()

    def test_its_signatures_open_a_key_that_requires_them(self) -> None:
        import json
        import urllib.error
        import urllib.request

        said: dict = {}
        exec(SIGNING, said)
        person = Person(server())
        with person.client() as client:
            issued = client.keys.create("signed", require_signature=True)
        self.assertEqual(said["sign_request"]("GET", "/x", "b", "s").keys(), keyward.sign_request("GET", "/x", "b", "s").keys())

        def ask(method: str, path: str, body: str, headers: dict) -> int:
            request = urllib.request.Request(person.server + path, body.encode() or None, {"Authorization": f"Bearer {issued.key}", "Content-Type": "application/json", **headers}, method=method)
            try:
                with urllib.request.urlopen(request) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        body = json.dumps({"name": "made ü"})
        for sign in (said["sign_request"], keyward.sign_request):
            self.assertEqual(ask("GET", "/v1/keys/self", "", sign("GET", "/v1/keys/self", "", issued.signing_secret)), 200)
        self.assertEqual(ask("POST", "/v1/keys/verify", '{"key": "x"}', said["sign_request"]("POST", "/v1/keys/verify", '{"key": "x"}', issued.signing_secret)), 200)
        self.assertEqual(ask("POST", "/v1/keys", body, keyward.sign_request("POST", "/v1/keys", body + " ", issued.signing_secret)), 401)
