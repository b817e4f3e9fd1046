"""Pseudonymous keys: the same person gives the same key, and the key does not hold the person's number."""

from __future__ import annotations

import hashlib
import hmac

DEFAULT_KEY = b"wetread pseudonym key, version 1"
"""Key of the hash where the caller gives none.

It is the same everywhere, so keys are stable from run to run and from machine to machine. It is also public: somebody
who already holds a list of patient numbers can hash them and compare. Where drafts leave the institution, pass a secret
key of your own.
"""


def pseudonym(kind: str, raw: str, key: bytes = DEFAULT_KEY) -> str:
    """Return ``kind-`` and 12 hexadecimal digits of HMAC-SHA256 over ``raw``, or an empty string for an empty ``raw``.

    Parameters
    ----------
    kind
        What is named (``patient``, ``study``, ``site``); part of what is hashed, so that equal numbers of two kinds
        give keys that cannot be linked.
    raw
        The identifier as the file holds it; blanks around it are ignored.
    key
        Secret of the hash.

    >>> pseudonym("patient", "12345") == pseudonym("patient", " 12345 ")
    True
    >>> pseudonym("patient", "12345")[8:] == pseudonym("study", "12345")[6:]
    False
    >>> pseudonym("patient", "")
    ''
    """
    raw = raw.strip()
    if not raw:
        return ""
    digest = hmac.new(key, f"{kind}\0{raw}".encode(), hashlib.sha256)
    return f"{kind}-{digest.hexdigest()[:12]}"
