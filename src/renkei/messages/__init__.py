"""What institutions say to each other: versioned wire types, signing, sealing. Pure: no I/O, no clock.

Three layers, one type each: a *body* (``wire``) says something; an *envelope* signs it with the sender's identity and is what
the record keeps; a *frame* (``frames``) carries messages to one institution, signed and sealed, so that the bus sees sizes and
times only. Bytes that were signed are kept as they are and never encoded again.
"""
