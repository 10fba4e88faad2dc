"""Files, read and written with care: regular ones alone, JSON of the right types, whole after a power cut."""
