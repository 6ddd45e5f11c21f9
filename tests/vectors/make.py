"""Published test vectors (docs/protocol.md §7): fixed secrets in, bytes out, for other implementers. ``make vectors`` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from renkei.codes import Ciphertext, Converter, Domain, combine_shares, decrypt, group, mint, rotate_code
from renkei.ledger.merkle import Tree, commitment, leaf_hash
from renkei.ledger.notes import COSIGNATURE, NOTE, Checkpoint, Proof, Signer
from renkei.messages.signing import Identity, pad
from renkei.messages.wire import DomainRef, Inquiry, context_hash

PATH = Path(__file__).parent / "vectors.json"


def scalar(n: int) -> bytes:
    return n.to_bytes(32, "little")


def make() -> dict[str, Any]:
    """All vectors; bytes in hexadecimal."""
    hub, commission = Converter(bytes(range(64))), Converter(bytes(range(64, 128)))
    authority, city, pension = Domain("numbering-authority"), Domain("ohashi-city"), Domain("pension-service")
    both = (hub, commission)
    code = mint(b"\x01" * 32, b"\x02" * 16)

    def key(domain: Domain) -> bytes:
        return combine_shares(*(c.key_share(domain) for c in both))

    def encrypt_with(b: bytes, of: bytes, domain: Domain) -> Ciphertext:
        return Ciphertext(
            group.multiply_base(b), group.add(of, group.multiply_base(group.scalar_multiply(b, key(domain))))
        )

    issued = encrypt_with(scalar(12345), code, authority)
    at_city = decrypt(commission.convert(authority, city, hub.convert(authority, city, issued)), key(city))
    asked = encrypt_with(scalar(67890), at_city, city)
    half = hub.convert(city, pension, asked)
    whole = commission.convert(city, pension, half)
    return {
        "hash_to_scalar": {
            "purpose": "test",
            "fields": ["61", "6262"],
            "scalar": group.hash_to_scalar("test", b"a", b"bb").hex(),
        },
        "hash_to_element": {"purpose": "test", "fields": ["61"], "element": group.hash_to_element("test", b"a").hex()},
        "masters": {"hub": bytes(range(64)).hex(), "commission": bytes(range(64, 128)).hex()},
        "directory": {
            f"{name}/{d.body}/{d.code_epoch}/{d.key_epoch}": {
                k: v.hex() for k, v in c.public_share(d)._asdict().items()
            }
            for name, c in (("hub", hub), ("commission", commission))
            for d in (authority, city, pension)
        },
        "mint": {"prf_key": "01" * 32, "internal_id": "02" * 16, "code": code.hex()},
        "conversion": {
            "source": "ohashi-city",
            "target": "pension-service",
            "source_code": at_city.hex(),
            "b": scalar(67890).hex(),
            "ciphertext": asked.to_bytes().hex(),
            "half": half.to_bytes().hex(),
            "converted": whole.to_bytes().hex(),
            "target_code": decrypt(whole, key(pension)).hex(),
        },
        "rotation": {
            "new": "ohashi-city/2/1",
            "code": rotate_code(at_city, *(c.rotation(city, city._replace(code_epoch=2)) for c in both)).hex(),
        },
        "envelope": _envelope(asked),
        "padding": {"data": "616263", "padded_starts": pad(b"abc")[:12].hex(), "size": len(pad(b"abc"))},
        "permit": _permit(),
    }


def _envelope(asked: Ciphertext) -> dict[str, Any]:
    identity = Identity("ohashi-city", b"\x03" * 32)
    inquiry = Inquiry(
        source=DomainRef("ohashi-city", 1, 1),
        provider="pension-service",
        affair="child-allowance",
        item="pension-benefits",
        purpose="assess-amount",
        ciphertext=asked.to_bytes(),
        reply_key=b"\x04" * 32,
        context=context_hash(b"\x05" * 16, "clerk", "case", "text"),
        issued_at=1_795_450_000_000,
        expires=1_796_054_800_000,
    )
    envelope = identity.sign(inquiry)
    return {
        "identity_seed": "03" * 32,
        "public": identity.public.hex(),
        "payload": envelope.payload.hex(),
        "signature": envelope.signature.hex(),
        "id": envelope.id.hex(),
        "context": inquiry.context.hex(),
    }


def _permit() -> dict[str, Any]:
    hub = Signer("renkei.example/vectors", NOTE, b"\x06" * 32)
    commission = Signer("renkei.example/vectors/commission", COSIGNATURE, b"\x07" * 32)
    salt, entry = b"\x08" * 16, b"an entry"
    tree = Tree(lambda *_: b"")
    tree.append(
        [leaf_hash(b"0"), leaf_hash(b"1"), leaf_hash(commitment(salt, entry)), leaf_hash(b"3"), leaf_hash(b"4")]
    )
    text = Checkpoint("renkei.example/vectors", tree.size, tree.root()).to_text()
    note = f"{text}\n{hub.sign(text)}{commission.sign(text, time=1_795_450_000)}"
    return {
        "keys": [hub.verifier.to_text(), commission.verifier.to_text()],
        "salt": salt.hex(),
        "entry": entry.hex(),
        "commitment": commitment(salt, entry).hex(),
        "file": Proof(2, tuple(tree.inclusion(2)), note, salt + entry).to_text(),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(make(), indent=1) + "\n", "utf-8")
    print(PATH)
