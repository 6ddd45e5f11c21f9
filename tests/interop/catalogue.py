"""Write the catalogue of a small running nation, with opened datasets, as Turtle: ``python -m tests.interop.catalogue FILE``."""

import datetime as dt
import sys
import tempfile
import urllib.request
from pathlib import Path

from renkei.nation import opened
from tests.world import Running, until


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = Running(Path(folder) / "nation", residents=60)
        try:
            until(lambda: world.do(world.world.health(world.plan.place("catalogue"))).get("offers", "0") != "0")
            here = world.world.institutions["catalogue"]
            created = dt.date.fromisoformat(world.plan.created)
            opened.publish(here.publication, here.member.pack, world.folder / "roll.csv", created, world.folder)
            with urllib.request.urlopen(world.url("catalogue") + "/catalog.ttl") as answer:
                target.write_bytes(answer.read())
        finally:
            world.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
