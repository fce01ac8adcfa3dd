"""`make claims`: what the paper claims, tested one factor at a time on the synthetic world."""
