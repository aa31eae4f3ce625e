"""What the specification demands of a config and a schema cannot say."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config, Process, Resources


def check_nul(value: object) -> None:
    """Refuse NUL in strings."""


def check(config: "Config") -> None:
    """Raises ConfigError for the first rule that is broken."""


def check_process(process: "Process", pointer: str) -> None:
    """The rules of one process object."""


def check_resources(resources: "Resources", pointer: str) -> None:
    """The rules of one resources object."""


def warnings(config: "Config") -> "list[str]":
    """What is odd in a config and yet no error."""
    return []
