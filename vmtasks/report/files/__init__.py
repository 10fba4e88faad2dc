"""What programs read: result.json, JUnit XML."""
