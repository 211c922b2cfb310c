-- Budgets and limits in Redis 7 or Valkey: every operation is one call of this script, so nothing comes between its reads
-- and its writes. All keys carry one hash tag, so they lie in one slot, by design. Keys are derived here, not declared: the
-- store is one server, not a sharded cluster.
--
-- KEYS[1]  the hash tag. ARGV[1] the operation, ARGV[2] the epoch that the caller knows.
-- <tag>:epoch                 names the current state. Missing: the state was lost, nothing is admitted until it is rebuilt.
-- <tag>:lost                  a number that names the loss; the epoch that is being put together ends with it
-- <tag>:<epoch>:hosts         who has brought what it holds open into that epoch; <tag>:<epoch>:steps how much was brought
-- <tag>:<epoch>:<name>:<start>  one budget in one window: used (overage included), held, over, esc (the part of held that is slices)
-- <tag>:<epoch>:<name>        a token bucket (level, at) or a concurrency (held)
-- <tag>:<epoch>:r:<id>        a reservation or slice: state, sent, rows {kind, takes, key, limit, amount, expires}
-- <tag>:<epoch>:leases        ids by the end of their lease
--
-- A row's kind: w window, e slice of a window, b token bucket, g places. It takes t tokens, m nano-USD, or o (one).
-- Numbers are exact to 2^53.

local CLOSED, GONE, ELSEWHEN, REFUSED, DONE = -1, -2, -3, 0, 1
local SETTLED_S, TOMB_S, BOUND_S, BUCKET_S, FOREVER = 300, 3600, 86400, 180, 1099511627776

-- What a provider claims to have used may be any number: beyond ABSURD it is kept within what is counted exactly.
local ABSURD, LARGEST = 1099511627776, 9007199254740991

local operation, epoch = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local space = KEYS[1] .. ':' .. epoch .. ':'
local leases = space .. 'leases'

local function load(id)
  local packed = redis.call('GET', space .. 'r:' .. id)
  return packed and cmsgpack.unpack(packed)
end

local function save(id, record, seconds)
  redis.call('SET', space .. 'r:' .. id, cmsgpack.pack(record), 'EX', seconds)
end

-- As metering.kept; zero for a window without end.
local function kept(start, ends)
  return ends < FOREVER and ends + math.max(3600, ends - start) or 0
end

local function level(row)
  local found = redis.call('HMGET', row[3], 'level', 'at')
  if not found[1] then return row[4] end
  local gained = math.max(0, now - tonumber(found[2])) * row[4] / 60
  return math.min(row[4], tonumber(found[1]) + gained)
end

local function left(row)
  if row[1] == 'b' then return level(row) end
  local found = redis.call('HMGET', row[3], 'used', 'held')
  return row[4] - (tonumber(found[1]) or 0) - (tonumber(found[2]) or 0)
end

-- Take `amount` more (or put it back, below zero).
local function take(row, amount)
  if amount == 0 then return end
  if row[1] == 'b' then
    redis.call('HSET', row[3], 'level', string.format('%.17g', level(row) - amount), 'at', string.format('%.6f', now))
    redis.call('EXPIRE', row[3], BUCKET_S)
    return
  end
  if redis.call('HINCRBY', row[3], 'held', amount) == amount and row[6] > 0 then
    redis.call('EXPIREAT', row[3], row[6])
  end
  if row[1] == 'e' then redis.call('HINCRBY', row[3], 'esc', amount) end
end

-- End what a row holds, with `spent` used of it.
local function finish(row, state, spent)
  local amount = row[5]
  if row[1] == 'g' then
    if state == 'open' then take(row, -amount) end
  elseif row[1] == 'b' then
    if row[2] == 't' then take(row, (state == 'refunded' and spent or spent - amount)) end
  else
    if state == 'open' then take(row, -amount) end
    local before = state == 'bound' and amount or 0
    if spent > ABSURD then spent = math.max(0, math.min(spent, LARGEST - (tonumber(redis.call('HGET', row[3], 'used')) or 0))) end
    if spent ~= before then redis.call('HINCRBY', row[3], 'used', spent - before) end
    local covered = state == 'refunded' and 0 or amount
    if spent > covered then redis.call('HINCRBY', row[3], 'over', spent - covered) end
  end
end

