"""Pictures between JPEG, Spark's struct, and arrays."""

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


def test_resize_averages_areas_and_leaves_the_right_size_alone() -> None:
    checkers = np.indices((8, 8)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 200
    assert np.unique(images.resize(checkers.astype(np.uint8), 4)).tolist() == [100]
    right = np.zeros((4, 4, 3), np.uint8)
    assert images.resize(right, 4) is right
