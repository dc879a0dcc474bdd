#!/usr/bin/env python3
"""The invoices agent in Python's standard library (3.9 or later).

It does what its sibling in Go does, with the same options and the same
answers: it signs in to the sample portal with the values of an auth profile,
fetches the invoices behind the login, and hands back its cookies as the
session. The next run signs in with the cookies alone, as long as the portal
takes them.

The portal's address is the agent's own setting and never comes from a run, so
whoever starts runs cannot choose where the credentials go.
"""

import argparse
import base64
import hashlib
import hmac
import http.client
import http.cookies
import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode, urlsplit

MAX_INPUT = 8 << 20
MAX_PAGE = 4 << 20
TOLERANCE = 5 * 60

# JSON values in lines: who asks for them sees each step as it begins.
LINES_TYPE = "application/x-ndjson"

COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]+")
FORM_TOKEN = re.compile(rb'name="form_token" value="([0-9A-Za-z_-]+)"')


class Failure(Exception):
    """A sentence for whoever started the run. It never holds a value that the
    run was given, nor anything that the portal said."""


class SignedOut(Failure):
    """The portal does not know the visit's cookies, or does not any more."""


# --- the run ---------------------------------------------------------------


def answer(body, portal, say=lambda step: None):
    """The answer to one run, and whether body was a run at all."""
    try:
        task = json.loads(body.decode("utf-8"))
        arguments, session = task["arguments"], task.get("session")
        if not isinstance(arguments, dict):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {"error": "The input is not the JSON of a run."}, False
    try:
        return run(arguments, session, portal, say), True
    except Failure as failure:
        return {"error": str(failure)}, True


def run(arguments, session, portal, say):
    """The agent's work; says each step as it begins."""
    cookies = parse_session(session)
    if cookies:
        say("Fetching the invoices with the saved session.")
        visit = Visit(portal, cookies)
        try:
            return answered(visit, "session")
        except SignedOut:
            pass  # the password is there
    say("Signing in with the password.")
    visit = Visit(portal, {})
    visit.sign_in(arguments)
    say("Fetching the invoices.")
    return answered(visit, "password")


def answered(visit, signed_in_with):
    output = {"invoices": visit.invoices(), "signed_in_with": signed_in_with}
    return {"output": output, "session": {"cookies": visit.cookies}}


def parse_session(session):
    """The cookies of a session. One that is not of this agent's making is as
    good as none: the password is there."""
    cookies = session.get("cookies") if isinstance(session, dict) else None
    if not isinstance(cookies, dict):
        return {}
    for name, value in cookies.items():
        if not (isinstance(value, str) and COOKIE_NAME.fullmatch(name) and COOKIE_VALUE.fullmatch(value)):
            return {}
    return dict(cookies)


# --- the portal ------------------------------------------------------------


