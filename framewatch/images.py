"""Pictures: JPEG and other files, Spark's image struct, and the resize before a network."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from framewatch.errors import FramewatchError, SetupError

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
# Spark's image struct names its pixels by OpenCV's type: depth in three bits, then channels less one.
_DEPTHS = {0: np.uint8, 2: np.uint16}


def encode_jpeg(image: np.ndarray, *, quality: int) -> bytes:
    """JPEG bytes of a (height, width, 3) uint8 BGR image, at a quality of 1 to 100."""
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise FramewatchError(f"a {image.shape} image could not be encoded as JPEG")
    return data.tobytes()


def decode_image(data: bytes | None) -> np.ndarray | None:
    """A (height, width, 3) uint8 BGR image from the bytes of a JPEG, PNG or other file that OpenCV reads.

    Gray is spread to three channels, alpha is composited on black, 16 bits become 8. None for null, for
    what is no picture, and for a truncated one: half a picture would pass for a whole one.
    """
    if not data:
        return None
    is_jpeg = data.startswith(_JPEG_START)
    if is_jpeg and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        return None
    # Only this flag keeps alpha; only the other turns a photograph upright.
    flag = cv2.IMREAD_COLOR if is_jpeg else cv2.IMREAD_UNCHANGED
    try:
        image: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None
    return None if image is None else _to_bgr(image)


def struct_to_array(image: Mapping[str, Any] | None) -> np.ndarray | None:
    """A (height, width, 3) uint8 BGR image from the fields of Spark's image struct.

    Gray is spread to three channels, alpha is composited on black, 16 bits become 8. None for null, for
    a `mode` that is not 1, 3 or 4 channels of 8 or 16 bits, for an empty picture, and where the number of
    bytes does not fit.
    """
    if image is None or any(image[field] is None for field in ("height", "width", "mode", "data")):
        return None
    height, width, mode = image["height"], image["width"], image["mode"]
    depth, channels = _DEPTHS.get(mode & 7), (mode >> 3) + 1
    if depth is None or channels not in (1, 3, 4) or height < 1 or width < 1:
        return None
    data = np.frombuffer(image["data"], np.uint8)
    if data.size != height * width * channels * np.dtype(depth).itemsize:
        return None
    return _to_bgr(data.view(depth).reshape(height, width, channels))


def _to_bgr(image: np.ndarray) -> np.ndarray | None:
    if image.dtype == np.uint16:
        image = (image / 257.0).round().astype(np.uint8)
    if image.dtype != np.uint8:
        return None
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 4:
        return (image[..., :3] * (image[..., 3:] / 255.0)).round().astype(np.uint8)
    return image if image.shape[2] == 3 else None


def shrink(image: np.ndarray, width: int) -> np.ndarray:
    """Scales a wider (height, width, 3) uint8 image down to this width, in pixels."""
    if image.shape[1] <= width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def resize(image: np.ndarray, size: int, *, method: str = "area") -> np.ndarray:
    """Brings an image to (size, size, 3); one of that size is returned as it is.

    Args:
        image: (height, width, 3) uint8.
        size: the new side, pixels.
        method: `area`, each new pixel the mean of the area it covers, after `SCALE_AREA_AVERAGING` of
            java.awt.Image; `nearest`, the pixel at its centre; or `crop`, bicubic to `size` on the shorter
            side and cut at the middle, as CLIP's image processor does.

    Raises:
        SetupError: `crop`, and Pillow is missing.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    if method == "crop":
        return _cropped(image, size)
    if method == "nearest":
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    if (height > size) != (width > size):
        # OpenCV averages areas only if no side grows; one side after the other, it is exact for both.
        first = (size, height) if width > size else (width, size)
        image = cv2.resize(image, first, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _cropped(image: np.ndarray, size: int) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        raise SetupError("CLIP's pictures need Pillow: pip install 'framewatch[clip]'") from error
    height, width = image.shape[:2]
    scale = size / min(height, width)
    wide = size if width <= height else int(width * scale)
    high = size if height <= width else int(height * scale)
    # OpenCV's bicubic takes 16 pixels however far it shrinks; CLIP was trained on Pillow's, which takes all.
    resized = np.asarray(Image.fromarray(image).resize((wide, high), Image.Resampling.BICUBIC))
    top, left = (high - size) // 2, (wide - size) // 2
    return resized[top : top + size, left : left + size]