-- ARGV: n, then n times kind, takes, name, limit, start, end; then id, sent, lease, tokens, nano-USD.
-- `forced`: it was taken already, whether it fits or not. `moved`: it was taken before, from a slice, in the window that it names.
local function reserve(forced, moved)
  local n = tonumber(ARGV[3])
  local at = 3 + n * 6
  local id, sent, lease = ARGV[at + 1], ARGV[at + 2] == '1', tonumber(ARGV[at + 3])
  local amounts = { t = tonumber(ARGV[at + 4]), m = tonumber(ARGV[at + 5]), o = 1 }
  local record = load(id)
  if record and record.state ~= 'open' then return { GONE } end
  if not record then
    record = { state = 'open', sent = sent, rows = {} }
    for i = 1, n do
      local a = 3 + (i - 1) * 6
      local start, ends = tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6])
      local key = space .. ARGV[a + 3]
      if ARGV[a + 1] == 'w' then
        if not (forced or moved) and (now < start or now >= ends) then return { ELSEWHEN, time[1], time[2] } end
        key = key .. ':' .. ARGV[a + 5]
      end
      local expires = ARGV[a + 1] == 'w' and kept(start, ends) or 0
      record.rows[i] = { ARGV[a + 1], ARGV[a + 2], key, tonumber(ARGV[a + 4]), 0, expires }
    end
  end
  local fits, rests = true, {}
  for i, row in ipairs(record.rows) do
    local need = amounts[row[2]] - row[5]
    rests[i] = left(row)
    if need > 0 and need > rests[i] + 0.000001 and not forced then fits = false end
  end
  local reply = { fits and DONE or REFUSED }
  for i, row in ipairs(record.rows) do
    local need = amounts[row[2]] - row[5]
    if fits then
      take(row, need)
      row[5] = amounts[row[2]]
    end
    reply[i + 1] = math.floor(rests[i] - (fits and need or 0) + 0.000001)
  end
  if fits then
    record.sent = record.sent or sent
    save(id, record, math.ceil(lease) + BOUND_S)
    redis.call('ZADD', leases, now + lease, id)
  end
  return reply
end

-- ARGV: n, then n times id, tokens, nano-USD. Repeating it changes nothing; an unknown id leaves a tombstone, so that a claim
-- that comes after its own settlement is not taken.
local function settle()
  for i = 0, tonumber(ARGV[3]) - 1 do
    local id = ARGV[4 + i * 3]
    local spent = { t = tonumber(ARGV[5 + i * 3]), m = tonumber(ARGV[6 + i * 3]), o = 0 }
    local record = load(id)
    if not record then
      save(id, { state = 'settled' }, TOMB_S)
    elseif record.state ~= 'settled' then
      for _, row in ipairs(record.rows) do finish(row, record.state, spent[row[2]]) end
      save(id, { state = 'settled' }, SETTLED_S)
      redis.call('ZREM', leases, id)
    end
  end
  return { DONE }
end

-- ARGV: lease, n, then n ids. Their leases begin again; those that have ended do not.
local function renew()
  for i = 1, tonumber(ARGV[4]) do redis.call('ZADD', leases, 'XX', now + tonumber(ARGV[3]), ARGV[4 + i]) end
  return { DONE }
end

