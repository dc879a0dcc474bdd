"""What the server answers with. A moment is a ``datetime`` in UTC.

A field that is ``None`` is left out of the answer, and the comment says what that
means where it isn't plain. Secrets do not print.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Dict, List, Optional

from ._decode import UNSET, Model, named, secret, secret_named

__all__ = [
    "Account",
    "Agent",
    "AgentHealth",
    "Alert",
    "AlertDelivery",
    "AlertSet",
    "AuditEntry",
    "AuditSubject",
    "AuthProfile",
    "ChangedKey",
    "CreatedAgent",
    "Event",
    "FiredAlert",
    "InputArgument",
    "Invoked",
    "IssuedKey",
    "Key",
    "KeyLimits",
    "KeyUsage",
    "MadeBy",
    "Me",
    "Membership",
    "MembershipLimits",
    "Organization",
    "OrganizationLimits",
    "Pagination",
    "Quotas",
    "RateLimit",
    "Run",
    "RunMetadata",
    "Runner",
    "RunnerLimits",
    "RunnerSecret",
    "Status",
    "StoredProfile",
    "Tokens",
    "Usage",
    "UsagePeriod",
    "UsagePoint",
    "Verification",
]


@dataclass(frozen=True, repr=False)
class Pagination(Model):
    """Which page of a list this is."""

    limit: int
    next_cursor: Optional[str] = None  # there is no further page
    page: Optional[int] = None
    total: Optional[int] = None
    pages: Optional[int] = None


# Keys.


@dataclass(frozen=True, repr=False)
class KeyLimits(Model):
    """How often a key may be used. What is left out is not limited."""

    requests_per_hour: Optional[int] = None
    burst: Optional[int] = None  # in any one second
    requests_per_month: Optional[int] = None


@dataclass(frozen=True, repr=False)
class MadeBy(Model):
    """Who made something, and with which key."""

    account_id: str
    key_id: Optional[int] = None


@dataclass(frozen=True, repr=False)
class Key(Model):
    """An API key as its owner sees it. The key itself is never in it."""

    id: int
    name: str
    hint: str  # how it begins, and its last four characters
    type: str  # personal, service or temporary
    tier: str
    status: str  # active, disabled, expired or revoked
    scopes: List[str]
    require_signature: bool
    enabled: bool
    made_by: MadeBy
    created_at: datetime
    updated_at: datetime
    agent_ids: Optional[List[str]] = None  # for all agents
    allowed_ips: Optional[List[str]] = None  # from anywhere
    limits: Optional[KeyLimits] = None
    external_id: Optional[str] = None
    metadata: Optional[Dict[str, Any]] = None
    expires_at: Optional[datetime] = None  # never
    revoked_at: Optional[datetime] = None
    last_used_at: Optional[datetime] = None
    last_used_ip: Optional[str] = None


@dataclass(frozen=True, repr=False)
class IssuedKey(Key):
    """A key that was just made or rotated. ``key`` can't be had again."""

    key: str = secret(default="")
    signing_secret: Optional[str] = secret(default=None)


@dataclass(frozen=True, repr=False)
class ChangedKey(Key):
    """A key that was just changed. ``signing_secret`` is there if it is new."""

    signing_secret: Optional[str] = secret(default=None)


@dataclass(frozen=True, repr=False)
class RateLimit(Model):
    """How a key stands with its hourly limit."""

    limit: int
    remaining: int
    reset: int  # in Unix seconds


@dataclass(frozen=True, repr=False)
class Verification(Model):
    """Whether a key is good for a request, and whose it is.

    ``code`` is ``VALID``, or the code of the error that the request would get.
    """

    valid: bool
    code: str
    message: Optional[str] = None
    details: Optional[Dict[str, Any]] = None
    retry_after: Optional[int] = None
    key_id: Optional[int] = None
    name: Optional[str] = None
    type: Optional[str] = None
    organization_id: Optional[str] = None
    account_id: Optional[str] = None
    external_id: Optional[str] = None
    metadata: Any = None
    scopes: Optional[List[str]] = None
    agent_ids: Optional[List[str]] = None  # for all agents
    expires_at: Optional[datetime] = None  # never
    ratelimit: Optional[RateLimit] = None


# How much keys are used.


@dataclass(frozen=True, repr=False)
class UsagePoint(Model):
    """What was counted in one minute, hour or day."""

    time: datetime
    allowed: int
    denied: int
    rate_limited: int


