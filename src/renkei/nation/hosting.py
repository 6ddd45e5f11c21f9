"""Joint hosting (自治体クラウド): one process runs the gateways of many small bodies, each of which stays its own.

A body is its home folder, here as anywhere: its keys, database, clerks, limits and port. The host starts whichever homes lie in its folder,
lets go of one that is to leave, and takes up what comes, while the others work on. What holds one up (a broken mapping, a taken port, a
database that is away) is tried again for that one alone. Nothing is shared between them but the process: no table, no key, no session.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from renkei.errors import RenkeiError, SetupError
from renkei.gateway.adapter import mapping
from renkei.institution.observe import Observer
from renkei.institution.runtime import Institution
from renkei.institution.settings import Home, Settings, occupy
from renkei.institution.tasks import end
from renkei.nation.world import institution_of, settle_memory

LEAVE = "leave"
"""A file of this name in a home has the host let it go."""
MOVED = ".moved"
"""Ends the name of a home that was moved away."""
LOOK_EVERY = 1.0
AGAIN_AFTER = 1.0
AGAIN_MOST = 60.0
LEAVE_WITHIN = 60.0
HOSTED = ("gateway",)


class Host:
    """Runs every home in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.observe = Observer("host", "host", "info")
        self.running: dict[Path, Institution] = {}
        self._again: dict[Path, tuple[float, float]] = {}
        """When a home that did not start is tried again, and the pause after that."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set: then all of them finish what is under way, and stop."""
        held = occupy(self.folder / ".lock")
        try:
            while not stop.is_set():
                await self._look()
                waiting = asyncio.ensure_future(stop.wait())
                await asyncio.wait([waiting], timeout=LOOK_EVERY)
                await end([waiting])
        finally:
            await asyncio.gather(*(self._let_go(home, drain=True) for home in list(self.running)))
            held.close()

    async def _look(self) -> None:
        """Start who is new, let go who leaves or is over."""
        homes = {p for p in self.folder.iterdir() if _is_home(p)}
        for home, institution in list(self.running.items()):
            if home not in homes or (home / LEAVE).exists():
                await self._let_go(home, drain=home in homes)
            elif institution.over.is_set():
                await self._let_go(home, drain=False)
        due = [h for h in sorted(homes - self.running.keys()) if not (h / LEAVE).exists() and self._is_due(h)]
        await asyncio.gather(*(self._start(home) for home in due))

    def _is_due(self, home: Path) -> bool:
        return time.monotonic() >= self._again.get(home, (0.0, 0.0))[0]

    async def _start(self, home: Path) -> None:
        institution: Institution | None = None
        try:
            demand_hostable(home)
            demand_apart(home, [p for p in self.folder.iterdir() if p.is_dir() and p != home])
            institution = await asyncio.to_thread(institution_of, home)
            await institution.start()
        except Exception as error:  # one body's trouble is not the others'
            if institution is not None:
                with contextlib.suppress(Exception):
                    await institution.stop()
            _, pause = self._again.get(home, (0.0, AGAIN_AFTER))
            self._again[home] = (time.monotonic() + pause, min(pause * 2, AGAIN_MOST))
            code = error.code if isinstance(error, RenkeiError) else type(error).__name__
            self.observe.log.error("hosted.not-started", home=home.name, reason=code)
            return
        self.running[home] = institution
        self._again.pop(home, None)
        settle_memory()
        self.observe.log.info("hosted.started", home=home.name)

    async def _let_go(self, home: Path, *, drain: bool) -> None:
        institution = self.running.pop(home)
        for end_it in ([institution.drain] if drain else []) + [institution.stop]:
            try:
                await end_it()
            except Exception as error:  # as above
                self.observe.log.error("hosted.not-ended", home=home.name, reason=type(error).__name__)
        self.observe.log.info("hosted.stopped", home=home.name)


def _is_home(path: Path) -> bool:
    """Whether a body lives here; what cannot be read is nobody's."""
    try:
        return path.suffix != MOVED and (path / "settings.toml").is_file()
    except OSError:
        return False


def demand_hostable(home: Path) -> None:
    """``SetupError`` if this is no gateway's home: keepers must not share a process with anybody."""
    role = Home(home).settings().role
    if role not in HOSTED:
        raise SetupError(
            f"{home.name} is the home of a {role}; only gateways are hosted together.",
            ja=f"{home.name} は {role} のフォルダーです。共同で動かせるのは gateway だけです。",
            code="role",
            remedy="Run it by itself: `renkei run HOME`.",
            remedy_ja="`renkei run HOME` で単独で動かしてください。",
        )


