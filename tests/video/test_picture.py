"""Rotation, pixels that are not square, pixel formats, odd sizes, interlacing: real files, read back."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from framewatch.video.decoder import Decoding

# The corners of a picture in blue, green, red and white: each turn and mirror image would show.
COLORS = {"top left": (255, 0, 0), "top right": (0, 255, 0), "low left": (0, 0, 255), "low right": (255,) * 3}


def corners(height: int, width: int) -> np.ndarray:
    image = np.full((height, width, 3), 128, np.uint8)
    h, w = height // 2, width // 2
    image[:h, :w], image[:h, w:] = COLORS["top left"], COLORS["top right"]
    image[h:, :w], image[h:, w:] = COLORS["low left"], COLORS["low right"]
    return image


def write(
    path: Path, image: np.ndarray, codec: str = "libx264", pix_fmt: str = "yuv420p", **settings
) -> Path:
    """Ten times the same picture."""
    rotation = settings.pop("rotation", 0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=settings.pop("options", {}))
        stream.height, stream.width, stream.pix_fmt = *image.shape[:2], pix_fmt
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def first_frame(path: Path, **kwargs) -> np.ndarray:
    return next(iter(list(Decoding(str(path), 1, **kwargs).samples()))).image


def assert_like(image: np.ndarray, expected: np.ndarray, *, least: float = 0.98) -> None:
    assert image.shape == expected.shape
    assert image.dtype == np.uint8 and image.flags["C_CONTIGUOUS"]
    correlation = np.corrcoef(image.ravel(), expected.ravel())[0, 1]
    assert correlation > least


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_metadata_is_applied(tmp_path: Path, rotation: int) -> None:
    image = corners(96, 160)
    path = write(tmp_path / "turned.mp4", image, rotation=rotation)
    # The matrix turns what is shown counterclockwise by so many degrees; OpenCV applies it too.
    assert_like(first_frame(path), np.rot90(image, k=rotation // 90))
    assert_like(first_frame(path), cv2.VideoCapture(str(path)).read()[1])


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    image = corners(96, 160)
    path = write(tmp_path / "wide.mp4", image, sample_aspect_ratio=Fraction(3, 2))
    assert_like(first_frame(path), cv2.resize(image, (240, 96)))


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("ten.mkv", "libx265", "yuv420p10le"),
        ("ten.mp4", "libx264", "yuv422p10le"),
        ("full.avi", "mjpeg", "yuvj422p"),
        ("lossless.mkv", "ffv1", "bgr0"),
        ("444.mp4", "libx264", "yuv444p"),
    ],
)
def test_pixel_formats(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    image = corners(96, 160)
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    shown = first_frame(write(tmp_path / name, image, codec, pix_fmt, options=options))
    assert_like(shown, image)
    assert np.abs(shown[10:30, 10:60].astype(float) - COLORS["top left"]).mean() < 12


def test_gray(tmp_path: Path) -> None:
    image = np.repeat(cv2.cvtColor(corners(96, 160), cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    shown = first_frame(write(tmp_path / "gray.mkv", image, "ffv1", "gray"))
    assert_like(shown, image)
    assert (shown == shown[..., :1]).all()


@pytest.mark.parametrize(("height", "width"), [(97, 161), (50, 63), (1, 9)])
def test_odd_sizes(tmp_path: Path, height: int, width: int) -> None:
    image = corners(max(height, 2), width)[:height]
    assert_like(first_frame(write(tmp_path / "odd.mkv", image, "ffv1", "yuv444p")), image)


def test_larger_frames_are_scaled_down(tmp_path: Path) -> None:
    image = corners(96, 160)
    path = write(tmp_path / "large.mp4", image, rotation=90)
    assert first_frame(path, max_side=80).shape == (80, 48, 3)
    assert first_frame(path, max_side=200).shape == (160, 96, 3)


def test_combs_are_smoothed_and_the_rest_stays(tmp_path: Path) -> None:
    """A box moves between the two fields of a frame; beside it, lines that are no comb."""
    image = np.full((128, 192, 3), 60, np.uint8)
    image[::8] = 90
    image[40:80, 40:90] = 220
    moved = np.full((128, 192, 3), 60, np.uint8)
    moved[::8] = 90
    moved[40:80, 60:110] = 220
    image[1::2] = moved[1::2]
    options = {"x264-params": "interlaced=1:tff=1", "crf": "5"}
    path = write(tmp_path / "fields.mp4", image, options=options, pix_fmt="yuv444p")
    shown = first_frame(path).astype(int)
    comb = np.abs(np.diff(shown[44:76, 44:56, 0], axis=0)).mean()  # here only the first field has the box
    assert comb < 12 < np.abs(np.diff(image[44:76, 44:56, 0].astype(int), axis=0)).mean()
    assert np.abs(shown[84:, 120:] - image[84:, 120:]).mean() < 6
