"""Pretraining of the tiny base model from random weights: captions, then interleaved histories."""
