"""A family of base models that sees photographs: a small pretrained network, and a text decoder."""
