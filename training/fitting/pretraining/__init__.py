"""The tiny base model, made from nothing: captions, then interleaved histories."""
