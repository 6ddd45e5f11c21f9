"""What a witness answers: cosignatures for logs, its checkpoints for peers, a page for people, JSON for programs."""

from __future__ import annotations

import asyncio
import datetime as dt
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from litestar import MediaType, Request, Response, get, post
from litestar.params import QueryParameter

from renkei.institution.settings import Settings as Shell
from renkei.institution.web import Pages
from renkei.witness import rules
from renkei.witness.rules import Elsewhere
from renkei.witness.store import SPLIT, Alarm

if TYPE_CHECKING:
    from renkei.witness.service import Witness

BODY_MOST = 128 * 1024
"""Bytes of a request at most: a checkpoint under sixteen signatures of the largest kind, and 63 hashes."""
Origin = Annotated[str, QueryParameter(description="Origin of a log: its recent checkpoints, largest first.")]


def moment(seconds: int | None) -> str | None:
    """A time as RFC 3339 text in UTC."""
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%SZ}" if seconds else None


def told_of_alarm(alarm: Alarm) -> dict[str, Any]:
    """An alarm as JSON says it."""
    return {
        "kind": alarm.kind,
        "log": alarm.origin,
        "peer": alarm.peer,
        "size": alarm.size,
        "time": moment(alarm.time),
        "evidence": alarm.evidence,
    }


def told(witness: Witness) -> dict[str, Any]:
    """All a witness says of itself."""
    logs = []
    with witness.store.transaction() as kept:
        alarms = kept.alarms()
        for origin in witness.logs:
            newest = kept.newest(origin)
            logs.append(
                {
                    "origin": origin,
                    "size": newest.seen.checkpoint.size if newest else None,
                    "root": b64encode(newest.seen.checkpoint.root).decode() if newest else None,
                    "time": moment(newest.time) if newest else None,
                    "since": moment(kept.since(origin)),
                    "alarms": [a.kind for a in alarms if a.origin == origin],
                }
            )
    heard = witness.gossip.heard
    peers = [
        {
            "name": p.key.name,
            "url": p.url,
            "heard": moment(heard[p.key.name].last),
            "trouble": heard[p.key.name].trouble,
        }
        for p in witness.peers
    ]
    return {
        "witness": witness.settings.name,
        "key": witness.key.to_text(),
        "logs": logs,
        "peers": peers,
        "alarms": [told_of_alarm(a) for a in alarms],
    }


def witness_pages(witness: Witness, shell: Shell) -> tuple[list[Any], dict[str, Any]]:
    """The handlers, and the options of the web shell they need."""
    pages = Pages(Path(__file__).parent / "templates", shell, lambda lang: "立会人" if lang == "ja" else "Witness")

    @get("/", include_in_schema=False)
    async def front(request: Request[Any, Any, Any]) -> Response[bytes]:
        return pages.render(request, "witness.html", split=SPLIT, **await asyncio.to_thread(told, witness))

    @post("/add-checkpoint", status_code=200, media_type=MediaType.TEXT, request_max_body_size=BODY_MOST)
    async def add_checkpoint(request: Request[Any, Any, Any]) -> Response[str]:
        """Cosign a checkpoint (C2SP tlog-witness). 409 answers the size this witness holds."""
        body = await request.body()
        try:
            return Response(await asyncio.to_thread(witness.cosigner.add, body), media_type=MediaType.TEXT)
        except Elsewhere as stale:
            exact = {"Content-Type": "text/x.tlog.size"}  # clients compare it whole: no charset behind it
            return Response(f"{stale.size}\n", status_code=409, headers=exact)

    @get("/checkpoints", media_type=MediaType.TEXT)
    async def checkpoints(log: Origin = "") -> str:
        """The newest checkpoint of each log under both signatures; or, of one log, the last 4,096."""

        def notes() -> str:
            with witness.store.transaction() as kept:
                if log:
                    return rules.write_notes(c.note for c in kept.recent(witness.cosigner.log(log).origin))
                newest = [kept.newest(origin) for origin in witness.logs]
                return rules.write_notes(c.note for c in newest if c)

        return await asyncio.to_thread(notes)

    @get("/alarms")
    async def alarms() -> list[dict[str, Any]]:
        """Split views, each with its evidence file, and signed checkpoints that nobody could prove to fit so far."""
        found: list[dict[str, Any]] = (await asyncio.to_thread(told, witness))["alarms"]
        return found

    @get("/status")
    async def status() -> dict[str, Any]:
        """Logs, peers and alarms."""
        return await asyncio.to_thread(told, witness)

    return [front, add_checkpoint, checkpoints, alarms, status], {"pages": pages}
