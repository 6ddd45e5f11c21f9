"""What `make setup` installs is what the package needs: the lock holds every dependency, at a version that does."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def test_the_lock_holds_every_dependency_of_the_package():
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pinned = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [Requirement(r) for r in project["dependencies"]]
    assert [str(r) for r in needed if not r.specifier.contains(pinned.get(r.name.lower().replace("_", "-"), "0"))] == []
