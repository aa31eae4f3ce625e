"""config.json: read, checked and explained (config.md, config-linux.md)."""

from __future__ import annotations

from typing import Final

#: The newest version of the runtime specification that is followed: of what `spec` writes, of states, and of features.
OCI_VERSION: Final = "1.3.0"
