"""``python -m renkei.cli``."""

from renkei.cli import entry

entry()
