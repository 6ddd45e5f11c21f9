"""Renkei: the linkage platform of a national-number system.

The packages, from the ground up: ``numbers`` · ``codes`` · ``law`` · ``ledger`` · ``messages`` · ``record`` ·
``institution`` · the services ``authority`` ``hub`` ``commission`` ``gateway`` ``portal`` · ``nation`` · ``cli``.
Imports point down only; services never import each other.
"""

__version__ = "0.1.0"
