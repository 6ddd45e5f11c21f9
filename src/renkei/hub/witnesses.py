"""Showing the record's checkpoints to witnesses (C2SP tlog-witness), so that it cannot be told in two ways.

Where the law needs witnesses, a round's permits leave only once enough of them have cosigned; else they are shown the newest checkpoint
every second and nobody waits for them.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence

from renkei.errors import RenkeiError, Unavailable
from renkei.institution.observe import Observer
from renkei.institution.outside import fetch
from renkei.ledger.merkle import Tree
from renkei.ledger.notes import Checkpoint, Verifier, cosigners, split_note

ANSWER_WITHIN = 3.0
WITHIN = 10.0
"""Seconds for which a round waits for its witnesses before the heads are compared anew."""


class AheadOfUs(RenkeiError):
    """The witnesses have cosigned later checkpoints already: this one is an old round that is adopted."""

    code = "witnesses-ahead"


class Witnesses:
    """The witnesses at these addresses."""

    def __init__(self, urls: Sequence[str], observe: Observer) -> None:
        self.urls, self._observe = tuple(urls), observe
        self._held: dict[str, int] = {}
        """The size each witness holds, as far as we know."""

    async def cosigned(self, note: str, tree: Tree, need: int, keys: Sequence[Verifier]) -> str:
        """``note`` with the cosignatures of at least ``need`` of the witnesses with these keys.

        ``Unavailable`` if they do not come in time, ``AheadOfUs`` if too many have cosigned later checkpoints.
        """
        waited = asyncio.get_running_loop().time() + WITHIN
        while True:
            shown = await asyncio.gather(*(self.show(url, note, tree) for url in self.urls))
            lines = dict.fromkeys(line for line in shown if line)
            full = note + "".join(lines)
            if len(cosigners(full, keys)) >= need:
                return full
            size = Checkpoint.from_text(split_note(note)[0]).size
            if sum(held > size for held in self._held.values()) > len(self.urls) - need:
                raise AheadOfUs("The witnesses have cosigned later checkpoints.")
            self._observe.count("witnesses_missing")
            if asyncio.get_running_loop().time() > waited:
                raise Unavailable("Too few witnesses cosign.", code="witnesses")
            await asyncio.sleep(0.3)

    async def show(self, url: str, note: str, tree: Tree) -> str:
        """Show one witness a checkpoint; its cosignature lines, or nothing if it does not give them."""
        size = Checkpoint.from_text(split_note(note)[0]).size
        for _ in range(2):  # the second time with the size it says it holds
            held = self._held.get(url, 0)
            if held > size:
                return ""
            proof = await asyncio.to_thread(tree.consistency, held, size) if 0 < held < size else []
            lines = [f"old {held}", *(base64.b64encode(h).decode() for h in proof), "", ""]
            try:
                status, text = await fetch(
                    f"{url.rstrip('/')}/add-checkpoint", "\n".join(lines).encode() + note.encode(), within=ANSWER_WITHIN
                )
            except RenkeiError:
                return ""
            if status == 200:
                self._held[url] = size
                return text
            if status != 409 or not text.strip().isdigit() or len(text) > 20:
                self._observe.count("witness_refusals")
                self._observe.log.warning("witness.refused", status=status)
                return ""
            self._held[url] = int(text)
        return ""

    async def show_all(self, note: str, tree: Tree) -> None:
        """Show all of them, for whoever compares notes with them."""
        await asyncio.gather(*(self.show(url, note, tree) for url in self.urls))
