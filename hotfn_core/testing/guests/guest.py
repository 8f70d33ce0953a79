r"""A function that does what its call tells it to: for tests of drivers, protocols and of hotfn as a whole.

    python3 guest.py          speaks the format that FN_FORMAT names: default, http, json, cloudevent, or raw

`raw` echoes stdin to stdout until stdin ends. In the others the body of a call is a script, a JSON object with any
of these keys, performed in this order; a body that is no JSON object is sent back as it came.

    "term": "ignore" | script   what SIGTERM does from now on: nothing, or a script with an "exit"
    "eof": "ignore" | script    what the end of stdin does: nothing (it lives on), or a script before the exit
    "sleep": seconds            before the reply
    "stderr": text              written to stderr, as it is
    "stderr_lines": n           so many numbered lines to stderr
    "stderr_bytes": n           so many bytes to stderr without a newline
    "memory": MB                allocate and touch so much; "leak": true keeps it after the call
    "open_files": n             open so many files and keep them
    "write_file": [path, n]     write n bytes to a file
    "listen": path              send back what comes over a unix socket there
    "spin": seconds             burn processor time until it has used so much in all
    "spawn": {"count": 1, "seconds": 60, "setsid": false, "quiet": false, "token": text}
                                start grandchildren that sleep and ignore SIGTERM; quiet ones do not hold the pipes;
                                the token is in their arguments
    "stdout": text              written to stdout in front of the reply, in a write of its own
    "close_stdin": true, "close_stdout": true
    "signal": n                 kill itself with a signal, without a reply
    "exit": code                exit without a reply
    "hang": true                live on for ever without a reply

    "status": 200, "headers": {name: value or [values]}, "content_type": text       the reply's head
    "body": text                the reply's body
    "size": n                   a body of n bytes
    "echo": true                a body like the call's, as it came
    "report": [...]             adds to the default body what is named: env, request, cwd, argv, limits
                                default body: a JSON object with pid, calls (how many so far), spawned (pids), errors

    "garbage": text             sent in place of the reply
    "garbage_before", "garbage_after": text     in the same write as the reply
    "partial": n                send only the first n bytes of it
    "pieces": n, "pause": seconds               send it in n writes with a pause between them
    "late": text, "late_after": 0.05            written to stdout so many seconds after the reply
    "sleep_after": seconds, "signal_after": n, "exit_after": code      when the reply is out

Texts are written as UTF-8, "\udc80" to "\udcff" in them as single bytes. Environment: GUEST_START is a script
that is performed before the first call is read.

The code is in scripted.py and wires.py, which Python compiles once and not at every start.
`hotfn_core.testing.guests.one_file()` is all of it as one text, for `python3 -c` in a container.
"""

import sys

if __name__ == "__main__":
    sys.path.append(__file__.rpartition("/guests/")[0])
    __import__("guests.scripted").scripted.main()