class Visit:
    """One stay on the portal, with the cookies it was given there."""

    def __init__(self, portal, cookies):
        self.portal, self.cookies = portal, cookies

    def sign_in(self, arguments):
        """Fill in the sign-in form."""
        form = {}
        for argument, field in (("username", "username"), ("password", "password"), ("totp", "code")):
            value = arguments.get(argument)
            if not isinstance(value, str) or not value:
                raise Failure("The arguments username, password and totp are needed, as text.")
            form[field] = value

        status, page = self.ask("GET", "/login")
        token = FORM_TOKEN.search(page)
        if status != 200 or not token:
            raise Failure("The portal's sign-in page is not the one this agent knows.")
        form["form_token"] = token.group(1).decode("ascii")

        status, _ = self.ask("POST", "/login", form)
        if status == 401:
            raise Failure("The portal did not accept the user name, the password or the code.")
        if status != 303:
            raise unexpected(status)

    def invoices(self):
        """The list behind the sign-in, or SignedOut."""
        status, body = self.ask("GET", "/invoices.json")
        if status == 401:
            raise SignedOut("The portal signed the agent out at once.")
        if status != 200:
            raise unexpected(status)
        try:
            invoices = json.loads(body)["invoices"]
            if not isinstance(invoices, list):
                raise ValueError
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Failure("The portal's list of invoices could not be read.") from None
        return invoices

    def ask(self, method, path, form=None):
        """Make one request, with a form if there is one, and keep the cookies
        that come back. It follows no redirect and uses no proxy: the
        credentials go to the portal that the agent was told, and nowhere else."""
        body, headers = None, {}
        if form is not None:
            body = urlencode(form, errors="replace")
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())

        secure = self.portal.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(self.portal.hostname, self.portal.port, timeout=15)
        began = time.monotonic()
        try:
            connection.request(method, self.portal.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            log(f"{method} {path}: status {response.status} after {(time.monotonic() - began) * 1000:.0f} ms")
            page = response.read(MAX_PAGE)
        except (OSError, http.client.HTTPException):
            raise Failure("The portal cannot be reached.") from None
        finally:
            connection.close()

        for line in response.headers.get_all("Set-Cookie", []):
            try:
                sent = http.cookies.SimpleCookie(line)
            except http.cookies.CookieError:
                continue
            for name, cookie in sent.items():
                if cookie.value == "" or cookie["max-age"].startswith(("0", "-")):
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = cookie.value
        return response.status, page


def log(line):
    """A line for whoever watches the run: nothing in it is of the run itself."""
    print(line, file=sys.stderr, flush=True)


def unexpected(status):
    return Failure(f"The portal answered with status {status}.")


def parse_portal(text):
    try:
        url = urlsplit(text)
        url.port  # raises ValueError if it is not a port
    except ValueError:
        url = urlsplit("")
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc or url.query or url.fragment:
        sys.exit("invoices_agent: the portal's address is not of the form https://HOST")
    return url


# --- the two faces: a web service, and a program for one run ---------------


def check_signature(secret, headers, body, now):
    """Standard Webhooks: one of the signatures must be the HMAC of id, time and
    body. The time is read only after that, from what was signed. Returns what
    is wrong, or None."""
    sign_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sign_id or not stamp:
        return "The signature is missing or wrong."
    signed = f"{sign_id}.{stamp}.".encode("latin-1") + body  # the server read the headers as latin-1
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    want = b"v1," + base64.b64encode(digest)

    found = False
    for signature in headers.get("webhook-signature", "").split():
        found = hmac.compare_digest(signature.encode("latin-1"), want) or found
    if not found:
        return "The signature is missing or wrong."
    if not re.fullmatch(r"[0-9]{1,18}", stamp) or abs(now - int(stamp)) > TOLERANCE:
        return "The signature is not of the last five minutes."
    return None


class Handler(BaseHTTPRequestHandler):
    """Takes runs at POST / and health probes at GET / and /health."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    portal = None
    secret = None  # None: runs need no signature

    def do_GET(self):
        if self.path in ("/", "/health"):
            self.reply(200, {"status": "ok"})
        else:
            self.reply(404, {"error": "There is nothing at this address."})

    do_HEAD = do_GET

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if self.path != "/":
            self.refuse(404, "There is nothing at this address.")
        elif not re.fullmatch(r"[0-9]{1,18}", length):
            self.refuse(411, "The input has no length.")
        elif int(length) > MAX_INPUT:
            self.refuse(413, "The input is too large.")
        else:
            self.serve_run(int(length))

    def serve_run(self, length):
        try:
            body = self.rfile.read(length)
        except OSError:
            body = b""
        if len(body) < length:
            self.refuse(400, "The input was cut off.")
            return
        if self.secret is not None:
            wrong = check_signature(self.secret, self.headers, body, time.time())
            if wrong:
                self.reply(401, {"error": wrong})
                return
        if LINES_TYPE in self.headers.get("Accept", ""):
            self.serve_lines(body)
            return
        result, is_run = answer(body, self.portal)
        self.reply(200 if is_run else 400, result)

    def serve_lines(self, body):
        """A line for each step as it begins and, as the last line, the answer."""
        begun = False

        def write_line(value, status=200):
            nonlocal begun
            if not begun:
                begun = True
                self.send_response(status)
                self.send_header("Content-Type", LINES_TYPE)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
            line = json.dumps(value).encode("utf-8") + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

        result, is_run = answer(body, self.portal, lambda step: write_line({"chunk": step}))
        write_line(result, 200 if is_run else 400)
        self.wfile.write(b"0\r\n\r\n")

    def refuse(self, status, message):
        """Answer without having read the body, so the connection ends."""
        self.close_connection = True
        self.reply(status, {"error": message})

    def reply(self, status, body):
        content = json.dumps(body).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format, *args):
        """No line for each request."""


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A traceback could quote what the agent was given: name its kind only."""
        print("invoices_agent: a request failed:", sys.exc_info()[0].__name__, file=sys.stderr)


def run_once(portal):
    """The command runner: read one run, print a line of JSON for each step and,
    as the last line, the answer. A run that fails is an answer too."""

    def print_line(value):
        print(json.dumps(value), flush=True)

    body = sys.stdin.buffer.read(MAX_INPUT + 1)
    if len(body) > MAX_INPUT:
        print_line({"error": "The input is too large."})
        return
    print_line(answer(body, portal, lambda step: print_line({"chunk": step}))[0])


def runner_secret(file):
    """The runner secret's bytes, or None if there is none."""
    text = os.environ.get("KEYWARD_RUNNER_SECRET", "")
    if file:
        try:
            with open(file, encoding="ascii") as f:
                text = f.read().strip()
        except (OSError, ValueError):
            sys.exit(f"invoices_agent: {file} cannot be read")
        if not text:
            sys.exit(f"invoices_agent: {file} is empty")  # never taken for "no secret wanted"
    if not text:
        return None
    text = text.strip()
    try:
        secret = base64.b64decode(text[len("whsec_"):], validate=True)
    except ValueError:
        secret = b""
    if not text.startswith("whsec_") or len(secret) < 24:
        sys.exit("invoices_agent: the runner secret is not of the form whsec_BASE64")
    return secret


def main():
    parser = argparse.ArgumentParser(description="An agent that fetches invoices from the sample portal.")
    parser.add_argument("--portal", default="http://127.0.0.1:9080", help="address of the portal, where the credentials go")
    parser.add_argument("--addr", default="127.0.0.1:9000", help="address to listen on; port 0 takes a free one")
    parser.add_argument("--secret-file", help="file with the runner secret (default: the environment's KEYWARD_RUNNER_SECRET)")
    parser.add_argument("--stdin", action="store_true", help="read one run from standard input, print its answer, and end")
    options = parser.parse_args()

    Handler.portal = parse_portal(options.portal)
    Handler.secret = runner_secret(options.secret_file)
    if options.stdin:
        run_once(Handler.portal)
        return
    host, _, port = options.addr.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port):
        sys.exit("invoices_agent: the address to listen on is not of the form HOST:PORT")
    try:
        server = Server((host, int(port)), Handler)
    except (OSError, OverflowError):
        sys.exit(f"invoices_agent: cannot listen on {options.addr}")
    if Handler.secret is None:
        print("no runner secret: whoever reaches this address can run the agent")
    print(f"listening on http://{host}:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
