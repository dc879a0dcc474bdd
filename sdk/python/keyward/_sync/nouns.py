# Written by unasync.py. Change keyward/_async/nouns.py and run it.
"""What can be done, by what it is done to.

Where ``None`` may be given to a change it removes the setting; what is left out
stays as it is.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, Union

from .._calls import Call, at, new_idempotency_key
from .._decode import UNSET, Unset, body_of, given
from .._operations import operation
from ..models import (
    Account,
    Agent,
    AgentHealth,
    Alert,
    AlertSet,
    AuditEntry,
    AuthProfile,
    ChangedKey,
    CreatedAgent,
    FiredAlert,
    InputArgument,
    Invoked,
    IssuedKey,
    Key,
    KeyLimits,
    KeyUsage,
    Me,
    Organization,
    OrganizationLimits,
    Quotas,
    Run,
    Runner,
    RunnerSecret,
    StoredProfile,
    Tokens,
    Usage,
    Verification,
)
from .events import Events
from .pages import Listing

if TYPE_CHECKING:
    from .client import Keyward

# An agent may take an hour, and its run wait for its turn before.
_WHILE_AN_AGENT_WORKS = 2 * 3600.0

When = Union[datetime, str]
Arguments = Sequence[Union[InputArgument, Mapping[str, Any]]]


class _Noun:
    def __init__(self, client: "Keyward") -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._client!r}>"


class Keys(_Noun):
    """API keys."""

    @operation("createKey")
    def create(
        self,
        name: str,
        *,
        type: Optional[str] = None,
        scopes: Optional[Sequence[str]] = None,
        agent_ids: Optional[Sequence[str]] = None,
        allowed_ips: Optional[Sequence[str]] = None,
        expires_in: Optional[int] = None,
        limits: Union[KeyLimits, Mapping[str, int], None] = None,
        require_signature: Optional[bool] = None,
        enabled: Optional[bool] = None,
        external_id: Optional[str] = None,
        metadata: Optional[Mapping[str, Any]] = None,
    ) -> IssuedKey:
        """Makes a key. The ``key`` of what is returned can't be had again.

        ``type`` is ``personal``, ``service`` or ``temporary``. Left out, a key that
        names scopes or agents is a service's, and any other personal.
        """
        body = given(
            name=name,
            type=type,
            scopes=scopes,
            agent_ids=agent_ids,
            allowed_ips=allowed_ips,
            expires_in=expires_in,
            limits=limits,
            require_signature=require_signature,
            enabled=enabled,
            external_id=external_id,
            metadata=metadata,
        )
        return self._client._send(Call("POST", "/v1/keys", body=body), IssuedKey)

    @operation("listKeys")
    def list(
        self,
        *,
        status: Optional[str] = None,
        type: Optional[str] = None,
        external_id: Optional[str] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
        page: Optional[int] = None,
    ) -> "Listing[Key]":
        """Lists the keys, newest first."""
        query = {"status": status, "type": type, "external_id": external_id, "limit": limit, "cursor": cursor, "page": page}
        return Listing(self._client, Call("GET", "/v1/keys", query), Key)

    @operation("getKey")
    def get(self, id: int) -> Key:
        """Shows a key."""
        return self._client._send(Call("GET", at("/v1/keys/{id}", id=id)), Key)

    @operation("getOwnKey")
    def get_self(self) -> Key:
        """Shows the key that this client uses."""
        return self._client._send(Call("GET", "/v1/keys/self"), Key)

    @operation("changeKey")
    def change(
        self,
        id: int,
        *,
        name: Union[str, Unset] = UNSET,
        scopes: Union[Sequence[str], None, Unset] = UNSET,
        agent_ids: Union[Sequence[str], None, Unset] = UNSET,
        allowed_ips: Union[Sequence[str], None, Unset] = UNSET,
        add_ips: Union[Sequence[str], Unset] = UNSET,
        remove_ips: Union[Sequence[str], Unset] = UNSET,
        expires_in: Union[int, None, Unset] = UNSET,
        limits: Union[KeyLimits, Mapping[str, Optional[int]], None, Unset] = UNSET,
        require_signature: Union[bool, Unset] = UNSET,
        enabled: Union[bool, Unset] = UNSET,
        external_id: Union[str, None, Unset] = UNSET,
        metadata: Union[Mapping[str, Any], None, Unset] = UNSET,
    ) -> ChangedKey:
        """Changes a key. Lists are replaced; ``add_ips`` and ``remove_ips`` edit theirs in place.

        In ``limits`` what is left out stays, and ``None`` removes a limit.
        """
        body = body_of(
            name=name,
            scopes=scopes,
            agent_ids=agent_ids,
            allowed_ips=allowed_ips,
            add_ips=add_ips,
            remove_ips=remove_ips,
            expires_in=expires_in,
            limits=limits,
            require_signature=require_signature,
            enabled=enabled,
            external_id=external_id,
            metadata=metadata,
        )
        return self._client._send(Call("PATCH", at("/v1/keys/{id}", id=id), body=body), ChangedKey)

    @operation("revokeKey")
    def revoke(self, id: int) -> None:
        """Ends a key and every key that it made, for good."""
        self._client._do(Call("DELETE", at("/v1/keys/{id}", id=id)))

    @operation("revokeOwnKey")
    def revoke_self(self) -> None:
        """Ends the key that this client uses."""
        self._client._do(Call("DELETE", "/v1/keys/self"))

    @operation("rotateKey")
    def rotate(self, id: int, *, grace_period: Optional[int] = None) -> IssuedKey:
        """Gives a key a new value. The old one goes on working for ``grace_period`` seconds."""
        body = given(grace_period=grace_period)
        return self._client._send(Call("POST", at("/v1/keys/{id}/rotate", id=id), body=body), IssuedKey)

    @operation("verifyKey")
    def verify(
        self,
        key: str,
        *,
        organization: Optional[str] = None,
        scopes: Optional[Sequence[str]] = None,
        agent_id: Optional[str] = None,
        ip: Optional[str] = None,
        cost: Optional[int] = None,
        signature: Optional[Mapping[str, Any]] = None,
    ) -> Verification:
        """Checks the key of somebody who calls you, and counts it against the key's limits.

        A ``signature`` has method, path, timestamp, value and body, as you received
        them; the body as bytes. With a ``cost`` of 0 nothing is counted.
        """
        if signature is not None and isinstance(signature.get("body"), (bytes, bytearray)):
            signature = {**signature, "body": base64.b64encode(signature["body"]).decode("ascii")}
        body = given(key=key, organization=organization, scopes=scopes, agent_id=agent_id, ip=ip, cost=cost, signature=signature)
        return self._client._send(Call("POST", "/v1/keys/verify", body=body), Verification)


class KeyUsages(_Noun):
    """How much keys are used. Left out, the period is the last 24 hours, by hour."""

    @operation("getKeyUsage")
    def of_key(self, id: int, *, start: Optional[When] = None, end: Optional[When] = None, interval: Optional[str] = None) -> Usage:
        """Shows how much a key was used. An interval is ``minute``, ``hour`` or ``day``."""
        query = {"from": start, "to": end, "interval": interval}
        return self._client._send(Call("GET", at("/v1/keys/{id}/usage", id=id), query), Usage)

    @operation("listKeyUsage")
    def list(
        self,
        *,
        start: Optional[When] = None,
        end: Optional[When] = None,
        interval: Optional[str] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> "Listing[KeyUsage]":
        """Lists how much each key was used."""
        query = {"from": start, "to": end, "interval": interval, "limit": limit, "cursor": cursor}
        return Listing(self._client, Call("GET", "/v1/keys/usage", query), KeyUsage, "keys")


class Alerts(_Noun):
    """Alerts: to be told when so much of a key's limit is used."""

    @operation("setAlert")
    def set(self, key_id: int, threshold: int, *, webhook_url: Optional[str] = None, email: Optional[str] = None) -> AlertSet:
        """Sets the alert of a key, in percent of its limit. Without an address the owners get an e-mail."""
        body = given(threshold=threshold, webhook_url=webhook_url, email=email)
        return self._client._send(Call("PUT", at("/v1/keys/{id}/alert", id=key_id), body=body), AlertSet)

    @operation("getAlert")
    def get(self, key_id: int) -> Alert:
        """Shows the alert of a key."""
        return self._client._send(Call("GET", at("/v1/keys/{id}/alert", id=key_id)), Alert)

    @operation("removeAlert")
    def remove(self, key_id: int) -> None:
        """Removes the alert of a key."""
        self._client._do(Call("DELETE", at("/v1/keys/{id}/alert", id=key_id)))

    @operation("listAlerts")
    def list(self, *, key_id: Optional[int] = None, limit: Optional[int] = None, cursor: Optional[str] = None) -> "Listing[FiredAlert]":
        """Lists what fired, and how it goes to tell of it."""
        return Listing(self._client, Call("GET", "/v1/alerts", {"key_id": key_id, "limit": limit, "cursor": cursor}), FiredAlert)


