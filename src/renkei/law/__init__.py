"""Law is data: a jurisdiction pack, and the decision who may ask whom for what.

Pure: a pack is made from bytes by file name; reading a folder is the caller's one line (``read_folder``). Nothing here
knows a country. What always holds: a ``Pack`` that exists has no fault; a decision cites the row it rests on, or the rows
that would have been needed.
"""

from renkei.law.decision import Decision, Explanation, decide, explain
from renkei.law.pack import Linkage, Pack, PackFaults, check, read_folder
from renkei.law.tables import Fault

__all__ = [
    "Decision",
    "Explanation",
    "Fault",
    "Linkage",
    "Pack",
    "PackFaults",
    "check",
    "decide",
    "explain",
    "read_folder",
]
