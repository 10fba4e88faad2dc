"""Named machines: they outlive the call that starts them, until their time to live has passed."""
