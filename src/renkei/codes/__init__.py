"""Linkage codes: how a person is known by another code at each institution, and how codes are converted blindly.

Pure: no I/O, no clock. What always holds:

* an institution's code of a person is ``P_X = s_h(X)·s_c(X)·P`` with one factor from each of two converters;
* a converter sees only ciphertexts, and its own factor alone takes it nowhere;
* a conversion has one right result, so whoever made a recorded one can be held to it.

``group`` wraps libsodium; ``conversion`` is the scheme; ``proofs`` the evidence that a conversion was honest.
"""

from renkei.codes.conversion import (
    Ciphertext,
    Converter,
    Domain,
    PublicShare,
    combine_shares,
    decrypt,
    encrypt,
    mint,
    open_key,
    open_rotation,
    rotate_code,
    unrotate_code,
)
from renkei.codes.proofs import (
    prove_conversion,
    prove_rotation,
    prove_share,
    verify_conversion,
    verify_rotation,
    verify_share,
)

__all__ = [
    "Ciphertext",
    "Converter",
    "Domain",
    "PublicShare",
    "combine_shares",
    "decrypt",
    "encrypt",
    "mint",
    "open_key",
    "open_rotation",
    "prove_conversion",
    "prove_rotation",
    "prove_share",
    "rotate_code",
    "unrotate_code",
    "verify_conversion",
    "verify_rotation",
    "verify_share",
]
