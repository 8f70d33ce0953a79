"""`hotfn init`: a new function, with everything that it needs."""
