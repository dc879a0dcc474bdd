"""Signing as RunAgent's documentation shows it."""

from __future__ import annotations

import hashlib
import hmac
import time
import unittest
from unittest import mock

from keyward import sign_request
from keyward._secret import Secret
from keyward.signing import Signer


def documented(method: str, path: str, body: str, secret: str, timestamp: str) -> str:
    message = f"{method}\n{path}\n{timestamp}\n{body}"
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


class Signing(unittest.TestCase):
    def test_a_signature_is_that_of_the_documentation(self) -> None:
        for body in ("", '{"a": 1}', "ü"):
            made = sign_request("POST", "/v1/agents?limit=5", body, "rs_secret")
            self.assertEqual(made, sign_request("POST", "/v1/agents?limit=5", body.encode(), "rs_secret", int(made["X-Timestamp"])))
            self.assertEqual(made["X-Signature"], documented("POST", "/v1/agents?limit=5", body, "rs_secret", made["X-Timestamp"]))
            self.assertLess(abs(int(made["X-Timestamp"]) - time.time()), 5)
        self.assertEqual(sign_request("GET", "/", None, "s", 7), sign_request("GET", "/", "", "s", 7))

    def test_a_client_never_signs_two_requests_alike(self) -> None:
        with mock.patch("time.time", return_value=1000.5):
            signer = Signer(Secret(b"s"))
            self.assertEqual([signer.sign("POST", "/", b"x")["X-Timestamp"] for _ in range(3)], ["1000", "1001", "1002"])
            self.assertEqual(signer.sign("POST", "/", b"y")["X-Timestamp"], "1000")
            self.assertEqual([signer.sign("GET", "/", b"")["X-Timestamp"] for _ in range(2)], ["1000", "1000"])
        with mock.patch("time.time", return_value=1001.0):
            self.assertEqual(signer.sign("POST", "/", b"x")["X-Timestamp"], "1003")
        with mock.patch("time.time", return_value=2000.0):
            self.assertEqual(signer.sign("POST", "/", b"x")["X-Timestamp"], "2000")
