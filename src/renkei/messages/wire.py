"""The wire types, MessagePack-encoded, each tagged ``name/version``.

Times are milliseconds since 1970 UTC. Codes, keys and hashes are raw bytes. A field may be added with a default; anything
else is a new version of the tag, read beside the old one while messages are in flight.

Every field a peer can fill is bounded here, when it is decoded: what is too long, too large or outside its alphabet is no
message at all, so nobody's database, frame or page ever meets it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta

from renkei.codes.group import transcript
from renkei.errors import Malformed

T = TypeVar("T")
MAX_MESSAGE = 4_000_000
"""Largest encoded message accepted, bytes; the bus carries a little more."""
MAX_BATCH = 256
"""Codes in one issuance batch, codes wanted in one request, outcomes under one signature: at most."""
MAX_RECORDS = 64
"""A body's own records in one message; the longest that can be written down fit into a parcel."""
MAX_PAYLOAD = 500_000
"""Largest signed body, bytes."""
MAX_ANSWER = 600_000
"""Largest sealed answer, bytes."""
MAX_ENCLOSED = 2_500_000
"""Largest content of a letter with all that is attached, bytes."""
MAX_ATTACHED = 2_000_000
"""What is attached to one letter together, bytes."""

Code = Annotated[str, Meta(max_length=64, pattern=r"^[a-z0-9-]+\Z")]
"""A body's, affair's, item's or purpose's code, or a row's number."""
Cover = Annotated[str, Meta(max_length=64, pattern=r"^(\*|[a-z0-9-]+)\Z")]
"""A code, or ``*`` for all of them."""
Date = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d\Z")]
FieldName = Annotated[str, Meta(max_length=64, pattern=r"^[a-z][a-z0-9_]*\Z")]
Word = Annotated[str, Meta(max_length=64, pattern=r"^[!-~]*\Z")]
"""A short machine-readable word, perhaps empty."""
Moment = Annotated[int, Meta(ge=0, lt=2**53)]
"""Milliseconds since 1970 UTC."""
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Epoch = Annotated[int, Meta(ge=1, lt=2**31)]
Bytes8 = Annotated[bytes, Meta(min_length=8, max_length=8)]
Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
Small = Annotated[bytes, Meta(max_length=256)]
Payload = Annotated[bytes, Meta(max_length=MAX_PAYLOAD)]


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of wire types: immutable, strict."""


class DomainRef(Wire, frozen=True, array_like=True):
    """A code domain with its epochs (``codes.Domain`` on the wire)."""

    body: Code
    code_epoch: Epoch
    key_epoch: Epoch


class Envelope(Wire, frozen=True, array_like=True):
    """A body with its sender and signature. ``payload`` is the encoded body, kept byte for byte."""

    sender: Code
    payload: Payload
    signature: Bytes64

    @property
    def id(self) -> bytes:
        """32 bytes that name this envelope everywhere: the hash of all of it."""
        return sha256(b"renkei/v1/envelope" + transcript(self.sender.encode(), self.payload, self.signature)).digest()

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return signed_bytes(self.sender, self.payload)


def signed_bytes(sender: str, payload: bytes) -> bytes:
    """The bytes an identity key signs: tagged, so that they can be nothing else (never a bus nonce, never a checkpoint)."""
    return b"renkei/v1/sign" + transcript(sender.encode(), payload)


# ------------------------------------------------------------------ signed bodies


class Inquiry(Wire, frozen=True, tag="inquiry/1"):
    """One institution asks another for one item about one person, for one affair (Act art. 19(7), 21)."""

    source: DomainRef
    provider: Code
    affair: Code
    item: Code
    purpose: Code
    ciphertext: Bytes64
    """The requester's own code of the person, encrypted to the requester's own key: 64 bytes, fresh each time."""
    reply_key: Bytes32
    """A fresh X25519 public key to which the answer is sealed (HPKE, RFC 9180)."""
    context: Bytes32
    """Salted hash of clerk, case number and free text, which stay at the requester (``context_hash``)."""
    issued_at: Moment
    expires: Moment
    as_of: Annotated[str, Meta(pattern=r"^(\d{4}-\d\d-\d\d)?\Z")] = ""
    """ISO date the data should describe; empty for the present."""
    withheld: bool = False
    """The requester flags the *fact* of this request as withheld from disclosure (art. 23)."""
    clerk: Annotated[bytes, Meta(max_length=8)] = b""
    """The pseudonym of the clerk who asks, hidden from all but the commission (``signing.Hidden``; ADR 22)."""
    changes_until: Annotated[str, Meta(pattern=r"^(\d{4}-\d\d-\d\d)?\Z")] = ""
    """A subscription: the last day (ISO) on which the provider tells of it when the answer is another (``Changed``); empty: none."""


class Changed(Wire, frozen=True, tag="changed/1"):
    """A provider tells a subscriber that it would answer otherwise now: not what, and not which inquiry that was (ADR 43)."""

    source: DomainRef
    requester: Code
    """Who subscribed, and is told."""
    affair: Code
    item: Code
    purpose: Code
    ciphertext: Bytes64
    """The provider's own code of the person, encrypted to the provider's own key, fresh each time."""
    issued_at: Moment


class Letter(Wire, frozen=True, tag="letter/1"):
    """A body writes to a resident through the portal, or a resident through it to a body: what it says goes around the hub (ADR 47)."""

    source: DomainRef
    receiver: Code
    affair: Code
    topic: Code
    """A notice or a procedure of the law's pack."""
    ciphertext: Bytes64
    """The sender's own code of the person, encrypted to the sender's own key, fresh each time."""
    document: Bytes32
    """``document_hash`` of what it says (``Enclosure``)."""
    issued_at: Moment


