"""Backup and restore of one institution: its home folder and its database in one private file.

A backup is a tar of the home folder's files and a copy of every table, taken in one read transaction while the institution works, from
either engine; it can be restored into the other. It holds private keys: keep it as they are kept. What a restored institution does not
know of what came after its backup, it gets from the others: the keepers' copies of the record, parcels not acknowledged, reminders.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import sqlalchemy as sa

from renkei.errors import SetupError
from renkei.institution import migrate
from renkei.institution.database import Database, connectable
from renkei.institution.settings import Home, Settings

Progress = Callable[[str, int, int], None]
"""Told of each table: its name, rows copied, rows in all."""
AT_ONCE = 1000
_LEFT_OUT = (".db", ".db-wal", ".db-shm", ".lock", ".part", ".jsonl")
"""Endings of what is not in a backup: databases (the institution's is there as a snapshot), locks, the log."""
_ONE_MOMENT = {"sqlite": "SERIALIZABLE", "postgresql": "REPEATABLE READ"}
"""The isolation in which one transaction sees one moment."""


class About(msgspec.Struct, frozen=True):
    """``about.toml`` of a backup: whose it is, and where its home was."""

    body: str
    home: str


def backup(home: Home, packages: tuple[str, ...], to: Path, progress: Progress = lambda *_: None) -> int:
    """Write a backup of the institution at ``home``, running or not, to the new file ``to``; the rows copied. Constant memory."""
    settings = home.settings()
    if to.exists():
        raise _setup(
            f"{to} exists.", f"{to} は既にあります。", "Name a new file.", "新しいファイル名を指定してください。"
        )
    with tempfile.TemporaryDirectory(dir=to.absolute().parent, prefix=".backup-") as name:
        folder = Path(name)
        rows = _copy(connectable(settings.database), _snapshot(folder), packages, progress)
        about = About(settings.body, str(home.folder.resolve()))
        (folder / "about.toml").write_bytes(msgspec.toml.encode(about))
        with tarfile.open(folder / "backup", "w") as tar:
            for inside in ("about.toml", "database"):
                tar.add(folder / inside, inside)
            for path in _files(home.folder):
                tar.add(path, f"home/{path.relative_to(home.folder)}")
        (folder / "backup").chmod(0o600)
        (folder / "backup").rename(to)
    return rows


def restore(
    file: Path,
    folder: Path,
    packages_of: Callable[[Settings], tuple[str, ...]],
    *,
    database: str = "",
    progress: Progress = lambda *_: None,
) -> Settings:
    """Make ``folder``, empty or new, the institution of a backup, with its database at ``database`` (by default where it was).

    ``SetupError`` if something is there already; then nothing is changed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise _setup(
            f"{folder} is not empty.",
            f"{folder} は空ではありません。",
            "Name an empty or new folder.",
            "空の、または新しいフォルダーを指定してください。",
        )
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".restore-") as name:
        inside = Path(name)
        try:
            with tarfile.open(file) as tar:
                tar.extractall(inside, filter="data")
            about = msgspec.toml.decode((inside / "about.toml").read_bytes(), type=About)
        except (tarfile.TarError, FileNotFoundError, msgspec.MsgspecError):
            raise _setup(
                f"{file} is not a backup.",
                f"{file} はバックアップではありません。",
                "Name a file that `renkei backup` wrote.",
                "`renkei backup` で作ったファイルを指定してください。",
            ) from None
        settings = Home(inside / "home").settings()
        url = database or settings.database.replace(about.home, str(folder.resolve()), 1)
        _fill(inside, url, packages_of(settings), progress)
        mapping = settings.mapping.replace(about.home, str(folder.resolve()), 1)
        settings = msgspec.structs.replace(settings, database=url, mapping=mapping)
        Home(inside / "home").write_toml("settings.toml", msgspec.to_builtins(settings))
        for path in (inside / "home").iterdir():
            shutil.move(path, folder / path.name)
    return settings


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith(_LEFT_OUT):
            yield path


def _snapshot(folder: Path) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{folder / 'database'}")


def _fill(inside: Path, url: str, packages: tuple[str, ...], progress: Progress) -> None:
    Database(url, packages=packages).close()  # makes its tables
    target = connectable(url)
    with target.connect() as connection:
        for table in migrate.metadata(packages).sorted_tables:
            if connection.execute(sa.select(table).limit(1)).first():
                raise _setup(
                    "The database to restore into is not empty.",
                    "復元先のデータベースが空ではありません。",
                    "Name an empty one with --database.",
                    "--database で空のものを指定してください。",
                )
    _copy(_snapshot(inside), target, packages, progress)


def _copy(source: sa.Engine, target: sa.Engine, packages: tuple[str, ...], progress: Progress) -> int:
    """Every row of every table as of one moment at the source; columns it does not have yet get their defaults."""
    copied = 0
    one_moment = source.connect().execution_options(isolation_level=_ONE_MOMENT[source.dialect.name])
    with one_moment as read, read.begin(), target.begin() as write:
        migrate.metadata(packages).create_all(write)
        for table in migrate.metadata(packages).sorted_tables:
            there = {c["name"] for c in sa.inspect(read).get_columns(table.name)}
            columns = [c for c in table.c if c.name in there]
            total = read.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            rows = read.execute(sa.select(*columns), execution_options={"yield_per": AT_ONCE}).mappings()
            done = 0
            for part in rows.partitions():
                write.execute(table.insert(), [dict(row) for row in part])
                done += len(part)
                progress(table.name, done, total)
            copied += done
    for engine in (source, target):
        engine.dispose()
    return copied


def _setup(sentence: str, ja: str, remedy: str, remedy_ja: str) -> SetupError:
    return SetupError(sentence, ja=ja, code="backup", remedy=remedy, remedy_ja=remedy_ja)
