"""Send batches, read the responses, and find the rows at fault when a batch fails."""
