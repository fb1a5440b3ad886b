"""Wrong answers, each with a part of its verdict, and right ones of other kinds: for the tests of the checks."""
