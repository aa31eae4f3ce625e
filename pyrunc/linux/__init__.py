"""What CPython has no call for, kept thin: typed, checked for errno, without policy."""
