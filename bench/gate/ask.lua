-- Asks about a key of a file, each time another at random. Its arguments: the
-- file, and what is sent with KEY in the place of the key: the method, the path,
-- the Authorization, the body.
local threads = 0
local requests = {}

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(args)
  math.randomseed(number * 7919)
  local file, method, path, authorization, body = args[1], args[2], args[3], args[4], args[5]
  local headers = { ["Host"] = wrk.headers["Host"] }
  if body ~= "" then
    headers["Content-Type"] = "application/json"
  end
  for key in io.lines(file) do
    headers["Authorization"] = authorization:gsub("KEY", key)
    requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body:gsub("KEY", key) or nil)
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
