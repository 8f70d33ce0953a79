#!/bin/sh
# A function in the shell, format "default": the body is stdin, stdout is the reply, one process for each call.
# An exit status other than 0 makes the call fail; what stands on stderr is the log, and the end of it is in the error.
if [ "${FN_METHOD:-}" = DELETE ]; then
    echo "there is nothing to delete" >&2
    exit 1
fi
printf '%s said: ' "${FN_METHOD:-somebody}"
tr a-z A-Z
