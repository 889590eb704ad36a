-- What wrk sends: wrk -s load.lua URL -- SYSTEM OPERATION KEYS SEED
-- SYSTEM is rkv, etcd (its JSON gateway) or etcd-v2, OPERATION put, get (linearizable) or stale.
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local VALUE = string.rep("v", 64)

local requests = {}

local function base64(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local bits = a * 65536 + (b or 0) * 256 + (c or 0)
    for shift = 0, 3 do
      local digit = math.floor(bits / 64 ^ (3 - shift)) % 64
      local padding = (shift == 2 and not b) or (shift == 3 and not c)
      out[#out + 1] = padding and "=" or ALPHABET:sub(digit + 1, digit + 1)
    end
  end
  return table.concat(out)
end

local function rkv(operation, key)
  if operation == "put" then
    return wrk.format("POST", "/keys/" .. key, nil, VALUE)
  end
  return wrk.format("GET", "/keys/" .. key .. (operation == "stale" and "?consistency=stale" or ""))
end

local function etcd(operation, key)
  key = base64(key)
  if operation == "put" then
    local body = string.format('{"key":"%s","value":"%s"}', key, base64(VALUE))
    return wrk.format("POST", "/v3/kv/put", nil, body)
  end
  local serializable = operation == "stale" and ',"serializable":true' or ""
  return wrk.format("POST", "/v3/kv/range", nil, string.format('{"key":"%s"%s}', key, serializable))
end

local function etcd_v2(operation, key)
  local path = "/v2/keys/" .. key
  if operation == "put" then
    local form = {["Content-Type"] = "application/x-www-form-urlencoded"}
    return wrk.format("PUT", path, form, "value=" .. VALUE)
  end
  return wrk.format("GET", path .. (operation == "get" and "?quorum=true" or ""))
end

function init(args)
  local make = ({rkv = rkv, etcd = etcd, ["etcd-v2"] = etcd_v2})[args[1]]
  math.randomseed(tonumber(args[4]))
  -- Made before the load, so that the generator takes as little of the machine as it can.
  for number = 0, tonumber(args[3]) - 1 do
    requests[number + 1] = make(args[2], string.format("key-%012d", number))
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"micros":%d,"p50":%d,"p99":%d,"failed":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
