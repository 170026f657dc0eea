"""A `Quota` for any number of processes: the same decisions, made in the store for a batch at a time."""

# The argument: [key, limit, window, [op, key, at, attempt, …]] with times in ms and the ops "reserve", "confirm", "release",
# and "has", which asks whether an attempt is under way. Answers {used, next free, {1 or 0 for each op}}: for a reservation
# whether it is granted, for a question the answer, otherwise 1; the next free time is
# when another key can be reserved if nothing happens until then, the latest time seen if it can now, -1 if it never can.
#
# `at` is the caller's wall clock. The latest that any caller has shown is the time for all: a clock that is behind, or was
# set back, frees nothing early and forgets nothing. One that jumps ahead frees by so much too early what is counted then, and
# until the others have caught up, time stands still: what is counted meanwhile is counted for so much longer.
#
# A call may be repeated, as long as nothing else was done to its attempts in between: that changes nothing, but a reservation
# that was refused may be granted now.
#
# Two keys: a sorted set (key → when it stops counting), and a hash of what the set does not say: "now", the latest time seen,
# and for each key with attempts under way when it stops counting as delivered and as each of these. Both live for two windows
# after the last call, by the store's clock: that one would have to jump by more than a window to free anything early. A store
# that loses its memory forgets what was counted; nobody else knows it.
QUOTA_SCRIPT = """
local a = cmsgpack.unpack(ARGV[1])
local set, limit, window, ops = a[1], a[2], a[3], a[4]
local hash = set .. ':pending'
local now = tonumber(redis.call('HGET', hash, 'now') or 0)

local function text(number)
  return string.format('%.0f', number)
end

-- What has stopped counting is not there for whoever looks; it is removed a part at a time, so that no call takes long.
local function counted(key)
  local until_ = tonumber(redis.call('ZSCORE', set, key) or 0)
  if until_ <= now then return { delivered = 0, attempts = {} }, false end
  local packed = redis.call('HGET', hash, ':' .. key)
  if packed then return cmsgpack.unpack(packed), true end
  return { delivered = until_, attempts = {} }, true
end

local function count(key, entry)
  local until_, pending = entry.delivered, false
  for attempt, at in pairs(entry.attempts) do
    if at <= now then
      entry.attempts[attempt] = nil
    else
      until_, pending = math.max(until_, at), true
    end
  end
  if until_ <= now then
    redis.call('ZREM', set, key)
  else
    redis.call('ZADD', set, text(until_), key)
  end
  if pending then
    redis.call('HSET', hash, ':' .. key, cmsgpack.pack(entry))
  else
    redis.call('HDEL', hash, ':' .. key)
  end
end

-- When something stops counting that counted until `before`, if that is not over: a call may be repeated.
local function ends(at, before)
  if before > now then return math.max(before, at + window) end
  return now + window
end

local function used()
  return redis.call('ZCOUNT', set, '(' .. text(now), '+inf')
end

local results = {}
for n = 1, #ops, 4 do
  local op, key, at, attempt = ops[n], ops[n + 1], ops[n + 2], ops[n + 3]
  if op ~= 'release' then now = math.max(now, at) end
  local entry, known = counted(key)
  local result = 1
  if op == 'has' then
    result = (entry.attempts[attempt] or 0) > now and 1 or 0
  elseif op == 'reserve' then
    if not known and used() >= limit then
      result = 0
    else
      entry.attempts[attempt] = ends(at, entry.attempts[attempt] or 0)
      count(key, entry)
    end
  elseif op == 'confirm' then
    entry.delivered = ends(at, (entry.attempts[attempt] or 0) > now and 0 or entry.delivered)
    entry.attempts[attempt] = nil
    count(key, entry)
  elseif entry.attempts[attempt] then
    entry.attempts[attempt] = nil
    count(key, entry)
  end
  results[#results + 1] = result
end

local gone = redis.call('ZRANGEBYSCORE', set, '-inf', text(now), 'LIMIT', 0, 1000)
if #gone > 0 then
  redis.call('ZREM', set, unpack(gone))
  for i, key in ipairs(gone) do gone[i] = ':' .. key end
  redis.call('HDEL', hash, unpack(gone))
end

redis.call('HSET', hash, 'now', text(now))
redis.call('PEXPIRE', set, text(2 * window))
redis.call('PEXPIRE', hash, text(2 * window))

local total = used()
local free = now
if limit == 0 then
  free = -1
elseif total >= limit then
  local later = redis.call('ZRANGEBYSCORE', set, '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', total - limit, 1)
  free = tonumber(later[2])
end
return {total, free, results}
"""