class EndChanges(Wire, frozen=True, tag="end-changes/1"):
    """A requester ends the subscription that this inquiry of its own made."""

    inquiry: Bytes32
    provider: Code


class Outcome(Wire, frozen=True, array_like=True):
    """What became of one permitted inquiry, and when (art. 23: time of provision, if made).

    ``result`` is ``provided``, ``nothing`` (no data, unknown person and withheld are the same) or ``expired``.
    """

    inquiry: Bytes32
    result: Word
    time: Moment


class Outcomes(Wire, frozen=True, tag="outcomes/1"):
    """The outcomes of a provider's tick, under one signature."""

    outcomes: Annotated[list[Outcome], Meta(min_length=1, max_length=MAX_BATCH)]


class Issued(Wire, frozen=True, array_like=True):
    """One code to issue: the receiver's random handle and the person's code encrypted in the authority's domain."""

    handle: Bytes16
    ciphertext: Bytes64


class IssuanceBatch(Wire, frozen=True, tag="issuance/1"):
    """A shuffled batch of codes from the numbering authority for one institution."""

    source: DomainRef
    target: DomainRef
    codes: Annotated[list[Issued], Meta(min_length=1, max_length=MAX_BATCH)]
    issued_at: Moment


class Enrolment(Wire, frozen=True, tag="enrolment/1"):
    """An institution joins: what it is and its public keys. Signed by itself; the commission countersigns."""

    body: Code
    role: Code
    kinds: Annotated[list[Code], Meta(max_length=64)]
    identity: Bytes32
    bus: Word
    seal: Bytes32
    """Its HPKE public key."""


class Enrol(Wire, frozen=True, tag="enrol/1"):
    """The commission's act: this enrolment, signed by the body itself, takes effect."""

    enrolment: Envelope


class LawVersion(Wire, frozen=True, tag="law/1"):
    """The hub's act: this pack (by hash) is in force from the next round."""

    pack: Code
    version: Word
    hash: Bytes32


class DomainKeys(Wire, frozen=True, tag="keys/1"):
    """A converter's act: its entry in the key directory for one domain and epoch, with its proof."""

    domain: DomainRef
    converter: Code
    generation: Epoch
    s: Bytes32
    u: Bytes32
    x: Bytes32
    proof: Small


