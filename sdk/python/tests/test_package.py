"""The package as it is delivered."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import typing
import unittest
from pathlib import Path
from typing import Set

import keyward
from keyward import models

from .server import SDK

sys.path.insert(0, str(SDK))
import unasync  # noqa: E402

SOURCES = sorted((SDK / "keyward").rglob("*.py"))


class Package(unittest.TestCase):
    def test_the_synchronous_client_is_made_of_the_asynchronous_one(self) -> None:
        for name in unasync.FILES:
            self.assertEqual((SDK / "keyward" / "_sync" / name).read_text("utf-8"), unasync.generated(name), f"run python3 unasync.py: {name}")

    def test_it_is_python_3_9(self) -> None:
        for path in SOURCES + [SDK / "unasync.py"]:
            ast.parse(path.read_text("utf-8"), str(path), feature_version=(3, 9))

    def test_it_needs_the_standard_library_alone(self) -> None:
        if not hasattr(sys, "stdlib_module_names"):
            self.skipTest("this Python does not know what is in its library")
        for path in SOURCES:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                for name in names:
                    self.assertIn(name.split(".")[0], sys.stdlib_module_names, path)

    def test_everything_public_has_types_that_are_there_and_says_what_it_does(self) -> None:
        for name in keyward.__all__:
            thing = getattr(keyward, name)
            if inspect.isclass(thing):
                self.assertTrue(thing.__doc__ or name == "RunMetadata", name)
        for kind in (keyward.Keyward, keyward.AsyncKeyward):
            client = kind()
            for part in vars(client).values():
                if not type(part).__module__.endswith(".nouns"):
                    continue
                for name, method in inspect.getmembers(part, inspect.ismethod):
                    if name.startswith("_"):
                        continue
                    self.assertTrue(method.__doc__, f"{part}.{name}")
                    hints = inspect.signature(method)
                    self.assertIsNot(hints.return_annotation, inspect.Signature.empty, name)
                    for parameter in hints.parameters.values():
                        self.assertIsNot(parameter.annotation, inspect.Parameter.empty, f"{name} {parameter.name}")
        for name in models.__all__:
            self.assertTrue(typing.get_type_hints(getattr(models, name)))
        self.assertTrue((SDK / "keyward" / "py.typed").exists())

    def test_its_types_are_right_and_those_of_a_program_that_uses_it(self) -> None:
        if shutil.which("mypy") is None:
            if os.environ.get("KEYWARD_TEST_REQUIRE") == "all":
                self.fail("mypy is not installed")
            self.skipTest("mypy is not installed")
        with tempfile.TemporaryDirectory() as folder:
            command = ["mypy", "--strict", "--python-version", "3.9", "--cache-dir", folder, "keyward", "unasync.py", "tests/typed.py"]
            checked = subprocess.run(command, cwd=SDK, capture_output=True, text=True)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_its_version_is_one(self) -> None:
        self.assertRegex(keyward.__version__, r"\A\d+\.\d+\.\d+\Z")
        self.assertIn("keyward._version.__version__", (SDK / "pyproject.toml").read_text("utf-8"))

    def test_it_is_built_whole_and_imported_from_elsewhere(self) -> None:
        try:
            setuptools = importlib.import_module("setuptools")
        except ImportError:
            self.skipTest("there is no setuptools to build it with")
        if int(setuptools.__version__.split(".")[0]) < 61:
            self.skipTest("setuptools is older than pyproject.toml asks for")
        with tempfile.TemporaryDirectory() as folder:
            source, site = Path(folder, "source"), Path(folder, "site")
            shutil.copytree(SDK, source, ignore=shutil.ignore_patterns("__pycache__"))
            if importlib.util.find_spec("pip") and importlib.util.find_spec("wheel"):
                command = ["-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(site), str(source)]
            else:  # which wheels are made with
                command = ["-c", "import setuptools; setuptools.setup()", "build", "--build-lib", str(site)]
            built = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=source)
            self.assertEqual(built.returncode, 0, built.stdout + built.stderr)
            environ = {**os.environ, "PYTHONPATH": str(site)}
            program = "import keyward; print(keyward.__file__); print(keyward.Keyward().base_url)"
            out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=folder, env=environ).stdout
            self.assertEqual(Path(out.splitlines()[0]).parent, site / "keyward")
            self.assertEqual(_files(site / "keyward"), _files(SDK / "keyward"))


def _files(folder: Path) -> Set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in (".py", ".typed")}
