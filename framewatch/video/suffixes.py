"""Suffixes of video files."""

# Suffixes that recorders and cameras use for formats that FFmpeg reads.
VIDEO_SUFFIXES = (
    "264", "265", "3g2", "3gp", "3gpp", "amv", "asf", "avc", "avi", "dav", "dif", "divx", "dv", "dvr-ms",
    "f4v", "flv", "gxf", "h261", "h263", "h264", "h265", "h266", "h26l", "hevc", "ifv", "insv", "ismv", "ivf",
    "lrv", "m1v", "m2p", "m2t", "m2ts", "m2v", "m4v", "mj2", "mjpeg", "mjpg", "mk3d", "mkv", "mod", "mov",
    "mp4", "mp4v", "mpe", "mpeg", "mpeg4", "mpg", "mpv", "mts", "mxf", "mxg", "nsv", "nut", "nuv", "obu",
    "ogm", "ogv", "pva", "qt", "rec", "rm", "rmvb", "tod", "tp", "trp", "ts", "vc1", "vob", "vro", "vvc",
    "webm", "wm", "wmv", "wtv", "xvid", "y4m",
)  # fmt: skip