class Assessment(Wire, frozen=True, tag="assessment/1"):
    """The commission's act: an impact assessment is published. ``*`` covers every affair or item of the body.

    One of the same body and ``name`` supersedes the one before. What the level was judged by stands beside it, so that anyone can
    judge again.
    """

    body: Code
    affairs: Annotated[list[Cover], Meta(max_length=2000)]
    items: Annotated[list[Cover], Meta(max_length=2000)]
    level: Code
    published: Date
    review_due: Date
    name: Word = ""
    people: Count = 0
    """Persons in all files of the affair."""
    handlers: Count = 0
    """People who handle them."""
    incident: bool = False
    """Whether there was a serious incident within the year before."""
    document: Annotated[bytes, Meta(max_length=32)] = b""
    """SHA-256 of the published title, a newline, and text."""
    lapses: Annotated[str, Meta(pattern=r"^(\d{4}-\d\d-\d\d)?\Z")] = ""
    """The last day on which it carries linkage; empty for as long as it is not superseded."""
    follows: bool = False
    """A disaster: this stands in for an assessment that follows before ``lapses``."""
    made_at: Moment = 0
    """So that the same may be published again after another: no act is taken in twice."""


class Officer(Wire, frozen=True, array_like=True):
    """Someone who may sign for the commission: ``role`` is reader, inspector or commissioner, empty for nobody any more."""

    name: Code
    role: Word
    key: Bytes32
    """Ed25519; signs approvals and nothing else."""


class Approval(Wire, frozen=True, array_like=True):
    """One officer's signature under a decision (``signing.approve``)."""

    officer: Code
    signature: Bytes64


Approvals = Annotated[list[Approval], Meta(max_length=8)]
Prose = Annotated[str, Meta(max_length=2000)]
"""A public text of the commission; must name nobody."""


class Scope(Wire, frozen=True, array_like=True):
    """What an order stops: inquiries that agree in every part that is not ``*``. ``body`` agrees with either side."""

    body: Cover = "*"
    requester: Cover = "*"
    provider: Cover = "*"
    affair: Cover = "*"
    item: Cover = "*"
    clerk: Annotated[bytes, Meta(max_length=8)] = b""
    """The pseudonym of a clerk of ``requester``; empty for all."""


class Appoint(Wire, frozen=True, tag="appoint/1"):
    """The commission's act, signed by two officers: this is an officer from now on, or (no role) no more."""

    officer: Officer
    approvals: Approvals = []


class Order(Wire, frozen=True, tag="order/1"):
    """The commission's act, signed by two officers: what ``scope`` says is refused from the next round on, until lifted."""

    number: Code
    scope: Scope
    text: Prose
    until: Moment = 0
    """When it ends by itself; 0 for never."""
    case: Word = ""
    approvals: Approvals = []


class Lift(Wire, frozen=True, tag="lift/1"):
    """The commission's act, signed by two officers: this order, or exceptional permit, ends."""

    number: Code
    text: Prose
    approvals: Approvals = []


class ExceptionalPermit(Wire, frozen=True, tag="exception/1"):
    """The commission's act: what the table does not link is linked for a time (disasters). Two officers sign it; ``emergency``: one,
    and it ends within hours unless another confirms."""

    number: Code
    requester: Cover
    provider: Cover
    affair: Code
    item: Code
    area: Annotated[list[Code], Meta(max_length=2000)]
    """Bodies of the area concerned: requester or provider must be one; empty for everywhere."""
    start: Moment
    end: Moment
    text: Prose
    emergency: bool = False
    approvals: Approvals = []


class Confirm(Wire, frozen=True, tag="confirm/1"):
    """The commission's act: a second officer confirms an exceptional permit that was issued in an emergency."""

    number: Code
    approvals: Approvals = []


class Measure(Wire, frozen=True, tag="measure/1"):
    """The commission's act, signed by an officer: a step of supervision short of an order. Its words go to the body alone."""

    case: Code
    kind: Code
    """One of ``record.oversight.MEASURES``."""
    body: Code
    document: Bytes32
    """Salted hash of the words (``document_hash``)."""
    due: Moment = 0
    first: Count = 0
    end: Count = 0
    """Of an inspection: the body hands over its own records of the inquiries at leaves ``first`` … ``end`` (exclusive)."""
    approvals: Approvals = []


class Trail(Wire, frozen=True, tag="trail/1"):
    """The commission's act: what its officers did in the console is this Merkle tree by now (RFC 6962)."""

    size: Count
    root: Bytes32


