"""What others would do: predictors to be compared with, with public weights and without any."""
