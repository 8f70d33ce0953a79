"""`hotfn test`: the tests of a function file, run against its function wherever that is to run."""
