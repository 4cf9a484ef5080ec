"""From files to frames: which videos there are."""
