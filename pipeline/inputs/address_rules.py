"""What the tables of a job may name, by its keys and by where the tables lie."""

from __future__ import annotations

from urllib.parse import urlsplit

from pipeline.config.job_config import JobConfig
from pipeline.storage.addresses import AddressRules, remote_schemes
from pipeline.storage.schemes import is_of_this_machine, names_host, scheme_name, scheme_of


def address_rules(config: JobConfig) -> AddressRules:
    """The rules of a job, whose places are those that its tables are read from.

    A table on this machine was put there by its user, so that it may name whatever the user could. A table in a store
    may name stores and web servers, and what is in its own store.
    """
    places = [place for place in (config.videos, config.prompts, *(config.corrections or ())) if place]
    naming = config.videos or config.prompts or ""  # the table that says where videos are
    schemes = None if is_of_this_machine(naming) else remote_schemes() | {scheme_name(naming)}
    if config.input.schemes is not None:
        schemes = frozenset(name for given in config.input.schemes for name in (given, *_other_names(given)))
    hosts = {urlsplit(place).hostname or "" for place in places if names_host(place)}
    return AddressRules(schemes, config.input.hosts, frozenset(hosts - {""}))


def _other_names(scheme: str) -> tuple[str, ...]:
    """`s3a` for `s3`; none for `http`, because a user who allows `https` does not mean both."""
    uri = f"{scheme}://"
    return () if names_host(uri) else scheme_of(uri).names
