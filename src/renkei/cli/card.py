"""``renkei card``: read the card in the reader, sign with it, change its PINs; and put an emulated one into a reader of its own."""

from __future__ import annotations

import contextlib
import getpass
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from renkei.card import client as cards
from renkei.card import layout
from renkei.card.client import CardClient
from renkei.cli.shell import Json, out, setup, show, t
from renkei.errors import Malformed, NotGenuine

app = typer.Typer(no_args_is_help=True, help="The Individual Number Card in this machine's reader.")
ReaderName = Annotated[str, typer.Option("--reader", help="Part of the reader's name; the first with a card if empty.")]
Purpose = Annotated[str, typer.Option("--with", help="Which certificate: authentication or signature.")]
PinFrom = Annotated[
    str, typer.Option(help="File to read the PIN from, - for standard input; asked for at the terminal if empty.")
]
PINS = {
    "authentication": (layout.AUTHENTICATION_AID, layout.AUTHENTICATION_PIN),
    "signature": (layout.AUTHENTICATION_AID, layout.SIGNATURE_PIN),
    "printed": (layout.HELPER_AID, layout.HELPER_PIN),
}
"""The three PINs by what they open; ``printed`` is what stands on the card's faces."""


@app.command("readers")
def readers(json: Json = False) -> None:
    """The readers that are connected."""
    from renkei.card import reader

    found = reader.readers()
    if json:
        show({"readers": found})
        return
    for name in found:
        out.print(name)
    if not found:
        out.print(t("No reader is connected.", "リーダーが接続されていません。"))


@app.command("show")
def status(reader: ReaderName = "", json: Json = False) -> None:
    """What can be read without a PIN: the card's number, the authentication certificate, how many tries each PIN has left."""
    from cryptography import x509

    with _card(reader) as card:
        tries = {name: card.tries(*pin) for name, pin in PINS.items()}
        serial = card.serial()
        certificate = x509.load_der_x509_certificate(card.certificate(cards.AUTHENTICATION))
    told = {
        "card": serial,
        "certificate": f"{certificate.serial_number:x}",
        "issuer": certificate.issuer.rfc4514_string(),
        "last": certificate.not_valid_after_utc.isoformat(),
        "tries": tries,
    }
    if json:
        show(told)
        return
    table = Table(box=None, show_header=False)
    table.add_row(t("card", "カード"), serial)
    table.add_row(t("certificate", "利用者証明用電子証明書"), str(told["certificate"]))
    table.add_row(t("issuer", "発行者"), str(told["issuer"]))
    table.add_row(t("good until", "有効期限"), str(told["last"]))
    for name, left in tries.items():
        shown = str(left) if left else t("locked: have it set anew at a counter", "使用停止（窓口で再設定）")
        table.add_row(t(f"tries left, {name}", f"残り回数（{name}）"), shown)
    out.print(table)


@app.command("printed")
def printed(
    number: Annotated[bool, typer.Option(help="The number too, where the law lets you ask for it.")] = False,
    pin: PinFrom = "",
    reader: ReaderName = "",
    json: Json = False,
) -> None:
    """What is printed on the card: the four attributes, and with --number the number."""
    given = _pin(pin, "printed")
    with _card(reader) as card:
        told: dict[str, str] = {**card.attributes(given)._asdict()}
        if number:
            told["number"] = card.number(given)
    if json:
        show(told)
        return
    table = Table(box=None, show_header=False)
    for key, value in told.items():
        table.add_row(key, value)
    out.print(table)


@app.command("certificate")
def certificate(to: Path, purpose: Purpose = "authentication", pin: PinFrom = "", reader: ReaderName = "") -> None:
    """Write a certificate (PEM). That for signatures needs its PIN, for it says who you are."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    wanted = _purpose(purpose)
    given = _pin(pin, purpose) if wanted is cards.SIGNATURE else ""
    with _card(reader) as card:
        found = x509.load_der_x509_certificate(card.certificate(wanted, given))
    to.write_bytes(found.public_bytes(Encoding.PEM))
    out.print(str(to), soft_wrap=True)


@app.command("sign")
def sign(
    file: Path,
    to: Annotated[Path, typer.Option(help="File for the signature: RSASSA-PKCS1-v1_5 with SHA-256, 256 bytes.")],
    purpose: Purpose = "signature",
    pin: PinFrom = "",
    reader: ReaderName = "",
    json: Json = False,
) -> None:
    """Sign a file with the card's key."""
    wanted, data = _purpose(purpose), file.read_bytes()
    given = _pin(pin, purpose)
    with _card(reader) as card:
        made = card.sign(wanted, given, data)
    to.write_bytes(made)
    show({"file": str(file), "signature": str(to)}) if json else out.print(str(to), soft_wrap=True)


