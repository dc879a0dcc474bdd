"""A program of a user's, for a checker of types: it is never run.

Each ``type: ignore`` stands where there must be an error.
"""

from __future__ import annotations

from datetime import datetime
from typing import List, Optional

from keyward import AsyncKeyward, Event, IssuedKey, Key, Keyward, KeywardError, RunAgentClient, Runner, Tokens, sign_request


def synchronous(client: Keyward, agent: RunAgentClient) -> None:
    issued: IssuedKey = client.keys.create("production", scopes=["read"], limits={"burst": 5})
    text: str = issued.key
    ends: Optional[datetime] = issued.expires_at
    keys: List[Key] = list(client.keys.list(status="active"))
    total: Optional[int] = client.keys.list(page=1).first_page().pagination.total
    client.keys.change(issued.id, expires_in=None, add_ips=["192.0.2.1"])
    client.agents.create("Invoices", Runner("http", url="https://agents.example.com"), id="invoices")
    with client.runs.stream("invoices", {"n": 1}, query="q") as events:
        for event in events:
            happened: Event = event
            print(happened.type, events.run_id)
    tokens: Tokens = client.auth.sign_in("ada@example.com", "password")
    client.with_credential(sign_in=tokens).auth.me().organizations[0].role.upper()
    agent.run(query="q")
    headers = sign_request("GET", "/v1/agents", b"", "rs_secret")
    headers["X-Signature"].upper()
    try:
        client.keys.revoke(issued.id)
    except KeywardError as error:
        print(error.code.lower(), error.status + 1, text, ends, keys, total)

    client.keys.revoke("production")  # type: ignore[arg-type]
    client.keys.create()  # type: ignore[call-arg]
    client.keys.create("x", scope=["read"])  # type: ignore[call-arg]
    client.agents.invoke("invoices")  # type: ignore[attr-defined]
    print(issued.secret)  # type: ignore[attr-defined]


async def asynchronous(client: AsyncKeyward) -> None:
    issued: IssuedKey = await client.keys.create("production")
    async for key in client.keys.list():
        print(key.name.upper(), issued.id)
    async with client.runs.stream("invoices") as events:
        async for event in events:
            print(event.type)
    status: str = (await client.runs.wait("run")).status
    print(status)

    forgotten = client.keys.get(1)
    print(forgotten.name)  # type: ignore[attr-defined]
    for key in client.keys.list():  # type: ignore[attr-defined]
        pass
