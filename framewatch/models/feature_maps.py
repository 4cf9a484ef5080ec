"""Runs networks on bursts: features, the feature maps before pooling, and how much these change.

What happens in a corner changes the maps there, and hardly their mean. So the change of a channel is the
largest one at any position, and not the change of the pooled features. Does not import Spark.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from framewatch.models import engines
from framewatch.models.engines import Find
from framewatch.models.openvino_networks import add_maps
from framewatch.models.spec import FeatureSpec, Network


@dataclass(frozen=True)
class MapsFn:
    """A loaded network that also returns its last feature maps.

    Attributes:
        input_size: width and height of its input, pixels.
        run: maps (n, input_size, input_size, 3) uint8 BGR to features, (n, length) float32, and maps,
            (n, positions, channels) float32. Networks without maps have one position.
    """

    input_size: int
    run: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@functools.lru_cache(maxsize=1)
def make_maps_fn(spec: FeatureSpec, *, find: Find | None = None) -> MapsFn:
    """Loads a network once per process, as `engines.make_predict_fn` does; with the same features.

    Raises:
        WeightsError: a file is missing, differs from the driver's, or belongs to another model.
    """
    return (_openvino if spec.engine == "openvino" else _tensorflow)(spec, find or (lambda path: path))


def change(maps: np.ndarray) -> np.ndarray:
    """Returns how much each channel changes over a burst.

    Args:
        maps: (pictures, positions, channels) float32, two pictures or more.

    Returns:
        (channels,) float32: the largest absolute difference between consecutive pictures at any position,
        mean over the burst.
    """
    return np.abs(np.diff(maps, axis=0)).max(axis=1).mean(axis=0)


def _openvino(spec: FeatureSpec, find: Find) -> MapsFn:
    has_maps: list[tuple[int, ...]] = []
    size, run = engines.load_openvino(spec, find, change=lambda model: has_maps.extend(add_maps(model)))
    if not has_maps:
        return MapsFn(size, lambda pictures: _shaped(spec.network, run(pictures)[0]))
    (axes,) = has_maps

    def run_both(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features, maps = run(pictures)
        last = np.moveaxis(maps, axes, range(1, 1 + len(axes)))
        return features, last.reshape(len(last), -1, last.shape[-1])

    return MapsFn(size, run_both)


def _tensorflow(spec: FeatureSpec, find: Find) -> MapsFn:
    network, registered = spec.network, spec.network.registered
    pooled = registered is not None and network.output in ("avg", "max")
    whole = dataclasses.replace(network, output="none") if pooled else network
    size, run = engines.load_tensorflow(dataclasses.replace(spec, network=whole), find)

    def run_both(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features, maps = _shaped(whole, run(pictures))
        if pooled:
            features = maps.mean(axis=1) if network.output == "avg" else maps.max(axis=1)
        return features, maps

    return MapsFn(size, run_both)


def _shaped(network: Network, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns features, and as maps the same: the positions of maps that are not pooled, else one."""
    registered = network.registered
    channels = registered.num_channels if registered and network.output == "none" else features.shape[1]
    return features, features.reshape(len(features), -1, channels)
