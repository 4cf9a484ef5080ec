"""Pictures between JPEG, Spark's struct, and arrays."""

import io

import cv2
import numpy as np
import pytest

from framewatch import images


def struct(array: np.ndarray, mode: int, data: bytes | None = None) -> dict:
    height, width, channels = array.shape
    return {
        "height": height,
        "width": width,
        "nChannels": channels,
        "mode": mode,
        "data": data or array.tobytes(),
    }


def test_jpeg_there_and_back() -> None:
    image = cv2.resize(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5, (64, 64))
    back = images.decode_image(images.encode_jpeg(image, quality=95))
    assert back is not None
    assert np.abs(back.astype(int) - image).mean() < 3
    small, large = (len(images.encode_jpeg(image, quality=quality)) for quality in (10, 95))
    assert small < large


def test_gray_and_alpha_become_bgr() -> None:
    gray = np.array([[[7], [200]]], np.uint8)
    assert images.struct_to_array(struct(gray, 0)).tolist() == [[[7, 7, 7], [200, 200, 200]]]
    clear = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [100, 100, 100, 51]]], np.uint8)
    assert images.struct_to_array(struct(clear, 24)).tolist() == [[[0, 0, 0], [10, 20, 30], [20, 20, 20]]]


@pytest.mark.parametrize("data", [None, b"", b"rubbish", b"\xff\xd8\xff\xe0 cut"])
def test_what_is_no_picture_is_none(data: bytes | None) -> None:
    assert images.decode_image(data) is None


def test_structs_that_lie_are_none() -> None:
    array = np.zeros((2, 2, 3), np.uint8)
    assert images.struct_to_array(None) is None
    assert images.struct_to_array({**struct(array, 16), "data": None}) is None
    assert images.struct_to_array(struct(array, 16, b"short")) is None
    assert images.struct_to_array(struct(array, 5)) is None
    assert images.struct_to_array({**struct(array, 16), "height": 0, "data": b""}) is None
    undefined = {"height": -1, "width": -1, "nChannels": -1, "mode": -1, "data": b""}
    assert images.struct_to_array(undefined) is None


def average_areas(image: np.ndarray, size: int) -> np.ndarray:
    """Each new pixel is the mean of what it covers, as weights of whole and part pixels: slow and exact."""

    def weights(length: int) -> np.ndarray:
        edges = np.linspace(0, length, size + 1)
        low, high = edges[:-1, None], edges[1:, None]
        pixels = np.arange(length)
        covered = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
        return covered / covered.sum(axis=1, keepdims=True)

    return np.einsum("ah,hwc,bw->abc", weights(image.shape[0]), image.astype(float), weights(image.shape[1]))


@pytest.mark.parametrize(("height", "width"), [(70, 90), (12, 9), (20, 90), (31, 11), (30, 45)])
def test_resize_averages_areas_up_and_down(height: int, width: int) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    difference = np.abs(images.resize(image, 30).astype(float) - average_areas(image, 30))
    assert difference.max() <= 1.01  # each of two passes rounds to half a level


def test_nearest_takes_the_pixel_at_the_centre() -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    rows, columns = np.floor((np.arange(3) + 0.5) * 5 / 3), np.floor((np.arange(3) + 0.5) * 7 / 3)
    expected = image[rows.astype(int)][:, columns.astype(int)]
    assert images.resize(image, 3, method="nearest").tolist() == expected.tolist()


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def test_files_of_other_depths_and_channels() -> None:
    bgr = cv2.resize(np.random.default_rng(3).integers(0, 255, (4, 4, 3), dtype=np.uint8), (32, 24))
    assert (images.decode_image(png(bgr.astype(np.uint16) * 257)) == bgr).all()
    gray = images.decode_image(png(bgr[..., 0]))
    assert (gray == bgr[..., :1]).all()
    half = np.dstack([bgr, np.full(bgr.shape[:2], 51, np.uint8)])
    assert np.abs(images.decode_image(png(half)).astype(float) - bgr * 0.2).max() <= 0.5
    wide = struct(bgr.astype(np.uint16) * 257, 18)
    assert (images.struct_to_array(wide) == bgr).all()


def test_cmyk_photographs() -> None:
    from PIL import Image

    bgr = cv2.resize(np.random.default_rng(3).integers(0, 255, (4, 4, 3), dtype=np.uint8), (32, 24))
    file = io.BytesIO()
    Image.fromarray(bgr[..., ::-1]).convert("CMYK").save(file, "JPEG", quality=95)
    assert np.abs(images.decode_image(file.getvalue()).astype(float) - bgr).mean() < 4


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated_pictures_are_none(suffix: str, share: float) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    data = cv2.imencode(suffix, noise)[1].tobytes()
    assert images.decode_image(data) is not None
    assert images.decode_image(data[: int(len(data) * share)]) is None


def test_resize_averages_areas_and_leaves_the_right_size_alone() -> None:
    checkers = np.indices((8, 8)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 200
    assert np.unique(images.resize(checkers.astype(np.uint8), 4)).tolist() == [100]
    right = np.zeros((4, 4, 3), np.uint8)
    assert images.resize(right, 4) is right
