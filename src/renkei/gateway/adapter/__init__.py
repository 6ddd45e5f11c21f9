"""The adapter: the body's own data, as data specifications have it, by declaration alone.

``mapping`` is the declaration · ``reading`` reads rows from databases, files and web interfaces · ``translation`` makes records of them ·
``copies`` keeps local copies · ``answers`` answers inquiries · ``proposal`` writes a first mapping for an engineer to correct.

What always holds: of the source it only ever reads; what does not fit its specification is never sent; a copy is replaced as a whole or
not at all; no error holds a value that says something about a person.
"""

from renkei.gateway.adapter.answers import Adapter, SourceFault, content_fault
from renkei.gateway.adapter.copies import Lineage, Loaded, NotLoaded
from renkei.gateway.adapter.mapping import ItemMapping, Mapping, read
from renkei.gateway.adapter.reading import Unreadable
from renkei.gateway.adapter.translation import RowFault

__all__ = [
    "Adapter",
    "ItemMapping",
    "Lineage",
    "Loaded",
    "Mapping",
    "NotLoaded",
    "RowFault",
    "SourceFault",
    "Unreadable",
    "content_fault",
    "read",
]
