"""The experiment itself: the rule on fresh samples."""
