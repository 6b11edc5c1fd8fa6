"""Which addresses are those of the public internet. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_TEREDO = IPv6Network("2001::/32")
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether a numeric address is reached over the internet, and is one host.

    An IPv6 address that carries an IPv4 one (mapped, NAT64, 6to4) counts as that.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = _carried(address)
        if inner is None:
            return address in _GLOBAL_UNICAST and address not in _TEREDO and bool(address.is_global)
        address = inner
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_private_literal(host: str) -> bool:
    """Whether a host says by itself, without any look-up, that it is not public."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return not is_public(host)
    except ValueError:
        return False


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour
