"""The size of a job's output: what the model gives, or what was asked for."""

from __future__ import annotations

from diffir_video.frame import Frame, StreamInfo
from diffir_video.job.options import JobOptions
from diffir_video.media import fitted_to, limited_to, resized
from diffir_video.stages import FrameSink


def output_info(source: StreamInfo, scale: int, options: JobOptions) -> StreamInfo:
    """What a stream becomes: enlarged by the model, then brought to the size that the options ask for."""
    info = source.scaled(scale)
    if options.size is not None:
        info = fitted_to(info, options.size)
    if options.max_size is not None:
        info = limited_to(info, options.max_size)
    return info


class ResizingSink:
    """Brings frames to a stream's size before `sink` gets them."""

    def __init__(self, sink: FrameSink, info: StreamInfo) -> None:
        self._sink, self._width, self._height = sink, info.width, info.height

    def write(self, frame: Frame) -> None:
        self._sink.write(frame.with_data(resized(frame.data, self._width, self._height)))

    def close(self) -> None:
        self._sink.close()

    def abort(self) -> None:
        self._sink.abort()
