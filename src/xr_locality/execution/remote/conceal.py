"""Secrets that travel sealed."""

from __future__ import annotations

import hashlib

__all__ = ["seal"]


def seal(secret: bytes, key: bytes) -> bytes:
    """Hide, or show again, a secret under a key of one use.

    The key stream is SHAKE-256 of a random key; the sealed secret and the key
    travel apart, so neither a plugin's repr nor a task shows a credential.
    """
    stream = hashlib.shake_256(key).digest(len(secret))
    return bytes(a ^ b for a, b in zip(secret, stream, strict=True))