@dataclass(frozen=True, repr=False)
class UsagePeriod(Model):
    """The time that a usage is about."""

    start: datetime = named("from")
    end: datetime = named("to")
    interval: str = named("interval")  # minute, hour or day


@dataclass(frozen=True, repr=False)
class KeyUsage(Model):
    """How much one key was used. Without a limit, the fields of the limit are None."""

    id: int
    name: str
    requests: int
    allowed: int
    denied: int
    rate_limited: int
    series: List[UsagePoint]
    limit: Optional[int] = None
    remaining: Optional[int] = None
    reset: Optional[datetime] = None
    percent_used: Optional[float] = None
    last_used_at: Optional[datetime] = None


@dataclass(frozen=True, repr=False)
class Usage(Model):
    """How much some keys were used in a period."""

    period: UsagePeriod
    keys: List[KeyUsage]


# Alerts.


@dataclass(frozen=True, repr=False)
class Alert(Model):
    """The alert of a key, at so many percent of its limit."""

    key_id: int
    threshold: int
    to_owners: bool
    created_at: datetime
    updated_at: datetime
    webhook_url: Optional[str] = None
    email: Optional[str] = None


@dataclass(frozen=True, repr=False)
class AlertSet(Alert):
    """An alert that was just set. ``webhook_secret`` is there if it is new."""

    webhook_secret: Optional[str] = secret(default=None)


@dataclass(frozen=True, repr=False)
class AlertDelivery(Model):
    """How it goes to tell one recipient of an alert."""

    id: str
    channel: str  # webhook or email
    target: str
    status: str  # pending, delivered or failed
    attempts: int
    next_attempt_at: Optional[datetime] = None
    delivered_at: Optional[datetime] = None
    last_error: Optional[str] = None


@dataclass(frozen=True, repr=False)
class FiredAlert(Model):
    """An alert that fired: once in a window of the key's limit."""

    id: str
    key_id: int
    key_name: str
    threshold: int
    span: str  # hour or month
    used: int
    limit: int
    percent_used: float
    window_started_at: datetime
    resets_at: datetime
    fired_at: datetime
    deliveries: List[AlertDelivery]


# Agents.


@dataclass(frozen=True, repr=False)
class InputArgument(Model):
    """One argument that an agent takes. A type is string, number, boolean, json or totp."""

    name: str
    type: str
    required: bool = False
    sensitive: bool = False
    default: Any = UNSET
    description: str = ""


@dataclass(frozen=True, repr=False)
class RunnerLimits(Model):
    """What each process of a command runner may use."""

    memory_mb: Optional[int] = None
    cpu_seconds: Optional[int] = None
    file_mb: Optional[int] = None


@dataclass(frozen=True, repr=False)
class Runner(Model):
    """How an agent is reached: ``Runner("http", url="https://…")``."""

    type: str  # http or command
    url: Optional[str] = None
    command: Optional[List[str]] = None
    limits: Optional[RunnerLimits] = None


@dataclass(frozen=True, repr=False)
class Agent(Model):
    """An agent as it is defined."""

    id: str
    name: str
    description: str
    input_arguments: List[InputArgument]
    runner: Runner
    visibility: str  # private or public
    timeout_seconds: int
    created_at: datetime
    updated_at: datetime
    idempotent: bool = False
    max_concurrent: int = 0  # no bound


@dataclass(frozen=True, repr=False)
class CreatedAgent(Agent):
    """An agent that was just made. ``runner_secret`` can't be had again."""

    runner_secret: str = secret(default="")


@dataclass(frozen=True, repr=False)
class RunnerSecret(Model):
    """A runner's new secret. It can't be had again."""

    runner_secret: str = secret()


@dataclass(frozen=True, repr=False)
class AgentHealth(Model):
    """Whether an agent's runner can be reached."""

    status: str  # ok or unreachable
    checked_at: datetime
    latency_ms: int
    reason: Optional[str] = None


# Auth profiles.


@dataclass(frozen=True, repr=False)
class AuthProfile(Model):
    """What may be seen of an auth profile: never a value."""

    id: str
    name: str
    agent_id: str
    fields: List[str]
    should_save_session: bool
    has_session: bool
    destination: str
    created_at: datetime
    updated_at: datetime
    last_used_at: Optional[datetime] = None


