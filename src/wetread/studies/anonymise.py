"""Pseudonymous keys and shifted dates: the same person gives the same key, and the key does not hold the person's number."""

from __future__ import annotations

import datetime
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


def shifted(date: str, patient: str, key: bytes = DEFAULT_KEY) -> str:
    """Return an ISO date, or date with time, moved by 100 to 200 years, the same number of days for all of a patient's.

    The order of a patient's studies and the days between them stay; the time of day stays. Without a patient there is
    nothing to order, and the result is empty, as for what is no date.

    Parameters
    ----------
    date
        The date as it is known.
    patient
        Identifier of the patient.
    key
        Secret of the shift.

    >>> shifted("2014-01-31", "7") < shifted("2014-02-01", "7")
    True
    >>> shifted("2014-01-31T10:30:00", "7")[10:], shifted("2014-01-31", "")
    ('T10:30:00', '')
    """
    patient = patient.strip()
    try:
        moment = datetime.datetime.fromisoformat(date)
    except ValueError:
        return ""
    if not patient:
        return ""
    digest = hmac.new(key, f"date\0{patient}".encode(), hashlib.sha256)
    moved = moment.date() + datetime.timedelta(days=36_525 + int.from_bytes(digest.digest()[:4], "big") % 36_525)
    return moved.isoformat() + date[10:]
