"""Linear regression problems and the streams of their samples."""
