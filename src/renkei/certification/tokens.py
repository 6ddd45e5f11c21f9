"""Keys in PKCS#11 (v2.40), for ``cryptography`` to sign with: SoftHSM2 by default, any other module by its path.

A key is made in the token, cannot leave it, and is used there; ``TokenKey`` is its handle and looks to ``cryptography`` like any RSA key.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, NoReturn

import pkcs11
import pkcs11.util.rsa
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from renkei.errors import SetupError

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")


class Token:
    """A token that is logged in to; one session, used by one thread at a time."""

    def __init__(self, module: Path, label: str, pin: str) -> None:
        self._lock = threading.Lock()
        try:
            self._library = pkcs11.lib(str(module))
            token = self._library.get_token(token_label=label)
            self._session = token.open(user_pin=pin, rw=True)
        except (pkcs11.exceptions.PKCS11Error, RuntimeError) as error:
            raise SetupError(
                f"The token `{label}` of {module} cannot be opened: {type(error).__name__}.",
                ja=f"トークン `{label}` を開けません（{type(error).__name__}）。",
                code="token",
                remedy="Check the module's path, the token's label and its PIN.",
                remedy_ja="モジュールのパス、トークンの名前、PIN を確認してください。",
            ) from error
        self.description = f"{self._library.manufacturer_id.strip()}, token {label}, serial {_text(token.serial)}"

    def generate(self, label: str, bits: int) -> TokenKey:
        """A new key pair that stays in the token. ``SetupError`` if it has one of this label."""
        if self.has(label):
            raise SetupError(f"The token has a key `{label}` already.", code="token-key")
        with self._lock:
            self._session.generate_keypair(
                pkcs11.KeyType.RSA,
                bits,
                label=label,
                store=True,
                capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
                private_template={
                    pkcs11.Attribute.EXTRACTABLE: False,
                    pkcs11.Attribute.SENSITIVE: True,
                    pkcs11.Attribute.TOKEN: True,
                },
            )
        return self.key(label)

    def key(self, label: str) -> TokenKey:
        """The key pair of this label."""
        if not self.has(label):
            raise SetupError(f"The token has no key `{label}`.", code="token-key")
        with self._lock:
            public = self._session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label=label)
            private = self._session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=label)
            encoded = pkcs11.util.rsa.encode_rsa_public_key(public)  # type: ignore[arg-type]  # the class asked for is public
        found = serialization.load_der_public_key(encoded)
        assert isinstance(found, rsa.RSAPublicKey)
        return TokenKey(private, found, self._lock)

    def has(self, label: str) -> bool:
        """Whether the token has a key of this label."""
        with self._lock:
            found = self._session.get_objects(
                {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.Attribute.LABEL: label}
            )
            return bool(list(found))

    def close(self) -> None:
        with self._lock:
            self._session.close()


class TokenKey(rsa.RSAPrivateKey):
    """A private key in a token. It signs with PKCS#1 v1.5 and SHA-256, and nothing else is done with it."""

    def __init__(self, private: Any, public: rsa.RSAPublicKey, lock: threading.Lock) -> None:
        self._private, self._public, self._lock = private, public, lock

    def sign(self, data: Any, padding_: Any, algorithm: Any) -> bytes:
        if not isinstance(padding_, padding.PKCS1v15) or not isinstance(algorithm, hashes.SHA256):
            _unsupported()
        with self._lock:
            return bytes(self._private.sign(bytes(data), mechanism=pkcs11.Mechanism.SHA256_RSA_PKCS))

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def decrypt(self, ciphertext: Any, padding: Any) -> NoReturn:
        _unsupported()

    def private_numbers(self) -> NoReturn:
        _unsupported()

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:
        _unsupported()

    def __copy__(self) -> TokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenKey:
        return self


def new_softhsm(folder: Path, label: str, pin: str, officer_pin: str) -> Path:
    """A token of SoftHSM2 in ``folder``; its configuration, for the environment variable ``SOFTHSM2_CONF``."""
    tool = shutil.which("softhsm2-util")
    if tool is None or not SOFTHSM.exists():
        raise SetupError(
            "SoftHSM2 is missing.",
            ja="SoftHSM2 がありません。",
            remedy="Install Debian's package softhsm2 (`make card`), or name another module.",
            remedy_ja="Debian の softhsm2 を入れるか（`make card`）、別のモジュールを指定してください。",
            code="softhsm",
        )
    store = folder / "tokens"
    store.mkdir(parents=True, mode=0o700)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {store.absolute()}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    command = [tool, "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", officer_pin]
    subprocess.run(command, env={"SOFTHSM2_CONF": str(configuration)}, check=True, capture_output=True)
    return configuration


def _text(value: Any) -> str:
    return value.decode("ascii", "replace").strip() if isinstance(value, bytes) else str(value).strip()


def _unsupported() -> NoReturn:
    raise UnsupportedAlgorithm("The token's key signs with PKCS#1 v1.5 and SHA-256 only.")
