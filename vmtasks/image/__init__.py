"""Images as code: what one is made of, baking it, and where baked ones are kept."""
