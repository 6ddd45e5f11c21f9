"""The permit: a leaf with its proof. Anyone with the two public keys can verify it, offline.

As a file it is a ``c2sp.org/tlog-proof@v1`` whose ``extra`` line carries salt and entry, so that any tool that reads such proofs
can check it too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from renkei.codes import Ciphertext, Domain
from renkei.errors import Malformed, NotGenuine, Refused
from renkei.ledger.merkle import commitment, leaf_hash
from renkei.ledger.notes import COSIGNATURE, NOTE, Checkpoint, Proof, Verifier, cosigners, verify_note
from renkei.messages import signing
from renkei.messages.wire import Changed, Inquiry, Letter, Permit
from renkei.record.entries import Entry, PersonalLeaf, decode_entry, envelope_of, said
from renkei.record.rounds import demand_proofs
from renkei.record.state import CONVERTERS, State, domain_of

SALT_SIZE = 16


Witnessed = Callable[[], tuple[int, Sequence[Verifier]]]


def unwitnessed() -> tuple[int, Sequence[Verifier]]:
    """The two keepers suffice."""
    return 0, ()


def demand_witnesses(note: str, need: int, witnesses: Sequence[Verifier]) -> None:
    """``NotGenuine`` unless ``need`` of the witnesses have cosigned."""
    if need and len(cosigners(note, witnesses)) < need:
        raise NotGenuine("Too few witnesses have cosigned the checkpoint.", code="witnesses")


class Notary:
    """Verifies checkpoint notes against the log's two keys, remembering recent good ones: signatures are per round.

    ``witnessed`` answers of how many witnesses a cosignature is needed besides, and their keys.
    """

    def __init__(self, verifiers: Sequence[Verifier], *, witnessed: Witnessed = unwitnessed, memory: int = 256) -> None:
        if sorted(v.kind for v in verifiers) != [NOTE, COSIGNATURE]:
            raise Malformed("Verifying takes one log key and one cosignature key.", code="bad-vkey")
        self._verifiers = tuple(verifiers)
        self.origin = next(v.name for v in verifiers if v.kind == NOTE)
        self._good: OrderedDict[str, str] = OrderedDict()
        self._memory, self._witnessed = memory, witnessed

    def text(self, note: str) -> str:
        """The checkpoint text of ``note`` once both signatures are good; ``NotGenuine`` otherwise."""
        text = self._good.get(note)
        if text is None:
            text = verify_note(note, self._verifiers)
            demand_witnesses(note, *self._witnessed())
            self._good[note] = text
            if len(self._good) > self._memory:
                self._good.popitem(last=False)
        return text

    def checkpoint(self, note: str) -> Checkpoint:
        """The checkpoint in ``note``, of this log and signed by both."""
        checkpoint = Checkpoint.from_text(self.text(note))
        if checkpoint.origin != self.origin:
            raise NotGenuine("The checkpoint is of another log.", code="other-log")
        return checkpoint

    def open(self, permit: Permit) -> Entry:
        """The entry of ``permit``, proven to be in the log."""
        if len(permit.salt) != SALT_SIZE:
            raise Malformed("A leaf's salt is 16 bytes.", code="bad-proof")
        proof = Proof(permit.index, tuple(permit.path), permit.checkpoint)
        proof.verify(leaf_hash(commitment(permit.salt, permit.entry)), self.origin, self.text)
        return decode_entry(permit.entry)


class Authorised(NamedTuple):
    """A permit that this provider may act on."""

    id: bytes
    requester: str
    inquiry: Inquiry
    row: str
    target: Domain
    ciphertext: Ciphertext


def authorise(permit: Permit, notary: Notary, state: State, own: str, now: int, *, prove: bool = False) -> Authorised:
    """What a provider checks, alone, before it looks anything up.

    The leaf is in the log under both signatures; it allows; it is for this provider; the requester really signed it; it has not
    expired; proofs of its conversions are right, if it has or (``prove``) must have any. ``Refused``/``NotGenuine`` otherwise.
    """
    leaf = notary.open(permit)
    target, ciphertext = _allowed(leaf, state, own, prove)
    assert isinstance(leaf, PersonalLeaf)
    envelope, inquiry = envelope_of(leaf), said(leaf)
    if not isinstance(inquiry, Inquiry):
        raise Refused("The leaf does not allow a disclosure.", code="not-allowed")
    if inquiry.provider != own:
        raise Refused("The permit is for another provider.", code="other-provider")
    if now >= inquiry.expires:
        raise Refused("The permit has expired.", code="expired")
    return Authorised(envelope.id, envelope.sender, inquiry, leaf.ruling.row, target, ciphertext)


class Notified(NamedTuple):
    """A change notice that is in the record, for this subscriber; ``time`` is its round's (ms)."""

    id: bytes
    provider: str
    changed: Changed
    time: int
    target: Domain
    ciphertext: Ciphertext


