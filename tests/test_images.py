"""Pictures between JPEG, Spark's struct, and arrays."""

import contextlib
import functools
import io
import struct as struct_module
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framewatch.errors import PictureError, PictureTooLargeError
from framewatch.io import images
from framewatch.io.picture_header import read_header


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


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "null"),
        (b"", "null"),
        (b"rubbish", "no picture"),
        (b"\xff\xd8\xff\xe0 cut", "no picture"),
        (b"P6 2 2 255 " + bytes(12), "no picture"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(data: bytes | None, reason: str) -> None:
    with pytest.raises(PictureError) as error:
        images.decode_image(data)
    assert error.value.reason == reason


ARRAY = np.zeros((2, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null"),
        ({**struct(ARRAY, 16), "data": None}, "null"),
        (struct(ARRAY, 16, b"short"), "damaged"),
        (struct(ARRAY, 5), "no picture"),
        ({**struct(ARRAY, 16), "height": 0, "data": b""}, "no picture"),
        ({"height": -1, "width": -1, "nChannels": -1, "mode": -1, "data": b""}, "no picture"),
    ],
)
def test_structs_that_lie_are_refused(value: dict | None, reason: str) -> None:
    with pytest.raises(PictureError) as error:
        images.struct_to_array(value)
    assert error.value.reason == reason


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
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".tiff", ".webp", ".bmp"])
def test_truncated_pictures_are_refused(suffix: str, share: float) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    data = cv2.imencode(suffix, noise)[1].tobytes()
    assert images.decode_image(data).shape == (48, 64, 3)
    with pytest.raises(PictureError) as error:
        images.decode_image(data[: int(len(data) * share)])
    assert error.value.reason in ("damaged", "no picture")


def test_resize_averages_areas_and_leaves_the_right_size_alone() -> None:
    checkers = np.indices((8, 8)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 200
    assert np.unique(images.resize(checkers.astype(np.uint8), 4)).tolist() == [100]
    right = np.zeros((4, 4, 3), np.uint8)
    assert images.resize(right, 4) is right


def test_depth_and_alpha_are_rounded_as_reals_would_be() -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    assert (images.struct_to_array(struct(deep, 2)) == (deep / 257.0).round()).all()
    colour, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    clear = np.dstack([colour, colour, colour, alpha])
    expected = (clear[..., :3] * (clear[..., 3:] / 255.0)).round()
    assert (images.struct_to_array(struct(clear, 24)) == expected).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3000, 1), (1, 3000), (700, 1500)])
@pytest.mark.parametrize(
    ("dtype", "channels", "mode"), [(np.uint8, 1, 0), (np.uint16, 1, 2), (np.uint16, 4, 26)]
)
def test_bands_join(shape: tuple[int, int], dtype: type, channels: int, mode: int) -> None:
    top = np.iinfo(dtype).max
    array = np.random.default_rng(1).integers(0, top, (*shape, channels), dtype=dtype, endpoint=True)
    found = images.struct_to_array(struct(array, mode))
    eighth = (array / (257.0 if dtype == np.uint16 else 1)).round()
    expected = eighth if channels == 1 else (eighth[..., :3] * (eighth[..., 3:] / 255.0)).round()
    assert found.shape == (*shape, 3) and (found == expected).all()


