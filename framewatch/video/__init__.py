"""Reading video files: probe, choose times, decode. No Spark in here."""