def authorise_change(permit: Permit, notary: Notary, state: State, own: str, *, prove: bool = False) -> Notified:
    """What a subscriber checks, alone, before it believes that something changed: as ``authorise``."""
    leaf = notary.open(permit)
    target, ciphertext = _allowed(leaf, state, own, prove)
    assert isinstance(leaf, PersonalLeaf)
    envelope, changed = envelope_of(leaf), said(leaf)
    if not isinstance(changed, Changed) or changed.requester != own:
        raise Refused("The leaf tells this body of no change.", code="not-allowed")
    return Notified(envelope.id, envelope.sender, changed, leaf.time, target, ciphertext)


class Delivered(NamedTuple):
    """A letter that is in the record, for this receiver; ``time`` is its round's (ms), when it counts as delivered."""

    id: bytes
    sender: str
    letter: Letter
    time: int
    target: Domain
    ciphertext: Ciphertext


def authorise_letter(permit: Permit, notary: Notary, state: State, own: str, *, prove: bool = False) -> Delivered:
    """What a receiver checks, alone, before it believes that a letter was sent: as ``authorise``."""
    leaf = notary.open(permit)
    target, ciphertext = _allowed(leaf, state, own, prove)
    assert isinstance(leaf, PersonalLeaf)
    envelope, letter = envelope_of(leaf), said(leaf)
    if not isinstance(letter, Letter) or letter.receiver != own:
        raise Refused("The leaf brings this body no letter.", code="not-allowed")
    return Delivered(envelope.id, envelope.sender, letter, leaf.time, target, ciphertext)


def _allowed(leaf: Entry, state: State, own: str, prove: bool) -> tuple[Domain, Ciphertext]:
    """The own domain and the converted code of a leaf that allows something, signed by who is said to have, proven where it must be."""
    if not isinstance(leaf, PersonalLeaf) or not leaf.ruling.allowed or leaf.target is None:
        raise Refused("The leaf does not allow a disclosure.", code="not-allowed")
    envelope = envelope_of(leaf)
    signing.verify(envelope, state.body(envelope.sender).identity)
    if leaf.target.body != own:
        raise Refused("The permit is for another provider.", code="other-provider")
    for converter in CONVERTERS:
        demand_proofs(state, leaf, converter, always=prove)
    return domain_of(leaf.target), Ciphertext.split(leaf.converted)


def to_file(permit: Permit) -> str:
    """The permit as a tlog-proof file."""
    return Proof(permit.index, tuple(permit.path), permit.checkpoint, permit.salt + permit.entry).to_text()


def from_file(text: str) -> Permit:
    """Read a permit file; ``Malformed`` if it is none."""
    proof = Proof.from_text(text)
    if len(proof.extra) <= SALT_SIZE:
        raise Malformed("The proof carries no entry; this is not a permit.", code="bad-proof")
    salt, entry = proof.extra[:SALT_SIZE], proof.extra[SALT_SIZE:]
    return Permit(proof.index, salt, entry, list(proof.path), proof.checkpoint)