def pillow(image: np.ndarray, kind: str, **options: object) -> bytes:
    """The file that Pillow writes of an RGB, RGBA or gray array."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


RGB = cv2.resize(np.random.default_rng(3).integers(0, 255, (4, 4, 3), dtype=np.uint8), (40, 24))
RGBA = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])


def palette(kind: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(RGB).quantize(64).save(file, kind)
    return file.getvalue()


def animation(kind: str) -> bytes:
    from PIL import Image

    frames, file = [Image.fromarray(RGB), Image.fromarray(255 - RGB)], io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=100, loop=0)
    return file.getvalue()


def turned() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    return pillow(RGB, "JPEG", exif=exif, quality=95)


def cmyk(kind: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(RGB).convert("CMYK").save(file, kind)
    return file.getvalue()


FILES = {
    "JPEG": lambda: pillow(RGB, "JPEG"),
    "JPEG, progressive": lambda: pillow(RGB, "JPEG", progressive=True),
    "JPEG, gray": lambda: pillow(RGB[..., 0], "JPEG"),
    "JPEG, CMYK": lambda: cmyk("JPEG"),
    "JPEG with a thumbnail": lambda: pillow(RGB, "JPEG", exif=b"Exif\0\0" + pillow(RGB[:8, :8], "JPEG")),
    "JPEG with a ZIP after it": lambda: pillow(RGB, "JPEG") + b"PK\x03\x04" + b"\xff\xda" * 400,
    "PNG": lambda: pillow(RGB, "PNG"),
    "PNG, RGBA": lambda: pillow(RGBA, "PNG"),
    "PNG, 16 bits": lambda: png(RGBA.astype(np.uint16) * 257),
    "PNG, palette": lambda: palette("PNG"),
    "PNG, animated": lambda: animation("PNG"),
    "PNG with a ZIP after it": lambda: pillow(RGB, "PNG") + b"PK\x03\x04" + bytes(100),
    "GIF": lambda: palette("GIF"),
    "GIF, animated": lambda: animation("GIF"),
    "TIFF": lambda: pillow(RGB, "TIFF"),
    "TIFF, LZW": lambda: pillow(RGBA, "TIFF", compression="tiff_lzw"),
    "TIFF, 16 bits": lambda: cv2.imencode(".tiff", RGBA.astype(np.uint16) * 257)[1].tobytes(),
    "WebP": lambda: pillow(RGB, "WEBP"),
    "WebP, lossless": lambda: pillow(RGB, "WEBP", lossless=True),
    "WebP, RGBA": lambda: pillow(np.dstack([RGB, RGB[..., :1]]), "WEBP"),
    "WebP, animated": lambda: animation("WEBP"),
    "BMP": lambda: pillow(RGB, "BMP"),
    "BMP, palette": lambda: palette("BMP"),
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_headers_tell_what_decoders_allocate(make) -> None:
    data = make()
    header = read_header(data)
    assert (header.width, header.height) == (40, 24) and header.num_pixels >= 960
    image = images.decode_image(data, max_pixels=header.num_pixels)
    assert image.shape == (24, 40, 3) and image.dtype == np.uint8
    with pytest.raises(PictureTooLargeError, match=r"40 x 24 pixels is larger than images\.max_pixels=959"):
        images.decode_image(data, max_pixels=959)


def test_a_photograph_is_turned_upright() -> None:
    assert images.decode_image(turned()).shape == (40, 24, 3)


def chunk(name: bytes, data: bytes) -> bytes:
    return (
        struct_module.pack(">I", len(data)) + name + data + struct_module.pack(">I", zlib.crc32(name + data))
    )


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of zeros, 16-bit RGBA: a thousandth of what it takes in memory."""
    row, packer = b"\0" + bytes(8 * width), zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct_module.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*it) for it in chunks)


def enlarged(make, *places: tuple[int, str, int]) -> bytes:
    """A small file whose header states another size."""
    data = bytearray(make())
    for at, kind, value in places:
        struct_module.pack_into(kind, data, at, value)
    return bytes(data)


def tiff(*tags: tuple[int, int], order: str = "<", big: bool = False) -> bytes:
    """A TIFF file's header and directory, without pixels; each tag is (number, value)."""
    magic = b"II" if order == "<" else b"MM"
    pack = struct_module.pack
    if big:
        head = magic + pack(f"{order}HHHQ", 43, 8, 0, 16) + pack(f"{order}Q", len(tags))
        return head + b"".join(pack(f"{order}HHQQ", tag, 16, 1, value) for tag, value in tags) + bytes(8)
    head = magic + pack(f"{order}HI", 42, 8) + pack(f"{order}H", len(tags))
    return head + b"".join(pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)


