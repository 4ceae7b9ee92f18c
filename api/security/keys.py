"""API keys: random secrets of which the service keeps only SHA-256, each with scopes.

A file of keys is TOML; `new_key` makes an entry::

    [keys.annotation]
    sha256 = "…64 hex digits…"
    scopes = ["segment", "models"]

Keys are random and long, so a plain hash cannot be guessed back, and a slow one would only slow every request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import StegoError

SCOPES = ("segment", "jobs", "models", "metrics", "admin")
"""What a key may be allowed: segment images; make and read jobs; change models; read metrics; everything."""

ENVIRONMENT = "STEGO_API_KEYS"
"""Environment variable with keys as text: ``name:scope+scope:secret``, or a secret alone for everything; several with spaces between."""

SHORTEST = 20
"""Characters that a secret must have."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """One key: ``digest`` is the SHA-256 of the secret."""

    name: str
    digest: bytes
    scopes: frozenset[str]

    def allows(self, scope: str) -> bool:
        """Whether the key may be used for ``scope``."""
        return scope in self.scopes or "admin" in self.scopes


class KeyRing:
    """All keys of a service."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, secret: str) -> Key | None:
        """The key with this secret. Every key is compared, in constant time, so that the time tells nothing."""
        digest = _digest(secret)
        found: Key | None = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def load_keys(file: Path | None, environment: Mapping[str, str]) -> KeyRing | None:
    """The keys of ``file`` and of the environment together; None where neither is given, so no key is asked for.

    Raises:
        StegoError: a file that cannot be read, an entry that is not as expected, two keys of one name, or a list without keys.
    """
    text = environment.get(ENVIRONMENT)
    if file is None and text is None:
        return None
    keys = [*(_from_file(file) if file is not None else ()), *(_from_text(text) if text is not None else ())]
    if not keys:
        raise StegoError(f"{file or ENVIRONMENT}: holds no key; expected at least one, or no list of keys at all")
    names = [key.name for key in keys]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise StegoError(f"API keys: two are called '{twice}'; expected different names")
    return KeyRing(keys)


def new_key(name: str, scopes: Sequence[str]) -> tuple[str, str]:
    """A fresh secret and the lines of a file of keys that let it in.

    Raises:
        StegoError: a name or a scope that is not allowed.
    """
    _check(name, scopes, "key")
    secret = f"stego_{secrets.token_urlsafe(32)}"
    listed = ", ".join(f'"{scope}"' for scope in scopes)
    return secret, f'[keys.{name}]\nsha256 = "{_digest(secret).hex()}"\nscopes = [{listed}]\n'


def _from_file(file: Path) -> list[Key]:
    try:
        entries: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
        keys = dict(entries.pop("keys", {}))
    except OSError as error:
        raise StegoError(f"{file}: the file of keys cannot be read ({error.strerror})") from None
    except (ValueError, TypeError):
        # The parser's message would repeat a line, which may hold a secret.
        raise StegoError(f"{file}: not a file of keys; expected TOML with a table [keys.NAME] for each") from None
    if entries:
        raise StegoError(f"{file}: '{next(iter(entries))}' is not known; expected tables [keys.NAME] only")
    return [_entry(name, entry, str(file)) for name, entry in keys.items()]


def _entry(name: str, entry: Any, where: str) -> Key:
    if not isinstance(entry, dict) or set(entry) != {"sha256", "scopes"} or not isinstance(entry["scopes"], list):
        raise StegoError(f'{where}: keys.{name}: expected sha256 = "…" and scopes = ["…"], and nothing else')
    digest = str(entry["sha256"]).lower()
    if not _DIGEST.fullmatch(digest):
        raise StegoError(f"{where}: keys.{name}: sha256: expected 64 hex digits; stego key makes them")
    _check(name, entry["scopes"], where)
    return Key(name, bytes.fromhex(digest), frozenset(entry["scopes"]))


def _from_text(text: str) -> list[Key]:
    keys = []
    for number, word in enumerate(text.split(), 1):
        parts = word.split(":")
        if len(parts) not in (1, 3) or len(parts[-1]) < SHORTEST:
            raise StegoError(f"{ENVIRONMENT}: entry {number}: expected name:scope+scope:secret, or a secret alone, the secret of {SHORTEST} characters or more")
        name, scopes = (parts[0], parts[1].split("+")) if len(parts) == 3 else (f"environment-{number}", ["admin"])
        _check(name, scopes, f"{ENVIRONMENT}: entry {number}")
        keys.append(Key(name, _digest(parts[-1]), frozenset(scopes)))
    return keys


def _check(name: str, scopes: Sequence[Any], where: str) -> None:
    if not _NAME.fullmatch(name):
        raise StegoError(f"{where}: '{name[:40]}' cannot be a key's name; expected 1 to 40 letters, digits, dashes and underscores")
    wrong = next((scope for scope in scopes if scope not in SCOPES), None)
    if wrong is not None or not scopes:
        raise StegoError(f"{where}: key '{name}': scopes: expected one or more of {', '.join(SCOPES)}")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
