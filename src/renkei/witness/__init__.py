"""A witness (立会人): anybody's independent cosigner of logs, which compares what it was shown with what its peers were shown.

What always holds: it never signs two roots of one size, nor a smaller tree after a larger one, nor anything of a log that was found to
show a split view; what it signed is durable before anyone sees the signature. It holds no code and no secret but its own key, and
knows checkpoints only. Called by logs (C2SP tlog-witness) and by its peers; asks its peers, and logs for consistency proofs.

``rules`` decides, ``store`` remembers, ``cosigning`` is the way of one checkpoint, ``gossip`` compares, ``service`` is its life and pages.
"""