class Agents(_Noun):
    """Agents."""

    @operation("createAgent")
    def create(
        self,
        name: str,
        runner: Union[Runner, Mapping[str, Any]],
        *,
        id: Optional[str] = None,
        description: Optional[str] = None,
        input_arguments: Optional[Arguments] = None,
        visibility: Optional[str] = None,
        timeout_seconds: Optional[int] = None,
        idempotent: Optional[bool] = None,
        max_concurrent: Optional[int] = None,
    ) -> CreatedAgent:
        """Defines an agent. The ``runner_secret`` of what is returned can't be had again."""
        body = given(
            id=id,
            name=name,
            description=description,
            input_arguments=input_arguments,
            runner=runner,
            visibility=visibility,
            timeout_seconds=timeout_seconds,
            idempotent=idempotent,
            max_concurrent=max_concurrent,
        )
        return self._client._send(Call("POST", "/v1/agents", body=body), CreatedAgent)

    @operation("listAgents")
    def list(self, *, limit: Optional[int] = None, cursor: Optional[str] = None, page: Optional[int] = None) -> "Listing[Agent]":
        """Lists the agents."""
        return Listing(self._client, Call("GET", "/v1/agents", {"limit": limit, "cursor": cursor, "page": page}), Agent)

    @operation("getAgent")
    def get(self, id: str) -> Agent:
        """Shows an agent; one of the operator's public agents as ``public/ID``."""
        return self._client._send(Call("GET", at("/v1/agents/{id}", id=id)), Agent)

    @operation("changeAgent")
    def change(
        self,
        id: str,
        *,
        name: Union[str, Unset] = UNSET,
        description: Union[str, Unset] = UNSET,
        input_arguments: Union[Arguments, Unset] = UNSET,
        runner: Union[Runner, Mapping[str, Any], Unset] = UNSET,
        visibility: Union[str, Unset] = UNSET,
        timeout_seconds: Union[int, Unset] = UNSET,
        idempotent: Union[bool, Unset] = UNSET,
        max_concurrent: Union[int, Unset] = UNSET,
    ) -> Agent:
        """Changes an agent. Input arguments are replaced, all of them."""
        body = body_of(
            name=name,
            description=description,
            input_arguments=input_arguments,
            runner=runner,
            visibility=visibility,
            timeout_seconds=timeout_seconds,
            idempotent=idempotent,
            max_concurrent=max_concurrent,
        )
        return self._client._send(Call("PATCH", at("/v1/agents/{id}", id=id), body=body), Agent)

    @operation("deleteAgent")
    def delete(self, id: str) -> None:
        """Deletes an agent with its auth profiles."""
        self._client._do(Call("DELETE", at("/v1/agents/{id}", id=id)))

    @operation("getAgentHealth")
    def health(self, id: str) -> AgentHealth:
        """Asks whether an agent's runner can be reached."""
        return self._client._send(Call("GET", at("/v1/agents/{id}/health", id=id)), AgentHealth)

    @operation("renewRunnerSecret")
    def renew_runner_secret(self, id: str) -> str:
        """Gives an agent's runner a new secret, and returns it. It can't be had again."""
        renewed = self._client._send(Call("POST", at("/v1/agents/{id}/runner-secret", id=id)), RunnerSecret)
        return renewed.runner_secret


