#!/bin/sh
# stdin is the body of the call, stdout the reply, and what goes to stderr is the log.
who=$(cat)
echo "hello ${who:-world}"
