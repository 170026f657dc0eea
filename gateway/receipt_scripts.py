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
    if a[4][n + 2] then
      redis.call('SET', key, status .. row:sub(start), 'EX', math.max(redis.call('TTL', key), a[2]))
    else
      redis.call('SET', key, status, 'EX', a[2])
    end
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

# [prefix, seconds to remember at least, [key, part number, what is known of it, key of its row, …]] → for each all of its key, as
# [number, what is known, …]. It lives as long as the rows do that the other parts are known by, which is as long as this one's.
COLLECT = Script("""
local a = cmsgpack.unpack(ARGV[1])
local groups = {}
for n = 1, #a[3], 4 do
  local key = a[1] .. a[3][n]
  redis.call('HSET', key, a[3][n + 1], a[3][n + 2])
  redis.call('EXPIRE', key, math.max(a[2], redis.call('TTL', key), redis.call('TTL', a[1] .. a[3][n + 3])))
  groups[#groups + 1] = redis.call('HGETALL', key)
end
return groups
""")

# [prefix, keys, how many] → for each its parts in doubt, as [field, row, …]; of a key with more than so many some of them
DOUBTS = Script("""
local a = cmsgpack.unpack(ARGV[1])
local all = {}
for n, key in ipairs(a[2]) do
  if redis.call('HLEN', a[1] .. key) > a[3] then
    all[n] = redis.call('HSCAN', a[1] .. key, 0, 'COUNT', a[3])[2]
  else
    all[n] = redis.call('HGETALL', a[1] .. key)
  end
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
