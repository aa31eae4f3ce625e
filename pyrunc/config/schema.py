"""Whether a config fits the schema in spec/."""

from pyrunc.errors import ConfigError


def check(value: object, part: str = "config") -> None:
    """part: "config", "process" or "resources". Raises ConfigError for the first violation."""
    if not isinstance(value, dict):
        raise ConfigError("a JSON object is expected")
