"""How an institution comes to be: its home folder, and the signed request to be enrolled that the commission takes up."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from renkei.errors import NotGenuine, RenkeiError, SetupError
from renkei.institution.keeper import keep_pack, laws
from renkei.institution.keys import Keys
from renkei.institution.settings import Home, Settings
from renkei.law import Pack
from renkei.messages import signing
from renkei.messages.wire import Enrolment, Envelope, Wire, decode_as, encode
from renkei.record.state import Trust

REQUEST = "enrolment.bin"
HINTS = "hints"


class Invitation(Wire, frozen=True, tag="invitation/1"):
    """What a newcomer needs to follow the record from its first leaf. Public; what it says is checked against the keepers' keys."""

    salt: bytes
    genesis: bytes
    """Leaf 0 of the record and its salt."""
    laws: list[bytes]
    """Every version of the law that was in force, the newest last."""
    bus: str
    """Where the message bus is."""
    hints: dict[Annotated[str, Meta(pattern=r"^[a-z-]+\.csv\Z")], str] = {}
    """The country's words in names of columns, for ``renkei source propose``; they decide nothing."""

    @property
    def law(self) -> Pack:
        """The newest."""
        return Pack.load(self.laws[-1])

    @property
    def mark(self) -> str:
        """What both sides compare out of band: the record begins with this."""
        return _grouped(sha256(self.genesis).hexdigest())


def keep_hints(home: Home, pack_folder: Path) -> None:
    """Put a pack's hints into a home, in place of those there: they decide nothing, and are no part of the law's archive."""
    for path in sorted((pack_folder / HINTS).glob("*.csv")):
        (home / HINTS).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, home / HINTS / path.name)


def invite(home: Home) -> Invitation:
    """An invitation by any institution, from what it has itself."""
    trust = home.trust()
    hints = {p.name: p.read_text("utf-8") for p in sorted((home / HINTS).glob("*.csv"))}
    return Invitation(trust.salt, trust.entry, laws(home), home.settings().bus, hints)


def read_invitation(file: Path) -> Invitation:
    """``NotGenuine`` if it is none, or lacks the law its record begins with."""
    try:
        found = decode_as(file.read_bytes(), Invitation)
        genesis = Trust(found.salt, found.genesis).genesis()
        if genesis.pack not in {sha256(law).digest() for law in found.laws}:
            raise NotGenuine("The first law is missing.", code="no-pack")
    except RenkeiError as error:
        raise NotGenuine(
            "This is no invitation.",
            ja="招待ファイルではありません。",
            code="invitation",
            remedy="Use the file that `renkei body invite` of an institution of the nation wrote.",
            remedy_ja="参加している機関の `renkei body invite` が作ったファイルを使ってください。",
        ) from error
    return found


def new_home(folder: Path, settings: Settings, invitation: Invitation) -> Enrolment:
    """Make keys, settings and the request to be enrolled in an empty or new folder; what the request says.

    ``SetupError`` if the folder is somebody's, or the law does not know the body.
    """
    pack = invitation.law
    if folder.exists() and any(folder.iterdir()):
        raise SetupError(
            f"{folder} is not empty.",
            ja=f"{folder} は空ではありません。",
            code="not-empty",
            remedy="Name a new folder.",
            remedy_ja="新しいフォルダーを指定してください。",
        )
    known = pack.bodies.get(settings.body)
    if known is None or known.role != settings.role:
        raise SetupError(
            f"The pack has no {settings.role} {settings.body!r}.",
            ja=f"パックに {settings.role} の機関 {settings.body} がありません。",
            code="no-body",
            remedy="Add its line to bodies.csv, publish the pack at both keepers, and get a new invitation some seconds later.",
            remedy_ja="bodies.csv に行を加え、ハブと委員会で公布し、数秒後に招待をもらい直してください。",
        )
    home = Home(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.put_trust(Trust(invitation.salt, invitation.genesis))
    for law in invitation.laws:
        keep_pack(home, Pack.load(law))
    for name, text in invitation.hints.items():
        (home / HINTS).mkdir(exist_ok=True)
        (home / HINTS / name).write_text(text, "utf-8")
    Keys.create(home, keeper=False)
    home.write_toml("settings.toml", settings)
    envelope = Keys.load(home, settings.body).enrolment(settings)
    (home / REQUEST).write_bytes(encode(envelope))
    return decode_as(envelope.payload, Enrolment)


def read_request(file: Path) -> tuple[Envelope, Enrolment]:
    """A request to be enrolled, signed by the key it brings; ``NotGenuine`` otherwise."""
    try:
        envelope = decode_as(file.read_bytes(), Envelope)
        enrolment = decode_as(envelope.payload, Enrolment)
        signing.verify(envelope, enrolment.identity)
    except RenkeiError as error:
        raise NotGenuine(
            "This is no request to be enrolled.",
            ja="登録の申請ファイルではありません。",
            code="enrolment",
            remedy="Use the enrolment.bin that `renkei body new` wrote.",
            remedy_ja="`renkei body new` が作った enrolment.bin を使ってください。",
        ) from error
    return envelope, enrolment


def fingerprint(enrolment: Enrolment) -> str:
    """What two operators read to each other, so that nobody else's keys are enrolled: 20 letters and digits in groups of four."""
    return _grouped(sha256(b"renkei/v1/enrolment" + encode(enrolment)).hexdigest())


def _grouped(digest: str) -> str:
    return " ".join(digest[n : n + 4] for n in range(0, 20, 4))
