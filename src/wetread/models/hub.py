"""The Hugging Face hub: asked once whether it can be reached, since its client retries for half a minute."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

_SECONDS = 5
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def check_reachable(repository: str, file: str) -> None:
    """Raise ``OSError`` when a file is not in the local cache and the hub's host cannot be reached within seconds.

    Nothing is asked where the client itself will not ask (offline mode), or where a proxy stands between.

    Parameters
    ----------
    repository
        Its id, ``owner/name``.
    file
        The file that will be asked for.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    proxied = any(os.environ.get(key) for key in _PROXIES)
    if constants.HF_HUB_OFFLINE or proxied or isinstance(try_to_load_from_cache(repository, file), str):
        return
    there = urlsplit(constants.ENDPOINT)
    port = there.port or (80 if there.scheme == "http" else 443)
    with socket.create_connection((there.hostname, port), timeout=_SECONDS):
        return
