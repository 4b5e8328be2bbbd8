"""Data sets in the IDX format of MNIST: four files in a folder.

Format (Y. LeCun, 'The MNIST database'): two zero bytes, a type code, the number of
dimensions, each dimension as big-endian uint32, then the values in C order, big-endian.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from eqp_hw.data.dataset import Dataset, Split
from eqp_hw.data.source import DatasetSource
from eqp_hw.errors import DataError

__all__ = ["IdxSource", "parse_idx", "read_idx"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_FILE_NAME = re.compile(r"(?:.*-)?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?")


def parse_idx(content: bytes, source: str | Path) -> npt.NDArray[Any]:
    """Parse the bytes of one (unpacked) IDX file; ``source`` names it in messages.

    Returns
    -------
    Read-only array, big-endian, of the shape and type that the header gives.

    Raises
    ------
    DataError
        Not IDX, an unknown type, or more or fewer values than the header promises.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(
            f"is not an IDX file: it starts with {content[:4].hex(' ') or 'nothing'}",
            source=source,
            allowed="00 00, a type code, the number of dimensions",
        )
    code, n_dims = content[2], content[3]
    if code not in _TYPES:
        raise DataError(
            "unknown type of value",
            source=source,
            field="IDX type code",
            value=code,
            allowed=", ".join(f"0x{known:02x}" for known in _TYPES),
        )
    start = 4 + 4 * n_dims
    if n_dims == 0 or len(content) < start:
        raise DataError(
            f"the IDX header promises {n_dims} dimensions and ends after {len(content)} bytes",
            source=source,
        )
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", n_dims, 4))
    dtype = np.dtype(_TYPES[code])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise DataError(
            f"{'is cut short' if len(content) < expected else 'goes on after the data'}: "
            f"shape {shape} takes {expected} bytes, the file has {len(content)}",
            source=source,
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


def read_idx(path: Path) -> npt.NDArray[Any]:
    """Read one IDX file, packed by gzip (told by its first bytes) or not.

    Raises
    ------
    DataError
        The file cannot be read, is packed wrongly, or `parse_idx` refuses it.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"the gzip packing is damaged: {error}", source=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", source=path) from error
    return parse_idx(content, path)


@final
class IdxSource(DatasetSource):
    """A folder with train-images, train-labels, t10k-images and t10k-labels IDX files."""

    folder: str | Path = Field(description="holds the four files, packed by gzip or not")
    train_limit: int | None = Field(
        default=None, ge=1, description="use only the first so many training images"
    )
    test_limit: int | None = Field(
        default=None, ge=1, description="use only the first so many test images"
    )

    def load(self, base: Path) -> Dataset:
        """Read the four files; the data set's own split has their training and test parts."""
        folder = base / Path(self.folder).expanduser()
        files = _find_files(folder)
        train_images, train_labels = _read_part(files, "train")
        test_images, test_labels = _read_part(files, "test")
        if train_images.shape[1:] != test_images.shape[1:]:
            raise DataError(
                f"training images are {train_images.shape[1:]} pixels, test images "
                f"{test_images.shape[1:]}",
                source=folder,
            )
        # Classes are numbered before the limits, so that a short run has the same outputs.
        classes = np.union1d(train_labels, test_labels)
        train_images, train_labels = (
            train_images[: self.train_limit],
            train_labels[: self.train_limit],
        )
        test_images, test_labels = test_images[: self.test_limit], test_labels[: self.test_limit]
        n_train, n_test = len(train_images), len(test_images)
        rows, columns = train_images.shape[1:]
        features = np.empty((n_train + n_test, rows * columns))
        features[:n_train] = train_images.reshape(n_train, -1)
        features[n_train:] = test_images.reshape(n_test, -1)
        features.flags.writeable = False  # spares the data set a copy
        labels = np.searchsorted(classes, np.concatenate([train_labels, test_labels]))
        numbers = np.arange(n_train + n_test, dtype=np.int64)
        return Dataset(
            folder.resolve().name,
            features,
            labels,
            feature_names=tuple(f"pixel {r},{c}" for r in range(rows) for c in range(columns)),
            class_names=tuple(str(c) for c in classes),
            feature_range=(0.0, 255.0),
            image_shape=(rows, columns),
            split=Split(numbers[:n_train], numbers[:0], numbers[n_train:]),
            description=f"{n_train} + {n_test} images of {rows}×{columns} pixels, "
            f"{len(classes)} classes (IDX)",
        )


def _find_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Return the file of each (part, content); an unpacked file goes before its .gz."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror or error}", source=folder, field="folder"
        ) from error
    found: dict[tuple[str, str], Path] = {}
    for path in paths:  # sorted: "name" comes before "name.gz"
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            continue
        key = ("train" if match[1] == "train" else "test", match[2])
        known = found.setdefault(key, path)
        if known is not path and path.name != f"{known.name}.gz":
            raise DataError(
                f"{known.name} and {path.name} both hold {key[0]} {key[1]}",
                source=folder,
                field="folder",
                allowed="one data set a folder",
            )
    for part, file_part in (("train", "train"), ("test", "t10k")):
        for content, n_dims in (("images", 3), ("labels", 1)):
            if (part, content) not in found:
                raise DataError(
                    f"there is no file {file_part}-{content}-idx{n_dims}-ubyte (or .gz)",
                    source=folder,
                    field="folder",
                )
    return found


def _read_part(
    files: dict[tuple[str, str], Path], part: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    arrays = []
    for content, n_dims in (("images", 3), ("labels", 1)):
        path = files[part, content]
        array = read_idx(path)
        if array.ndim != n_dims or array.dtype != np.uint8 or 0 in array.shape:
            raise DataError(
                f"holds {array.dtype.name} values of shape {array.shape}",
                source=path,
                allowed=f"{content}: unsigned bytes in {n_dims} dimension"
                f"{'s' if n_dims > 1 else ''}, not empty",
            )
        arrays.append(array)
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(
            f"holds {len(labels)} labels for the {len(images)} images of "
            f"{files[part, 'images'].name}",
            source=files[part, "labels"],
        )
    return images, labels
