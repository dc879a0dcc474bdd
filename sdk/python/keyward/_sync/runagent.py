# Written by unasync.py. Change keyward/_async/runagent.py and run it.
"""One agent, as a client of its own."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Optional

from .. import _settings
from ..errors import RunFailedError
from ..models import Invoked, Run, StoredProfile
from .client import Keyward
from .events import Events


class RunAgentClient:
    """A client of one agent.

    ``api_key`` is what is given, or else that in ``KEYWARD_API_KEY`` or
    ``RUNAGENT_API_KEY``. With an ``auth_token`` the agent runs with that auth profile.
    The other options are those of :class:`Keyward`::

        client = RunAgentClient(agent_id="agent-123", api_key=api_key)
        print(client.run(query="Which invoices are overdue?"))
    """

    def __init__(
        self,
        agent_id: str,
        api_key: Optional[str] = None,
        *,
        base_url: Optional[str] = None,
        auth_token: Optional[str] = None,
        **options: Any,
    ) -> None:
        key, token = _settings.held(api_key), _settings.held(auth_token)
        del api_key, auth_token  # no traceback shows them
        self.agent_id = agent_id
        self._auth_token = token
        self.client = Keyward(base_url, api_key=key, **options)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(agent_id={self.__dict__.get('agent_id')!r})"

    @property
    def _token(self) -> Optional[str]:
        return self._auth_token.reveal().decode() if self._auth_token is not None else None

    def close(self) -> None:
        """Closes all connections."""
        self.client.close()

    def __enter__(self) -> "RunAgentClient":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, /, **parameters: Any) -> Any:
        """Runs the agent with these input arguments, and returns what it puts out.

        A run that does not succeed is a :class:`RunFailedError`.
        """
        return (self.invoke(parameters)).result

    def run_stream(self, /, **parameters: Any) -> "Iterator[Any]":
        """Runs the agent, and gives the chunks of its output as they come."""
        with self.stream(parameters) as events:
            for event in events:
                if event.type == "chunk":
                    yield event.data
                elif event.type == "error":
                    raise _failure(event.data, events.run_id)

    def invoke(self, parameters: Optional[Mapping[str, Any]] = None, *, idempotency_key: Optional[str] = None, timeout: Optional[float] = None) -> Invoked:
        """Runs the agent, and waits for its result."""
        return self.client.runs.invoke(self.agent_id, parameters, auth_token=self._token, idempotency_key=idempotency_key, timeout=timeout)

    def start(self, parameters: Optional[Mapping[str, Any]] = None, *, idempotency_key: Optional[str] = None) -> Run:
        """Starts a run, and does not wait for it."""
        return self.client.runs.start(self.agent_id, parameters, auth_token=self._token, idempotency_key=idempotency_key)

    def stream(self, parameters: Optional[Mapping[str, Any]] = None, *, idempotency_key: Optional[str] = None) -> Events:
        """Runs the agent, and tells what happens as it comes."""
        return self.client.runs.stream(self.agent_id, parameters, auth_token=self._token, idempotency_key=idempotency_key)

    def upsert_auth_profile(self, auth_data: Mapping[str, Any], *, name: Optional[str] = None, should_save_session: bool = False) -> StoredProfile:
        """Stores an auth profile of the agent, or updates the one that this client has.

        From then on this client runs the agent with it.
        """
        stored = self.client.auth_profiles.upsert(
            self.agent_id, auth_data, name=name, auth_token=self._token, should_save_session=should_save_session
        )
        self._auth_token = _settings.held(stored.auth_token)
        return stored


def _failure(data: Any, run_id: Optional[str]) -> RunFailedError:
    told = data if isinstance(data, dict) else {}
    details = {"run_id": run_id or "", "status": str(told.get("status", ""))}
    return RunFailedError(str(told.get("code", "RUN_FAILED")), str(told.get("message", "")), status=200, details=details)
