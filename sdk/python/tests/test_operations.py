"""The operations that the clients offer, compared with openapi.yaml."""

from __future__ import annotations

import inspect
import re
import unittest
from typing import Dict

import keyward

from .server import ROOT

# What is not offered, and why.
LEFT_OUT = {
    "createAPIKey": "createKey makes the same keys",
    "deleteAPIKey": "revokeKey ends the same keys",
    "listAPIKeys": "listKeys has the same keys",
    "getDocument": "the document itself, for tools",
    "jwks": "for libraries that verify access tokens, which ask for it by its address",
    "signInAtAuthLogin": "the same as signIn",
    "verifyForGateway": "for gateways, which pass on a request that is not theirs",
}

# What RunAgent's own SDKs call; startRun and invokeAgent are the same as runAgent.
RUNAGENT = re.compile(r"runAgent([A-Z]\w*)?\Z")


def offered(client: object) -> Dict[str, str]:
    """Returns the methods of a client by the operations that they are."""
    found: Dict[str, str] = {}
    for noun, part in [("", client), *vars(client).items()]:
        for name, method in inspect.getmembers(part, inspect.ismethod):
            operation = getattr(method, "__operation__", None)
            if operation is not None:
                assert operation not in found, operation
                found[operation] = f"{noun}.{name}".lstrip(".")
    return found


class Operations(unittest.TestCase):
    def test_every_operation_of_the_document_is_offered_or_left_out_for_a_reason(self) -> None:
        text = (ROOT / "openapi.yaml").read_text("utf-8")
        documented = set(re.findall(r"^ +operationId: ([A-Za-z]+)$", text, re.MULTILINE))
        self.assertGreater(len(documented), 60)
        documented = {name for name in documented if not RUNAGENT.match(name)}
        ours = offered(keyward.Keyward())
        self.assertEqual(ours, offered(keyward.AsyncKeyward()))
        self.assertEqual(documented - set(ours) - set(LEFT_OUT), set(), "neither offered nor left out")
        self.assertEqual(set(ours) - documented, set(), "offered, and in the document no more")
        self.assertEqual(set(LEFT_OUT) - documented, set(), "left out, and in the document no more")
        self.assertEqual(set(LEFT_OUT) & set(ours), set())
