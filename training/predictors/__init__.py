"""Who is judged: the protocol that evaluation asks through, and our scorer behind it."""
