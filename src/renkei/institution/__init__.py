"""What every institution has: keys, settings, a database, the post, a following of the record, logs and a web shell.

Services build on this package and never on each other. What always holds: a message put in a transaction is delivered at least
once and takes effect once; nothing is acknowledged before it is committed; identity keys sign envelopes and frames, bus keys only
nonces, log keys only checkpoints.
"""
