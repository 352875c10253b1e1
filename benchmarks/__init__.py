"""Every figure that the README gives, and how to get it: see README.md in this folder."""