@dataclass(frozen=True, repr=False)
class StoredProfile(Model):
    """An auth profile that was just stored. ``auth_token`` opens it."""

    auth_token: str = secret()
    name: Optional[str] = None
    type: Optional[str] = None  # create, replace or update
    should_save_session: bool = False


# Runs.


@dataclass(frozen=True, repr=False)
class Run(Model):
    """One execution of an agent."""

    id: str
    agent_id: str
    status: str  # queued, running, succeeded, failed, cancelled, timed_out or interrupted
    created_at: datetime
    auth_profile: Optional[str] = None
    output: Any = None
    error_message: Optional[str] = None
    started_at: Optional[datetime] = None
    ended_at: Optional[datetime] = None

    @property
    def ended(self) -> bool:
        return self.status not in ("queued", "running")


@dataclass(frozen=True, repr=False)
class RunMetadata(Model):
    run_id: str
    execution_time: float  # in seconds
    request_id: str


@dataclass(frozen=True, repr=False)
class Invoked(Model):
    """What an agent has put out that was waited for."""

    result: Any
    metadata: RunMetadata


@dataclass(frozen=True)
class Event:
    """Something that happened in a run.

    ``type`` is ``start`` (data: run_id and agent_id), ``log`` (a line), ``chunk``
    (a part of the output), ``error`` if the run does not succeed, or ``done``, the
    last, whose data is the run.
    """

    id: int
    type: str
    data: Any

    @property
    def run(self) -> Optional[Run]:
        """The run, of the event ``done``."""
        return Run.from_dict(self.data) if self.type == "done" else None


# The record of what was done.


@dataclass(frozen=True, repr=False)
class AuditSubject(Model):
    kind: str
    id: str
    name: Optional[str] = None


@dataclass(frozen=True, repr=False)
class AuditEntry(Model):
    """One thing that was done."""

    id: str
    at: datetime
    action: str
    subject: AuditSubject
    seq: Optional[int] = None  # it has no place in the chain yet
    account_id: Optional[str] = None
    key_id: Optional[int] = None
    address: Optional[str] = None
    request_id: Optional[str] = None
    notes: Optional[Dict[str, str]] = None


# The operator's.


@dataclass(frozen=True, repr=False)
class Account(Model):
    """A person who can sign in."""

    id: str
    name: str
    email: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_dict(cls, wire: Any) -> "Account":
        # /auth says createdAt where /v1 says created_at.
        if isinstance(wire, dict) and "createdAt" in wire:
            wire = dict(wire, created_at=wire.get("createdAt"), updated_at=wire.get("updatedAt"))
        return super().from_dict(wire)


@dataclass(frozen=True, repr=False)
class OrganizationLimits(Model):
    """How often each key of an organization may be used; -1 is unlimited."""

    requests_per_hour: Optional[int] = None
    burst: Optional[int] = None
    requests_per_month: Optional[int] = None


@dataclass(frozen=True, repr=False)
class Quotas(Model):
    """How many of each thing an organization may have; -1 is unlimited."""

    agents: Optional[int] = None
    auth_profiles: Optional[int] = None
    keys: Optional[int] = None
    queued_runs: Optional[int] = None


@dataclass(frozen=True, repr=False)
class Organization(Model):
    """What owns keys, agents, profiles and runs."""

    id: str
    name: str
    operator: bool
    tier: str
    limits: OrganizationLimits
    effective_limits: OrganizationLimits
    quotas: Quotas
    created_at: datetime
    updated_at: datetime


# Sign-in.


@dataclass(frozen=True, repr=False)
class Tokens(Model):
    """What a sign-in gives. The access token is good for ``expires_in`` seconds."""

    access_token: str = secret_named("accessToken")
    refresh_token: str = secret_named("refreshToken")
    token_type: str = named("tokenType")
    expires_in: int = named("expiresIn")


@dataclass(frozen=True, repr=False)
class MembershipLimits(Model):
    requests_per_hour: Optional[int] = named("requestsPerHour", default=None)
    burst: Optional[int] = None
    requests_per_month: Optional[int] = named("requestsPerMonth", default=None)


@dataclass(frozen=True, repr=False)
class Membership(Model):
    """An organization that the account belongs to."""

    id: str
    name: str
    role: str
    tier: str
    limits: MembershipLimits


@dataclass(frozen=True, repr=False)
class Me(Account):
    """The account that is signed in."""

    organizations: List[Membership] = field(default_factory=list)


@dataclass(frozen=True, repr=False)
class Status(Model):
    """How a server is."""

    status: str
