"""Pictures: decodes files and Spark's image struct, encodes JPEG, and resizes for networks."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from framewatch.errors import FramewatchError, PictureError, PictureTooLargeError, SetupError
from framewatch.io.picture_header import read_header

# 50 megapixels covers cameras and phones, and takes at most 400 MB decoded.
MAX_PIXELS = 50_000_000
_BAND_PIXELS = 1 << 20
# A picture with a larger aspect ratio is cropped to it before it is resized for a square crop.
_WIDEST_CROPPED = 16
# Spark's image struct has OpenCV's type code as `mode`: three bits of depth, then channels minus one.
_DEPTHS = {0: np.uint8, 2: np.uint16}


def encode_jpeg(image: np.ndarray, *, quality: int) -> bytes:
    """Encodes a (height, width, 3) uint8 BGR image as JPEG, at a quality of 1 to 100; returns bytes."""
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise FramewatchError(f"a {image.shape} image could not be encoded as JPEG")
    return data.tobytes()


def decode_image(data: bytes | None, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes a JPEG, PNG, GIF, TIFF, WebP or BMP file to a (height, width, 3) uint8 BGR image.

    Reads the header first, so that no memory is allocated for a picture that is too large. Repeats gray
    in three channels, composites alpha on black, reduces 16 bits to 8, and takes the first frame of an
    animation.

    Raises:
        PictureTooLargeError: the picture has more than `max_pixels`.
        PictureError: the data is null, has none of these formats, or is damaged or truncated (half a picture
            could be taken for a whole one).
    """
    if not data:
        raise PictureError("the picture is empty", "null")
    header = read_header(data)
    if header is None:
        raise PictureError("not a picture: use a JPEG, PNG, GIF, TIFF, WebP or BMP file", "no picture")
    check_size(header.width, header.height, header.num_pixels, max_pixels)
    if not header.is_whole:
        raise PictureError(f"the {header.kind} file is cut off: copy it again")
    # IMREAD_UNCHANGED keeps alpha; IMREAD_COLOR applies the EXIF orientation of a JPEG.
    flag = cv2.IMREAD_COLOR if header.kind == "JPEG" else cv2.IMREAD_UNCHANGED
    try:
        image: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        image = None
    if image is None:
        raise PictureError(f"the {header.kind} file is damaged: OpenCV cannot decode it")
    return _to_bgr(image)


