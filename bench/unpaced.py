"""``python -m bench.unpaced HOME``: a gateway that submits a file without waiting for its rows to end.

So that a file's way into the outbox can be measured alone, while nobody takes anything out of it. Nothing else differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from renkei.gateway.batches import Batches
from renkei.nation.world import run_one


async def at_once(_: Batches, id_: str) -> None:
    """There is always room."""


if __name__ == "__main__":
    setattr(Batches, "_pace", at_once)  # noqa: B010
    uvloop.run(run_one(Path(sys.argv[1])))
