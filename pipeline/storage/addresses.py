"""Which addresses of a table are read. Whoever writes a table must not choose what workers fetch inside their network.

By default no address leads to a loopback or link-local one (where clouds hand out credentials), and a table in a store
names no paths of local disks. `input.schemes` and `input.hosts` say otherwise.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from pipeline.storage.schemes import ARCHIVES, SCHEMES, Place, is_known, is_web, names_host, scheme_name, scheme_of
from pipeline.storage.uris import is_local, split_tar_member

# Addresses at which clouds answer their own machines, and that are not link-local as 169.254.169.254 is.
_METADATA = {"100.100.100.200", "192.0.0.192", "fd00:ec2::254"}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedAddress(ValueError):
    """An address that a table names and that is not read: says which key allows it, and nothing of what is there."""


@dataclass(frozen=True)
class AddressRules:
    """What tables may name. It travels to workers, and is equal for equal keys.

    `schemes`: names before `://`, `file` for local paths; `None` allows all.
    `hosts`: names, patterns as `*.example.com`, or addresses. A host that is written out may lead to this machine, one
    that a pattern finds may not. `None` is `*`.
    `own_hosts`: those on which the tables themselves lie, which count as written out where `hosts` is `None`.
    """

    schemes: frozenset[str] | None = None
    hosts: tuple[str, ...] | None = None
    own_hosts: frozenset[str] = frozenset()

    def check(self, uri: str) -> None:
        """Raises `RefusedAddress` for a path or URI that may not be read. Nothing is asked there.

        The names of web servers are resolved where they are connected to (see `web_client`), because an answer given
        before may be another one by then. The hosts of other schemes are resolved here.
        """
        parts = split_tar_member(uri)
        if parts is not None:
            return self.check(parts[0])
        links = uri.split("::") if scheme_name(uri) in ARCHIVES else [uri]
        for link in links:
            if scheme_name(link) not in ARCHIVES:
                self._check_scheme(link)
                if names_host(link):
                    self._check_host_of(link)
        return None

    def allows(self, uri: str) -> bool:
        """Whether `check` lets a path or URI pass."""
        try:
            self.check(uri)
        except ValueError:
            return False
        return True

    def check_resolved(self, host: str, address: str) -> None:
        """Raises `RefusedAddress` if a host leads to an address that it may not lead to."""
        if not self._is_written_out(host) and (kind := _kind(address)):
            raise RefusedAddress(
                f"the host {host} leads to {kind} of the machine that reads it, which no table may name by default; "
                f"input.hosts={self._with(host)} allows it"
            )

    def _check_scheme(self, uri: str) -> None:
        if self.schemes is None or self._lists_scheme_of(uri) or (is_local(uri) and "file" in self.schemes):
            return
        if is_local(uri):
            raise RefusedAddress(
                "is a path on a disk of the machine that reads it, and the job's tables may not name those (by "
                f"default a table in a store may not); input.schemes=[{','.join(sorted(self.schemes | {'file'}))}] "
                "allows it"
            )
        name = scheme_name(uri)
        raise RefusedAddress(
            f"the job's tables may not name {name}:// addresses; "
            f"input.schemes=[{','.join(sorted(self.schemes | {name}))}] allows it"
        )

    def _lists_scheme_of(self, uri: str) -> bool:
        """By any name of a store: whoever lists az:// has listed what its listings call abfs://."""
        names = {scheme_name(uri)} if is_web(scheme_name(uri)) else {scheme_name(uri), *scheme_of(uri).names}
        return self.schemes is not None and not names.isdisjoint(self.schemes)

    def _check_host_of(self, uri: str) -> None:
        host = (urlsplit(uri).hostname or "").rstrip(".")
        if not host:
            return
        if self.hosts is not None and not any(fnmatchcase(host, pattern.lower()) for pattern in self.hosts):
            raise RefusedAddress(
                f"the host {host} is none that the job's tables may name; input.hosts={self._with(host)} allows it"
            )
        if _is_address(host):
            self.check_resolved(host, host)
        elif host == "localhost" or host.endswith(".localhost"):
            self.check_resolved(host, "127.0.0.1")
        elif is_known(uri) and not is_web(scheme_name(uri)):  # of others nobody knows whether it is a bucket
            for address in _resolved(host):
                self.check_resolved(host, address)

    def _is_written_out(self, host: str) -> bool:
        written = self.own_hosts if self.hosts is None else {pattern.lower() for pattern in self.hosts}
        return host.lower().rstrip(".") in written

    def _with(self, host: str) -> str:
        hosts = self.hosts if self.hosts is not None else ("'*'",)
        return f"[{','.join((*hosts, host))}]"


DEFAULT_RULES = AddressRules()
"""Any scheme and any host, but no loopback or link-local address."""


def remote_schemes() -> frozenset[str]:
    """The schemes of all stores and web servers that are known."""
    return frozenset(name for scheme in SCHEMES if scheme.place in (Place.STORE, Place.WEB) for name in scheme.names)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _kind(text: str) -> str:
    """What an address is that belongs to the machine that connects to it, in words; empty for others."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or _behind_nat64(address) or address
    if address.is_loopback or address.is_unspecified:
        return "a loopback address"
    if address.is_link_local or str(address) in _METADATA:
        return "a link-local address"
    return "a multicast address" if address.is_multicast else ""


def _behind_nat64(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _resolved(host: str) -> set[str]:
    """The addresses of a host; none if it has no name that is known, which its client will say."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return set()
