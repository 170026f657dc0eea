"""What `receipts.py` asks of the store, each in one call for a whole batch. All can be repeated with the same argument."""

from __future__ import annotations

from gateway.store import Script

# [prefix, seconds to remember, keys of parts to mark as final, [key, status, whether more may follow, …] that was told,
# [key, field] to forget, [number of a key, the key to look up where that one has nothing, …], keys to look up,
# keys without a row to mark as final, for how many seconds] → values
CORRELATE = Script("""
local a = cmsgpack.unpack(ARGV[1])
local prefix = a[1]
for _, key in ipairs(a[3]) do
  redis.call('SET', prefix .. key, 'final', 'XX', 'KEEPTTL')
end
for _, key in ipairs(a[8]) do
  redis.call('SET', prefix .. key, 'final', 'EX', a[9])
end
for n = 1, #a[4], 3 do
  local key, status = prefix .. a[4][n], a[4][n + 1]
  local row = redis.call('GET', key)
  local start = row and row:find('[', 1, true)
  if start and (start == 1 or status ~= 'submitted') then
    local ttl = math.max(redis.call('TTL', key), a[2])
    redis.call('SET', key, a[4][n + 2] and status .. row:sub(start) or status, 'EX', ttl)
  end
end
for n = 1, #a[5], 2 do
  redis.call('HDEL', prefix .. a[5][n], a[5][n + 1])
end
local values = {}
for n, key in ipairs(a[7]) do
  values[n] = redis.call('GET', prefix .. key)
end
for n = 1, #a[6], 2 do
  local number = a[6][n]
  values[number] = values[number] or redis.call('GET', prefix .. a[6][n + 1])
end
return values
""")

# [prefix, ttl, [key, part number, what is known of it, …]] → for each all of its key, as [number, what is known, …]
COLLECT = Script("""
local a = cmsgpack.unpack(ARGV[1])
local groups = {}
for n = 1, #a[3], 3 do
  local key = a[1] .. a[3][n]
  redis.call('HSET', key, a[3][n + 1], a[3][n + 2])
  redis.call('EXPIRE', key, a[2])
  groups[#groups + 1] = redis.call('HGETALL', key)
end
return groups
""")

# [prefix, keys] → for each all parts in doubt, as [field, row, …]
DOUBTS = Script("""
local a = cmsgpack.unpack(ARGV[1])
local all = {}
for n, key in ipairs(a[2]) do
  all[n] = redis.call('HGETALL', a[1] .. key)
end
return all
""")

# [prefix, [key, part number, …]] → for each whether COLLECT has been told of it
TOLD = Script("""
local a = cmsgpack.unpack(ARGV[1])
local told = {}
for n = 1, #a[2], 2 do
  told[#told + 1] = redis.call('HEXISTS', a[1] .. a[2][n], a[2][n + 1])
end
return told
""")
