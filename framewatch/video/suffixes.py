"""Suffixes by which a file is taken for a video."""

VIDEO_SUFFIXES = (
    "3gp", "asf", "avi", "dav", "divx", "flv", "h264", "h265", "hevc", "m2ts", "m2v", "m4v", "mjpeg", "mjpg",
    "mkv", "mov", "mp4", "mpe", "mpeg", "mpg", "mts", "mxf", "ogv", "ts", "vob", "webm", "wmv",
)  # fmt: skip
