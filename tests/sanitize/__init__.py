"""Our C under the address and the undefined-behaviour sanitizer: the unit tests, and calls at random."""
