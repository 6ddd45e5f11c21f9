"""The record: an append-only Merkle log in the public transparency-log formats (RFC 6962, C2SP).

``merkle`` hashes, proves and verifies; ``notes`` signs and reads checkpoints; both are pure. ``store`` keeps a log in a
database and is the only part that does I/O. What always holds: a leaf is never changed; entries and salts may be erased
after retention, hashes stay; the tree is a function of the leaf hashes alone.
"""
