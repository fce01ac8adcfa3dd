"""`make demo`: three people's own orders of the same images, from nothing."""
