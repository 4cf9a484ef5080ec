"""How a section says that a value is not valid."""

from collections.abc import Sequence

from framewatch.errors import ConfigError


def require(valid: bool, key: str, value: object, rule: str) -> None:
    """Checks one value.

    Raises:
        ConfigError: it is not valid; names the key, the value and the rule.
    """
    if not valid:
        raise ConfigError(f"{key}={value} is not valid: {rule}")


def require_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Checks that a value is one of `choices`.

    Raises:
        ConfigError: it is none of them; names them.
    """
    require(value in choices, key, value, f"choose one of {', '.join(choices)}")
