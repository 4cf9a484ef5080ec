"""Checks single values of the configuration."""

from collections.abc import Sequence

from framewatch.errors import ConfigError


def require(valid: bool, key: str, value: object, rule: str) -> None:
    """Raises an error if a value is not valid.

    Args:
        valid: whether the value is valid.
        key: dotted key, such as `sampling.fps`.
        value: the value.
        rule: the valid values, for the message.

    Raises:
        ConfigError: the value is not valid; the message names key, value and rule.
    """
    if not valid:
        raise ConfigError(f"{key}={value} is not valid: {rule}")


def require_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Checks that a value is one of `choices`.

    Raises:
        ConfigError: it is not one of them; the message lists them.
    """
    require(value in choices, key, value, f"choose one of {', '.join(choices)}")
