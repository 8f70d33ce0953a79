"""`hotfn bench`: loads a function and says how it went."""
