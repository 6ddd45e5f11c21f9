"""The commission (第三者機関): second converter, second keeper of the record, its cosigner and guardian.

What always holds: it believes nothing of a proposed round but checks every signature, ruling and time again; it signs a root only
after the whole round is stored here; it never signs two different rounds after the same size. Called by the hub (rounds), the
portal (finishing conversions) and its own operators.
"""
