"""Keyward: keys, credentials and sign-in for AI agents.

::

    from keyward import Keyward

    with Keyward("https://keyward.example.com", api_key=key) as client:
        print(client.runs.invoke("invoices", query="overdue").result)

:class:`AsyncKeyward` is the same for asyncio, :class:`RunAgentClient` a client of one
agent, and :class:`KeywardError` what all failures are.
"""

from __future__ import annotations

from . import errors, models
from ._async.client import AsyncKeyward
from ._async.events import AsyncEvents
from ._async.pages import AsyncListing
from ._async.runagent import AsyncRunAgentClient
from ._decode import UNSET, Model, Unset
from ._pages import Page
from ._sync.client import Keyward
from ._sync.events import Events
from ._sync.pages import Listing
from ._sync.runagent import RunAgentClient
from ._version import __version__
from .errors import *  # noqa: F403
from .models import *  # noqa: F403
from .signing import sign_request

__all__ = [
    "UNSET",
    "AsyncEvents",
    "AsyncKeyward",
    "AsyncListing",
    "AsyncRunAgentClient",
    "Events",
    "Keyward",
    "Listing",
    "Model",
    "Page",
    "RunAgentClient",
    "Unset",
    "errors",
    "models",
    "__version__",
    "sign_request",
]
__all__ += errors.__all__
__all__ += models.__all__
