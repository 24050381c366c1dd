"""Secrets concealed while they travel, under a key that travels apart from them."""

from __future__ import annotations

import hashlib

__all__ = ["conceal"]


def conceal(secret: bytes, key: bytes) -> bytes:
    """Conceal a secret under a key that is used once, or reveal it again.

    The key stream is SHAKE-256 of a random key. The concealed secret and the key
    travel apart, so neither the repr of a plugin nor that of a task shows a credential.
    It is not authenticated: it hides a secret from logs and dashboards, and does not
    detect that a scheduler changed it.
    """
    stream = hashlib.shake_256(key).digest(len(secret))
    return bytes(a ^ b for a, b in zip(secret, stream, strict=True))
