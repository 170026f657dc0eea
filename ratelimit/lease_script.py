"""The store's side of a lease: who may use how much, decided in one script call for all leases of a process."""

# The argument: [prefix, requests], each as `Lease.request` makes it. Answers, one a request:
# {beat, generation, rate, burst, {holder, beat of each other row}}.
#
# State of a lease: `run` and `generation` (which life of the store), `open` (whether shares may grow), `turns` (how often a
# process got its first part of the burst), `hurried` (how many of the last turns came early), `rows` by holder: what it uses or
# may use (`rate`, `burst`), the contract that it knows (`limit`, `most`), its `demand` and whether any of it is `urgent`, when it
# had its last `turn`, and whether it has got in it what it waited for (`fed`) and has had all of it (`served`).
#
# The key lives for a day after the last call. Should it go sooner, that is a store which has lost its memory.
LEASE_SCRIPT = """
local a = cmsgpack.unpack(ARGV[1])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')

-- What is urgent ends the turn of what is not, as soon as that has got something. It waits for its turn like others right after
-- one of its own, and after several such in a row: nobody starves.
local function rank(row, rested)
  if row.demand == 0 then return row.burst > 0 and 5 or 6 end
  if row.burst == 0 then return row.urgent and row.turn <= rested and 1 or 3 end
  if row.served then return 4 end
  return row.fed and not row.urgent and 2 or 0
end

local function before(x, y, rested)
  local rank_x, rank_y = rank(x, rested), rank(y, rested)
  if rank_x ~= rank_y then return rank_x < rank_y end
  if x.turn ~= y.turn then return x.turn < y.turn end
  return x.holder < y.holder
end

-- What of the contract should be mine: as much as I demand, or as much as everybody who demands more than that, and an equal
-- part of what nobody demands. A fiftieth is kept ready for those who are idle, so that their first message need not wait.
local function fair(rows, mine, rate, burst, rested)
  local seated = {}
  for _, row in pairs(rows) do seated[#seated + 1] = row end
  if burst < #seated then  -- not even one token for each: whoever has work takes turns
    table.sort(seated, function(x, y) return before(x, y, rested) end)
    for i = #seated, burst + 1, -1 do
      if seated[i] == mine then return 0, 0 end
      seated[i] = nil
    end
  end
  local count = #seated
  local least = rate / (50 * count)
  local left, hungry, level = rate, seated, 0
  local part
  repeat
    level = left / #hungry
    local still = {}
    for _, row in ipairs(hungry) do
      local demand = math.max(row.demand, least)
      if demand > level then
        still[#still + 1] = row
      else
        left = left - demand
        if row == mine then part = demand end
      end
    end
    local fed = #hungry - #still
    hungry = still
  until fed == 0 or #hungry == 0
  if #hungry == 0 then part = part + left / count end
  part = math.floor(part or level)
  return part, 1 + math.floor((burst - count) * part / rate + 1e-6)  -- parts are rounded down: a third of three is one
end

local function grown(uses, target, free)
  return uses + math.max(0, math.min(target - uses, free))
end

local function serve(
  name, holder, beat, generation, watched, leaving, uses_rate, uses_burst, limit, most, demand, urgent, fed, served, still
)
  local key = a[1] .. 'lease:' .. name
  local packed = redis.call('GET', key)
  local state = packed and cmsgpack.unpack(packed)
  if not state or state.run ~= run then
    -- A name that no other generation has, even if this very call began one and was repeated; it is not read as a time.
    local generation_name = table.concat({holder, beat, unpack(redis.call('TIME'))}, '.')
    state = {run = run, generation = generation_name, open = false, turns = 0, rows = {}}
  end
  local rows = state.rows

  local function reply(rate, burst)
    local others = {}
    for other, row in pairs(rows) do
      if other ~= holder then
        others[#others + 1] = other
        others[#others + 1] = row.beat
      end
    end
    return {beat, state.generation, rate, burst, others}
  end

  local row = rows[holder]
  if row and beat <= row.beat then  -- repeated, or overtaken by a later call: nobody waits for the answer to that
    return reply(row.rate, row.burst)
  end
  if watched and generation == state.generation then state.open = true end
  for i = 1, #still, 2 do
    local other = rows[still[i]]
    if other and other.beat == still[i + 1] then rows[still[i]] = nil end
  end

  local rate, burst = 0, 0
  if leaving then
    rows[holder] = nil
  else
    -- Believed even of one whose row was removed: it has lapsed, will ignore this answer, and says with the next call that it
    -- uses nothing.
    row = row or {holder = holder, turn = 0}
    rows[holder] = row
    row.beat, row.rate, row.burst, row.limit, row.most = beat, uses_rate, uses_burst, limit, most
    row.demand, row.urgent, row.fed, row.served = demand, urgent, fed, served

    for _, other in pairs(rows) do
      limit, most = math.min(limit, other.limit), math.min(most, other.most)
    end
    local free_rate, free_burst = limit, most
    for _, other in pairs(rows) do
      free_rate, free_burst = free_rate - other.rate, free_burst - other.burst
    end
    rate, burst = math.min(row.rate, limit), math.min(row.burst, most)
    local hurried = state.hurried or 0
    local rested = hurried < 8 and state.turns - most or -1  -- whose last turn was not after this may hurry
    if state.open and limit > 0 then
      rate, burst = fair(rows, row, limit, most, rested)
    end
    -- A lower share is what it still uses until it says otherwise.
    row.rate = grown(row.rate, rate, free_rate)
    row.burst = grown(row.burst, burst, free_burst)
    rate, burst = math.min(rate, row.rate), math.min(burst, row.burst)
    if uses_burst == 0 and burst > 0 then
      state.hurried = urgent and row.turn <= rested and hurried + 1 or 0
      state.turns = state.turns + 1
      row.turn = state.turns
    end
  end
  redis.call('SET', key, cmsgpack.pack(state), 'EX', 86400)
  return reply(rate, burst)
end

local replies = {}
for i, request in ipairs(a[2]) do replies[i] = serve(unpack(request)) end
return replies
"""
