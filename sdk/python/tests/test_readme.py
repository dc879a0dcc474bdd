"""The README's examples, run one after the other against a server."""

from __future__ import annotations

import contextlib
import io
import os
import re
import unittest
from unittest import mock

import keyward

from .server import SDK, Person, server
from .test_operations import offered


class Readme(unittest.TestCase):
    def test_the_examples_run_and_print_what_they_say(self) -> None:
        person = Person(server())
        text = (SDK / "README.md").read_text("utf-8")
        examples = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.assertGreater(len(examples), 8)
        said = {"api_key": person.key, "email": person.email, "password": person.password}
        with mock.patch.dict(os.environ, {"KEYWARD_SERVER": person.server}):
            for number, example in enumerate(examples, 1):
                with self.subTest(example=number):
                    printed = io.StringIO()
                    with contextlib.redirect_stdout(printed):
                        exec(compile(example, f"example {number}", "exec"), said)
                    lines = printed.getvalue().splitlines()
                    for want in re.findall(r"# prints: (.*)$", example, re.MULTILINE):
                        self.assertIn(want, lines)
                    self.assertNotIn(person.key, printed.getvalue())
        said["client"].close()

    def test_the_table_names_every_method(self) -> None:
        text = (SDK / "README.md").read_text("utf-8")
        named = set()
        text = text[text.index("| noun |") : text.index("A list is walked")]
        for nouns, rest in re.findall(r"^\| ((?:`\w+`(?:, )?)+|the client) \| (.*) \|$", text, re.MULTILINE):
            for noun, methods in zip(re.findall(r"`(\w+)`", nouns) or [""], re.findall(r"`([\w ]+)`", rest)):
                named |= {f"{noun}.{method}".lstrip(".") for method in methods.split()}
        more = {"close", "runs.wait", "with_credential"}
        self.assertEqual(named, set(offered(keyward.Keyward()).values()) | more)
