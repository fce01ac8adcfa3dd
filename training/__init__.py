"""All that is needed to learn preference scorers and to judge them."""
