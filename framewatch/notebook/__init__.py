"""Calls for notebooks of Jupyter and Databricks: the stages of a run, and pictures and clips to look at."""

from framewatch.notebook.calls import NotebookRun, frames_per_second, notebook_config, open_run
from framewatch.notebook.show import show_frames, show_video

__all__ = ["NotebookRun", "frames_per_second", "notebook_config", "open_run", "show_frames", "show_video"]
