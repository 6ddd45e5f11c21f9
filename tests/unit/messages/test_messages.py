"""Wire types, envelopes, seals and frames: round trips, and refusal of whatever was not meant."""

import os
import re
import types
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.errors import Malformed, NotGenuine, RenkeiError
from renkei.messages import frames, wire
from renkei.messages.frames import CallFrame, Frame
from renkei.messages.signing import Identity, SealKey, open_answer, pad, seal_answer, unpad, verify
from renkei.messages.wire import Content, Envelope, Inquiry, decode_as, decode_message, decode_signed, encode

A, B = Identity("a", os.urandom(32)), Identity("b", os.urandom(32))
KEY, OTHER = SealKey(), SealKey()

ALL = [
    *typing.get_args(wire.Signed),
    *typing.get_args(wire.Message),
    *typing.get_args(wire.Call),
    *typing.get_args(wire.Reply),
]


def example(type_):
    """A value of a wire type, every field filled."""
    values = {
        str: "x",
        int: 7,
        bytes: b"\1" * 32,
        bool: True,
    }

    def fill(t):
        origin = typing.get_origin(t)
        if origin is typing.Annotated:
            inner, *metas = typing.get_args(t)
            if inner is bytes:
                return b"\1" * max(m.min_length or 3 for m in metas)
            if inner is str:
                return next(v for v in ("x", "2026-04-01") if all(re.search(m.pattern or "", v) for m in metas))
            return fill(inner)
        if origin is list:
            return [fill(typing.get_args(t)[0])]
        if origin is dict:
            return {fill(a): fill(b) for a, b in [typing.get_args(t)]}
        if origin is tuple:
            return tuple(fill(a) for a in typing.get_args(t))
        if origin is types.UnionType:
            return fill(typing.get_args(t)[0])
        if isinstance(t, type) and issubclass(t, msgspec.Struct):
            return example(t)
        return values[t]

    hints = typing.get_type_hints(type_, include_extras=True)
    return type_(**{f.name: fill(hints[f.name]) for f in msgspec.structs.fields(type_)})


@pytest.mark.parametrize("type_", ALL, ids=lambda t: t.__name__)
def test_every_wire_type_survives_the_wire(type_):
    """Encoded and decoded through the union it travels in, with its versioned tag."""
    value = example(type_)
    data = encode(value)
    assert type_.__struct_config__.tag.rpartition("/")[2].isdigit()
    decoders = (decode_signed, decode_message, wire.decode_call, wire.decode_reply)
    unions = (wire.Signed, wire.Message, wire.Call, wire.Reply)
    assert any(decode(data) == value for decode, u in zip(decoders, unions, strict=True) if type_ in typing.get_args(u))


@given(st.binary(max_size=300))
def test_no_bytes_crash_a_decoder(data):
    for decode in (decode_signed, decode_message, wire.decode_call, wire.decode_reply):
        try:
            decode(data)
        except Malformed as error:
            assert "understood" in error.sentence


def test_deep_nesting_and_size_are_refused():
    with pytest.raises(Malformed):
        decode_message(b"\x91" * 100_000)
    with pytest.raises(Malformed, match="too large"):
        decode_message(bytes(wire.MAX_MESSAGE + 1))


def test_unknown_fields_and_kinds_are_refused():
    fields = msgspec.msgpack.decode(encode(example(Inquiry)))
    for changed in ({**fields, "name": "花子"}, {**fields, "type": "inquiry/2"}, {**fields, "expires": "soon"}):
        with pytest.raises(Malformed):
            decode_signed(msgspec.msgpack.encode(changed))


def test_an_envelope_is_signed_by_its_sender_and_named_by_all_of_it():
    envelope = A.sign(example(Inquiry))
    verify(envelope, A.public)
    for changed in (
        Envelope("b", envelope.payload, envelope.signature),
        Envelope("a", envelope.payload + b"\0", envelope.signature),
        Envelope("a", envelope.payload, envelope.signature[:-1] + bytes([envelope.signature[-1] ^ 1])),
    ):
        assert changed.id != envelope.id
        with pytest.raises(NotGenuine):
            verify(changed, A.public)
    with pytest.raises(NotGenuine):
        verify(envelope, B.public)


@given(st.binary(max_size=3000))
def test_padding_hides_the_length_and_comes_off(data):
    padded = pad(data)
    assert unpad(padded) == data
    assert len(padded) in (2048, 8192)


def test_an_answer_opens_only_for_its_inquiry_and_its_key():
    content = Content("local-tax", 1, [{"tax_year": 2026}])
    sealed = seal_answer(content, KEY.public, b"inquiry-1")
    assert decode_as(open_answer(sealed, KEY, b"inquiry-1"), Content) == content
    for key, inquiry, data in (
        (OTHER, b"inquiry-1", sealed),
        (KEY, b"inquiry-2", sealed),
        (KEY, b"inquiry-1", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (KEY, b"inquiry-1", sealed[:40]),
    ):
        with pytest.raises(NotGenuine):
            open_answer(data, key, inquiry)


def test_empty_and_full_answers_have_one_size():
    """No data, unknown and withheld look like an ordinary answer."""
    empty = seal_answer(Content("local-tax", 1, []), KEY.public, b"i")
    full = seal_answer(Content("local-tax", 1, [{"tax_year": 2026, "annual_tax": 123456}] * 9), KEY.public, b"i")
    assert len(empty) == len(full)


@pytest.mark.parametrize("kind", [Frame("a", "b", b"s" * 8, 1, [[b"m"]]), CallFrame("a", "b", bytes(16), b"q")])
def test_a_frame_opens_only_as_what_it_is(kind):
    """For the receiver it was sealed to, from the sender who signed it, under the names the bus shows."""
    data = frames.close(kind, A, KEY.public)
    assert frames.open_frame(data, "a", A.public, "b", KEY) == kind
    attempts = [
        (data, "c", A.public, "b", KEY),
        (data, "a", B.public, "b", KEY),
        (data, "a", A.public, "c", KEY),
        (data, "a", A.public, "b", OTHER),
        (data[:-1], "a", A.public, "b", KEY),
    ]
    for attempt in attempts:
        with pytest.raises(RenkeiError):
            frames.open_frame(*attempt)


def test_a_bad_sealing_key_is_an_error_not_a_crash():
    for key in (bytes(32), b"short", bytes(31) + b"\x80"):
        with pytest.raises(Malformed):
            seal_answer(Content("x", 1, []), key, b"i")