class Rotate(Wire, frozen=True, tag="rotate/1"):
    """A body's act: both converters shall publish keys for this, its next domain (a new epoch of its codes, its key, or both)."""

    domain: DomainRef


class Retire(Wire, frozen=True, tag="retire/1"):
    """A body's act: it has gone over to this domain, and nothing older is valid of it any more."""

    domain: DomainRef


Decision = Appoint | Order | Lift | ExceptionalPermit | Confirm | Measure
"""What officers sign."""
Act = Enrol | LawVersion | DomainKeys | Assessment | Rotate | Retire | Decision | Trail
Personal = Inquiry | Changed | Letter
"""What is said about one person, whose code is converted from the sender's to the receiver's."""
Signed = Personal | EndChanges | Outcomes | IssuanceBatch | Enrolment | Act


class Genesis(Wire, frozen=True, tag="genesis/1"):
    """Leaf 0: which log this is and who keeps it. Checked out of band; everything else follows from it."""

    origin: str
    hub: Enrolment
    commission: Enrolment
    hub_log: str
    """The hub's checkpoint verifier key (vkey text)."""
    commission_log: str
    """The commission's cosignature verifier key (vkey text)."""
    pack: bytes
    created: int
    officers: list[Officer] = []
    """Who signs for the commission at first."""


# ------------------------------------------------------------------ messages in frames


class Submit(Wire, frozen=True, tag="submit/1"):
    """Anyone → hub: something for the record."""

    envelope: Envelope


class Permit(Wire, frozen=True, tag="permit/1"):
    """Hub → provider (or receiver of codes): the leaf with its proof. Nothing else authorises a disclosure."""

    index: Count
    salt: Bytes16
    entry: Annotated[bytes, Meta(max_length=MAX_MESSAGE)]
    path: Annotated[list[Bytes32], Meta(max_length=64)]
    checkpoint: Annotated[str, Meta(max_length=4096)]


class Receipt(Wire, frozen=True, tag="receipt/1"):
    """Hub → requester: where the inquiry stands in the record, and the refusal if there is one."""

    inquiry: Bytes32
    index: Count
    allowed: bool
    time: Moment
    reason: Word
    rows: Annotated[list[Code], Meta(max_length=64)]
    by: Word


class Answer(Wire, frozen=True, tag="answer/1"):
    """Provider → requester, around the hub: the answer sealed to the inquiry's reply key."""

    inquiry: Bytes32
    sealed: Annotated[bytes, Meta(max_length=MAX_ANSWER)]


class Remind(Wire, frozen=True, tag="remind/1"):
    """Requester → provider: this inquiry of mine is permitted and long without an answer; whoever was restored may not know of it."""

    inquiry: Bytes32


class CodeWanted(Wire, frozen=True, array_like=True):
    """One person a body wants a code for: its random handle, the number it holds, and a salted hash of its local id."""

    handle: Bytes16
    number: Word
    local_proof: Bytes32


class CodeRequest(Wire, frozen=True, tag="code-request/1"):
    """Body → authority, sealed to it: codes wanted for these persons."""

    domain: DomainRef
    wanted: Annotated[list[CodeWanted], Meta(min_length=1, max_length=MAX_BATCH)]


class CodeByCard(Wire, frozen=True, tag="code-by-card/1"):
    """Institution → authority, sealed to it: the code wanted of whoever signed in with a card, named by the certificate and not by a
    number. What was signed is ``relying.authentication_message(audience, challenge)``.

    With a ``number``, as it was read off the card, ``relying.number_message`` of it was signed, and the code is wanted only if number
    and certificate are one person's: a card could be made to sign any number.
    """

    domain: DomainRef
    handle: Bytes16
    local_proof: Bytes32
    audience: Annotated[str, Meta(max_length=200)]
    challenge: Annotated[bytes, Meta(max_length=64)]
    certificate: Annotated[bytes, Meta(max_length=4000)]
    signature: Annotated[bytes, Meta(max_length=1024)]
    number: Word = ""
    document: Annotated[bytes, Meta(max_length=10_000)] = b""
    """What was signed is ``relying.own_message(audience, SHA-256(document))`` of this ``signing.own_document``, which names the sender."""


