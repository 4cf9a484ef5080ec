"""Pictures: JPEG, Spark's image struct, and the resize before a model."""

from typing import Any

import cv2
import numpy as np

from framewatch.errors import FramewatchError

# Spark's image struct names its pixel layout by OpenCV's type number: 8 bits, 1, 3 or 4 channels.
_CHANNELS = {0: 1, 16: 3, 24: 4}


def encode_jpeg(image: np.ndarray, *, quality: int) -> bytes:
    """JPEG bytes of a (height, width, 3) uint8 BGR image, at a quality of 1 to 100."""
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise FramewatchError(f"a {image.shape} image could not be encoded as JPEG")
    return data.tobytes()


def decode_image(data: bytes | memoryview | None) -> np.ndarray | None:
    """A (height, width, 3) uint8 BGR image from JPEG or PNG bytes, or None where they are no picture."""
    if not data:
        return None
    try:
        image: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return image


def struct_to_array(image: dict[str, Any] | None) -> np.ndarray | None:
    """A (height, width, 3) uint8 BGR image from a row of Spark's image struct.

    Gray is spread to three channels, alpha is composited on black. None for null, for an unknown
    `mode`, and where the number of bytes is not height x width x channels.
    """
    if image is None or image["data"] is None:
        return None
    channels = _CHANNELS.get(image["mode"])
    pixels = np.frombuffer(image["data"], np.uint8)
    if not channels or pixels.size == 0 or pixels.size != image["height"] * image["width"] * channels:
        return None
    array = pixels.reshape(image["height"], image["width"], channels)
    if channels == 1:
        return np.repeat(array, 3, axis=2)
    if channels == 4:
        return (array[..., :3] * (array[..., 3:] / 255.0)).round().astype(np.uint8)
    return array


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Stretches to (size, size, 3) by area averaging; an image of that size is returned as it is."""
    if image.shape[:2] == (size, size):
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
