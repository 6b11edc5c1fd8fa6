"""The operations of S3, by what they work on. Each takes a `Call` and returns a `Reply`."""
