"""hostname and domainname."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context


class Hostname(Step):
    """hostname and domainname."""

    __slots__ = ("domain", "host")
    name = "hostname"
    section = "config.md#hostname"
    side = CONTAINER

    def __init__(self, host: str, domain: str) -> None:
        Step.__init__(self, "/hostname" if host else "/domainname")
        self.host = host
        self.domain = domain

    def describe(self) -> str:
        words = ["hostname " + self.host] if self.host else []
        words += ["domainname " + self.domain] if self.domain else []
        return "set " + " and ".join(words)

    def apply(self, context: Context) -> None:
        if self.host:
            _linux.sethostname(self.host)
        if self.domain:
            _linux.setdomainname(self.domain)
