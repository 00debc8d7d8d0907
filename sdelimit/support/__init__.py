"""Arguments, files, versions."""
