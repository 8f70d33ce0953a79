# A function in jq, format `json`: jq -c --unbuffered -f function.jq
def reply($status; $headers; $body):
  {body: $body, content_type: "text/plain; charset=utf-8", protocol: {status_code: $status, headers: $headers}};

. as $call
| (.body | split("\n")) as $lines
| ($lines[1:] | join("\n")) as $rest
| if $lines[0] == "status" then reply(418; {"X-Custom": ["one"]}; "short and stout")
  elif $lines[0] == "token" then reply(200; {}; $call.protocol.headers["X-Token"][0])
  elif $lines[0] == "raise" then try error($rest) catch reply(500; {}; .)
  elif $lines[0] == "uncaught" then error($rest)
  elif $lines[0] == "bytes" then reply(200; {}; "AIB/" | @base64d)
  elif $lines[0] == "sleep" then last(range(1e15))  # it knows no other way
  elif $lines[0] == "print" then ("a stray line", reply(200; {}; $rest))
  else reply(200; {}; $rest) end
