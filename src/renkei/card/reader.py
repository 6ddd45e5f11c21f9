"""Whatever lies in a PC/SC reader of this machine, spoken to by ``client.CardClient``: a real card as well as an emulated one.

Needs ``pyscard`` (``make card``), which is not among what every installation needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from renkei.card.client import CardClient
from renkei.errors import NotFound, SetupError, Unavailable


def readers() -> list[str]:
    """The names of the readers that are connected."""
    system, failures = _pcsc()
    try:
        return [str(r) for r in system.readers()]
    except failures as error:
        raise Unavailable(
            "The smart card service does not answer.",
            ja="スマートカードサービスが応答しません。",
            remedy="Start pcscd, or for an emulated card `renkei card emulate`.",
            remedy_ja="pcscd を起動するか、`renkei card emulate` を使ってください。",
            code="pcsc",
        ) from error


@contextlib.contextmanager
def inserted(name: str = "") -> Iterator[CardClient]:
    """The card in the reader whose name has ``name`` in it (the first with a card), for us alone while the block lasts."""
    system, failures = _pcsc()
    from smartcard.scard import SCARD_SHARE_EXCLUSIVE, SCARD_UNPOWER_CARD

    readers()
    for reader in system.readers():
        if name not in str(reader):
            continue
        try:
            connection = reader.createConnection()
            connection.connect(mode=SCARD_SHARE_EXCLUSIVE, disposition=SCARD_UNPOWER_CARD)
        except failures:
            continue

        def transmit(apdu: bytes, connection: object = connection) -> bytes:
            try:
                data, sw1, sw2 = connection.transmit(list(apdu))  # type: ignore[attr-defined]  # pyscard has no types
            except failures as error:
                raise Unavailable("The card was pulled out.", ja="カードが抜かれました。", code="card-gone") from error
            return bytes(data) + bytes((sw1, sw2))

        try:
            yield CardClient(transmit)
        finally:
            with contextlib.suppress(*failures):
                connection.disconnect()
                connection.release()  # now: at the end of the program the service may be gone, and its destructor would say so
        return
    raise NotFound(
        "There is no card in the reader, or another program has it.",
        ja="リーダーにカードがないか、ほかのプログラムが使用中です。",
        remedy="Put the card onto the reader.",
        remedy_ja="カードをリーダーに置いてください。",
        code="no-card",
    )


def _pcsc() -> tuple[Any, tuple[type[Exception], ...]]:
    """pyscard's view of the readers, and what it fails with."""
    try:
        from smartcard import Exceptions, System
        from smartcard.pcsc import PCSCExceptions
    except ImportError:
        raise SetupError(
            "pyscard is missing.",
            ja="pyscard がありません。",
            remedy="Run `make card`.",
            remedy_ja="`make card` を実行してください。",
            code="pyscard",
        ) from None
    return System, (Exceptions.SmartcardException, PCSCExceptions.BaseSCardException)
