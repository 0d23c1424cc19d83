"""The one way out: a POST to an address that the operator gave, and to no other place.

Resolves the name once and refuses what a server must never be sent to by a name (link-local, where
clouds answer with credentials; multicast; unspecified), follows no redirect, takes no proxy from
the environment, waits seconds.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from urllib.parse import unquote, urlsplit

import httpx

PATIENCE = 5.0  # seconds


class Refused(OSError):  # noqa: N818  an OSError, so that senders try again later
    """The address is none that we connect to, or it did not take what we sent."""


def post(
    address: str,
    body: bytes,
    *,
    headers: dict[str, str],
    patience: float = PATIENCE,
    may_be_plain: bool = False,
) -> None:
    """Send this. Raises OSError when it was not taken with a status of 2xx.

    may_be_plain   http also to other machines than this one
    A name and a password in the address are sent as basic authentication.
    """
    parts = urlsplit(address)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    found = resolved(host, port)
    if not is_tls and not found.is_loopback and not may_be_plain:
        raise Refused(f"{host} would be sent to in the clear")
    # To the address that was looked at, whatever the name means a moment later.
    shown = f"[{found}]" if found.version == 6 else str(found)
    there = parts._replace(netloc=f"{shown}:{port}").geturl()
    try:
        with httpx.Client(
            timeout=patience,
            follow_redirects=False,
            trust_env=False,
            verify=httpx.create_ssl_context(),  # knows SSL_CERT_FILE, a site's own authority
        ) as client:
            answer = client.post(
                there,
                content=body,
                auth=_basic(parts.username, parts.password),
                headers={"Host": parts.netloc.rpartition("@")[2], **headers},
                extensions={"sni_hostname": host} if is_tls else {},
            )
    except httpx.HTTPError as error:
        raise Refused(type(error).__name__) from error
    if not answer.is_success:
        raise Refused(f"status {answer.status_code}")


def _basic(name: str | None, password: str | None) -> httpx.Auth:
    return httpx.BasicAuth(unquote(name), unquote(password or "")) if name else httpx.Auth()


def signature(secret: str, at: str, body: bytes) -> str:
    """HMAC-SHA256 over the time and the body: an old message cannot be sent again as a new one."""
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()


def resolved(host: str, port: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that this name means now. Raises OSError, `Refused` for a forbidden one."""
    try:
        found = [ipaddress.ip_address(host)]
    except ValueError:
        told = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in told]
    for address in found:
        plain = getattr(address, "ipv4_mapped", None) or address
        if plain.is_link_local or plain.is_multicast or plain.is_unspecified:
            raise Refused(f"{host} means {plain}, where nothing is sent")
    return found[0]