class OwnAsked(Wire, frozen=True, array_like=True):
    """An inquiry in a resident's name, and what their card has signed of it: the item, and the key its answer is sealed to."""

    inquiry: Bytes32
    item: Code
    reply_key: Bytes32


class OwnProof(Wire, frozen=True, tag="own-proof/1"):
    """Portal → provider, sealed: a resident's card has signed for these inquiries in their name (``signing.own_document``), at
    ``audience``, which is the portal's address."""

    asked: Annotated[list[OwnAsked], Meta(min_length=1, max_length=64)]
    day: Date
    """On which it was signed."""
    audience: Annotated[str, Meta(max_length=200)]
    certificate: Annotated[bytes, Meta(max_length=4000)]
    signature: Annotated[bytes, Meta(max_length=1024)]


class Enclosure(Wire, frozen=True, tag="enclosure/1"):
    """Sender → receiver: what a letter says, an encoded ``Said``, sealed to the receiver (``signing.seal_letter``). It is believed with the
    letter's permit, and not before."""

    letter: Bytes32
    salt: Bytes16
    sealed: Annotated[bytes, Meta(max_length=MAX_ENCLOSED)]


class Received(Wire, frozen=True, tag="received/1"):
    """Receiver → sender, around the hub, which would else see from the time that two letters are about one person: these letters were
    taken in. Of the portal: they are in the person's inbox, or (``paper``) the person wants them on paper."""

    letters: Annotated[list[Bytes32], Meta(min_length=1, max_length=MAX_BATCH)]
    paper: bool = False


class CodeRefused(Wire, frozen=True, tag="code-refused/1"):
    """Authority → body: for these handles there is no such person."""

    handles: Annotated[list[Bytes16], Meta(max_length=MAX_BATCH)]


class KeyShare(Wire, frozen=True, tag="key-share/1"):
    """Converter → body, sealed: its share of the body's decryption key."""

    domain: DomainRef
    converter: Code
    share: Bytes32
    delta: Annotated[bytes, Meta(max_length=32)] = b""
    """δ of this converter, by which codes of the epoch before become those of this one; empty in the first epoch."""


Words = Annotated[str, Meta(max_length=8000)]
"""A text between two bodies, sealed to the receiver; no part of the record."""


class Demand(Wire, frozen=True, tag="demand/1"):
    """Commission → body, sealed: the words of a measure that is in the record (its hash is, with ``salt``)."""

    case: Code
    kind: Code
    salt: Bytes16
    text: Words
    due: Moment = 0


class Explanation(Wire, frozen=True, tag="explanation/1"):
    """Body → commission, sealed: its answer to the measure whose words have this hash."""

    case: Code
    document: Bytes32
    text: Words


Noted = Annotated[str, Meta(max_length=2000)]
"""Something a body wrote down for itself."""


class AskedRecord(Wire, frozen=True, array_like=True):
    """What a body has of an inquiry it asked: all that ``Inquiry.context`` commits it to."""

    inquiry: Bytes32
    salt: Bytes16
    clerk: Noted
    case: Noted
    reason: Noted


class GivenRecord(Wire, frozen=True, array_like=True):
    """What a body has of an inquiry it answered, or did not: no word of the person, nor of the answer."""

    inquiry: Bytes32
    state: Word
    by: Noted
    """The clerk who settled what was held; empty if it was answered by itself."""
    at: Moment


class Records(Wire, frozen=True, tag="records/1"):
    """Body → commission, sealed: some of its own records, for the inspection whose words have this hash."""

    case: Code
    document: Bytes32
    asked: Annotated[list[AskedRecord], Meta(max_length=MAX_RECORDS)] = []
    given: Annotated[list[GivenRecord], Meta(max_length=MAX_RECORDS)] = []


class Report(Wire, frozen=True, tag="report/1"):
    """Portal → commission, sealed: a resident does not recognise the access at ``index``, or was asked for paper all the same.

    Who the resident is, the commission does not learn; ``reference`` is the portal's.
    """

    reference: Bytes16
    index: Count
    kind: Code
    text: Words = ""


class Progress(Wire, frozen=True, tag="progress/1"):
    """Commission → portal, sealed: what became of a report, or (no reference) that an access is being examined."""

    index: Count
    case: Code
    state: Code
    reference: Annotated[bytes, Meta(max_length=16)] = b""


