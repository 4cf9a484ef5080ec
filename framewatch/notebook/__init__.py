"""Functions for Jupyter and Databricks notebooks: runs the stages, and shows frames and clips."""

from framewatch.notebook.calls import NotebookRun, frames_per_second, notebook_config, open_run
from framewatch.notebook.show import show_frames, show_video

__all__ = ["NotebookRun", "frames_per_second", "notebook_config", "open_run", "show_frames", "show_video"]
