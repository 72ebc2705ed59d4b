-- load.lua: wrk's script for the benches.  KIND is the request: "form" has
-- FILES of SIZE bytes, "raw" is one body of SIZE bytes, "json" one object.
--
-- A thread builds its request once; before each send it writes a few new bytes
-- into every file, in place, so that every file's content is unique and the
-- client costs next to nothing.

local ffi = require("ffi")

local kind = os.getenv("KIND") or "form"
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

-- Begins as a JPEG does: servers look at a file's first bytes.
local function picture()
  return "\255\216\255\224" .. random(size - 4)
end

-- Each builder returns the content type, the body, and where in it the marks
-- are, from 0.
local build = {}

function build.form()
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
    add(picture() .. "\r\n")
  end

  add("--" .. boundary .. "--\r\n")

  return "multipart/form-data; boundary=" .. boundary, table.concat(pieces), at
end

function build.raw()
  return "application/octet-stream", picture(), { 64 }
end

function build.json()
  local head = '{"thread":"' .. id .. '","event":"'
  local tail = '","text":"'
  local text = string.rep("x", size - #head - 16 - #tail - 2)

  return "application/json",
         head .. string.rep("0", 16) .. tail .. text .. '"}', { #head }
end

local request_text
local marks = {}
local turn = 0
local base_turn = 0

function init()
  local content_type, body, at = build[kind]()

  request_text = wrk.format("POST", nil, { ["Content-Type"] = content_type },
                            body)

  local base = ffi.cast("uint8_t *", request_text) + #request_text - #body
  for i, offset in ipairs(at) do
    marks[i] = base + offset
  end

  -- Unlike the last run's, too: JSON's text is the same each time.
  for _, byte in ipairs({ random(5):byte(1, 5) }) do
    base_turn = base_turn * 256 + byte
  end
end

local function mark_bytes()
  for i = 1, #marks do
    local m, v = marks[i], turn
    m[0], m[1], m[2] = id, i % 256, math.floor(i / 256)
    for k = 3, 8 do
      m[k] = v % 256
      v = math.floor(v / 256)
    end
  end
end

local function mark_digits()
  local m, v = marks[1], base_turn + turn
  for k = 15, 0, -1 do
    m[k] = 48 + v % 10
    v = math.floor(v / 10)
  end
end

local mark = kind == "json" and mark_digits or mark_bytes

function request()
  turn = turn + 1
  mark()
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
