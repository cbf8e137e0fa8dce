"""Who asks, where proxies stand between: X-Forwarded-For and Forwarded (RFC 7239).

Each proxy appends the address that it was asked from; what stands before that, the client may have
written. So the list is read from its end, and believed as long as proxies of ours are speaking.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

__all__ = ["Proxies"]


class Proxies:
    """Those who are believed.

    Args:
        networks: Their addresses or networks; "unix" stands for all who use a Unix socket.
        header: The field that they add to.

    Raises:
        ValueError: Something is not the address of a network.
    """

    def __init__(self, networks: Sequence[str] = (), header: str = "X-Forwarded-For") -> None:
        if isinstance(networks, str):
            raise TypeError("proxies must be a sequence of networks, not a str")
        if header.lower() not in ("x-forwarded-for", "forwarded"):
            raise ValueError(f"proxies tell by X-Forwarded-For or by Forwarded, not by {header!r}")
        self._unix = "unix" in networks
        self._networks: list[IPv4Network | IPv6Network] = [
            ip_network(one) for one in networks if one != "unix"
        ]
        self._key = "HTTP_" + header.upper().replace("-", "_")

    def client(self, environ: dict[str, Any]) -> str:
        """Return the address of the first who is no proxy; "" if that is not known."""
        peer: str = environ.get("REMOTE_ADDR", "")
        address = _address(peer)
        told: str = environ.get(self._key, "")
        if not told or not (self._trusts(address) if peer else self._unix):
            return peer
        # Split at every comma, within quotes too: they may be the client's, left open to swallow
        # what a proxy has appended. In what a proxy says of an address there is no comma.
        for hop in reversed(told.split(",")):
            address = _address(hop if self._key != "HTTP_FORWARDED" else _node(hop))
            if not self._trusts(address):
                break
        return "" if address is None else str(address)

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _node(element: str) -> str:
    """Return the node identifier of the parameter "for" (RFC 7239 6)."""
    for pair in element.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value.strip().strip('"')
    return ""


def _address(node: str) -> IPv4Address | IPv6Address | None:
    """Return an address without its port; None for "unknown" and whatever else there may be."""
    node = node.strip()
    if node.startswith("["):
        node = node[1:].partition("]")[0]
    elif node.count(":") == 1:
        node = node.partition(":")[0]
    try:
        address = ip_address(node.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
