"""The certification authorities of public personal authentication: one for authentication, one for signatures.

``profiles`` says what stands in a certificate and how long it is good, ``tokens`` keeps the authorities' keys in PKCS#11, ``ceremony``
makes them before witnesses, ``office`` issues, revokes and answers for it (CRL, OCSP), and ``store`` holds what it did.

What always holds: a private key of an authority is used inside its token only; a certificate or revocation is in the transparency log
in the transaction that makes it so, before anyone is handed it; the log names nobody.
"""
