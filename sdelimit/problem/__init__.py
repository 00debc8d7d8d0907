"""What is learned: linear regression, and the stream of its samples."""
