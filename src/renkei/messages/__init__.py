"""The messages between institutions, how they are signed and how they are sealed. Pure: no I/O, no clock.

Three layers, one type each: a *body* (``wire``) says something; an *envelope* signs it with the sender's identity and is what
the record keeps; a *frame* (``frames``) carries messages to one institution, signed and sealed, so that the bus sees sizes and
times only. Bytes that were signed are kept as they are and never encoded again.
"""
