"""What people chose: users, images, choices and signatures in SQL; image bytes as blobs."""
