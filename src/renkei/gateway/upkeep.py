"""Keeping the body's own data fresh: files that are dropped, copies that grow old, persons who are new.

::

    drop/           put files here; under another name (or ``.part`` at its end) while they are being written
    drop/loaded/    what was loaded, for a week
    drop/refused/   what was not, for three months, each with a report of every row; nothing of it was used
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import fnmatch
import itertools
import os
import time
from pathlib import Path

import sqlalchemy as sa

from renkei.errors import RenkeiError
from renkei.gateway.adapter import Adapter, NotLoaded, RowFault
from renkei.gateway.adapter.reading import is_settled
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.law.tables import Title

LOOK_EVERY = 2.0
PEOPLE_EVERY = 24 * 3600.0
AGAIN_AFTER = 600.0
"""Seconds after which a source that did not answer is asked again."""
KEPT_DAYS = 7
REFUSED_DAYS = 90
HOUR = 3_600_000
TOLD = 100_000
"""Faults in a report: whoever has more has not these rows but the declaration wrong."""
NAME_MOST = 200
AWAITED_MARK = ".awaited"
AWAITED = Title(
    "直した変更ファイルを同じ名前で置くまで、後の変更ファイルは読み込まれません。",
    "Later files of changes wait until this one, mended, lies in the drop folder under the same name.",
)
LATER = ("already-running", "changed")
"""Somebody loads this item by hand; the file is still being written."""


class Upkeep:
    """What a gateway does by itself for the data it answers from."""

    def __init__(
        self,
        drop: Path,
        adapter: Adapter,
        language: str,
        member: Member,
        post: Post,
        database: Database,
        observe: Observer,
    ) -> None:
        self._drop, self._adapter, self._language = drop, adapter, language
        self._member, self._post, self._database, self._observe = member, post, database, observe
        self._seen: dict[Path, tuple[int, int]] = {}
        self._tried: dict[str, float] = {}
        self._strange: set[Path] = set()
        self._people: tuple[int, int] | None = None

    async def run(self) -> None:
        """Look again and again; what fails is logged and tried later."""
        for folder in (self._drop, self._drop / "loaded", self._drop / "refused"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            await asyncio.to_thread(self._look)
            for item, mapping in self._adapter.mapping.items.items():
                if mapping.copied and mapping.file is None and self._is_old(item, mapping.every_hours):
                    await asyncio.to_thread(self._refresh, item)
            await self._register()
            self._clear()
            await asyncio.sleep(LOOK_EVERY)

    def report(self) -> dict[str, str]:
        """For ``/health``: when each copy was made, and of how many persons it speaks (in steps: everybody may read it); strange files."""
        found, k = {}, self._adapter.pack.header.oversight.small_count
        for item, mapping in self._adapter.mapping.items.items():
            if mapping.copied:
                lineage = self._adapter.copies.lineage(item)
                found[f"copy_{item}"] = f"{lineage.loaded_at} {lineage.persons // k * k}" if lineage else "none"
            if self._awaited(item):
                found[f"awaited_{item}"] = "file of changes"
        if self._people:
            at, read = self._people
            found["people"] = f"{at} {read // k * k}"
        if self._strange:
            found["files_of_nobody"] = str(len(self._strange))
        return found

    # ------------------------------------------------------------------ files

    def _look(self) -> None:
        """Take what was dropped, the oldest first. A later file of an item waits for an earlier one: it may undo what that says.

        Also for a file of changes that was refused: mended and loaded after later ones it would bring back what they had changed.
        """
        waits = set()
        for path in sorted(self._drop.iterdir(), key=_age):
            item = self._item_of(path)
            if not item and path.is_file() and not _is_unfinished(path) and path not in self._strange:
                self._notice(path)
            if not item or item in waits or self._awaited(item) not in ("", path.name):
                continue
            tried = time.monotonic() - self._tried.get(path.name, -AGAIN_AFTER) < AGAIN_AFTER
            if not is_settled(path, self._seen) or tried or not self._take(item, path):
                waits.add(item)
        self._strange = {path for path in self._strange if path.exists()}
        self._seen = {path: was for path, was in self._seen.items() if path.exists()}

    def _item_of(self, path: Path) -> str:
        """The item a dropped file is for; nothing if it is none's. A link is nobody's: it may lead to another body's data."""
        if path.is_symlink() or not path.is_file() or _is_unfinished(path):
            return ""
        items = self._adapter.mapping.items.items()
        name = path.name.casefold()  # hosts and Windows write names in capitals
        return next((i for i, m in items if m.file and fnmatch.fnmatchcase(name, m.file.name.casefold())), "")

    def _notice(self, path: Path) -> None:
        """Say once of a file that no item declares (not its name, which may be anything): whoever put it there would wait for ever."""
        self._strange.add(path)
        declared = [m.file.name for m in self._adapter.mapping.items.values() if m.file]
        self._observe.log.warning("file.nobodys", declared=declared)

    def _take(self, item: str, path: Path) -> bool:
        """Load a file and put it away; false if that is to be tried again later."""
        try:
            return self._taken(item, path)
        except Exception as error:  # ours, not the file's: no room on the disk, say
            self._tried[path.name] = time.monotonic()
            self._observe.count("copies_refused")
            self._observe.log.error("copy.failed", item=item, reason=type(error).__name__)
            return False

    def _taken(self, item: str, path: Path) -> bool:
        faults: list[RowFault] = []
        was = path.stat()
        try:
            lineage = self._adapter.load(
                item, path, tell=lambda f: faults.append(f) if len(faults) < TOLD else None
            ).lineage
        except RenkeiError as error:
            if error.code in LATER:
                return False
            self._refuse(item, path, error, faults)
            return True
        self._observe.count("copies_loaded")
        self._observe.log.info("copy.loaded", item=item, rows=lineage.rows, persons=lineage.persons)
        now = path.stat()
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (was.st_ino, was.st_size, was.st_mtime_ns):
            return False  # another file came under the same name: that one is yet to be loaded
        with contextlib.suppress(OSError):
            os.utime(path)  # it is kept from now on, however old it is
        path.replace(self._drop / "loaded" / _named(path))
        return True

    def _refuse(self, item: str, path: Path, error: RenkeiError, faults: list[RowFault]) -> None:
        problem, place = error.problem(self._language), self._drop / "refused" / _named(path)
        with place.with_name(f"{place.name}.report.csv").open("w", encoding="utf-8-sig", newline="") as file:
            writer, lang = csv.writer(file), self._language
            writer.writerow(["row", "field", "column", "fault", "remedy"])
            writer.writerow(["", "", "", problem["detail"], problem["remedy"]])
            if self._is_of_changes(item):
                writer.writerow(["", "", "", AWAITED.text(lang), ""])
            writer.writerows([f.row, f.field, f.column, f.said.text(lang), f.remedy.text(lang)] for f in faults)
        with contextlib.suppress(OSError):
            os.utime(path)
        path.replace(place)
        if self._is_of_changes(item):
            self._mark(item).write_bytes(os.fsencode(path.name))
        wrong = error.loaded.wrong if isinstance(error, NotLoaded) else 0
        self._observe.count("copies_refused")
        self._observe.log.warning("copy.refused", item=item, reason=error.code, rows=wrong)

    def _is_of_changes(self, item: str) -> bool:
        file = self._adapter.mapping.items[item].file
        return file is not None and file.changes

    def _mark(self, item: str) -> Path:
        return self._drop / "refused" / f"{item}{AWAITED_MARK}"

    def _awaited(self, item: str) -> str:
        """Name of the refused file of changes that later ones of the item wait for; until it is loaded, here or by hand."""
        mark = self._mark(item)
        try:
            name, refused_at = os.fsdecode(mark.read_bytes()), mark.stat().st_mtime_ns // 1_000_000
        except FileNotFoundError:  # as a rule; or `/health` looked at the same moment
            return ""
        if not self._is_of_changes(item):
            return ""
        lineage = self._adapter.copies.lineage(item)
        if lineage and lineage.origin == name and lineage.loaded_at >= refused_at:
            mark.unlink(missing_ok=True)
            return ""
        return name

    def _clear(self) -> None:
        """They are full of what is somebody's."""
        for folder, days in (("loaded", KEPT_DAYS), ("refused", REFUSED_DAYS)):
            for path in (self._drop / folder).iterdir():
                if _age(path) < time.time() - days * 86_400 and not path.is_dir() and path.suffix != AWAITED_MARK:
                    path.unlink(missing_ok=True)

    # ------------------------------------------------------------------ copies of tables and web interfaces

    def _is_old(self, item: str, hours: int) -> bool:
        if time.monotonic() - self._tried.get(item, -AGAIN_AFTER) < AGAIN_AFTER:
            return False
        lineage = self._adapter.copies.lineage(item)
        return lineage is None or time.time_ns() // 1_000_000 - lineage.loaded_at > hours * HOUR

    def _refresh(self, item: str) -> None:
        self._tried[item] = time.monotonic()
        try:
            lineage = self._adapter.load(item).lineage
            self._observe.count("copies_loaded")
            self._observe.log.info("copy.loaded", item=item, rows=lineage.rows, persons=lineage.persons)
        except Exception as error:  # one source's trouble is not the others'
            self._observe.count("copies_refused")
            reason = error.code if isinstance(error, RenkeiError) else type(error).__name__
            self._observe.log.warning("copy.refused", item=item, reason=reason)

    # ------------------------------------------------------------------ persons

    async def _register(self) -> None:
        """Ask for the codes of whom the body's database knows, and we do not."""
        if self._adapter.mapping.people is None or time.monotonic() - self._tried.get("", -PEOPLE_EVERY) < PEOPLE_EVERY:
            return
        await self._member.until_ready()
        self._tried[""] = time.monotonic()
        try:
            read = itertools.count()
            people = (person for person, _ in zip(self._adapter.people(), read, strict=False))
            asked = await subjects.register(people, self._post, self._member, self._database)
            self._people = (time.time_ns() // 1_000_000, next(read))
            self._observe.log.info("people.read", count=asked)
        except (RenkeiError, sa.exc.SQLAlchemyError) as error:
            self._tried[""] = time.monotonic() - PEOPLE_EVERY + AGAIN_AFTER
            self._observe.log.warning("people.unread", reason=getattr(error, "code", "") or "database")


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix == ".part"


def _named(path: Path) -> str:
    """A name under which a file is put away: when, and its own, cut so that names with more behind them are still possible."""
    return f"{time.time_ns() // 1_000_000}-{path.name.encode()[-NAME_MOST:].decode(errors='ignore')}"


def _age(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
