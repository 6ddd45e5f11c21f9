"""``renkei certification``: the key ceremony, the authorities' answers, and the cards they make."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from renkei.cli.shell import DEFAULT_PACK, Json, PackFolder, err, out, read, setup, show, t
from renkei.errors import Malformed
from renkei.numbers import FORMATS

if TYPE_CHECKING:
    from renkei.certification.service import Certification

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="The certification authorities of public personal authentication.")
HomeFolder = Annotated[Path, typer.Argument(help="Home folder of the authorities.")]
Reason = Annotated[str, typer.Argument(help="moved, renamed, died, left, lost, reissued or returned.")]
Serial = Annotated[str, typer.Argument(help="The certificate's serial number, hexadecimal.")]


@app.command("ceremony")
def ceremony(
    home: HomeFolder,
    title: Annotated[str, typer.Option(help="Who the authorities are, as it stands in certificates.")],
    present: Annotated[list[str], typer.Option(help="A witness; two at least.")],
    base: Annotated[str, typer.Option(help="Where answers will be found.")] = "http://127.0.0.1:8490",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port it listens on.")] = 8490,
    pack: PackFolder = DEFAULT_PACK,
    module: Annotated[str, typer.Option(help="PKCS#11 module; SoftHSM2 if empty.")] = "",
    token: Annotated[str, typer.Option(help="The token's label.")] = "renkei-ca",  # noqa: S107 - its name
    pin: Annotated[str, typer.Option(help="File with the token's PIN; needed with --module.")] = "",
    json: Json = False,
) -> None:
    """Make both authorities' keys in the token, before witnesses; prints the transcript, and keeps it."""
    from renkei.certification.service import Settings, hold_ceremony

    if bool(module) != bool(pin):
        raise typer.BadParameter(t("--module and --pin go together.", "--module と --pin は両方指定してください。"))
    if not pack.is_dir():
        raise setup(f"There is no pack {pack}.", f"パック {pack} がありません。")
    home.mkdir(parents=True, exist_ok=True)
    given = {"module": module} if module else {}
    settings = Settings(title=title, base=base, port=port, pack=str(pack.absolute()), token=token, **given)
    secret = read(Path(pin)).strip() if pin else ""
    digest = hold_ceremony(home, settings, present, (lambda _: None) if json else out.print, pin=secret)
    told = {"home": str(home), "transcript": digest.hex()}
    show(told) if json else out.print(
        t(f"SHA-256 of this transcript: {digest.hex()}", f"記録の SHA-256: {digest.hex()}")
    )


@app.command("run")
def run(home: HomeFolder) -> None:
    """Answer OCSP and hand out revocation lists until told to stop."""
    import uvloop

    from renkei.certification.service import run as run_service

    uvloop.run(run_service(home))


@app.command("produce")
def produce(
    home: HomeFolder,
    card: Annotated[Path, typer.Argument(help="File for the emulated card.")],
    name: Annotated[str, typer.Option()],
    address: Annotated[str, typer.Option()],
    birth: Annotated[str, typer.Option(help="YYYY-MM-DD.")],
    sex: Annotated[str, typer.Option(help="1 male, 2 female, 9 not applicable.")],
    number: Annotated[Path, typer.Option(help="File with the individual number: it is shown to nobody.")],
    json: Json = False,
) -> None:
    """Make a card without PINs: keys on it, both certificates, what is printed. PINs are set by hand-over."""
    from renkei.card.layout import Attributes

    if card.exists():
        raise setup(f"{card} is there already.", f"{card} は既にあります。", remedy="Name a new file.")
    born = _day(birth)
    if sex not in ("1", "2", "9"):
        raise Malformed("The sex is 1, 2 or 9.", ja="性別は1・2・9のいずれかです。", code="sex")
    with _open(home) as here:
        digits = FORMATS[here.pack.header.person_number].parse(read(number).strip())
        printed = Attributes(name, address, birth.replace("-", ""), sex)
        with err.status(t("making the card", "カードを作成中")):
            made = asyncio.run(here.produce(card, born, printed, digits))
    told = {"card": made.card, "file": str(card), "last": made.card_last.isoformat()}
    show(told) if json else out.print(
        t(f"{made.card}, good until {made.card_last}", f"{made.card}（{made.card_last} まで有効）")
    )


@app.command("hand-over")
def hand_over(
    home: HomeFolder,
    card: Annotated[Path, typer.Argument(help="The emulated card's file.")],
    pins: Annotated[Path, typer.Option(help="File with three lines: the PINs for authentication, signature, printed.")],
) -> None:
    """Set the PINs that the holder has chosen; also anew, if one was locked."""
    from renkei.card.client import CardClient
    from renkei.card.virtual import CardFile
    from renkei.certification.production import Pins

    lines = read(pins).split()
    if len(lines) != len(Pins._fields):
        raise Malformed(
            "The file has three PINs, one a line.", ja="暗証番号を1行に1つ、3行で書いてください。", code="pins"
        )
    with _open(home) as here:
        here.producer.hand_over(CardClient(CardFile(card).chip().transmit), Pins(*lines))
    out.print(t("Handed over.", "交付しました。"))


@app.command("certify")
def certify(
    home: HomeFolder,
    request: Annotated[
        Path, typer.Argument(help="A certification request (PKCS#10, PEM), signed with the body's own key.")
    ],
    title: Annotated[str, typer.Option(help="The body, as it is to stand in the certificate.")],
    to: Annotated[Path, typer.Option(help="File for the certificate (PEM).")],
) -> None:
    """Certify the key of a public body's seal on documents. Who asks was checked by you: the name in the request is not used."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        asked = x509.load_pem_x509_csr(request.read_bytes())
        public = asked.public_key()
        if not asked.is_signature_valid or not isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise ValueError
    except ValueError:
        raise Malformed(
            "This is no certification request of ours.", ja="証明書の発行要求ではありません。", code="request"
        ) from None
    made = _act(home, lambda here: here.office.issue_official(title, public))
    to.write_bytes(made.public_bytes(Encoding.PEM))
    out.print(t(f"{made.serial_number:x}, good until {made.not_valid_after_utc:%Y-%m-%d}", f"{made.serial_number:x}"))


@app.command("revoke")
def revoke(
    home: HomeFolder,
    serial: Serial,
    reason: Reason,
) -> None:
    """Revoke a certificate for good."""
    _act(home, lambda here: here.office.revoke(serial, reason))
    out.print(t("Revoked.", "失効しました。"))


@app.command("suspend")
def suspend(home: HomeFolder, serial: Serial) -> None:
    """Suspend a certificate: its holder says that the card is lost."""
    _act(home, lambda here: here.office.suspend(serial))
    out.print(t("Suspended.", "一時停止しました。"))


@app.command("release")
def release(home: HomeFolder, serial: Serial) -> None:
    """End a suspension: the card was found."""
    _act(home, lambda here: here.office.release(serial))
    out.print(t("Good again.", "一時停止を解除しました。"))


def _act(home: Path, what: Callable[[Certification], Awaitable[T]]) -> T:
    async def done(here: Certification) -> T:
        return await what(here)

    with _open(home) as here:
        return asyncio.run(done(here))


@contextmanager
def _open(home: Path) -> Iterator[Certification]:
    from renkei.certification.service import Certification

    os.umask(0o077)
    here = Certification(home)
    try:
        yield here
    finally:
        here.close()


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise Malformed("Write the day as YYYY-MM-DD.", ja="日付は YYYY-MM-DD で書いてください。", code="day") from None
