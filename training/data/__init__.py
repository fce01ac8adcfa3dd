"""What is learned from: stored choices as samples, splits and batches."""
