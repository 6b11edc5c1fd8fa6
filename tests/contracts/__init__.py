"""The suites of `cnet.testing` over what CNET ships."""
