"""Test suites in a guest: what runs them, and what their results say, case by case."""