class Offer(Wire, frozen=True, tag="offer/1"):
    """An item a body answers, and what it measured of it: counts over all of its rows, nothing about anybody."""

    item: Code
    specification: Count
    """The version its records follow."""
    copy: bool
    """Whether it answers from a copy, made at ``made``; otherwise from its own system at each inquiry."""
    earlier: bool
    """Whether it can say what held on an earlier day."""
    made: Moment = 0
    measured: Moment = 0
    """When the counts below were taken; 0: not yet."""
    rows: Count = 0
    wrong: Count = 0
    """Rows that do not fit the specification: of these persons nothing is answered."""
    persons: Count = 0
    filled: Annotated[dict[FieldName, Count], Meta(max_length=500)] = {}
    """Rows in which each field has a value."""
    probed: Moment = 0
    """When its synthetic persons were looked up last; 0: it has none."""
    probe_ms: Count = 0
    """How long that took."""
    probe_fault: Annotated[str, Meta(max_length=64, pattern=r"^[a-z-]*\Z")] = ""
    """What was wrong with it; empty: nothing."""


class Offers(Wire, frozen=True, tag="offers/1"):
    """Gateway → catalogue, sealed: everything this body answers, in place of what it said before."""

    offers: Annotated[list[Offer], Meta(max_length=2000)]
    contact: Annotated[str, Meta(max_length=200)] = ""
    """Whom engineers of other bodies may ask."""


Message = (
    Submit
    | Permit
    | Receipt
    | Answer
    | Remind
    | CodeRequest
    | CodeByCard
    | OwnProof
    | Enclosure
    | Received
    | CodeRefused
    | KeyShare
    | Demand
    | Explanation
    | Records
    | Report
    | Progress
    | Offers
)


# ------------------------------------------------------------------ the sealed answer


class Content(Wire, frozen=True, tag="content/1"):
    """What an answer says. No data, unknown person and withheld are all ``records=[]``."""

    item: Code
    specification: Count
    records: list[dict[str, str | int | bool]]


# ------------------------------------------------------------------ what letters say

Value = Annotated[str, Meta(max_length=10_000)] | Annotated[int, Meta(ge=-(2**53), lt=2**53)]
FormName = Annotated[str, Meta(max_length=140, pattern=r"^[a-z0-9-]+(@[a-z0-9-]+)?\Z")]
"""A question of the law's pack, and of whom it is asked: ``school-year@child-1``."""


class Told(Wire, frozen=True, tag="told/1"):
    """A body tells a resident: a notice of the pack with its values; or (``about``) what becomes of an application of theirs."""

    values: Annotated[dict[FieldName, Value], Meta(max_length=50)] = {}
    about: Annotated[bytes, Meta(max_length=32)] = b""
    """The letter that brought the application."""
    state: Word = ""
    """Of an application: asked, granted or refused."""
    words: Annotated[str, Meta(max_length=2000)] = ""
    """What the body's clerk says of it, and asks."""


class Attached(Wire, frozen=True, array_like=True):
    """A paper that was sent along: what it is (of list ``attachment``), its name, its media type and its bytes."""

    kind: Code
    name: Annotated[str, Meta(max_length=100)]
    type: Annotated[str, Meta(max_length=40)]
    data: Annotated[bytes, Meta(max_length=MAX_ATTACHED)]


class Applied(Wire, frozen=True, tag="applied/1"):
    """A resident applies for something; answers what was asked back (``about``); or takes it back (``withdrawn``)."""

    form: Annotated[dict[FormName, Value], Meta(max_length=500)] = {}
    attached: Annotated[list[Attached], Meta(max_length=10)] = []
    about: Annotated[bytes, Meta(max_length=32)] = b""
    withdrawn: bool = False
    words: Annotated[str, Meta(max_length=2000)] = ""
    by: Annotated[str, Meta(max_length=12, pattern=r"^[a-z]*\Z")] = ""
    """Who wrote it, if not the applicant: attorney or guardian."""
    statement: Annotated[bytes, Meta(max_length=200_000)] = b""
    """What the card has signed (UTF-8), where the law wants a signature; then:"""
    certificate: Annotated[bytes, Meta(max_length=4000)] = b""
    signature: Annotated[bytes, Meta(max_length=1024)] = b""