SIZE = ((256, 100), (257, 100), (258, 8), (277, 3))
BOMBS = {
    "JPEG": lambda: pillow(RGB, "JPEG").replace(b"\x00\x18\x00\x28\x03", b"\xff\xff\xff\xff\x03"),
    "JPEG of two sizes": lambda: two_sizes(),
    "GIF": lambda: enlarged(FILES["GIF"], (6, "<H", 65535), (8, "<H", 65535)),
    "WebP, lossless": lambda: enlarged(FILES["WebP, lossless"], (21, "<I", 0x0FFFFFFF)),
    "WebP": lambda: enlarged(FILES["WebP"], (26, "<I", 0x3FFF3FFF)),
    "WebP, animated": lambda: enlarged(FILES["WebP, animated"], (24, "<Q", 0xFFFFFFFFFFFF)),
    "BMP": lambda: enlarged(FILES["BMP"], (18, "<i", 100_000), (22, "<i", -100_000)),
    "TIFF": lambda: tiff((256, 100_000), (257, 100_000)),
    "TIFF, big-endian": lambda: tiff((256, 100_000), (257, 100_000), order=">"),
    "BigTIFF": lambda: tiff((256, 100_000), (257, 100_000), big=True),
    "TIFF of a huge tile": lambda: tiff(*SIZE, (322, 1 << 14), (323, 1 << 14)),
    "TIFF of a huge strip": lambda: tiff(*SIZE, (278, 10_000_000)),
}  # fmt: skip


def two_sizes() -> bytes:
    data = pillow(RGB, "JPEG")
    at = data.index(b"\xff\xc0")
    length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    frame = bytearray(data[at : at + length])
    frame[5:9] = b"\xff\xff\xff\xff"
    return data[:at] + bytes(frame) + data[at:]


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_pictures_that_are_too_large_are_refused(make) -> None:
    data = make()
    assert len(data) < 100_000
    with pytest.raises(PictureTooLargeError, match=r"images\.max_pixels=50000000: scale it down, or raise"):
        images.decode_image(data)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = pillow(RGB, "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    scan = data[at:-2]
    with pytest.raises(PictureError):
        images.decode_image(data[:at] + scan * 500 + data[-2:])


def test_channels_and_depths_that_are_no_picture_are_refused_from_the_header() -> None:
    for tags in ([(258, 64)], [(277, 100)]):
        with pytest.raises(PictureError):
            images.decode_image(tiff((256, 100), (257, 100), *tags))


@given(st.binary(max_size=200), st.sampled_from([*FILES]), st.integers(0, 2000))
@settings(max_examples=300, deadline=None)
def test_no_header_breaks_the_reader(noise: bytes, kind: str, at: int) -> None:
    data = _made(kind)
    with contextlib.suppress(PictureError):
        images.decode_image(data[:at] + noise + data[at + len(noise) :])


@functools.cache
def _made(kind: str) -> bytes:
    return FILES[kind]()


_PEAK = """
import resource, sys
from framewatch.io import images
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(images.decode_image(data).shape, end=" ")
except images.PictureTooLargeError:
    print("refused", end=" ")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
@pytest.mark.parametrize(
    ("side", "result", "most_bytes_a_pixel"),
    # The file's 8 bytes a pixel twice, as its decoder holds them, and the picture's 3.
    [(8000, "refused", 0.5), (3000, "(3000, 3000, 3)", 24)],
)
def test_decoding_takes_no_more_memory_than_its_decoder(
    side: int, result: str, most_bytes_a_pixel: float
) -> None:
    command = [sys.executable, "-c", _PEAK]
    done = subprocess.run(command, input=png_bomb(side, side), capture_output=True, check=True)
    shown, _, peak_kb = done.stdout.decode().rpartition(" ")
    assert shown == result
    assert int(peak_kb) * 1024 < most_bytes_a_pixel * side * side


def test_a_strip_of_pixels_is_not_blown_up() -> None:
    pytest.importorskip("PIL")
    line = np.zeros((1, 1_000_000, 3), np.uint8)
    assert images.resize(line, 224, method="crop").shape == (224, 224, 3)
    assert images.resize(line, 299).shape == (299, 299, 3)