def struct_to_array(image: Mapping[str, Any] | None, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Converts the fields of Spark's image struct to a (height, width, 3) uint8 BGR image.

    Repeats gray in three channels, composites alpha on black, and reduces 16 bits to 8.

    Raises:
        PictureTooLargeError: the picture has more than `max_pixels`.
        PictureError: the picture is null or empty, its `mode` is not 1, 3 or 4 channels of 8 or 16 bits, or
            its number of bytes does not match.
    """
    if image is None or any(image[field] is None for field in ("height", "width", "mode", "data")):
        raise PictureError("the picture is null", "null")
    height, width, mode = image["height"], image["width"], image["mode"]
    depth, channels = _DEPTHS.get(mode & 7), (mode >> 3) + 1
    if depth is None or channels not in (1, 3, 4) or height < 1 or width < 1:
        raise PictureError(
            f"an image struct of {width} x {height} pixels and mode {mode} is not a picture", "no picture"
        )
    data = np.frombuffer(image["data"], np.uint8)
    if data.size != height * width * channels * np.dtype(depth).itemsize:
        raise PictureError(f"{data.size} bytes are not a picture of {width} x {height} pixels")
    check_size(width, height, width * height, max_pixels)
    return _to_bgr(data.view(depth).reshape(height, width, channels))


def check_size(width: int, height: int, num_pixels: int, max_pixels: int) -> None:
    """Checks the size of a picture before it is decoded.

    Raises:
        PictureTooLargeError: `num_pixels` is more than `max_pixels`.
    """
    if num_pixels > max_pixels:
        raise PictureTooLargeError(
            f"a picture of {width} x {height} pixels is larger than images.max_pixels={max_pixels}: "
            "scale it down, or raise that setting"
        )


def _to_bgr(image: np.ndarray) -> np.ndarray:
    channels = 1 if image.ndim == 2 else image.shape[2]
    if image.dtype not in (np.uint8, np.uint16) or channels not in (1, 3, 4):
        raise PictureError(
            f"a picture of {channels} channels of {image.dtype} is not supported", "no picture"
        )
    if image.dtype == np.uint8 and channels == 3:
        return image
    height, width = image.shape[:2]
    result = np.empty((height, width, 3), np.uint8)
    # Converted in bands, so that intermediate results do not take the memory of a second picture.
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = image[top : top + rows].reshape(-1, width, channels)
        result[top : top + rows] = _without_alpha(_to_8_bits(band))
    return result


def _to_8_bits(band: np.ndarray) -> np.ndarray:
    return band if band.dtype == np.uint8 else cv2.convertScaleAbs(band, alpha=1 / 257)


def _without_alpha(band: np.ndarray) -> np.ndarray:
    if band.ndim == 2:  # OpenCV drops a channel axis of length 1
        return band[..., None]
    return (
        cv2.multiply(band[..., :3], cv2.merge([band[..., 3]] * 3), scale=1 / 255)
        if band.shape[2] == 4
        else band
    )


def shrink(image: np.ndarray, width: int) -> np.ndarray:
    """Returns a (height, width, 3) uint8 image, scaled down to this width in pixels if it is wider."""
    if image.shape[1] <= width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def shrink_to(image: np.ndarray, max_side: int) -> np.ndarray:
    """Returns a (height, width, 3) uint8 image, scaled down if its longer side exceeds `max_side` pixels."""
    height, width = image.shape[:2]
    return shrink(image, max(1, min(width, round(width * max_side / max(height, width)))))


def resize(image: np.ndarray, size: int, *, method: str = "area") -> np.ndarray:
    """Resizes an image to (size, size, 3); returns an image of that size unchanged.

    Args:
        image: (height, width, 3) uint8.
        size: width and height of the result, pixels.
        method: `area`, the mean of the covered area, like `SCALE_AREA_AVERAGING` of java.awt.Image;
            `nearest`, the pixel at the centre; or `crop`, bicubic with the shorter side at `size` and a
            centre crop, like CLIP's image processor.

    Raises:
        SetupError: `crop` needs Pillow, which is missing.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    if method == "crop":
        return _cropped(image, size)
    if method == "nearest":
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    if (height > size) != (width > size):
        # OpenCV averages areas only if both sides shrink, so each side is resized in its own step.
        first = (size, height) if width > size else (width, size)
        image = cv2.resize(image, first, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _cropped(image: np.ndarray, size: int) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        raise SetupError(
            "CLIP models need Pillow to resize pictures: pip install 'framewatch[clip]'"
        ) from error
    # Parts that the crop removes are not enlarged first: a picture one pixel high would take terabytes.
    most = _WIDEST_CROPPED * min(image.shape[:2])
    image = _middle(image, most, most)
    height, width = image.shape[:2]
    scale = size / min(height, width)
    wide = size if width <= height else int(width * scale)
    high = size if height <= width else int(height * scale)
    # CLIP was trained with Pillow's bicubic filter, which averages all source pixels; OpenCV's uses 16.
    resized = np.asarray(Image.fromarray(image).resize((wide, high), Image.Resampling.BICUBIC))
    return _middle(resized, size, size)


def _middle(image: np.ndarray, most_high: int, most_wide: int) -> np.ndarray:
    height, width = image.shape[:2]
    top, left = max(0, height - most_high) // 2, max(0, width - most_wide) // 2
    return image[top : top + most_high, left : left + most_wide]
