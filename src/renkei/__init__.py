"""Renkei: how public bodies ask one another about a resident without sharing an identifier.

The packages, from the ground up: ``numbers`` · ``codes`` · ``law`` · ``ledger`` · ``messages`` · ``record`` ·
``institution`` · the services ``authority`` ``hub`` ``commission`` ``gateway`` ``portal`` · ``nation`` · ``cli``.
A package imports from those before it in this list; no service imports another.
"""

__version__ = "0.1.0"