def _start(path: str, parameters: Optional[Mapping[str, Any]], query: Any, auth_token: Optional[str], idempotency_key: Optional[str]) -> Call:
    body = {**given(parameters=parameters, auth_token=auth_token), **body_of(query=query)}
    # Without a key of the caller's it has one of its own, so that it may be repeated.
    return Call("POST", path, body=body, headers={"Idempotency-Key": idempotency_key or new_idempotency_key()})


class Runs(_Noun):
    """Runs: executions of agents."""

    @operation("invokeAgent")
    def invoke(
        self,
        agent_id: str,
        parameters: Optional[Mapping[str, Any]] = None,
        *,
        query: Any = UNSET,
        auth_token: Optional[str] = None,
        idempotency_key: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Invoked:
        """Runs an agent, and waits for its result. A run that fails is a :class:`RunFailedError`.

        A call that is repeated, since its connection broke, does not run the agent
        twice. ``timeout`` is in seconds; left out, it waits for as long as a run may
        take. The run goes on if nobody waits for it any more.
        """
        call = _start(at("/v1/agents/{id}/invoke", id=agent_id), parameters, query, auth_token, idempotency_key)
        call.timeout = _WHILE_AN_AGENT_WORKS if timeout is None else timeout
        return self._client._send(call, Invoked)

    @operation("startRun")
    def start(
        self,
        agent_id: str,
        parameters: Optional[Mapping[str, Any]] = None,
        *,
        query: Any = UNSET,
        auth_token: Optional[str] = None,
        idempotency_key: Optional[str] = None,
    ) -> Run:
        """Starts a run, and does not wait for it. See ``wait``."""
        return self._client._send(_start(at("/v1/agents/{id}/runs", id=agent_id), parameters, query, auth_token, idempotency_key), Run)

    @operation("streamAgent")
    def stream(
        self,
        agent_id: str,
        parameters: Optional[Mapping[str, Any]] = None,
        *,
        query: Any = UNSET,
        auth_token: Optional[str] = None,
        idempotency_key: Optional[str] = None,
    ) -> Events:
        """Runs an agent, and tells what happens as it comes. It starts when it is read."""
        call = _start(at("/v1/agents/{id}/stream", id=agent_id), parameters, query, auth_token, idempotency_key)
        call.stream = True
        return Events(self._client, call, None, 0)

    @operation("listRuns")
    def list(
        self,
        *,
        status: Optional[str] = None,
        agent_id: Optional[str] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> "Listing[Run]":
        """Lists runs, newest first, without their output."""
        query = {"status": status, "agent_id": agent_id, "limit": limit, "cursor": cursor}
        return Listing(self._client, Call("GET", "/v1/runs", query), Run)

    @operation("getRun")
    def get(self, id: str) -> Run:
        """Shows a run."""
        return self._client._send(Call("GET", at("/v1/runs/{id}", id=id)), Run)

    @operation("cancelRun")
    def cancel(self, id: str) -> Run:
        """Cancels a run. One that is under way on another server ends about a second later."""
        return self._client._send(Call("POST", at("/v1/runs/{id}/cancel", id=id)), Run)

    @operation("getRunEvents")
    def events(self, id: str, *, after: int = 0) -> Events:
        """Tells what happens in a run, from its beginning or after the event of that id."""
        return Events(self._client, Call("GET", at("/v1/runs/{id}/events", id=id), stream=True), id, after)

    def wait(self, id: str) -> Run:
        """Waits until a run has ended, and returns it, whether it succeeded or not."""
        with self.events(id) as events:
            return events.result()


class AuthProfiles(_Noun):
    """Auth profiles: what agents sign in with. No call returns a stored value."""

    @operation("createAgentAuthProfile")
    def create(self, agent_id: str, name: str, auth_data: Mapping[str, Any]) -> StoredProfile:
        """Stores a profile. One of this name and agent is replaced, and its token dies."""
        body = {"agent_id": agent_id, "name": name, "auth_data": dict(auth_data)}
        return self._client._send(Call("POST", "/api/create_agent_auth_profile", body=body), StoredProfile)

    @operation("upsertAgentAuthProfile")
    def upsert(
        self,
        agent_id: str,
        auth_data: Mapping[str, Any],
        *,
        name: Optional[str] = None,
        auth_token: Optional[str] = None,
        should_save_session: bool = False,
    ) -> StoredProfile:
        """Stores a profile, or updates the one that ``auth_token`` opens.

        In an update the values that are given are set, ``None`` removes one, and the
        others stay.
        """
        body = {**given(agent_id=agent_id, name=name, auth_token=auth_token, should_save_session=should_save_session), "auth_data": dict(auth_data)}
        return self._client._send(Call("POST", "/api/upsert_agent_auth_profile", body=body), StoredProfile)

    @operation("listAuthProfiles")
    def list(self, agent_id: str, *, limit: Optional[int] = None, cursor: Optional[str] = None) -> "Listing[AuthProfile]":
        """Lists the profiles of an agent."""
        return Listing(self._client, Call("GET", at("/v1/agents/{id}/auth-profiles", id=agent_id), {"limit": limit, "cursor": cursor}), AuthProfile)

    @operation("getAuthProfile")
    def get(self, id: str) -> AuthProfile:
        """Shows a profile, without its values."""
        return self._client._send(Call("GET", at("/v1/auth-profiles/{id}", id=id)), AuthProfile)

    @operation("deleteAuthProfile")
    def delete(self, id: str) -> None:
        """Deletes a profile."""
        self._client._do(Call("DELETE", at("/v1/auth-profiles/{id}", id=id)))

    @operation("deleteSession")
    def delete_session(self, id: str) -> None:
        """Deletes the session that is kept with a profile."""
        self._client._do(Call("DELETE", at("/v1/auth-profiles/{id}/session", id=id)))

    @operation("rotateAuthToken")
    def rotate_token(self, agent_id: str, auth_token: str, *, grace_period: Optional[int] = None) -> StoredProfile:
        """Gives a profile a new token. The old one goes on working for ``grace_period`` seconds."""
        body = given(agent_id=agent_id, auth_token=auth_token, grace_period=grace_period)
        return self._client._send(Call("POST", "/v1/auth-profiles/token/rotate", body=body), StoredProfile)


class Audit(_Noun):
    """The record of who did what."""

    @operation("listAudit")
    def list(
        self,
        *,
        action: Optional[str] = None,
        subject_kind: Optional[str] = None,
        subject_id: Optional[str] = None,
        account_id: Optional[str] = None,
        key_id: Optional[int] = None,
        start: Optional[When] = None,
        end: Optional[When] = None,
        limit: Optional[int] = None,
        cursor: Optional[str] = None,
    ) -> "Listing[AuditEntry]":
        """Lists what was done, newest first."""
        query = {
            "action": action,
            "subject_kind": subject_kind,
            "subject_id": subject_id,
            "account_id": account_id,
            "key_id": key_id,
            "from": start,
            "to": end,
            "limit": limit,
            "cursor": cursor,
        }
        return Listing(self._client, Call("GET", "/v1/audit", query), AuditEntry)


class Organizations(_Noun):
    """Organizations, for the operator of the server."""

    @operation("listOrganizations")
    def list(self, *, limit: Optional[int] = None, cursor: Optional[str] = None) -> "Listing[Organization]":
        """Lists the organizations."""
        return Listing(self._client, Call("GET", "/v1/organizations", {"limit": limit, "cursor": cursor}), Organization)

    @operation("changeOrganization")
    def change(
        self,
        id: str,
        *,
        tier: Optional[str] = None,
        limits: Union[OrganizationLimits, Mapping[str, int], None] = None,
        quotas: Union[Quotas, Mapping[str, int], None] = None,
    ) -> Organization:
        """Changes an organization. A limit or quota that is left out of those given is the default again."""
        body = given(tier=tier, limits=limits, quotas=quotas)
        return self._client._send(Call("PATCH", at("/v1/organizations/{id}", id=id), body=body), Organization)


class Accounts(_Noun):
    """Accounts, for the operator of the server."""

    @operation("listAccounts")
    def list(self, *, limit: Optional[int] = None, cursor: Optional[str] = None) -> "Listing[Account]":
        """Lists the accounts."""
        return Listing(self._client, Call("GET", "/v1/accounts", {"limit": limit, "cursor": cursor}), Account)

    @operation("createAccount")
    def create(self, name: str, email: str, password: str) -> Account:
        """Makes an account on somebody's behalf."""
        body = {"name": name, "email": email, "password": password}
        return self._client._send(Call("POST", "/v1/accounts", body=body), Account)


class Auth(_Noun):
    """Signing up and in. All but the first four calls need an access token."""

    @operation("register")
    def register(self, name: str, email: str, password: str, *, setup_code: Optional[str] = None) -> Account:
        """Makes an account with an organization of its own."""
        body = given(name=name, email=email, password=password, setupCode=setup_code)
        return self._client._send(Call("POST", "/auth/register", body=body, public=True), Account)

    @operation("signIn")
    def sign_in(self, email: str, password: str) -> Tokens:
        """Signs in. See ``with_credential`` for a client that uses the access token."""
        return self._client._send(Call("POST", "/auth/token", body={"email": email, "password": password}, public=True), Tokens)

    @operation("refresh")
    def refresh(self, refresh_token: str) -> Tokens:
        """Returns new tokens. The old refresh token dies."""
        return self._client._send(Call("POST", "/auth/token/refresh", body={"refreshToken": refresh_token}, public=True), Tokens)

    @operation("signOut")
    def sign_out(self, refresh_token: str) -> None:
        """Ends a sign-in."""
        self._client._do(Call("POST", "/auth/logout", body={"refreshToken": refresh_token}, public=True))

    @operation("me")
    def me(self) -> Me:
        """Shows the account, with its organizations."""
        return self._client._send(Call("GET", "/auth/me"), Me)

    @operation("changePassword")
    def change_password(self, current_password: str, new_password: str) -> None:
        """Changes the password, which ends all other sign-ins."""
        body = {"currentPassword": current_password, "newPassword": new_password}
        self._client._do(Call("POST", "/auth/password", body=body))

    @operation("deleteAccount")
    def delete_account(self, password: str) -> None:
        """Deletes the account with its personal keys."""
        self._client._do(Call("DELETE", "/auth/me", body={"password": password}))
