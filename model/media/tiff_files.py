"""TIFF files: pictures, stacks, and the dialects of microscopes, by tifffile, and by Pillow where tifffile needs more.

tifffile says what a file holds: its pages, what they are to each other, and their values at full depth. Pillow reads
pages of 8 bits that are more than plain gray or RGB, and compressions for which tifffile needs `imagecodecs` (the extra
`maskmill[tiff]`) where that is not installed.

Legend: H, W pixels; values are bytes RGB `[H, W, 3]`, or deeper ones (see `levels`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from tifffile import PHOTOMETRIC, TiffFile, TiffFrame, TiffPage, TiffPageSeries

from model.media.errors import MediaError
from model.media.levels import Values
from model.media.picture_files import Decoded
from model.media.stills import PILLOW_ERRORS, check_size, open_image, turned, values_of

# Names of tifffile for files that say what their pages are to each other.
_DIALECTS = (
    *("shaped", "lsm", "ome", "imagej", "fluoview", "stk", "sis", "svs", "scn", "qpi", "ndpi", "bif", "avs", "eer"),
    *("philips", "scanimage", "nih", "mdgel"),
)
# Those that tifffile may read, with `imagecodecs`: none, LZW, Deflate, PackBits, LZMA, Zstandard, WebP and JPEG 2000.
# Not JPEG, because for damaged data imagecodecs tries decoders that can end the process.
_COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 34926, 50000, 34927, 50001, 33003, 33005, 34712)
_ORIENTATION = 274  # number of a tag
_MOST_SAMPLES = 16  # of a pixel: red, green, blue, and what else satellites see
_MOST_BYTES_FOR_PILLOW = 256 << 20  # because it reads the whole file for each page

Result = TypeVar("Result")


class TiffPictures:
    """A `PictureFile` of the pages of a TIFF file, or of the pictures that its dialect says it holds.

    Pages that are smaller copies or masks of others are left out. Raises `MediaError` for a file that cannot be read
    whole as one picture or one sequence of pictures.
    """

    has_times = False

    def __init__(self, name: str, file: Any, max_pixels: int) -> None:
        self._name = name
        self._max_pixels = max_pixels
        self._file = file
        # Two dialects look for other files of a set in the current folder. OME does so only for files with a number
        # of the operating system, which this one has not.
        self._tiff: TiffFile = self._told(partial(TiffFile, file, is_mmstack=False, is_ndtiff=False))
        self.remarks: tuple[str, ...] = ()
        self._pictures: Sequence[Callable[[], Values]] = self._told(self._layout)
        self.num_pictures = len(self._pictures)

    def decode(self, place: int) -> Decoded:
        """See `PictureFile`."""
        return Decoded(self._told(self._pictures[place]), "tiff_pipe", "tiff")

    def name_of(self, place: int) -> str:
        """See `PictureFile`."""
        return self._name

    def _told(self, function: Callable[[], Result]) -> Result:
        try:
            return function()
        except (MediaError, MemoryError):
            raise
        except Exception as error:  # tifffile raises errors of every kind for damaged files
            raise MediaError(f"{self._name}: cannot be read as TIFF ({error}); check that the file is whole") from error

    def _layout(self) -> Sequence[Callable[[], Values]]:
        tiff = self._tiff
        if tiff.is_dng or self._first_page().photometric in (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW):
            raise MediaError(f"{self._name}: is a raw photo, which is not read; convert it to a JPEG or TIFF file")
        if any(getattr(tiff, f"is_{dialect}", False) for dialect in _DIALECTS):
            first, *others = tiff.series
            if first.kind not in ("generic", "uniform"):
                if others:
                    self.remarks = (f"holds {len(others)} more than its main picture or stack, which alone is labeled",)
                return self._pictures_of_series(first)
            tiff.pages.useframes = False
        kept = [place for place in range(len(tiff.pages)) if not _is_auxiliary(tiff.pages[place])]
        if not kept:
            raise MediaError(f"{self._name}: holds reduced pictures only, as raw photos do; convert it to JPEG")
        return [partial(self._page_at, place) for place in kept]

    def _first_page(self) -> TiffPage:
        if not len(self._tiff.pages):
            raise MediaError(f"{self._name}: holds no picture; make the file anew")
        return self._tiff.pages.first

    def _pictures_of_series(self, series: TiffPageSeries) -> Sequence[Callable[[], Values]]:
        sizes = list(zip(series.axes, series.shape, strict=True))
        stacked = [(axis, size) for axis, size in sizes if axis not in "YXS"]
        count = math.prod(size for _, size in stacked)
        if len(stacked) > 1 or any(axis == "C" for axis, _ in stacked) or not {"Y", "X"} <= set(series.axes):
            shape = " x ".join(f"{size} {axis}" for axis, size in sizes)
            raise MediaError(
                f"{self._name}: holds pictures along several axes ({shape}), and a video has one, time; write one "
                "channel or RGB, and one depth, as a stack"
            )
        if len(series.pages) == count:
            return [partial(self._page, series.pages[place]) for place in range(count)]
        if series.dataoffset is None:
            raise MediaError(f"{self._name}: has {len(series.pages)} of the {count} pages that it announces")
        return [partial(self._contiguous, series, place, count) for place in range(count)]

    def _page_at(self, place: int) -> Values:
        return self._page(self._tiff.pages[place])

    def _contiguous(self, series: TiffPageSeries, place: int, count: int) -> Values:
        """A picture of a stack that lies in one piece behind its only page, as ImageJ writes large ones."""
        page = _keyframe(series)
        self._check_size(page)
        num_values = series.size // count
        dtype = np.dtype(series.dtype).newbyteorder(self._tiff.byteorder)
        handle = self._tiff.filehandle
        handle.seek((series.dataoffset or 0) + place * num_values * dtype.itemsize)
        values = np.frombuffer(handle.read(num_values * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))
        return self._upright(page, values.reshape(page.shape))

    def _page(self, page: TiffPage | TiffFrame | None) -> Values:
        if page is None:
            raise MediaError(f"{self._name}: this page is missing, or in another file; write all pages into one file")
        keyframe = _keyframe(page)
        self._check_size(keyframe)
        if not _is_plain(keyframe):
            return self._by_pillow(page, keyframe, "nothing here reads this kind of pixels or compression")
        try:
            return self._upright(keyframe, page.asarray(maxworkers=1))
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            needed = f"{error}: pip install 'maskmill[tiff]'"
        return self._by_pillow(page, keyframe, needed)

    def _check_size(self, page: TiffPage) -> None:
        """Raises `MediaError` for a page, or a tile of it, that is too large."""
        sizes = (page.imagelength, page.imagewidth, page.tilelength or 1, page.tilewidth or 1)
        if not all(isinstance(size, int) for size in sizes):  # in a damaged file they may be lists of any length
            raise ValueError("a page has no size")
        check_size(self._name, *sizes[:2], self._max_pixels)
        check_size(self._name, *sizes[2:], self._max_pixels)

    def _upright(self, page: TiffPage, values: Values) -> Values:
        """Gray or RGB as displayed, without transparency."""
        if values.ndim not in (2, 3) or not values.size:
            raise ValueError("a page has no pixels")
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        elif page.axes not in ("YX", "YXS"):
            raise MediaError(f"{self._name}: has pages with the axes {page.axes}; write pages of gray or RGB")
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            values = ~values if values.dtype == np.bool_ else (2**page.bitspersample - 1) - values
        if values.ndim == 3:
            values = values[..., :3] if values.shape[2] > 2 else values[..., 0]
        orientation = page.tags.valueof(_ORIENTATION, default=1)
        return np.ascontiguousarray(turned(values, orientation))

    def _by_pillow(self, page: TiffPage | TiffFrame, keyframe: TiffPage, reason: str) -> Values:
        """A page that tifffile cannot read, of 8 bits or of deep gray: Pillow gives other deep values cut to 8 bits."""
        if self._tiff.filehandle.size > _MOST_BYTES_FOR_PILLOW:
            reason = f"{reason} in files of more than {_MOST_BYTES_FOR_PILLOW >> 20} MiB"
        failed = MediaError(
            f"{self._name}: a page ({_kind(keyframe)}) cannot be read ({reason}); convert it to gray or RGB without "
            "compression"
        )
        is_cut = keyframe.bitspersample > 8 and keyframe.samplesperpixel > 1
        if is_cut or page.is_subifd or self._tiff.filehandle.size > _MOST_BYTES_FOR_PILLOW:
            raise failed
        try:
            self._file.seek(0)
            with open_image(self._file, ("TIFF",)) as image:
                image.seek(page.index)
                return values_of(self._name, image)
        except PILLOW_ERRORS as error:
            raise failed from error


def _keyframe(pages: TiffPage | TiffFrame | TiffPageSeries) -> TiffPage:
    """The page that describes a page or a series."""
    if pages.keyframe is None:
        raise ValueError("a page is not described")
    return pages.keyframe


def _is_auxiliary(page: TiffPage | TiffFrame) -> bool:
    """Whether a page is a smaller copy of another, or a mask of transparency."""
    whole = page.aspage()
    return bool(whole.is_reduced or whole.is_mask)


def _is_plain(page: TiffPage) -> bool:
    """Whether tifffile gives gray or RGB for a page, perhaps with transparency behind."""
    if page.dtype is None or page.dtype.kind not in "buif" or 1 < page.bitspersample < 8:
        return False
    if page.compression not in _COMPRESSIONS:
        return False
    if page.photometric == PHOTOMETRIC.RGB:
        return 3 <= page.samplesperpixel <= _MOST_SAMPLES
    if page.photometric in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK):
        return page.samplesperpixel == 1 or (page.samplesperpixel == 2 and len(page.extrasamples) == 1)
    return False


def _kind(page: TiffPage) -> str:
    photometric, compression = (getattr(value, "name", str(value)) for value in (page.photometric, page.compression))
    return f"{page.samplesperpixel} x {page.bitspersample} bit, {photometric}, compression {compression}"