Said = Told | Applied
"""What a letter says."""


# ------------------------------------------------------------------ calls between keepers, and of followers


class Proposal(Wire, frozen=True, tag="proposal/1"):
    """Hub → commission: the next round."""

    previous_size: Count
    previous_root: Bytes32
    time: Moment
    drafts: list[bytes]
    salts: list[bytes]

    @property
    def digest(self) -> bytes:
        """What the commission remembers a proposal by."""
        return sha256(b"renkei/v1/proposal" + encode(self)).digest()


class Fill(Wire, frozen=True, array_like=True):
    """The commission's part of one entry: its conversions, or its refusal (reason and rows)."""

    converted: list[bytes]
    refusal: str = ""
    rows: list[str] = []
    proofs: list[Small] = []
    """With ``proofs = "always"``: of each conversion."""


class Cosigned(Wire, frozen=True, tag="cosigned/1"):
    """Commission → hub: the round is stored here; its fills and cosignature line."""

    fills: list[Fill]
    root: bytes
    cosignature: str


class NotSigned(Wire, frozen=True, tag="not-signed/1"):
    """Commission → hub: not signed, why, and the head it holds (the 409 of the protocol)."""

    reason: Word
    size: Count
    root: Bytes32


class GetHead(Wire, frozen=True, tag="get-head/1"):
    """Which head do you hold?"""


class HeadIs(Wire, frozen=True, tag="head/1"):
    """The size and root held, and the newest signed checkpoint (empty for none)."""

    size: Count
    root: Bytes32
    checkpoint: str
    time: Moment = 0
    """The clock of who answers."""


class GetRounds(Wire, frozen=True, tag="get-rounds/1"):
    """Send whole rounds after this size."""

    size: Count


class RoundCopy(Wire, frozen=True, array_like=True):
    """One stored round: its leaves (kind, salt, entry) and its checkpoint note."""

    time: Moment
    leaves: list[tuple[str, bytes, bytes]]
    checkpoint: str


class Rounds(Wire, frozen=True, tag="rounds/1"):
    """Rounds after the size asked for, oldest first; empty when there are none."""

    rounds: list[RoundCopy]


class GetActs(Wire, frozen=True, tag="get-acts/1"):
    """Any institution → hub: governance leaves from this index on, with proofs."""

    index: Count


class Acts(Wire, frozen=True, tag="acts/1"):
    """Governance leaves with their proofs, and the hub's clock."""

    acts: list[Permit]
    time: Moment = 0


class GetPermit(Wire, frozen=True, tag="get-permit/1"):
    """Requester or provider → hub: the leaf of this inquiry with a fresh proof."""

    inquiry: Bytes32


class Permitted(Wire, frozen=True, tag="permitted/1"):
    """The leaf asked for."""

    permit: Permit


class GetBlob(Wire, frozen=True, tag="get-blob/1"):
    """Content by its SHA-256 (a pack)."""

    hash: Bytes32


class Blob(Wire, frozen=True, tag="blob/1"):
    """The content asked for."""

    data: bytes


class GetTail(Wire, frozen=True, tag="get-tail/1"):
    """Portal → hub: the log from this index on."""

    index: Count


class TailLeaf(Wire, frozen=True, array_like=True):
    """One leaf for the portal: its hash, and for inquiries and outcomes the entry and the hub's half conversion."""

    hash: bytes
    salt: bytes = b""
    entry: bytes = b""
    half: bytes = b""


class Tail(Wire, frozen=True, tag="tail/1"):
    """Leaves in order, a signed checkpoint at least as large as their end, and the portal's domain that the halves lead to."""

    leaves: list[TailLeaf]
    checkpoint: str
    target: DomainRef | None = None


class FileHalf(Wire, frozen=True, array_like=True):
    """A half-converted code of the leaf at ``index``, to be finished towards the portal."""

    index: Count
    half: Bytes64


class GetFiled(Wire, frozen=True, tag="get-filed/1"):
    """Portal → commission: finish these conversions."""

    target: DomainRef
    halves: Annotated[list[FileHalf], Meta(max_length=1024)]


