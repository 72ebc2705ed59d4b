-- load.lua: wrk's script for the bench.  FILES of SIZE bytes in each form.
--
-- A thread builds its request once; before each send it writes 16 new bytes
-- into every file, in place, so that every file's content is unique and the
-- client costs next to nothing.

local ffi = require("ffi")

local files = tonumber(os.getenv("FILES") or "20")
local size = tonumber(os.getenv("SIZE") or "100000")
local threads = 0

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

local function random(n)
  local f = assert(io.open("/dev/urandom", "rb"))
  local s = f:read(n)
  f:close()
  return s
end

local request_text
local marks = {}
local turn = 0

function init()
  local boundary = "sluice-bench-" .. id .. "-0f1e2d3c4b5a6978"
  local pieces, at = {}, {}
  local length = 0

  local function add(s)
    pieces[#pieces + 1] = s
    length = length + #s
  end

  for i = 1, files do
    add("--" .. boundary .. "\r\n" ..
        "Content-Disposition: form-data; name=\"files\"; " ..
        "filename=\"image-" .. i .. ".jpg\"\r\n" ..
        "Content-Type: image/jpeg\r\n\r\n")
    at[i] = length + 64
    add("\255\216\255\224" .. random(size - 4) .. "\r\n")
  end

  add("--" .. boundary .. "--\r\n")

  local body = table.concat(pieces)
  request_text = wrk.format("POST", nil, {
    ["Content-Type"] = "multipart/form-data; boundary=" .. boundary,
  }, body)

  local base = ffi.cast("uint8_t *", request_text) + #request_text - #body
  for i = 1, files do
    marks[i] = base + at[i]
  end
end

function request()
  turn = turn + 1
  for i = 1, files do
    local m, v = marks[i], turn
    m[0], m[1], m[2] = id, i % 256, math.floor(i / 256)
    for k = 3, 8 do
      m[k] = v % 256
      v = math.floor(v / 256)
    end
  end
  return request_text
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%.3f,"failed":%d,"bad_status":%d,' ..
    '"p50_ms":%.2f,"p99_ms":%.2f}\n',
    summary.requests, summary.duration / 1e6,
    e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
