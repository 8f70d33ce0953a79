"""`hotfn dev`: keeps a function hot while somebody works on it, and replaces its copies when its files change."""