-- ARGV: at most so many. Ends the leases that are over: at the bound where it was sent, else refunded.
local function reap()
  local ids = redis.call('ZRANGE', leases, '-inf', string.format('%.6f', now), 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[3]))
  for _, id in ipairs(ids) do
    local record = load(id)
    redis.call('ZREM', leases, id)
    if record and record.state == 'open' then
      for _, row in ipairs(record.rows) do
        finish(row, 'open', record.sent and row[2] ~= 'o' and row[5] or 0)
      end
      record.state = record.sent and 'bound' or 'refunded'
      save(id, record, BOUND_S)
    end
  end
  redis.call('EXPIRE', leases, 2 * BOUND_S)
  return { DONE, #ids }
end

-- ARGV: workers, lease, n, then n times id, kind, name, limit, want, start, end. Replies what each slice got, and what is left.
local function draw()
  local workers, lease = tonumber(ARGV[3]), tonumber(ARGV[4])
  local reply = { DONE }
  for i = 0, tonumber(ARGV[5]) - 1 do
    local a = 6 + i * 7
    local id, kind, limit = ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 3])
    local start, ends, got = tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6]), 0
    local record = load(id)
    local key = space .. ARGV[a + 2] .. (kind == 'e' and ':' .. ARGV[a + 5] or '')
    local row = { kind, 't', key, limit, 0, kind == 'e' and kept(start, ends) or 0 }
    local rest = left(row)
    if record then
      got = record.state == 'open' and record.rows[1][5] or 0
    elseif (kind ~= 'e' or (now >= start and now < ends)) and rest * 10 >= limit then
      local out = kind == 'e' and tonumber(redis.call('HGET', key, 'esc') or 0) or 0
      got = math.min(tonumber(ARGV[a + 4]), math.floor(limit / (50 * workers)), math.floor(limit / 50) - out, math.floor(rest))
      if got > 0 then
        take(row, got)
        row[5] = got
        save(id, { state = 'open', sent = true, rows = { row } }, math.ceil(lease) + BOUND_S)
        redis.call('ZADD', leases, now + lease, id)
      end
    end
    reply[#reply + 1] = math.max(0, got)
    reply[#reply + 1] = math.floor(rest)
  end
  return reply
end

-- ARGV: n, then n keys after the epoch. Replies used, held, over of each.
local function levels()
  local reply = { DONE }
  for i = 1, tonumber(ARGV[3]) do
    local found = redis.call('HMGET', space .. ARGV[3 + i], 'used', 'held', 'over')
    for field = 1, 3 do reply[#reply + 1] = tonumber(found[field]) or 0 end
  end
  return reply
end

-- An epoch is put together by all hosts and opened by one of them. Whatever was lost again meanwhile lost its `lost` too:
-- then nothing is added to it any more, and it never opens.
local function pending()
  local lost = redis.call('GET', KEYS[1] .. ':lost')
  return lost and string.sub(epoch, -#lost - 1) == '.' .. lost
end

-- ARGV: a number. Replies the number that names the loss: this one, where nobody has named it yet.
local function lose()
  redis.call('SET', KEYS[1] .. ':lost', ARGV[3], 'NX', 'EX', BOUND_S)
  return { DONE, tonumber(redis.call('GET', KEYS[1] .. ':lost')) }
end

-- Something was brought; whoever opens the epoch has to know of it.
local function step()
  redis.call('INCR', space .. 'steps')
  redis.call('EXPIRE', space .. 'steps', BOUND_S)
end

-- ARGV: a host, which has brought all that it holds open.
local function join()
  step()
  redis.call('SADD', space .. 'hosts', ARGV[3])
  redis.call('EXPIRE', space .. 'hosts', BOUND_S)
  return { DONE }
end

-- ARGV: n, then n hosts. Replies the steps so far, whether each host has joined, and the ids of all that was brought.
local function joined()
  local reply = { DONE, tonumber(redis.call('GET', space .. 'steps') or '0') }
  for i = 1, tonumber(ARGV[3]) do reply[#reply + 1] = redis.call('SISMEMBER', space .. 'hosts', ARGV[3 + i]) end
  for _, id in ipairs(redis.call('ZRANGE', leases, 0, -1)) do reply[#reply + 1] = id end
  return reply
end

-- ARGV: the steps that the caller has taken into account, n, then n times key after the epoch, used, and when it may be
-- forgotten (0: never): what the ledger knows, what was brought apart.
local function open()
  if ARGV[3] ~= (redis.call('GET', space .. 'steps') or '0') then return { REFUSED } end
  for i = 0, tonumber(ARGV[4]) - 1 do
    local key, expires = space .. ARGV[5 + i * 3], tonumber(ARGV[7 + i * 3])
    redis.call('HSET', key, 'used', ARGV[6 + i * 3])
    if expires > 0 then redis.call('EXPIREAT', key, expires) end
  end
  redis.call('SET', KEYS[1] .. ':epoch', epoch)
  redis.call('DEL', KEYS[1] .. ':lost')
  return { DONE }
end

local current = redis.call('GET', KEYS[1] .. ':epoch')
if operation == 'lose' then return current and { REFUSED } or lose() end
if operation == 'restore' or operation == 'join' or operation == 'joined' or operation == 'open' then
  if current or not pending() then return { REFUSED } end
  if operation == 'join' then return join() end
  if operation == 'joined' then return joined() end
  if operation == 'open' then return open() end
  step()
  return reserve(true, true)
end
if current ~= epoch then return { CLOSED } end
if operation == 'close' then
  redis.call('DEL', KEYS[1] .. ':epoch')
  return { DONE }
end
if operation == 'reserve' then return reserve(false, false) end
if operation == 'move' then return reserve(false, true) end
if operation == 'settle' then return settle() end
if operation == 'renew' then return renew() end
if operation == 'reap' then return reap() end
if operation == 'draw' then return draw() end
if operation == 'levels' then return levels() end
return redis.error_reply('unknown operation ' .. operation)
