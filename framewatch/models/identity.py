"""The identity of features: what made them, and whether two sets of them can be compared."""

from collections.abc import Mapping, Sequence
from typing import Any

from framewatch.errors import InputError

# Keys of the features' metadata, as `FeatureSpec.identity` writes them, that must be equal. Engine and
# precision may differ: they change features by less than pictures of one second differ.
_COMPARED = ("model", "weights_sha256", "pooling", "resize", "layer", "preprocessing", "declaration")


def differences(have: Mapping[str, Any], want: Mapping[str, Any], *also: str) -> list[str]:
    """The keys in which two sets of features differ so that they cannot be compared.

    Args:
        have: the metadata of one set.
        want: the metadata of the other.
        also: further keys that must be equal.
    """
    return [key for key in (*_COMPARED, *also) if have.get(key) != want.get(key)]


def require_same_features(
    have: Mapping[str, Any],
    want: Mapping[str, Any],
    one: str,
    other: str,
    remedy: str,
    also: Sequence[str] = (),
) -> None:
    """Checks that two sets of features can be compared.

    Args:
        have: the metadata of one set.
        want: the metadata of the other.
        one: what the first set is called in the message.
        other: what the second is called.
        remedy: what a user may do.
        also: further keys that must be equal.

    Raises:
        InputError: they differ; names each key with both values, and the remedy.
    """
    differ = differences(have, want, *also)
    if differ:
        details = "; ".join(
            f"{key} is {have.get(key)} in {one} and {want.get(key)} in {other}" for key in differ
        )
        raise InputError(f"features that differ cannot be compared: {details}: {remedy}")
