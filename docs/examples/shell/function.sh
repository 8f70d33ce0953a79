#!/bin/sh
# A function in the shell, format "default": the body is stdin, stdout is the reply, one process for each call.
printf '%s said: ' "${FN_METHOD:-somebody}"
tr a-z A-Z
