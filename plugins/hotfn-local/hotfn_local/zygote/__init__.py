"""Fast starts for functions in Python: a zygote has imported what they need and is forked for each copy.

`program.py` and `serve.py` are the zygote itself and run in the function's interpreter. `command.py` and `key.py` say
what is to be run there; `process.py` is one zygote as hotfn sees it, `pool.py` all of a driver.
"""