class Filed(Wire, frozen=True, tag="filed/1"):
    """The finished conversions, in the order asked."""

    converted: list[Bytes64]


class GetShare(Wire, frozen=True, tag="get-share/1"):
    """A body → a converter: hand me (again) your share of the key of this domain of mine."""

    domain: DomainRef


class GetProofs(Wire, frozen=True, tag="get-proofs/1"):
    """A keeper, a party or the portal → a keeper: prove your conversions in these leaves."""

    indexes: Annotated[list[Count], Meta(max_length=64)]


class Proofs(Wire, frozen=True, tag="proofs/1"):
    """For each leaf asked for, a proof of 96 bytes for each conversion in it."""

    proofs: list[list[Small]]


class Work(Wire, frozen=True, tag="work/1"):
    """A keeper → one of its workers: verify, rule and convert these, by the governance up to this index."""

    governance: Count
    time: Moment
    envelopes: list[Envelope] = []
    """For the hub's part."""
    drafts: list[bytes] = []
    """Encoded entries, for the commission's part."""
    prove: bool = False


class Worked(Wire, frozen=True, tag="worked/1"):
    """For each the drafted entry (hub) or ``Fill`` (commission), encoded; empty for what the worker would refuse."""

    made: list[bytes]


class Failed(Wire, frozen=True, tag="failed/1"):
    """The call was refused."""

    code: Word
    sentence: Annotated[str, Meta(max_length=1000)]


Call = (
    Proposal
    | GetHead
    | GetRounds
    | Rounds
    | GetActs
    | GetPermit
    | GetBlob
    | GetTail
    | GetFiled
    | GetProofs
    | GetShare
    | Work
)
Reply = (
    Cosigned
    | NotSigned
    | HeadIs
    | Rounds
    | Acts
    | Permitted
    | Blob
    | Tail
    | Filed
    | Proofs
    | KeyShare
    | Worked
    | Failed
)

_encoder = msgspec.msgpack.Encoder()


def encode(body: msgspec.Struct) -> bytes:
    """The MessagePack form of a wire type."""
    return _encoder.encode(body)


_signed = msgspec.msgpack.Decoder(Signed)
_message = msgspec.msgpack.Decoder(Message)
_call = msgspec.msgpack.Decoder(Call)
_reply = msgspec.msgpack.Decoder(Reply)


def decode_signed(data: bytes) -> Signed:
    return cast(Signed, _decode(_signed, data))


def decode_message(data: bytes) -> Message:
    return cast(Message, _decode(_message, data))


def decode_call(data: bytes) -> Call:
    return cast(Call, _decode(_call, data))


def decode_reply(data: bytes) -> Reply:
    return cast(Reply, _decode(_reply, data))


_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def _decoder_of(type_: Any) -> msgspec.msgpack.Decoder[Any]:
    if type_ not in _decoders:
        _decoders[type_] = msgspec.msgpack.Decoder(type_)
    return _decoders[type_]


def decode_as(data: bytes, type_: type[T]) -> T:
    """``data`` as one given wire type."""
    return cast(T, _decode(_decoder_of(type_), data))


def _decode(decoder: Any, data: bytes) -> Any:
    if len(data) > MAX_MESSAGE:
        raise Malformed("The message is too large.", code="message-too-large", status=413)
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"The message is not understood: {_fault(error)}.", code="message-form") from None


def _fault(error: Exception) -> str:
    """What msgspec found, which names our fields, and never what the peer wrote: a tag or a field's name can be anything."""
    said = str(error)
    quotes = said.startswith(("Invalid value", "Object contains unknown field"))
    return "it has a tag or a field that is not known" if quotes else said


def context_hash(salt: bytes, clerk: str, case: str, text: str) -> bytes:
    """The salted hash by which an inspector can later tie an inquiry to what the requester wrote down."""
    return sha256(b"renkei/v1/context" + transcript(salt, clerk.encode(), case.encode(), text.encode())).digest()


def document_hash(salt: bytes, text: str | bytes) -> bytes:
    """The salted hash by which what stands outside the record is tied to its act, or letter."""
    said = text.encode() if isinstance(text, str) else text
    return sha256(b"renkei/v1/document" + transcript(salt, said)).digest()
