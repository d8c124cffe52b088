"""All formats, a line each. A format's module is imported when the format is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

from pipeline.config.fields import Group
from pipeline.errors import ConfigError
from pipeline.formats.writer import VideoWriter


@dataclass(frozen=True)
class Format:
    """A format: its name, which is that of its module in `writers/`, and what it is, in a line."""

    name: str
    summary: str


FORMATS = (
    Format("coco", "one JSON a split, an annotation a mask, as detectors train on"),
    Format("coco_video", "COCO with videos and instances (CocoVID), as mmdet and mmtracking train on"),
    Format("youtube_vis", "one JSON a split, an annotation a track: truth, or results with scores"),
    Format("davis", "PNG files with a palette, as DAVIS, MOSE, LVOS and YouTube-VOS have them"),
    Format("sa_v", "a JSON a video or a PNG an object and frame, as SAM 2 trains on; masks may overlap"),
    Format("mots", "PNG files of 16 bits or texts, class * 1000 + instance, for KITTI MOTS and MOTSChallenge"),
    Format("yolo_seg", "a text a frame with a polygon a mask, as Ultralytics trains on"),
    Format("cvat_video", "CVAT for video 1.1: tracks of polygons, to be corrected there"),
    Format("cvat_images", "CVAT for images 1.1: every mask as it is"),
    Format("label_studio", "Label Studio: tasks with a box track or brush masks an object, to be corrected there"),
    Format("hf_datasets", "Hugging Face datasets: Parquet shards and a dataset card"),
    Format("webdataset", "tar shards for training, a sample a labeled frame"),
    Format("lerobot", "a table of masks beside a LeRobot dataset, by episode and frame"),
    Format("fiftyone", "FiftyOne: a video dataset that Dataset.from_dir imports"),
    Format("rerun", "Rerun: a recording a video, to be played in its viewer"),
)


@dataclass(frozen=True)
class LoadedFormat:
    """A format with its module's classes."""

    format: Format
    options: type[Group]
    writer: type[VideoWriter]

    def make(self, options: Group) -> MadeFormat:
        """The writer with these options."""
        maker: type = self.writer
        return MadeFormat(self.format.name, options, maker(options))


class MadeFormat(NamedTuple):
    """A format with its options, and the writer that was made of them."""

    name: str
    options: Group
    writer: VideoWriter


def load(name: str) -> LoadedFormat:
    """The format of this name. Raises `ConfigError` naming those that there are, or the package that it needs."""
    known = {one.name: one for one in FORMATS}
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"format={name}: there are {', '.join(known)}{hint}")
    try:
        module = import_module(f"pipeline.formats.writers.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError(f'format={name} needs {error.name}: pip install "maskmill[export]"') from error
    return LoadedFormat(known[name], module.Options, module.Writer)
