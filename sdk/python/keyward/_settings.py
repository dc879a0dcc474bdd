"""What a client is told, checked before anything is sent."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import ssl
from typing import Mapping, NamedTuple, Optional, Tuple, Union
from urllib.parse import unquote, urlsplit

from ._secret import Secret

DEFAULT_SERVER = "http://127.0.0.1:8080"


class Origin(NamedTuple):
    """A server: where to connect to, and what it is called."""

    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The host and the port, as the header Host has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Proxy(NamedTuple):
    """An HTTP proxy that connects to the server (CONNECT)."""

    host: str
    port: int
    authorization: Optional[Secret]


class Settings(NamedTuple):
    """What all requests of a client have in common."""

    origin: Origin
    timeout: float
    connect_timeout: float
    retries: int
    longest_wait: float
    max_answer_bytes: int
    proxy: Optional[Proxy]
    ssl_context: Optional[ssl.SSLContext]


def origin(base_url: Optional[str], allow_http: bool) -> Origin:
    """Returns the server that base_url names, or else ``KEYWARD_SERVER``."""
    name, text = "base_url", base_url
    if text is None:
        name, text = "KEYWARD_SERVER", os.environ.get("KEYWARD_SERVER") or DEFAULT_SERVER
    try:
        # What urlsplit would pass over.
        if not text.isprintable() or " " in text.strip():
            raise ValueError()
        parts = urlsplit(text.strip())
        port = parts.port
        host = parts.hostname or ""
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:
        raise ValueError(f"{name} is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or not all("\x21" <= c <= "\x7e" for c in host):
        raise ValueError(f"{name} must be like https://keyward.example.com")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{name} must have no user name in it; give the key as api_key")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{name} must be the server's address alone, without a path")
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        raise ValueError(f"{name} is http:// and not of this machine, so keys would be sent in the open; use https://, or allow_http=True in a network that you trust")
    return Origin(parts.scheme, host, port if port is not None else (443 if parts.scheme == "https" else 80))


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def held(text: Union[str, Secret, None]) -> Optional[Secret]:
    """Returns text so that nothing prints it: the first thing that is done to a key."""
    if text is None or isinstance(text, Secret):
        return text
    return Secret(text.strip().encode("utf-8", "surrogatepass"))


def credential(name: str, given: Optional[Secret]) -> Optional[Secret]:
    """Returns what was given, if it can be a key or a token."""
    if given is None:
        return None
    if not given:
        # An empty variable of a shell must not turn into a call without a key.
        raise ValueError(f"{name} is empty")
    if not _TOKEN.match(given.reveal()):
        raise ValueError(f"{name} has characters in it that no key has")
    return given


_TOKEN = re.compile(rb"[\x21-\x7e]+\Z")


def key_of_environment(environ: Mapping[str, str]) -> Optional[Secret]:
    return held(environ.get("KEYWARD_API_KEY") or environ.get("RUNAGENT_API_KEY") or None)


def proxy_of(url: Optional[str]) -> Optional[Proxy]:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("proxy is not a URL") from None
    if parts.scheme != "http" or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("proxy must be like http://proxy.example.com:3128")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        authorization = Secret(b"Basic " + base64.b64encode(pair))
    return Proxy(host, port if port is not None else 3128, authorization)


def tls(context: Optional[ssl.SSLContext], secure: bool) -> Optional[ssl.SSLContext]:
    """Returns what checks the server's certificate. None of it can be switched off."""
    if not secure:
        return None
    if context is None:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    elif context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
        raise ValueError("ssl_context must check the server's certificate and name; for a private authority use ssl.create_default_context(cafile=...)")
    return context


def positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be more than 0")
    return value


def user_agent(version: str, python: Tuple[int, ...]) -> str:
    return f"keyward-python/{version} python/{python[0]}.{python[1]}"
