"""What a client does, against a server."""

from __future__ import annotations

import os
import re
import unittest
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from unittest import mock

import keyward
from keyward import UNSET, InputArgument, KeyLimits, Runner

from .faces import Face, TestCase, each
from .server import Person, server
from .test_transport import failure, reply
from .wire import Script


class Keys(TestCase):
    @each
    def test_a_key_is_made_shown_changed_rotated_and_revoked(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        issued = face(client.keys.create("ci", scopes=["read"], limits=KeyLimits(burst=50), expires_in=3600, metadata={"plan": "pro"}))
        self.assertTrue(issued.key.startswith("ra_live_"))
        self.assertEqual((issued.name, issued.type, issued.status, issued.limits.burst), ("ci", "service", "active", 50))
        self.assertEqual(issued.metadata, {"plan": "pro"})
        self.assertIn("agents:read", issued.scopes)
        self.assertIsNone(issued.agent_ids)
        left = issued.expires_at - datetime.now(timezone.utc)
        self.assertTrue(timedelta(minutes=50) < left < timedelta(minutes=61), left)

        self.assertEqual(face(client.keys.get(issued.id)).name, "ci")
        changed = face(client.keys.change(issued.id, name="renamed", metadata=None, limits={"burst": None, "requests_per_hour": 7}))
        self.assertEqual((changed.name, changed.metadata, changed.limits.burst, changed.limits.requests_per_hour), ("renamed", None, None, 7))
        rotated = face(client.keys.rotate(issued.id))
        self.assertEqual(rotated.id, issued.id)
        self.assertNotEqual(rotated.key, issued.key)

        own = client.with_credential(api_key=rotated.key)
        self.assertEqual(face(own.keys.get_self()).id, issued.id)
        self.assertIsNone(face(own.keys.revoke_self()))
        self.fails("REVOKED_API_KEY", lambda: face(own.keys.get_self()))
        self.assertEqual(face(client.keys.get(issued.id)).status, "revoked")

    @each
    def test_a_list_is_walked_through_page_by_page(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        made = [face(client.keys.create(f"k{i}")).id for i in range(4)]
        self.assertEqual([k.id for k in face.all(client.keys.list(limit=2))][:4], made[::-1])
        self.assertEqual([len(p) for p in face.all(client.keys.list(limit=2).pages())], [2, 2, 1])
        first = face(client.keys.list(limit=2).first_page())
        self.assertEqual((len(first), first.pagination.limit), (2, 2))
        rest = face.all(client.keys.list(limit=2, cursor=first.pagination.next_cursor))
        self.assertEqual(len(rest), 3)
        second = client.keys.list(limit=2, page=2)
        self.assertEqual(face(second.first_page()).pagination.total, 5)
        self.assertEqual(len(face.all(second)), 2)
        self.assertEqual(face.all(client.keys.list(type="temporary")), [])

    @each
    def test_somebody_elses_key_is_checked(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        theirs = face(client.keys.create("theirs", scopes=["agents:read"], external_id="customer-42", limits={"requests_per_hour": 10}))
        found = face(client.keys.verify(theirs.key, scopes=["agents:read"], cost=2))
        self.assertEqual((found.valid, found.code, found.external_id, found.key_id), (True, "VALID", "customer-42", theirs.id))
        self.assertEqual((found.ratelimit.limit, found.ratelimit.remaining), (10, 8))
        found = face(client.keys.verify(theirs.key, scopes=["keys:write"]))
        self.assertEqual((found.valid, found.code), (False, "INSUFFICIENT_SCOPE"))
        self.assertTrue(found.details)

    @each
    def test_a_key_that_must_be_signed_with_is(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        issued = face(client.keys.create("signed", require_signature=True))
        self.fails("SIGNATURE_REQUIRED", lambda: face(client.with_credential(api_key=issued.key).keys.get_self()))
        signed = client.with_credential(api_key=issued.key, signing_secret=issued.signing_secret)
        self.assertEqual(face(signed.keys.get_self()).id, issued.id)
        self.assertEqual(len(face.all(signed.keys.list(limit=1, status="active"))), 2)
        # The very same request thrice within a second.
        for _ in range(3):
            self.assertFalse(face(signed.keys.verify("ra_live_nonsense")).valid)
        wrong = client.with_credential(api_key=issued.key, signing_secret="rs_wrong")
        self.fails("INVALID_SIGNATURE", lambda: face(wrong.keys.get_self()))


class Agents(TestCase):
    @each
    def test_an_agent_is_defined_changed_and_deleted(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        made = face(
            client.agents.create(
                "Invoices",
                Runner("http", url="https://agents.example.com/invoices"),
                id="invoices",
                input_arguments=[InputArgument("query", "string", required=True), {"name": "n", "type": "number", "default": 3}],
            )
        )
        self.assertTrue(made.runner_secret.startswith("whsec_"))
        self.assertEqual((made.id, made.timeout_seconds, made.runner.url), ("invoices", 300, "https://agents.example.com/invoices"))
        self.assertEqual([(a.name, a.required, a.default) for a in made.input_arguments], [("query", True, UNSET), ("n", False, 3)])
        self.assertEqual([a.id for a in face.all(client.agents.list())], ["invoices"])
        self.assertTrue(face(client.agents.renew_runner_secret("invoices")).startswith("whsec_"))
        # What was answered can be sent again.
        changed = face(client.agents.change("invoices", description="All of them", input_arguments=made.input_arguments[:1]))
        self.assertEqual((changed.description, len(changed.input_arguments), changed.name), ("All of them", 1, "Invoices"))
        self.assertEqual(face(client.agents.get("public/echo")).id, "public/echo")
        self.fails("AGENT_EXISTS", lambda: face(client.agents.create("Again", {"type": "http", "url": "https://agents.example.com"}, id="invoices")))
        self.assertIsNone(face(client.agents.delete("invoices")))
        self.fails("AGENT_NOT_FOUND", lambda: face(client.agents.get("invoices")))

    @each
    def test_an_auth_profile_is_stored_updated_and_its_token_rotated(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        stored = face(client.auth_profiles.upsert("public/echo", {"password": "hidden", "word": "w"}, name="mine"))
        self.assertEqual((stored.type, stored.name, stored.should_save_session), ("create", "mine", False))
        updated = face(client.auth_profiles.upsert("public/echo", {"word": None}, auth_token=stored.auth_token))
        self.assertEqual((updated.type, updated.auth_token), ("update", stored.auth_token))
        [profile] = face.all(client.auth_profiles.list("public/echo"))
        self.assertEqual((profile.fields, profile.has_session), (["password"], False))
        rotated = face(client.auth_profiles.rotate_token("public/echo", stored.auth_token))
        self.assertNotEqual(rotated.auth_token, stored.auth_token)
        self.assertEqual(face(client.auth_profiles.get(profile.id)).name, "mine")
        self.assertIsNone(face(client.auth_profiles.delete(profile.id)))
        created = face(client.auth_profiles.create("public/echo", "other", {}))
        self.assertTrue(created.auth_token)


class OtherNouns(TestCase):
    @each
    def test_use_is_counted_and_alerts_are_set(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        key = face(client.keys.create("counted", limits={"requests_per_hour": 100}))
        face(client.with_credential(api_key=key.key).keys.get_self())
        now = datetime.now(timezone.utc)
        usage = face(client.usage.of_key(key.id, start=now - timedelta(hours=2), end=now + timedelta(hours=1), interval="hour"))
        self.assertEqual((usage.period.interval, usage.keys[0].name, usage.keys[0].limit), ("hour", "counted", 100))
        self.assertIn(len(usage.keys[0].series), (3, 4))
        listed = face(client.usage.list(limit=1).first_page())
        self.assertEqual((len(listed), listed.period.interval), (1, "hour"))
        self.assertEqual(len(face.all(client.usage.list(limit=1))), 2)

        alert = face(client.alerts.set(key.id, 80, webhook_url="http://127.0.0.1:9/hook"))
        self.assertEqual((alert.threshold, alert.email, alert.to_owners), (80, None, False))
        self.assertTrue(alert.webhook_secret.startswith("whsec_"))
        self.assertEqual(face(client.alerts.get(key.id)).threshold, 80)
        self.assertEqual(face.all(client.alerts.list(key_id=key.id)), [])
        self.assertIsNone(face(client.alerts.remove(key.id)))
        self.fails("ALERT_NOT_FOUND", lambda: face(client.alerts.get(key.id)))

    @each
    def test_the_record_says_what_was_done(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        key = face(client.keys.create("recorded"))
        [entry] = face.all(client.audit.list(subject_kind="key", subject_id=str(key.id)))
        self.assertEqual((entry.action, entry.subject.kind, entry.subject.name), ("key.create", "key", "recorded"))
        self.assertLess(abs(entry.at - datetime.now(timezone.utc)), timedelta(minutes=1))

    @each
    def test_the_operator_sees_accounts_and_sets_what_organizations_may(self, face: Face) -> None:
        person = Person(server())
        tokens = server().operator().auth.sign_in("operator@example.com", "long enough for it")
        operator = face.client(person.server, sign_in=tokens)
        self.assertIn(person.email, [a.email for a in face.all(operator.accounts.list(limit=100))])
        mine = face(face.client(person.server, sign_in=person.tokens).auth.me()).organizations[0]
        self.assertEqual((mine.tier, mine.limits.requests_per_hour), ("enterprise", None))
        changed = face(operator.organizations.change(mine.id, tier="pro", limits={"burst": 7}, quotas=keyward.Quotas(keys=3)))
        self.assertEqual((changed.tier, changed.limits.burst, changed.effective_limits.requests_per_hour, changed.quotas.keys), ("pro", 7, 1000, 3))
        self.assertEqual([o.tier for o in face.all(operator.organizations.list(limit=100)) if o.id == mine.id], ["pro"])
        self.assertEqual(face(face.client(person.server, api_key=person.key).keys.get_self()).tier, "pro")
        self.fails("NOT_ALLOWED", lambda: face(face.client(person.server, sign_in=person.tokens).organizations.list().first_page()))

    @each
    def test_an_account_signs_in_and_out_and_is_deleted(self, face: Face) -> None:
        person = Person(server())
        nobody = face.client(person.server)
        tokens = face(nobody.auth.sign_in(person.email, person.password))
        self.assertEqual(tokens.expires_in, 900)
        signed_in = nobody.with_credential(access_token=tokens.access_token)
        me = face(signed_in.auth.me())
        self.assertEqual((me.email, me.organizations[0].role, me.name), (person.email, "owner", "Jane"))
        again = face(nobody.auth.refresh(tokens.refresh_token))
        self.assertIsNone(face(nobody.auth.sign_out(again.refresh_token)))
        tokens = face(nobody.auth.sign_in(person.email, person.password))
        signed_in = nobody.with_credential(access_token=tokens.access_token)
        self.assertIsNone(face(signed_in.auth.change_password(person.password, "another long one")))
        self.assertIsNone(face(signed_in.auth.delete_account("another long one")))
        self.fails("INVALID_CREDENTIALS", lambda: face(nobody.auth.sign_in(person.email, "another long one")))

    @each
    def test_a_sign_in_goes_on_when_its_access_token_has_expired(self, face: Face) -> None:
        expired = failure(401, "EXPIRED_ACCESS_TOKEN")
        tokens = {"accessToken": "new", "refreshToken": "next", "tokenType": "Bearer", "expiresIn": 900}
        me = {"id": "a", "name": "n", "email": "e", "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z", "organizations": []}
        with Script(expired, reply(200, tokens), reply(200, me), expired, reply(401, {"error": {"code": "REFRESH_TOKEN_REUSED", "message": "m"}})) as there:
            old = keyward.Tokens("old", "first", "Bearer", 900)
            kept: list = []
            client = face.client(there.url, sign_in=old, on_tokens=kept.append)
            self.assertEqual(face(client.auth.me()).email, "e")
            self.assertEqual([t.refresh_token for t in kept], ["next"])
            self.fails("REFRESH_TOKEN_REUSED", lambda: face(client.auth.me()))
            asked = [(r.split(b" ")[1], re.findall(rb"Bearer (\w+)|refreshToken\":\"(\w+)", r)) for r in there.requests]
            self.assertEqual(
                asked,
                [
                    (b"/auth/me", [(b"old", b"")]),
                    (b"/auth/token/refresh", [(b"", b"first")]),
                    (b"/auth/me", [(b"new", b"")]),
                    (b"/auth/me", [(b"new", b"")]),
                    (b"/auth/token/refresh", [(b"", b"next")]),
                ],
            )
            for secret in ("old", "first", "next"):
                self.assertNotIn(secret, repr(client) + repr(vars(client)) + repr(kept) + repr(old))

    @each
    def test_the_server_tells_how_it_is(self, face: Face) -> None:
        client = face.client(server().url)
        self.assertEqual(face(client.health()).status, "ok")
        self.assertEqual(face(client.ready()).status, "ready")


class Errors(TestCase):
    @each
    def test_failures_are_of_a_kind_and_say_what_the_server_says(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        error = self.fails("KEY_NOT_FOUND", lambda: face(client.keys.get(12345)))
        self.assertIsInstance(error, keyward.NotFoundError)
        self.assertEqual(error.status, 404)
        self.assertTrue(error.request_id)
        self.assertEqual(str(error), f"KEY_NOT_FOUND: {error.message} (request {error.request_id})")
        error = self.fails("INVALID_REQUEST", lambda: face(client.keys.create("x", expires_in=-1)))
        self.assertIsInstance(error, keyward.InvalidRequestError)
        self.assertIn("expires_in", error.details["field"])
        face(client.keys.create("twice"))
        self.assertIsInstance(self.fails("DUPLICATE_NAME", lambda: face(client.keys.create("twice"))), keyward.ConflictError)
        weak = client.with_credential(api_key=face(client.keys.create("weak", scopes=["agents:read"])).key)
        self.assertIsInstance(self.fails("INSUFFICIENT_SCOPE", lambda: face(weak.keys.create("x"))), keyward.ForbiddenError)
        for nobody in (client.with_credential(), client.with_credential(api_key="YOUR_API_KEY")):
            self.assertIsInstance(self.fails("INVALID_API_KEY", lambda: face(nobody.keys.get_self())), keyward.AuthenticationError)

    @each
    def test_a_body_that_is_too_large_is_an_error_that_says_so(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        for size in (2 << 20, 16 << 20):
            error = self.fails("BODY_TOO_LARGE", lambda: face(client.runs.invoke("public/echo", {"word": "x" * size})))
            self.assertEqual(error.status, 413)
        self.assertEqual(face(client.keys.get_self()).name, "owner")

    @each
    def test_a_limit_says_when_to_come_again(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        one = face(client.keys.create("one", limits={"requests_per_hour": 1}))
        limited = client.with_credential(api_key=one.key)
        face(limited.keys.get_self())
        error = self.fails("RATE_LIMITED", lambda: face(limited.keys.get_self()))
        self.assertIsInstance(error, keyward.RateLimitedError)
        self.assertTrue(3000 < error.retry_after <= 3600, error.retry_after)

    @each
    def test_a_burst_is_waited_for(self, face: Face) -> None:
        person = Person(server())
        client = face.client(person.server, api_key=person.key)
        one = face(client.keys.create("one", limits={"burst": 1}))
        limited = client.with_credential(api_key=one.key)
        for _ in range(2):
            face(limited.keys.get_self())

    def test_ids_that_are_none_are_refused_before_they_are_sent(self) -> None:
        with keyward.Keyward(server().url) as client:
            for bad in ("", ".", "..", None, True, 1.5):
                error = self.fails("INVALID_REQUEST", lambda: client.agents.get(bad))  # type: ignore[arg-type]
                self.assertEqual((error.status, error.details["field"], error.request_id), (400, "id", ""))


class Sharing(TestCase):
    def test_threads_share_a_client(self) -> None:
        person = Person(server())
        with person.client() as client, ThreadPoolExecutor(16) as threads:
            made = list(threads.map(lambda n: client.keys.create(f"k{n}").name, range(40)))
            self.assertEqual(made, [f"k{n}" for n in range(40)])
            names = list(threads.map(lambda n: client.keys.list(limit=100).first_page().data[n].name, range(40)))
            self.assertEqual(sorted(names), sorted(made))

    @unittest.skipUnless(hasattr(os, "fork"), "there are no forks")
    def test_a_process_that_forks_keeps_its_connections(self) -> None:
        person = Person(server())
        with person.client() as client:
            client.keys.get_self()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
                child = os.fork()
            if child == 0:
                os._exit(0 if client.keys.get_self().name == "owner" else 1)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            self.assertEqual(client.keys.get_self().name, "owner")


class Settings(TestCase):
    def test_the_environment_names_server_and_key(self) -> None:
        person = Person(server())
        with mock.patch.dict(os.environ, {"KEYWARD_SERVER": person.server, "KEYWARD_API_KEY": "", "RUNAGENT_API_KEY": person.key}):
            with keyward.Keyward() as client:
                self.assertEqual(client.base_url, person.server)
                self.assertEqual(client.keys.get_self().name, "owner")
        with mock.patch.dict(os.environ, {"KEYWARD_API_KEY": person.key, "RUNAGENT_API_KEY": "YOUR_API_KEY"}):
            with keyward.Keyward(person.server) as client:
                self.assertEqual(client.keys.get_self().name, "owner")
        with mock.patch.dict(os.environ, {"KEYWARD_API_KEY": "YOUR_API_KEY"}):
            with keyward.Keyward(person.server, access_token=person.tokens.access_token) as client:
                self.assertEqual(client.auth.me().email, person.email)
        with mock.patch.dict(os.environ, {"KEYWARD_SERVER": "http://keyward.example.com"}):
            with self.assertRaisesRegex(ValueError, "^KEYWARD_SERVER is http://"):
                keyward.Keyward()
        self.assertEqual(keyward.Keyward().base_url, "http://127.0.0.1:8080")

    def test_addresses_that_are_not_safe_are_refused(self) -> None:
        for url in (
            "http://keyward.example.com",
            "http://10.0.0.1:8080",
            "http://localhost.example.com",
            "ftp://127.0.0.1",
            "https://",
            "keyward.example.com",
            "https://user@keyward.example.com",
            "https://keyward.example.com/v1",
            "https://keyward.example.com?x=1",
            "https://keyward.example.com:port",
            "https://key\r\nward.example.com",
            "",
        ):
            for kind in (keyward.Keyward, keyward.AsyncKeyward):
                with self.assertRaises(ValueError, msg=url):
                    kind(url)
        for url in ("http://localhost:1", "http://127.1.2.3", "http://[::1]:8080", "https://keyward.example.com/"):
            self.assertEqual(keyward.Keyward(url).base_url, url.rstrip("/"))
        self.assertEqual(keyward.Keyward("http://keyward.internal", allow_http=True).base_url, "http://keyward.internal")

    def test_keys_that_are_none_are_refused_without_being_told(self) -> None:
        for bad in ("", "  ", "ra_live_canary key", "ra_live_canary\r\nX: y", "ra_live_canäry"):
            for options in ({"api_key": bad}, {"access_token": bad}, {"signing_secret": bad}):
                with self.assertRaises(ValueError) as told:
                    keyward.Keyward(**options)  # type: ignore[arg-type]
                self.assertNotIn("can", str(told.exception).replace("can't", ""))
        with self.assertRaises(ValueError):
            keyward.Keyward(api_key="a", access_token="b")
        for options in ({"timeout": 0}, {"connect_timeout": -1}, {"retries": -1}, {"proxy": "https://p"}, {"proxy": "p:1"}):
            with self.assertRaises(ValueError):
                keyward.Keyward(**options)  # type: ignore[arg-type]
