"""Learning: losses, optimiser steps, the two stages, recipes, signatures."""
