"""An independent reader of what Renkei publishes: written from the public texts, importing nothing of ``renkei``."""
