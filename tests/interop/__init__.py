"""Programs of others that read what we publish; each in an environment of its own (``make interop``)."""