def demand_apart(home: Path, neighbours: Iterable[Path]) -> None:
    """``SetupError`` if the settings, the mapping, or a link in the home lead into a neighbour's: one process may read all of them."""
    inside, others = home.resolve(), [p.resolve() for p in neighbours]
    if any(path.is_symlink() and not path.resolve().is_relative_to(inside) for path in home.rglob("*")):
        raise _not_apart(home)
    for path in _named(Home(home).settings()):
        if any(path.resolve().is_relative_to(other) for other in others):
            raise _not_apart(home)


def _named(settings: Settings) -> Iterator[Path]:
    """The files that settings and mapping name, and those that URLs in them, or in files they name, lead to."""
    plain = [settings.mapping, settings.card_authority, settings.roll]
    plain += [settings.directory.secret] if settings.directory else []
    plain += [settings.ldap.ca] if settings.ldap else []
    urls = [settings.database, settings.source]
    if settings.mapping and Path(settings.mapping).is_file():
        declared = mapping.read(Path(settings.mapping))
        sources = [m.source for m in declared.items.values()] + ([declared.people.source] if declared.people else [])
        plain += sources + [m.rest.token for m in declared.items.values() if m.rest]
        urls += [Path(s).read_text("utf-8").strip() for s in sources if s and Path(s).is_file()]
    yield from (Path(p) for p in plain if p)
    for url in filter(None, urls):
        try:
            made = make_url(url)
        except (ArgumentError, ValueError):
            continue  # it leads nowhere, and whoever opens it says so
        if made.get_backend_name() == "sqlite" and made.database:
            yield Path(made.database.removeprefix("file:"))


def _not_apart(home: Path) -> SetupError:
    return SetupError(
        f"The settings of {home.name}, or links in it, lead into another body's home.",
        ja=f"{home.name} の設定またはリンクが、他の機関のフォルダーを指しています。",
        code="not-apart",
        remedy="Name a place in its own home, or outside of all of them; put files there instead of links.",
        remedy_ja="自分のフォルダーの中か、どの機関のフォルダーでもない場所を指定し、リンクではなくファイルを置いてください。",
    )


async def host(folder: Path) -> None:
    """Run every home in ``folder`` until a signal says stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Host(folder).run(stop)


def move(home: Path, to: Path, report: Callable[[str], None] = lambda _: None) -> None:
    """Move a body out of its host (or from wherever it is) into a folder of its own; it is down for the time of the copy.

    The old folder stays under another name, so that nothing is lost if the copy is not what was wanted; it holds private keys and is to be
    removed. ``SetupError`` if the place is taken, or the host does not let go.
    """
    if to.exists() and any(to.iterdir()):
        raise SetupError(
            f"{to} is not empty.",
            ja=f"{to} は空ではありません。",
            code="not-empty",
            remedy="Name a new folder.",
            remedy_ja="新しいフォルダーを指定してください。",
        )
    settings = Home(home).settings()
    (home / LEAVE).touch()
    report("waiting until it is let go")
    try:
        held = _let_go_of(home)
    except SetupError:
        (home / LEAVE).unlink(missing_ok=True)
        raise
    try:
        report("copying")
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(home, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LEAVE, ".lock", "*.lock"))
        old, new = str(home.resolve()), str(to.resolve())
        moved = {
            n: re.sub(rf"{re.escape(old)}(?=/|$)", lambda _: new, v)
            for n in ("database", "mapping", "source", "card_authority")
            if (v := getattr(settings, n))
        }
        Home(to).write_toml("settings.toml", msgspec.structs.replace(settings, **moved))
        os.sync()  # all of it is there before the old one is gone
        home.rename(home.with_name(home.name + MOVED))
    except BaseException:
        shutil.rmtree(to, ignore_errors=True)  # no second copy of its keys
        (home / LEAVE).unlink(missing_ok=True)  # it stays where it is, and works on
        raise
    finally:
        held.close()


def _let_go_of(home: Path) -> IO[bytes]:
    """The home's lock, once nobody holds it."""
    deadline = time.monotonic() + LEAVE_WITHIN
    while True:
        try:
            return Home(home).occupy()
        except SetupError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
