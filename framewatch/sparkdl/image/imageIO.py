"""What notebooks use of `sparkdl.image.imageIO`: pictures between arrays, Spark's image struct, and PIL.

Arrays and structs are BGR, as OpenCV has it; PIL is RGB. Unlike in sparkdl, alpha stays the last channel.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark import SparkContext
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.functions import col, udf
from pyspark.sql.types import BinaryType, IntegerType, StringType, StructField, StructType

from framewatch.errors import PictureTooLargeError, SetupError
from framewatch.io.images import MAX_PIXELS, check_size

if TYPE_CHECKING:
    from PIL.Image import Image

Decode = Callable[[bytes], np.ndarray]

IMAGE = StructType(
    [
        StructField("origin", StringType()),
        StructField("height", IntegerType()),
        StructField("width", IntegerType()),
        StructField("nChannels", IntegerType()),
        StructField("mode", IntegerType()),
        StructField("data", BinaryType()),
    ]
)


@dataclass(frozen=True)
class ImageType:
    """One of OpenCV's pixel types.

    Attributes:
        name: OpenCV's name, such as CV_8UC3.
        ord: its number, which the struct keeps as `mode`.
        nChannels: numbers in a pixel.
        dtype: of each number, as NumPy calls it.
    """

    name: str
    ord: int
    nChannels: int
    dtype: str


_TYPES = [
    ImageType(f"CV_{depth}C{channels}", number + 8 * (channels - 1), channels, dtype)
    for channels in (1, 3, 4)
    for depth, number, dtype in (("8U", 0, "uint8"), ("32F", 5, "float32"))
]


def _image_type(attribute: str, value: Any) -> ImageType:
    for image_type in _TYPES:
        if getattr(image_type, attribute) == value:
            return image_type
    known = ", ".join(f"{known.name} ({known.ord})" for known in _TYPES)
    raise KeyError(f"image type {value!r} is not supported: choose one of {known}")


def imageTypeByOrdinal(ord: int) -> ImageType:
    """The pixel type with OpenCV's number `ord`.

    Raises:
        KeyError: it is not a supported one; lists them.
    """
    return _image_type("ord", ord)


def imageTypeByName(name: str) -> ImageType:
    """The pixel type that OpenCV calls `name`.

    Raises:
        KeyError: it is not a supported one; lists them.
    """
    return _image_type("name", name)


def imageArrayToStruct(imgArray: np.ndarray, origin: str = "") -> Row:
    """A row of Spark's image struct from a (height, width, channels) array, BGR, uint8 or float32.

    Raises:
        ValueError: the array has another shape or type.
    """
    array = np.asarray(imgArray)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"an array of shape {np.shape(imgArray)} and type {array.dtype} is no image: give (height, "
            "width, 1, 3 or 4 channels) of uint8 or float32"
        )
    height, width, channels = array.shape
    depth = "8U" if array.dtype == np.uint8 else "32F"
    mode = imageTypeByName(f"CV_{depth}C{channels}").ord
    values = (origin, height, width, channels, mode, bytearray(array.tobytes()))
    return Row(*IMAGE.names)(*values)


def imageStructToArray(imageRow: Row) -> np.ndarray:
    """The (height, width, channels) array, BGR, of a row of Spark's image struct."""
    dtype = imageTypeByOrdinal(imageRow.mode).dtype
    shape = (imageRow.height, imageRow.width, imageRow.nChannels)
    return np.frombuffer(bytes(imageRow.data), dtype).reshape(shape)


def imageStructToPIL(imageRow: Row) -> "Image":
    """The PIL image of a row of Spark's image struct.

    Raises:
        ValueError: its pixels are not 8 bits.
    """
    array = imageStructToArray(imageRow)
    if array.dtype != np.uint8:
        raise ValueError(f"{imageTypeByOrdinal(imageRow.mode).name} cannot become a PIL image: give 8 bits")
    return _pil().fromarray(array[..., 0] if array.shape[2] == 1 else _swapped(array))


def PIL_decode(raw_bytes: bytes) -> np.ndarray:
    """A (height, width, 3) uint8 BGR array from the bytes of a picture file.

    Raises:
        PictureTooLargeError: it has more than 50 megapixels.
    """
    return _from_pil(_opened(raw_bytes).convert("RGB"))


def PIL_decode_and_resize(size: tuple[int, int]) -> Decode:
    """A function as `PIL_decode` that also stretches to `size`, (width, height)."""
    return lambda raw_bytes: _from_pil(_opened(raw_bytes).convert("RGB").resize(size))


def createResizeImageUDF(size: tuple[int, int]) -> Callable[..., Any]:
    """A UDF that stretches a column of image structs to `size`, (height, width); null stays null.

    Raises:
        ValueError: `size` is not two numbers.
    """
    if len(size) != 2:
        raise ValueError(f"size {size} must be (height, width)")
    height, width = size

    def resize(row: Row | None) -> Row | None:
        if row is None or (row.height, row.width) == (height, width):
            return row
        return imageArrayToStruct(_from_pil(imageStructToPIL(row).resize((width, height))), row.origin)

    return udf(resize, IMAGE)


def filesToDF(
    sc: SparkContext | SparkSession | None, path: str, numPartitions: int | None = None
) -> DataFrame:
    """The files of a directory, or one file: `filePath`, `fileData`.

    Args:
        sc: a session; sparkdl took a SparkContext, which gives the session in use.
        path: a directory, a file, or a glob.
        numPartitions: of the result; Spark chooses without it.
    """
    spark = sc if sc is not None and hasattr(sc, "read") else SparkSession.builder.getOrCreate()
    files = spark.read.format("binaryFile").load(path)
    files = files.select(col("path").alias("filePath"), col("content").alias("fileData"))
    return files.repartition(numPartitions) if numPartitions else files


def readImagesWithCustomFn(path: str, decode_f: Decode, numPartition: int | None = None) -> DataFrame:
    """Reads pictures with a decoder of one's own, such as `PIL_decode`.

    Args:
        path: a directory, a file, or a glob.
        decode_f: from a file's bytes to a (height, width, channels) BGR array.
        numPartition: of the result; Spark chooses without it.

    Returns:
        One column `image`; null where `decode_f` raised.
    """

    def decode(origin: str, data: bytes) -> Row | None:
        try:
            return imageArrayToStruct(decode_f(bytes(data)), origin)
        except Exception:  # whatever a decoder makes of what is no picture
            return None

    return filesToDF(None, path, numPartition).select(
        udf(decode, IMAGE)("filePath", "fileData").alias("image")
    )


def _pil() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise SetupError("PIL is not installed: pip install 'framewatch[sparkdl]'") from None
    return Image


def _opened(raw_bytes: bytes) -> "Image":
    """The picture with its header read; PIL reads the rest later."""
    module = _pil()
    try:
        image: Image = module.open(io.BytesIO(raw_bytes))
    except module.DecompressionBombError as error:
        raise PictureTooLargeError(f"this picture is not decoded: {error}") from error
    check_size(image.width, image.height, image.width * image.height, MAX_PIXELS)
    return image


def _from_pil(image: "Image") -> np.ndarray:
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else _swapped(array)


def _swapped(array: np.ndarray) -> np.ndarray:
    """Red and blue change places; alpha stays."""
    order = [2, 1, 0, 3][: array.shape[2]]
    return np.ascontiguousarray(array[..., order])
