"""What new users are helped by: learned populations and first questions, as they were stored."""
