"""Addresses of APIs."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ..errors import BadInput


def normalise_base_url(url: str, path: str = "/v1") -> str:
    """Check a base URL and give it one form: no trailing slash.

    Args:
        path: What is added where no path was given.

    Example:
        >>> normalise_base_url("http://127.0.0.1:8700/")
        'http://127.0.0.1:8700/v1'

    Raises:
        BadInput: Not an http(s) URL, or one with a password in it.
    """
    if "@" in url or "?" in url or "#" in url:  # said first, and without quoting it: it may be a password
        raise BadInput("the base URL must have no user name, password, query or fragment")
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an unclosed bracket, a port that is no number
        usable = False
    if not usable:
        raise BadInput(f"base URL {url!r} is not of the form https://host/v1")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/') or path}"


def api_origin(base_url: str) -> str:
    """Scheme, host and port of an API: what a ledger is bound to.

    Example:
        >>> api_origin("https://api.aimlapi.com/v1")
        'https://api.aimlapi.com'
    """
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
