"""Number formats and their check digits. Pure: no I/O, no clock.

A *format* knows how to ``parse`` (normalise and verify), ``format`` for people, ``mask`` for screens and ``issue``
a new number. Packs name formats by key (``FORMATS``); nothing outside this package computes a check digit.
Errors never repeat the digits they were given.
"""

from renkei.numbers.formats import (
    FORMATS,
    CorporateNumber,
    IndividualNumber,
    LocalGovernmentCode,
    NumberFormat,
    ResidentRecordCode,
    number_format,
    recognise,
)

__all__ = [
    "FORMATS",
    "CorporateNumber",
    "IndividualNumber",
    "LocalGovernmentCode",
    "NumberFormat",
    "ResidentRecordCode",
    "number_format",
    "recognise",
]