@app.command("verify")
def verify(
    file: Path,
    signature: Annotated[Path, typer.Option(help="The signature.")],
    certificate: Annotated[Path, typer.Option(help="The signer's certificate (PEM).")],
    ca: Annotated[Path, typer.Option(help="The authority's certificate (PEM).")],
    json: Json = False,
) -> None:
    """Verify a signature and that the authority issued the certificate. Whether it was revoked, only the authority can say."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    try:
        found, issuer = (x509.load_pem_x509_certificate(p.read_bytes()) for p in (certificate, ca))
    except ValueError:
        raise Malformed("This is no certificate.", ja="電子証明書ではありません。", code="certificate") from None
    public = found.public_key()
    try:
        found.verify_directly_issued_by(issuer)
        if not isinstance(public, rsa.RSAPublicKey):
            raise InvalidSignature
        public.verify(signature.read_bytes(), file.read_bytes(), padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError, TypeError):
        raise NotGenuine(
            "The signature is not genuine.",
            ja="署名は真正ではありません。",
            code="signature-wrong",
            remedy="Ask for the file and its signature again.",
            remedy_ja="ファイルと署名を取り直してください。",
        ) from None
    told = {"genuine": True, "certificate": f"{found.serial_number:x}", "issuer": found.issuer.rfc4514_string()}
    show(told) if json else out.print(t("Genuine.", "真正です。"), style="bold")


@app.command("pin")
def change_pin(
    which: Annotated[str, typer.Argument(help="authentication, signature or printed.")] = "authentication",
    pin: PinFrom = "",
    new: Annotated[str, typer.Option(help="The same for the new PIN.")] = "",
    reader: ReaderName = "",
) -> None:
    """Change a PIN. A locked one is set anew at a municipal counter."""
    if which not in PINS:
        raise typer.BadParameter(
            t("authentication, signature or printed", "authentication, signature, printed のいずれか")
        )
    old = _pin(pin, which)
    wanted = _pin(new, which, again=not new)
    with _card(reader) as card:
        card.change_pin(*PINS[which], old, wanted)
    out.print(t("Changed.", "変更しました。"))


@app.command("emulate")
def emulate(
    card: Annotated[Path, typer.Argument(help="A card's file.")],
    folder: Annotated[Path, typer.Option("--room", help="Folder for the reader's socket and log.")] = Path(
        "var/reader"
    ),
) -> None:
    """Put an emulated card into a reader of its own until Ctrl-C. Any program of this machine can use it meanwhile."""
    from renkei.card import virtual

    if not card.is_file():
        raise setup(f"{card} is not a file.", f"{card} はファイルではありません。")
    virtual.CardFile(card).load()
    with virtual.room(folder.absolute(), card.absolute()) as socket:
        out.print(t("The card is in the reader. In other terminals:", "カードはリーダーにあります。ほかの端末では:"))
        out.print(f"export PCSCLITE_CSOCK_NAME={socket}", soft_wrap=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    out.print(t("The card was pulled out.", "カードを抜きました。"))


@app.command("serve")
def serve(
    site: Annotated[
        list[str] | None, typer.Option(help="A page that may ask, as https://host; any over HTTPS if none is named.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Where pages find it.")] = 8491,
    card: Annotated[
        Path | None, typer.Option(help="The file of an emulated card, in place of a card in a reader.")
    ] = None,
    reader: ReaderName = "",
) -> None:
    """Answer web pages that ask for the card, on this machine alone, until Ctrl-C. Every time you are shown who asks, and confirm."""
    import asyncio

    from renkei.cli.shell import language
    from renkei.institution.bus import demand_free
    from renkei.institution.tasks import end, told_to_stop
    from renkei.reader.service import ReaderProgram

    demand_free([port])
    program = ReaderProgram(opener(card, reader), port=port, sites=site or (), lang=language())

    async def until_stopped() -> None:
        stop = told_to_stop()
        serving = asyncio.create_task(program.serve())
        await stop.wait()
        await end([serving])

    out.print(
        t("Pages may ask for your card at", "ページからのカードの要求を待っています:"), f"http://127.0.0.1:{port}"
    )
    asyncio.run(until_stopped())


def _purpose(name: str) -> cards.Purpose:
    if name not in cards.PURPOSES:
        raise typer.BadParameter(t("authentication or signature", "authentication または signature"))
    return cards.PURPOSES[name]


def _pin(source: str, which: str, *, again: bool = False) -> str:
    """A PIN from a file or the terminal: never from the command line, which others of this machine can see."""
    if source == "-":
        return sys.stdin.readline().strip()
    if source:
        return Path(source).read_text("utf-8").strip()
    title = t(f"PIN ({which}): ", f"暗証番号（{which}）: ")
    given = getpass.getpass(t("New ", "新しい") + title if again else title)
    if again and getpass.getpass(t("Again: ", "もう一度: ")) != given:
        raise Malformed("The two are not the same.", ja="2回の入力が一致しません。", code="pin-form")
    return given


@contextlib.contextmanager
def _card(name: str) -> Iterator[CardClient]:
    from renkei.card import reader

    with reader.inserted(name) as card:
        yield card


def opener(card: Path | None, name: str) -> Callable[[], AbstractContextManager[CardClient]]:
    """How a program gets at the card: an emulated one's file, or the one in a reader."""
    from renkei.card import virtual

    if card is None:
        return lambda: _card(name)
    if not card.is_file():
        raise setup(f"{card} is not a file.", f"{card} はファイルではありません。")
    virtual.CardFile(card).load()

    @contextlib.contextmanager
    def emulated() -> Iterator[CardClient]:
        yield CardClient(virtual.CardFile(card).chip().transmit)

    return emulated
