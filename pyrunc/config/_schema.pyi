# What tools/gencheck.py makes: _schema.py.

from typing import Any

SCHEMAS: dict[str, Any]
