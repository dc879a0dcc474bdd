"""A whole server for the tests: the binary, on a free port, in a temporary folder."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
import uuid
from pathlib import Path
from typing import Any, Dict, List, Optional

import keyward

SDK = Path(__file__).resolve().parent.parent
ROOT = SDK.parent.parent

# Whatever is set where the tests run is not what they are about.
for name in ("KEYWARD_SERVER", "KEYWARD_API_KEY", "RUNAGENT_API_KEY"):
    os.environ.pop(name, None)


class Server:
    def __init__(self, program: str, arguments: List[str], address: str = "127.0.0.1:0", folder: str = "") -> None:
        self.folder = folder or tempfile.mkdtemp(prefix="keyward-python-")
        environ = {"PATH": os.environ.get("PATH", ""), "HOME": self.folder, "KEYWARD_DEFAULT_TIER": "enterprise"}
        self.log: List[str] = []
        self._operator: Optional[keyward.Keyward] = None
        self.process = subprocess.Popen(
            [program, "serve", "--addr", address, "--data", self.folder + "/data", *arguments],
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self._logger = threading.Thread(target=self.log.extend, args=(self.process.stderr,), daemon=True)
        self._logger.start()
        atexit.register(self.stop)
        self.said: Dict[str, str] = {}
        late = threading.Timer(60, self.process.kill)
        late.start()
        for line in self.process.stdout:
            name, _, value = line.strip().partition(": ")
            self.said[name] = value
            if line.startswith("listening on "):
                self.url = line[len("listening on ") :].strip()
                break
        else:
            raise AssertionError("the server does not start:\n" + "".join(self.log))
        late.cancel()
        # Signatures of the second in which it started are refused: they may be of before.
        began = int(time.time())
        while int(time.time()) == began:
            time.sleep(0.05)
        self._reader = threading.Thread(target=self.process.stdout.read, daemon=True)
        self._reader.start()

    def operator(self) -> keyward.Keyward:
        """Returns the operator's client: signing up by oneself is limited."""
        if self._operator is None:
            nobody = keyward.Keyward(self.url)
            nobody.auth.register("Operator", "operator@example.com", "long enough for it", setup_code=self.said["setup code"])
            tokens = nobody.auth.sign_in("operator@example.com", "long enough for it")
            self._operator = nobody.with_credential(sign_in=tokens)
            self._nobody = nobody
        return self._operator

    def stop(self) -> None:
        if self._operator is not None:
            self._nobody.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for thread, stream in ((self._logger, self.process.stderr), (self._reader, self.process.stdout)):
            thread.join(5)
            if stream is not None:
                stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def program() -> str:
    """Returns the binary: the one that ``KEYWARD_PROGRAM`` names, or one that is built."""
    if os.environ.get("KEYWARD_PROGRAM"):
        return os.environ["KEYWARD_PROGRAM"]
    if shutil.which("go") is None:
        raise unittest.SkipTest("KEYWARD_PROGRAM is not set, and there is no Go to build it with")
    folder = tempfile.mkdtemp(prefix="keyward-program-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run(["go", "build", "-o", folder + "/keyward", "./cmd/keyward"], cwd=ROOT, check=True)
    os.environ["KEYWARD_PROGRAM"] = folder + "/keyward"
    return folder + "/keyward"


_started: Dict[str, Server] = {}


CONFIG = ["--config", str(ROOT / "sdk" / "behaviour" / "keyward.yaml")]


def server(name: str = "") -> Server:
    """Returns the server of a name, which is started once. It has the agents of the behaviour scripts."""
    if name not in _started:
        _started[name] = Server(program(), CONFIG)
    return _started[name]


class Person:
    """An account with a sign-in and a personal key."""

    def __init__(self, at: Server, signs_up: bool = False) -> None:
        self.server = at.url
        self.unique = uuid.uuid4().hex[:12]
        self.email = f"p-{self.unique}@example.com"
        self.password = "long enough " + self.unique
        with keyward.Keyward(at.url) as nobody:
            if signs_up:
                nobody.auth.register("Jane", self.email, self.password)
            else:
                at.operator().accounts.create("Jane", self.email, self.password)
            self.tokens = nobody.auth.sign_in(self.email, self.password)
            with nobody.with_credential(access_token=self.tokens.access_token) as signed_in:
                self.key = signed_in.keys.create("owner").key

    def client(self, **options: Any) -> keyward.Keyward:
        return keyward.Keyward(self.server, api_key=self.key, **options)


def eventually(what: str, is_so: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"it is not so that {what}")
        time.sleep(0.02)
